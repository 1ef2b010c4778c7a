from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.tv.kernels import EDGE_PAD
from streamer.core.tv.projector import Projector
from streamer.frames import BadInput
from streamer.phantoms import gaussians, half_turn, image, sinogram

N = 96
MIDDLE = (N - 1) / 2


@pytest.mark.parametrize("center", [16.0, 14.3, 3.9, -2.0])
def test_the_projectors_are_transposes(numba_backend: Backend, center: float) -> None:
    rng = np.random.default_rng(0)
    projector = Projector(numba_backend, rng.uniform(-7, 7, 9), 33, center, (29, 31))
    volume = rng.normal(size=(29, 31, 5)).astype(np.float32)
    lines = projector.padded(rng.normal(size=(9, 5, 33)))
    there = np.vdot(projector.forward(volume).astype(np.float64), lines)
    back = np.vdot(volume.astype(np.float64), projector.backward(lines, 1.0, np.zeros_like(volume)))
    size = np.linalg.norm(projector.forward(volume)) * np.linalg.norm(lines)
    assert abs(there - back) < 1e-6 * size


def test_projections_are_the_line_integrals_of_the_convention(numba_backend: Backend) -> None:
    angles, center = np.linspace(0, 2 * np.pi, 40), MIDDLE + 3.3
    projector = Projector(numba_backend, angles, N, center, (N, N))
    exact = sinogram(gaussians(N), N, angles, center)
    found = projector.forward(image(gaussians(N), N)[:, :, None])
    inside = found[:, 2:-2, 0]
    assert np.abs(inside - exact).max() < 0.01 * exact.max()
    assert np.sqrt(np.mean((inside - exact) ** 2)) < 0.002 * exact.max()
    assert not found[:, :2].any()
    assert not found[:, -2:].any()


def test_a_subset_is_some_of_the_angles(numba_backend: Backend) -> None:
    projector = Projector(numba_backend, half_turn(8), N, MIDDLE, (N, N))
    volume = image(gaussians(N), N)[:, :, None]
    part = slice(3, 6)
    np.testing.assert_array_equal(projector.subset(part).forward(volume), projector.forward(volume)[part])


def test_the_norm_bounds_every_vector(numba_backend: Backend) -> None:
    projector = Projector(numba_backend, half_turn(12), 40, 19.5, (40, 40))
    bound = projector.norm_squared()
    rng = np.random.default_rng(1)
    for vector in (rng.normal(size=(40, 40, 1)), rng.uniform(size=(40, 40, 1)), np.ones((40, 40, 1))):
        seen = projector.forward(vector.astype(np.float32))
        assert np.vdot(seen, seen) <= bound * np.vdot(vector, vector)


def shares_by_sampling(angle: float, offset: float) -> np.ndarray:
    """Shares of a pixel, seen ``offset`` columns right of the middle of column 0, in columns -1, 0 and 1: by points."""
    grid = (np.arange(1000) + 0.5) / 1000 - 0.5
    seen = offset + grid[:, None] * np.cos(angle) + grid[None, :] * np.sin(angle)
    return np.array([np.mean(np.floor(seen + 0.5) == column) for column in (-1, 0, 1)])


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, 1.2, np.pi / 2, 2.5])
@pytest.mark.parametrize("offset", [-0.5, -0.25, 0.0, 0.375, 0.5])
def test_the_footprint_is_the_area_of_a_square_in_each_column(
    numba_backend: Backend, angle: float, offset: float
) -> None:
    projector = Projector(numba_backend, np.array([angle]), 3, 1.0 + offset, (1, 1))
    found = projector.forward(np.ones((1, 1, 1), np.float32))[0, EDGE_PAD:-EDGE_PAD, 0]
    np.testing.assert_allclose(found, shares_by_sampling(angle, offset), atol=2e-3)
    assert found.sum() == pytest.approx(1, abs=1e-6)


