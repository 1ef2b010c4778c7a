"""Each vector instruction of 16 detector rows against its definition in NumPy, with guards around what it writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from streamer.core.simd import row_vectors
from streamer.core.simd.row_vectors import HALF_LANES, LANES

GUARD = np.float32(7.0)


@njit
def copy_point(x, i, y, j):
    row_vectors.copy_point(x, i, y, j)


@njit
def stream_point(x, i, y, j):
    row_vectors.stream_point(x, i, y, j)
    row_vectors.fence()


@njit
def stream_row(x, i, y, j):
    row_vectors.stream_row(x, i, y, j)
    row_vectors.fence()


@njit
def clear_point(x, i):
    row_vectors.clear_point(x, i)


@njit
def scale_point(x, i, factor, y, j):
    row_vectors.scale_point(x, i, factor, y, j)


@njit
def rotate_phase(x, i, real, imaginary, y, j):
    row_vectors.rotate_phase(x, i, real, imaginary, y, j)


@njit
def prefetch(x, i):
    row_vectors.prefetch(x, i)


@njit
def rows_to_points(rows, at, step, last, points, to):
    row_vectors.rows_to_points(rows, at, step, last, points, to)


@njit
def points_to_rows(points, at, scale, scale_at, rows, to, step):
    row_vectors.points_to_rows(points, at, scale, scale_at, rows, to, step)


@njit
def add_weighted(point, at, real, imaginary, weights, first, step, grid, to, pitch):
    row_vectors.add_weighted(point, at, real, imaginary, weights, first, step, grid, to, pitch)


def numbers(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def aligned(count: int) -> np.ndarray:
    """Guards that begin with a cache line."""
    memory = np.full(count + LANES, GUARD, np.float32)
    skip = -memory.ctypes.data % 64 // 4
    return memory[skip : skip + count]


def as_complex(point: np.ndarray) -> np.ndarray:
    """A point, 8 real and 8 imaginary parts, as 8 complex numbers."""
    return point[..., :HALF_LANES] + 1j * point[..., HALF_LANES:]


@pytest.mark.parametrize("copied", [copy_point, stream_point, stream_row])
def test_a_point_is_copied(copied) -> None:
    x, y = numbers(5 * LANES), aligned(6 * LANES)
    copied(x, 3, y, 2 * LANES)
    np.testing.assert_array_equal(y[2 * LANES : 3 * LANES], x[3 : 3 + LANES])
    assert (y[: 2 * LANES] == GUARD).all()
    assert (y[3 * LANES :] == GUARD).all()


def test_rows_are_streamed_to_every_fourth_number() -> None:
    x, y = numbers(LANES), aligned(3 * LANES)
    stream_row(x, 0, y, 4)
    np.testing.assert_array_equal(y[4 : 4 + LANES], x)
    assert (y[:4] == GUARD).all()
    assert (y[4 + LANES :] == GUARD).all()


def test_a_point_is_cleared() -> None:
    x = np.full(3 * LANES, GUARD, np.float32)
    clear_point(x, 5)
    assert not x[5 : 5 + LANES].any()
    assert (x[:5] == GUARD).all()
    assert (x[5 + LANES :] == GUARD).all()


@pytest.mark.parametrize("factor", [0.0, -1.5, 3e30])
def test_a_point_is_scaled(factor: float) -> None:
    x, y = numbers(3 * LANES), np.full(3 * LANES, GUARD, np.float32)
    scale_point(x, 1, np.float32(factor), y, LANES)
    np.testing.assert_array_equal(y[LANES : 2 * LANES], np.float32(factor) * x[1 : 1 + LANES])
    assert (y[:LANES] == GUARD).all()


@pytest.mark.parametrize("phase", [0.0, 0.4, np.pi / 2, 3.0])
def test_a_phase_is_rotated(phase: float) -> None:
    x, y = numbers(2 * LANES), np.empty(LANES, np.float32)
    rotate_phase(x, LANES, np.float32(np.cos(phase)), np.float32(np.sin(phase)), y, 0)
    wanted = np.exp(1j * phase) * as_complex(x[LANES:])
    np.testing.assert_allclose(as_complex(y), wanted, atol=3e-7)


def test_a_phase_is_rotated_in_place() -> None:
    x = numbers(LANES)
    wanted = 1j * as_complex(x)
    rotate_phase(x, 0, np.float32(0.0), np.float32(1.0), x, 0)
    np.testing.assert_allclose(as_complex(x), wanted, atol=1e-7)


def test_prefetching_changes_nothing_wherever_it_points() -> None:
    x = numbers(LANES)
    before = x.copy()
    prefetch(x, 10**6)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("last", [0, 6, 15])
def test_columns_of_rows_become_points(last: int) -> None:
    """Rows that do not exist repeat the last one."""
    step, at = 23, 4
    rows, points = numbers(step * LANES), np.full(18 * LANES, GUARD, np.float32)
    rows_to_points(rows, at, step, last, points, LANES)
    table = rows.reshape(LANES, step)[np.minimum(np.arange(LANES), last), at : at + LANES]
    np.testing.assert_array_equal(points[LANES:-LANES].reshape(LANES, LANES), table.T)
    assert (points[:LANES] == GUARD).all()
    assert (points[-LANES:] == GUARD).all()


def test_points_become_columns_of_rows_times_their_factors() -> None:
    step = 21
    points, scale, rows = numbers(17 * LANES), numbers(40, 1), np.full(step * LANES, GUARD, np.float32)
    points_to_rows(points, LANES, scale, 3, rows, 2, step)
    table, found = points[LANES:].reshape(LANES, LANES) * scale[3 : 3 + LANES, None], rows.reshape(LANES, step)
    np.testing.assert_array_equal(found[:, 2 : 2 + LANES], table.T)
    assert (found[:, :2] == GUARD).all()
    assert (found[:, 2 + LANES :] == GUARD).all()


def test_there_and_back_is_the_identity() -> None:
    rows, points = numbers(LANES * LANES), np.empty(LANES * LANES, np.float32)
    rows_to_points(rows, 0, LANES, 15, points, 0)
    back = np.empty_like(rows)
    points_to_rows(points, 0, np.ones(LANES, np.float32), 0, back, 0, LANES)
    np.testing.assert_array_equal(back, rows)


@pytest.mark.parametrize(("first", "step"), [(0, 1), (5, 3)])
def test_a_point_is_spread_over_four_by_four_points_of_a_grid(first: int, step: int) -> None:
    lines, pitch = 6, 7 * LANES
    point, weights, grid = numbers(2 * LANES), numbers(40, 2), numbers(lines * pitch, 3)
    before, to = grid.copy().reshape(lines, 7, LANES), pitch + 2 * LANES
    add_weighted(point, LANES, np.float32(0.6), np.float32(-0.8), weights, first, step, grid, to, pitch)
    w = weights[first : first + 8 * step : step]
    value = (0.6 - 0.8j) * as_complex(point[LANES:].astype(np.float64))
    added = np.concatenate([value.real, value.imag])
    wanted = before.astype(np.float64)
    wanted[1:5, 2:6] += w[4:, None, None] * w[None, :4, None] * added
    np.testing.assert_allclose(grid.reshape(lines, 7, LANES), wanted, atol=2e-6)
    untouched = np.ones((lines, 7), bool)
    untouched[1:5, 2:6] = False
    np.testing.assert_array_equal(grid.reshape(lines, 7, LANES)[untouched], before[untouched])


POSITIONS = st.integers(0, 3 * LANES)


@given(POSITIONS, POSITIONS)
def test_points_may_lie_anywhere_and_nothing_else_is_written(source: int, target: int) -> None:
    """Only what is streamed past the cache has to be aligned."""
    x = numbers(4 * LANES)
    point = x[source : source + LANES]
    turned = (0.6 - 0.8j) * as_complex(point.astype(np.float64))
    cases = [
        (copy_point, (), point),
        (scale_point, (np.float32(0.5),), np.float32(0.5) * point),
        (rotate_phase, (np.float32(0.6), np.float32(-0.8)), np.concatenate([turned.real, turned.imag])),
    ]
    for instruction, factors, wanted in cases:
        y = np.full(4 * LANES, GUARD, np.float32)
        instruction(x, source, *factors, y, target)
        np.testing.assert_allclose(y[target : target + LANES], wanted, atol=1e-6)
        assert (np.delete(y, slice(target, target + LANES)) == GUARD).all()
    clear_point(x, source)
    assert not x[source : source + LANES].any()


def test_values_that_are_no_numbers_pass_through() -> None:
    x = np.resize(np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32), LANES)
    for copied in (copy_point, stream_point, stream_row):
        y = aligned(LANES)
        copied(x, 0, y, 0)
        np.testing.assert_array_equal(y.view(np.uint32), x.view(np.uint32))
