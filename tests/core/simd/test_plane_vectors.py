"""The vector instructions of the live planes against their definitions in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from streamer.core.simd import plane_vectors
from streamer.core.simd.plane_vectors import DERIVATIVE_DELAY
from streamer.core.simd.row_vectors import HALF_LANES, LANES


@njit
def add_1(out, at, source, i, v, w):
    plane_vectors.add_1(out, at, source, i, v, w)


@njit
def add_4(out, at, source, i, v, w):
    plane_vectors.add_4(
        out, at, source, i[0], v[0], w[0], i[1], v[1], w[1], i[2], v[2], w[2], i[3], v[3], w[3]
    )  # fmt: skip


@njit
def derive_columns(source, at, pitch, count, near, far, out, to):
    plane_vectors.derive_columns(source, at, pitch, count, near, far, out, to)


@njit
def quarter_turn(points, at, factor):
    plane_vectors.quarter_turn(points, at, factor)


def numbers(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def test_a_frame_is_added_between_two_points() -> None:
    out, source = numbers(4 * LANES), numbers(6 * LANES, 1)
    before = out.copy()
    add_1(out, LANES, source, 2 * LANES, np.float32(0.25), np.float32(-2.0))
    wanted = before.astype(np.float64)
    wanted[LANES : 2 * LANES] += 0.25 * source[2 * LANES : 3 * LANES] - 2.0 * source[3 * LANES : 4 * LANES]
    np.testing.assert_allclose(out, wanted, atol=1e-6)
    np.testing.assert_array_equal(out[:LANES], before[:LANES])
    np.testing.assert_array_equal(out[2 * LANES :], before[2 * LANES :])


def test_four_frames_are_added_in_their_order_as_one_after_the_other() -> None:
    source, rng = numbers(80 * LANES, 2), np.random.default_rng(3)
    first = LANES * rng.integers(0, 79, 4)
    v, w = (rng.standard_normal(4).astype(np.float32) for _ in range(2))
    together, single = numbers(2 * LANES), numbers(2 * LANES)
    add_4(together, LANES, source, first, v, w)
    for frame in zip(first, v, w, strict=True):
        add_1(single, LANES, source, *frame)
    np.testing.assert_array_equal(together, single)


@pytest.mark.parametrize("count", [8, 40])
@pytest.mark.parametrize("at", [0, 3])
def test_rows_are_derived_and_turned(count: int, at: int) -> None:
    pitch, to = 50, 2 * LANES
    source, out = numbers(at + pitch * LANES), np.full((count + 5) * LANES, 7.0, np.float32)
    near, far = np.float32(1.3), np.float32(-0.1)
    derive_columns(source, at, pitch, count, near, far, out, to)
    v = source[at:].reshape(LANES, pitch).astype(np.float64)
    points = out[to : to + count * LANES].reshape(count, LANES)
    for c in range(count - DERIVATIVE_DELAY):
        wanted = near * (v[:, c + 2] - v[:, c + 1]) + far * (v[:, c + 3] - v[:, c])
        np.testing.assert_allclose(points[c + DERIVATIVE_DELAY], wanted, atol=2e-6)
    assert (out[:to] == 7.0).all()
    assert (out[to + count * LANES :] == 7.0).all()


def test_the_derivative_of_a_ramp_is_its_slope() -> None:
    """With taps that satisfy near + 3 far = 1, and whatever the 16 slopes are."""
    slope = np.arange(LANES, dtype=np.float32)
    source = (slope[:, None] * np.arange(24, dtype=np.float32)).ravel()
    out = np.empty(24 * LANES, np.float32)
    derive_columns(source, 0, 24, 24, np.float32(1.3), np.float32(-0.1), out, 0)
    found = out.reshape(24, LANES)[DERIVATIVE_DELAY:]
    np.testing.assert_allclose(found, np.broadcast_to(slope, found.shape), atol=1e-4)


def test_a_quarter_turn_is_a_product_with_the_imaginary_unit() -> None:
    points = numbers(3 * LANES)
    before = points.copy()
    quarter_turn(points, LANES, np.float32(-1.5))
    value = -1.5j * (before[LANES:][:HALF_LANES] + 1j * before[LANES:][HALF_LANES:LANES])
    np.testing.assert_array_equal(points[LANES : 2 * LANES], np.concatenate([value.real, value.imag]))
    np.testing.assert_array_equal(points[:LANES], before[:LANES])
    np.testing.assert_array_equal(points[2 * LANES :], before[2 * LANES :])


def test_frames_without_weight_add_nothing() -> None:
    out, zero = numbers(2 * LANES), np.zeros(4, np.float32)
    before = out.copy()
    add_1(out, 3, numbers(4 * LANES, 1), 5, np.float32(0.0), np.float32(0.0))
    add_4(out, 3, numbers(4 * LANES, 1), np.arange(4), zero, zero)
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_frame_between_two_points_is_interpolated(share: float) -> None:
    """Points whose numbers grow evenly from one to the next: the sum lies between them as its weights say."""
    source = np.repeat(np.arange(6, dtype=np.float32), LANES)
    out = np.zeros(LANES, np.float32)
    add_1(out, 0, source, 3 * LANES, np.float32(1 - share), np.float32(share))
    np.testing.assert_allclose(out, 3 + share)


@pytest.mark.parametrize("turns", [1, 2, 4])
def test_quarter_turns_add_up(turns: int) -> None:
    points = numbers(LANES)
    wanted = 1j**turns * (points[:HALF_LANES] + 1j * points[HALF_LANES:])
    for _ in range(turns):
        quarter_turn(points, 0, np.float32(1.0))
    np.testing.assert_allclose(points[:HALF_LANES] + 1j * points[HALF_LANES:], wanted, atol=1e-7)