def test_straight_on_projections_are_sums_along_the_axes(numba_backend: Backend) -> None:
    volume = np.random.default_rng(2).normal(size=(6, 6, 3)).astype(np.float32)
    quarter_turns = Projector(numba_backend, np.arange(4) * np.pi / 2, 6, 2.5, (6, 6)).forward(volume)
    along_y, along_x = volume.sum(axis=0), volume.sum(axis=1)
    for found, wanted in zip(quarter_turns, (along_y, along_x, along_y[::-1], along_x[::-1]), strict=True):
        np.testing.assert_allclose(found[EDGE_PAD:-EDGE_PAD], wanted, atol=1e-5)


def test_no_attenuation_gets_lost_on_a_detector_that_sees_everything(numba_backend: Backend) -> None:
    volume = np.random.default_rng(3).uniform(size=(9, 12, 2)).astype(np.float32)
    projections = Projector(numba_backend, np.linspace(0, 5, 17), 20, 9.7, (9, 12)).forward(volume)
    np.testing.assert_allclose(projections.sum(axis=1), np.tile(volume.sum(axis=(0, 1)), (17, 1)), rtol=1e-5)


def test_the_norm_is_that_of_the_matrix_and_a_few_per_cent(numba_backend: Backend) -> None:
    projector = Projector(numba_backend, np.linspace(0, 3, 7), 9, 3.6, (6, 5))
    unit = np.eye(30, dtype=np.float32).reshape(6, 5, 30)
    matrix = projector.forward(unit).reshape(-1, 30)
    largest = np.linalg.norm(matrix, 2) ** 2
    assert largest <= projector.norm_squared() < 1.05 * largest


def test_backprojection_adds_to_what_is_there(numba_backend: Backend) -> None:
    projector = Projector(numba_backend, half_turn(5), 8, 3.5, (8, 8))
    rng = np.random.default_rng(4)
    lines, base = projector.padded(rng.normal(size=(5, 2, 8))), rng.normal(size=(8, 8, 2)).astype(np.float32)
    alone = projector.backward(lines, 1.0, np.zeros_like(base))
    out = np.full_like(base, np.nan)
    assert projector.backward(lines, -0.5, out, base) is out
    np.testing.assert_allclose(out, base - 0.5 * alone, atol=1e-5)
    np.testing.assert_allclose(projector.backward(lines, 2.0, base.copy()), base + 2 * alone, atol=1e-5)


def test_forward_can_subtract_what_was_measured(numba_backend: Backend) -> None:
    projector = Projector(numba_backend, half_turn(5), 8, 3.5, (8, 8))
    volume = np.random.default_rng(5).normal(size=(8, 8, 2)).astype(np.float32)
    seen = projector.forward(volume)
    assert seen.shape == (5, 8 + 2 * EDGE_PAD, 2)
    out = np.empty_like(seen)
    assert projector.forward(volume, out, measured=seen) is out
    assert not out.any()


def test_projections_are_padded_and_turned() -> None:
    backend = Backend("numba", 1)
    lines = np.arange(24.0).reshape(2, 3, 4)
    padded = Projector(backend, half_turn(2), 4, 1.5, (4, 4)).padded(lines)
    assert padded.shape == (2, 4 + 2 * EDGE_PAD, 3)
    assert padded.dtype == np.float32
    np.testing.assert_array_equal(padded[:, EDGE_PAD:-EDGE_PAD], lines.transpose(0, 2, 1))
    assert padded.sum() == lines.sum()


def test_a_geometry_that_makes_no_sense_is_refused(numba_backend: Backend) -> None:
    for angles, center in (([], 3.5), ([np.nan], 3.5), ([0.0], np.inf)):
        with pytest.raises(BadInput, match="finite"):
            Projector(numba_backend, np.array(angles), 8, center, (8, 8))
    with pytest.raises(BadInput, match="no ray"):
        Projector(numba_backend, np.zeros(1), 8, 100.0, (8, 8)).norm_squared()
