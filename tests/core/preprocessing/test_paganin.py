from __future__ import annotations

import numpy as np
import pytest

from streamer.core.preprocessing.paganin import Paganin, PhaseSolver
from streamer.frames import BadInput

OPTICS = Paganin(delta_beta=500, energy_eV=25e3, distance_m=0.1, pixel_m=1.5e-6)
SHAPE = (200, 260)


def propagated(strength: float, width: float, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Thickness μt of three Gaussians, and the attenuation -ln I with I = (1 - α∇²) exp(-μt) by exact derivatives."""
    y, x = np.meshgrid(*((np.arange(side) - (side - 1) / 2) for side in SHAPE), indexing="ij")
    t, tx, ty, bend = np.zeros((4, *SHAPE))
    for value, scale, cx, cy in ((1, 1, 0, 0), (0.6, 0.7, 50, -30), (-0.3, 0.6, 20, 30)):
        s, dx, dy = width * scale, x - cx, y - cy
        g = value * strength * np.exp(-0.5 * (dx**2 + dy**2) / s**2)
        t, tx, ty = t + g, tx - g * dx / s**2, ty - g * dy / s**2
        bend = bend + g * ((dx**2 + dy**2) / s**4 - 2 / s**2)
    intensity = np.exp(-t) * (1 - alpha * (tx**2 + ty**2 - bend))
    return t, -np.log(intensity).astype(np.float32)


def test_length_of_the_filter_in_si_units() -> None:
    wavelength = 0.4959368e-10  # 25 keV
    assert OPTICS.alpha_px2 == pytest.approx(0.1 * wavelength * 500 / (4 * np.pi) / 1.5e-6**2, rel=1e-6)
    for wrong in ({"energy_eV": 0}, {"pixel_m": -1}, {"delta_beta": float("nan")}):
        with pytest.raises(BadInput):
            Paganin(**{"delta_beta": 1, "energy_eV": 1, "distance_m": 1, "pixel_m": 1, **wrong})


@pytest.mark.parametrize(("strength", "width"), [(0.1, 6), (0.1, 12), (1.0, 25), (2.0, 25)])
def test_paganin_undoes_propagation(strength: float, width: float) -> None:
    thickness, seen = propagated(strength, width, OPTICS.alpha_px2)
    assert np.abs(seen - thickness).max() > 0.1 * thickness.max()
    found = PhaseSolver(*SHAPE, OPTICS, 2).attenuation(seen)
    assert np.abs(found - thickness).max() < 0.005 * thickness.max()


@pytest.mark.parametrize("shape", [(1, 40), (2, 41), (7, 300), (90, 3), (50, 64)])
def test_solver_inverts_the_differences_exactly(shape: tuple[int, int]) -> None:
    wanted = np.random.default_rng(4).uniform(0.2, 1, shape)
    padded = np.pad(wanted, 1, mode="symmetric")
    bend = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2] - 4 * wanted
    seen = (wanted - OPTICS.alpha_px2 * bend).astype(np.float32)
    for threads in (1, 2):
        np.testing.assert_allclose(PhaseSolver(*shape, OPTICS, threads).apply(seen.copy()), wanted, atol=3e-5)


def test_solver_in_place_and_without_distance() -> None:
    contact = Paganin(500, 25e3, 0.0, 1e-6)
    frame = np.random.default_rng(5).uniform(-0.5, 11, (20, 30)).astype(np.float32)
    solver = PhaseSolver(20, 30, contact)
    out = solver.attenuation(frame.copy())
    np.testing.assert_allclose(out, frame, atol=2e-6)
    assert solver.attenuation(frame, frame) is frame
    np.testing.assert_array_equal(frame, out)
    opaque = np.array([[-90.0, 200.0, np.nan]], np.float32)
    assert np.isfinite(PhaseSolver(1, 3, contact).attenuation(opaque)).all()
    for wrong in (solver.apply, solver.attenuation):
        with pytest.raises(BadInput, match="20, 30"):
            wrong(frame.T)


def test_a_sample_that_goes_on_beyond_the_frame_is_wrong_at_its_edge_only() -> None:
    thickness, seen = propagated(2.0, 40, OPTICS.alpha_px2)
    inner = (slice(30, -30), slice(30, -30))
    found = PhaseSolver(*SHAPE, OPTICS).attenuation(seen)
    assert np.abs(found - thickness)[inner].max() < 0.005 * thickness.max()
    assert np.abs(found - thickness).max() < 0.05 * thickness.max()
