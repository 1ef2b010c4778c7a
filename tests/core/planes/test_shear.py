"""Horizontal planes from single rows: the ramp over its lags, transposed sums, rows that wait."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend, select_backend
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.core.planes.shear import ROWS_PER_FOLD, ShearPlane, add_up, pixel_grid, ramp_lags
from tests.core.plane_suite import inside, level_truth

N, CENTER = 45, 20.7
NO_TAPER = np.zeros(0, np.float32)
PLANE = orthogonal_planes(3, N)[0]


def rows(count: int, columns: int = N, seed: int = 0) -> np.ndarray:
    """(count, 2, columns): what a plane sees above and below."""
    return np.random.default_rng(seed).normal(size=(count, 2, columns)).astype(np.float32)


def fold(shear: ShearPlane, lines: np.ndarray, angles: np.ndarray, size: int, center: float = CENTER) -> np.ndarray:
    """The plane from lines that come ``size`` at a time."""
    sums = shear.zeros()
    for k in range(0, len(lines), size):
        some = slice(k, min(k + size, len(lines)))
        shear.add(lines[some], (0, 1, 0.25), angles[some], np.ones(len(angles[some])), center, sums)
    return shear.image([sums], np.ones(1))


@pytest.mark.parametrize("farthest", [1, 2, 7, 8, 9, 1000])
def test_the_lags_are_those_of_the_ramp(farthest: int) -> None:
    """-1/(π·lag)² at odd lags; with 1/4 in the middle their sum vanishes: the ramp takes the mean away."""
    lags = ramp_lags(farthest)
    odd = np.arange(1, farthest + 1, 2)
    assert lags.size % 4 == 0
    assert lags.size - odd.size < 4
    np.testing.assert_allclose(lags[: odd.size], -1 / (np.pi * odd) ** 2, rtol=1e-6)
    assert not lags[odd.size :].any()
    assert abs(0.25 + 2 * lags.sum(dtype=np.float64)) < 1.1 / (np.pi**2 * farthest)


@pytest.mark.parametrize("turned", [0.0, 0.4, 2.5])
def test_pixels_lie_where_the_plane_says(turned: float) -> None:
    c, s = float(np.cos(turned)), float(np.sin(turned))
    plane = Plane("p", (3.0, 5.0, 1.0), (2 * c, 2 * s, 0.0), (-s, c, 0.0), (7, 9))
    x, y, along_x, along_y, across_x, across_y = pixel_grid(plane, N)
    middle = (N - 1) / 2
    for i, j in ((0, 0), (3, 2), (6, 8)):
        place = np.array(plane.origin) + j * np.array(plane.u) + i * np.array(plane.v)
        assert x + j * along_x + i * across_x == pytest.approx(place[0] - middle)
        assert y + j * along_y + i * across_y == pytest.approx(place[1] - middle)


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (16, 16), (64, 64), (65, 33), (130, 17), (15, 129)])
@pytest.mark.parametrize("threads", [1, 3])
def test_transposed_sums_are_added_up(shape: tuple[int, int], threads: int) -> None:
    rng = np.random.default_rng(2)
    straight = rng.normal(size=shape).astype(np.float32)
    across = rng.normal(size=shape[::-1]).astype(np.float32)
    image = np.ones(shape, np.float32)
    add_up(straight, across, np.float32(-2.0), threads, image)
    np.testing.assert_allclose(image, 1 - 2 * (straight + across.T), atol=1e-5)


@pytest.mark.parametrize("columns", [16, 45, 46])
def test_single_rays_at_their_nearest_shift(numba_backend: Backend, columns: int) -> None:
    """Every angle alone: a smooth row is at most 1/16 voxel off, in all directions of the beam."""
    plane = orthogonal_planes(3, columns)[0]
    center = (columns - 1) / 2 + 1.3
    line = np.exp(-0.5 * ((np.arange(columns) - 0.6 * columns) / 3.0) ** 2).astype(np.float32)
    frames = np.repeat(line[None, None], 3, axis=1)
    slope = np.abs(np.diff(level_truth(frames, np.zeros(1), center, plane, np.ones(1))[0])).max()
    for angle in np.linspace(-3, 3, 13):
        shear = ShearPlane(numba_backend, plane, columns, NO_TAPER)
        found = fold(shear, frames[:, :2], np.array([angle]), 1, center=center)
        expected = level_truth(frames, np.array([angle]), center, plane, np.ones(1))
        seen = inside(plane, 3, columns, 0.8)
        assert np.abs(found - expected)[seen].max() < slope / 16 * 1.5, angle


@pytest.mark.parametrize("size", [1, 3, ROWS_PER_FOLD, 40])
def test_waiting_changes_no_bit(numba_backend: Backend, size: int) -> None:
    lines, angles = rows(29), np.random.default_rng(1).uniform(0, np.pi, 29)
    shear = ShearPlane(numba_backend, PLANE, N, NO_TAPER)
    together = fold(shear, lines, angles, 29)
    np.testing.assert_array_equal(fold(shear, lines, angles, size), together)


def test_threads_change_no_bit() -> None:
    lines, angles = rows(11, 150), np.linspace(0, 3, 11)
    plane = orthogonal_planes(3, 150)[0]
    images = [
        fold(ShearPlane(select_backend("numba", threads)[0], plane, 150, NO_TAPER), lines, angles, 11, center=74.2)
        for threads in (1, 2, 5)
    ]
    np.testing.assert_array_equal(images[1], images[0])
    np.testing.assert_array_equal(images[2], images[0])


def test_rows_of_other_sums_and_other_axes_do_not_wait_together(numba_backend: Backend) -> None:
    """Each set has exactly its own rows, in whatever order they come."""
    lines, angles = rows(12), np.linspace(0, 3, 12)
    shear = ShearPlane(numba_backend, PLANE, N, NO_TAPER)
    first, second = shear.zeros(), shear.zeros()
    for k in range(12):
        target, center = (first, CENTER) if k % 2 else (second, CENTER + 1)
        shear.add(lines[k : k + 1], (0, 1, 0.25), angles[k : k + 1], np.ones(1), center, target)
    alone = ShearPlane(numba_backend, PLANE, N, NO_TAPER)
    np.testing.assert_allclose(shear.image([first], np.ones(1)), fold(alone, lines[1::2], angles[1::2], 6), atol=1e-6)
    np.testing.assert_allclose(
        shear.image([second], np.ones(1)), fold(alone, lines[::2], angles[::2], 6, center=CENTER + 1), atol=1e-6
    )


def test_planes_of_wide_steps_have_more_shifts(numba_backend: Backend) -> None:
    """A shift is a part of a voxel, not of a step: a coarse plane is as exact as a fine one."""
    line = np.exp(-0.5 * ((np.arange(N) - 25) / 4.0) ** 2).astype(np.float32)
    frames = np.repeat(line[None, None], 3, axis=1)
    for step in (1.0, 3.0):
        side = int(N / step)
        plane = Plane("p", (0.0, 0.0, 1.0), (step, 0, 0), (0.0, step, 0), (side, side))
        shear = ShearPlane(numba_backend, plane, N, NO_TAPER)
        expected = level_truth(frames, np.array([0.7]), CENTER, plane, np.ones(1))
        error = np.abs(fold(shear, frames[:, :2], np.array([0.7]), 1) - expected)
        assert error[inside(plane, 3, N, 0.8)].max() < 0.02 * np.abs(expected).max(), step


def test_a_plane_without_rows_is_empty(numba_backend: Backend) -> None:
    shear = ShearPlane(numba_backend, PLANE, N, NO_TAPER)
    assert not shear.image([shear.zeros()], np.ones(1)).any()
