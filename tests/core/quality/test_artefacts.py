from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.quality.artefacts import (
    contrast,
    cupping_index,
    measure,
    noise_level,
    otsu,
    ring_index,
    slice_figures,
    stripe_index,
)
from streamer.frames import BadInput
from streamer.phantoms import Ellipse, half_turn, sinogram

N = 192
ANGLES = half_turn(240)
BODY = [Ellipse(0.01, 68, 60, 4, -2), Ellipse(0.003, 15, 8, 22, 15)]
CLEAN = sinogram(BODY, N, ANGLES)
MIDDLE = ((N - 1) / 2, (N - 1) / 2)


def rebuilt(backend: Backend, rows: np.ndarray, extend: bool = False) -> np.ndarray:
    block = np.ascontiguousarray(rows[:, None], np.float32)
    return reconstruct_block(backend, block, ANGLES, (N - 1) / 2, extend=extend)[0]


def test_a_good_slice_has_none(numba_backend: Backend) -> None:
    found = measure(rebuilt(numba_backend, CLEAN))
    assert found.contrast == pytest.approx(0.013, rel=0.05)
    assert found.ring_index < 1e-3
    assert abs(found.truncation) < 2e-3
    assert abs(found.cupping) < 3e-3
    assert found.noise < 1e-4


def test_noise_is_measured_and_is_not_taken_for_rings(numba_backend: Backend) -> None:
    rng = np.random.default_rng(0)
    levels, rings = [], []
    for sigma in (0.01, 0.04):
        noise = rng.normal(0, sigma, CLEAN.shape)
        image = rebuilt(numba_backend, CLEAN + noise)
        levels.append(noise_level(image))
        rings.append(ring_index(image, MIDDLE))
    assert levels[1] == pytest.approx(4 * levels[0], rel=0.1)
    assert max(rings) < 4e-3
    assert noise_level(rng.normal(0, 0.5, (300, 300))) == pytest.approx(0.5, rel=0.05)


def test_rings_and_stripes_grow_with_what_causes_them(numba_backend: Backend) -> None:
    rng = np.random.default_rng(1)
    offset = np.zeros(N)
    offset[rng.integers(20, N - 20, 12)] = rng.choice([-1, 1], 12)
    rings, stripes = [], []
    for strength in (0.02, 0.04, 0.08):
        rows = CLEAN + strength * offset + rng.normal(0, 0.01, CLEAN.shape)
        rings.append(ring_index(rebuilt(numba_backend, rows), MIDDLE))
        stripes.append(stripe_index(rows))
    assert rings[0] > 5e-3
    assert 1.7 < rings[1] / rings[0] < 2.4
    assert 1.7 < rings[2] / rings[1] < 2.4
    assert 1.7 < stripes[2] / stripes[1] < 2.4
    assert stripe_index(np.stack([CLEAN, CLEAN], axis=1)) == pytest.approx(stripe_index(CLEAN), rel=1e-3)


def test_cupping_follows_beam_hardening(numba_backend: Backend) -> None:
    cups = [cupping_index(rebuilt(numba_backend, CLEAN - k * CLEAN**2)) for k in (0, 0.03, 0.06, 0.1)]
    assert cups == sorted(cups)
    assert cups[1] > 0.02
    assert 0.1 < cups[3] < 0.3


def test_truncation_piles_up_at_the_rim(numba_backend: Backend) -> None:
    rows = sinogram([Ellipse(0.01, 150, 130, 4, -2), *BODY[1:]], N, ANGLES)
    assert measure(rebuilt(numba_backend, rows)).truncation > 0.5
    assert abs(measure(rebuilt(numba_backend, rows, extend=True)).truncation) < 0.25


def test_odd_inputs() -> None:
    flat = np.zeros((64, 64), np.float32)
    found = measure(flat)
    assert (found.noise, found.ring_index, found.truncation, found.cupping) == (0, 0, 0, None)
    assert contrast(flat) > 0
    speck = flat.copy()
    speck[30:34, 30:34] = 1
    assert cupping_index(speck) is None
    with pytest.raises(BadInput):
        measure(np.zeros((20, 64)))
    with pytest.raises(BadInput):
        measure(np.full((64, 64), np.nan))
    low, high = np.random.default_rng(2).normal([[0.0], [1.0]], 0.1, (2, 500))
    assert 0.3 < otsu(np.concatenate([low, high[:100]])) < 0.7


def test_figures_for_a_report(numba_backend: Backend) -> None:
    image = rebuilt(numba_backend, CLEAN)
    found = slice_figures(image, CLEAN)
    whole = measure(image)
    assert found["noise"] == pytest.approx(whole.noise, rel=1e-3)
    assert found["cupping"] == pytest.approx(whole.cupping, rel=1e-3)
    assert found["stripe_index"] == pytest.approx(stripe_index(CLEAN), rel=1e-3)
    assert set(found) == {"noise", "contrast", "ring_index", "truncation", "cupping", "stripe_index"}
    assert all(type(value) is float for value in found.values())
    assert "stripe_index" not in slice_figures(image)
    thin = np.random.default_rng(0).normal(size=(40, 40))
    assert "cupping" not in slice_figures(thin)
    for nothing in (image[:20], np.full((64, 64), np.nan), np.zeros((64, 64)), image[None]):
        assert slice_figures(nothing) == {}


def test_a_large_slice_has_the_figures_of_a_small_one() -> None:
    """Four times the pixels, four times the noise of a binned one: the figures are those of the same body."""
    y, x = np.meshgrid(*2 * [np.linspace(-1, 1, 1100)], indexing="ij")
    r = np.hypot(x, y)
    body = np.where(r < 0.7, 1.0 - 0.2 * np.clip(0.7 - r, 0, 0.35) / 0.35, 0.0)
    rings = 0.01 * (np.abs(np.mod(r * 550, 60) - 30) < 1)
    noisy = body + rings + np.random.default_rng(2).normal(0, 0.01, r.shape)
    found = measure(noisy)
    assert found.noise == pytest.approx(0.01, rel=0.05)
    assert found.contrast == pytest.approx(1.0, rel=0.05)
    assert found.cupping == pytest.approx(cupping_index(noisy), abs=0.02)
    assert found.ring_index == pytest.approx(ring_index(noisy, (549.5, 549.5)), rel=0.05)
    assert found.ring_index > 5e-4
    assert abs(found.truncation) < 0.01
