from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.linalg

from streamer.core.jit import as_input
from streamer.core.preprocessing.paganin import HC_M_EV, Paganin, PhaseSolver, exponential, negative_log, transfer
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


@pytest.mark.parametrize(("down", "across"), [(0, 0), (0, 7), (5, 0), (3, 11), (199, 259)])
def test_a_cosine_is_divided_by_one_plus_its_transfer(down: int, across: int) -> None:
    """The cosines that are even about both edges are the eigenvectors of the filter."""
    y, x = np.meshgrid(*(np.arange(side) + 0.5 for side in SHAPE), indexing="ij")
    wave = np.cos(np.pi * down * y / SHAPE[0]) * np.cos(np.pi * across * x / SHAPE[1])
    frequencies = np.array([down / (2 * SHAPE[0]), across / (2 * SHAPE[1])])
    gain = 1 / (1 + transfer(frequencies, OPTICS.alpha_px2).sum())
    found = PhaseSolver(*SHAPE, OPTICS).apply(wave.astype(np.float32))
    np.testing.assert_allclose(found, gain * wave, atol=2e-6)


@pytest.mark.parametrize("distance_m", [1e-4, 0.1, 5.0])
def test_the_filter_is_that_of_a_cosine_transform_in_two_dimensions(distance_m: float) -> None:
    optics = Paganin(500, 25e3, distance_m, 1.5e-6)
    seen = np.random.default_rng(6).uniform(0.1, 1, (150, 90))
    down, across = (transfer(np.arange(side) / (2 * side), optics.alpha_px2) for side in seen.shape)
    wanted = scipy.fft.idctn(scipy.fft.dctn(seen) / (1 + down[:, None] + across))
    found = PhaseSolver(*seen.shape, optics).apply(seen.astype(np.float32))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_rows_far_from_the_first_one_share_their_ratio() -> None:
    """The elimination settles: a tall frame is solved as exactly as one whose ratios were all computed."""
    alpha, rows = 30.0, 400
    optics = Paganin(1, 1, 4 * np.pi * alpha / HC_M_EV, 1.0)
    assert optics.alpha_px2 == pytest.approx(alpha)
    assert len(PhaseSolver(rows, 5, optics)._ratios) < rows / 2
    seen = np.random.default_rng(7).uniform(0, 1, rows)
    matrix = np.zeros((3, rows))
    matrix[0, 1:] = matrix[2, :-1] = -alpha
    matrix[1] = 1 + 2 * alpha
    matrix[1, [0, -1]] = 1 + alpha
    wanted = scipy.linalg.solve_banded((1, 1), matrix, seen)
    found = PhaseSolver(rows, 5, optics).apply(np.repeat(seen[:, None], 5, axis=1).astype(np.float32))
    np.testing.assert_allclose(found, np.repeat(wanted[:, None], 5, axis=1), atol=2e-5)


def test_threads_change_no_bit() -> None:
    frame = np.random.default_rng(8).uniform(0, 3, (61, 1030)).astype(np.float32)
    first, *others = (PhaseSolver(61, 1030, OPTICS, threads).attenuation(frame) for threads in (1, 2, 5))
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_transfer_is_that_of_the_laplacian_at_low_frequencies_and_bounded_at_high_ones() -> None:
    low = np.array([1e-4, 1e-3, 1e-2])
    np.testing.assert_allclose(transfer(low, 3.0), 3.0 * (2 * np.pi * low) ** 2, rtol=1e-3)
    assert transfer(np.array(0.5), 3.0) == pytest.approx(12.0)


def test_the_exponential_over_its_whole_range() -> None:
    values = np.linspace(-79.9, 79.9, 40_001).astype(np.float32).reshape(1, -1)
    found = np.empty_like(values)
    exponential(as_input(values), 1, found)
    np.testing.assert_allclose(found, np.exp(-values.astype(np.float64)), rtol=3e-7)
    extreme = np.array([[-1e30, 1e30, -np.inf, np.inf]], np.float32)
    exponential(as_input(extreme), 1, out := np.empty_like(extreme))
    np.testing.assert_allclose(out, np.exp([[80.0, -80.0, 80.0, -80.0]]), rtol=1e-6)


def test_the_logarithm_has_a_floor() -> None:
    values = np.array([[1.0, 0.5, 1e-3, 0.0, -2.0]], np.float32)
    negative_log(as_input(values), 1e-3, 2, out := np.empty_like(values))
    np.testing.assert_allclose(out[0], -np.log([1.0, 0.5, 1e-3, 1e-3, 1e-3]), atol=1e-6)
