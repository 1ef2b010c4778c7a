from __future__ import annotations

import numpy as np
import pytest

from streamer.core.jit import as_input, kernel
from streamer.core.preprocessing.dead_pixels import DeadPixels
from streamer.core.preprocessing.kernels import (
    PIXEL_KINDS,
    moment_margin,
    prepare_frames,
    read_row,
    row_moments,
    subtract_logarithm,
    twice_atanh,
)


@kernel()
def twice_atanh_of(s: np.ndarray, out: np.ndarray) -> None:
    for i in range(s.size):
        out[i] = twice_atanh(s[i])


@kernel()
def difference_of_logarithms(level: np.ndarray, net: np.ndarray, out: np.ndarray) -> None:
    subtract_logarithm(level, net, out)


def test_the_logarithm_over_the_whole_range_of_float32() -> None:
    net = np.geomspace(1.2e-38, 3.4e38, 200_000).astype(np.float32)
    exact = np.log(net.astype(np.float64))
    found = np.empty_like(net)
    difference_of_logarithms(np.zeros_like(net), net.copy(), found)
    np.testing.assert_allclose(-found, exact, rtol=1.2e-7, atol=1e-7)


def test_counts_that_are_powers_of_two_differ_by_multiples_of_one_number() -> None:
    net = np.exp2(np.arange(-20, 40)).astype(np.float32)
    found = np.empty_like(net)
    difference_of_logarithms(np.zeros_like(net), net, found)
    np.testing.assert_array_equal(found, -np.arange(-20, 40).astype(np.float32) * np.float32(np.log(2)))


def test_the_series_of_atanh() -> None:
    s = np.linspace(-0.1716, 0.1716, 10_001).astype(np.float32)
    found = np.empty_like(s)
    twice_atanh_of(s, found)
    np.testing.assert_allclose(found, 2 * np.arctanh(s.astype(np.float64)), atol=5e-8)


@pytest.mark.parametrize("dtype", list(PIXEL_KINDS))
def test_rows_are_read_and_cut(dtype: str) -> None:
    raw = np.array([0, 7, 10, 200], dtype)
    dark, net = np.full(4, 7.5, np.float32), np.empty(4, np.float32)
    read_row(as_input(raw).view(np.uint8), PIXEL_KINDS[dtype], as_input(dark), np.float32(0.5), np.float32(100), net)
    assert net.tolist() == [0.5, 0.5, 2.5, 100.0]


def test_what_is_not_a_number_counts_as_nothing() -> None:
    raw, net = np.array([np.nan, np.inf, -np.inf], np.float32), np.empty(3, np.float32)
    zero = as_input(np.zeros(3, np.float32))
    read_row(as_input(raw).view(np.uint8), PIXEL_KINDS["<f4"], zero, np.float32(0.5), np.float32(9), net)
    assert net.tolist() == [0.5, 9.0, 0.5]


@pytest.mark.parametrize("dtype", list(PIXEL_KINDS))
def test_frames_are_prepared_in_one_pass(dtype: str) -> None:
    """Difference, logarithm, dead pixels and moments of each row, against the same in float64."""
    rng = np.random.default_rng(1)
    raw = rng.integers(5, 250, (3, 8, 21)).astype(dtype)
    dark, level = (as_input(rng.uniform(0, 4, (8, 21)).astype(np.float32)) for _ in range(2))
    dead = DeadPixels.of(rng.random((8, 21)) > 0.1)
    attenuation, moments = np.empty((3, 8, 21), np.float32), np.empty((3, 8, 4))
    prepare_frames(
        as_input(raw).view(np.uint8), PIXEL_KINDS[dtype], dark, level, np.float32(0.5), np.float32(1e9),
        dead.first, dead.places, dead.share, 2, 2, attenuation, moments,
    )  # fmt: skip
    wanted = (level - np.log(raw.astype(np.float64) - dark)).astype(np.float32)
    for image in wanted:
        dead.fill(image)
    np.testing.assert_allclose(attenuation, wanted, atol=2e-6)
    again = np.empty_like(moments)
    row_moments(as_input(attenuation), 2, 1, again)
    np.testing.assert_array_equal(moments, again)


def test_moments_are_left_out_where_there_is_no_room_for_them() -> None:
    raw, zero = as_input(np.full((1, 2, 5), 7, np.uint8)), as_input(np.zeros((2, 5), np.float32))
    none, out = DeadPixels.none(2), np.empty((1, 2, 5), np.float32)
    prepare_frames(
        raw, 1, zero, zero, np.float32(0.5), np.float32(1e9), none.first, none.places, none.share, 1, 1,
        out, np.empty((0, 2, 4)),
    )  # fmt: skip
    np.testing.assert_allclose(out, -np.log(7), atol=1e-6)


@pytest.mark.parametrize("columns", [1, 2, 49, 50, 99, 100, 2048])
def test_the_margin_of_the_moments_is_a_fiftieth_of_the_row(columns: int) -> None:
    assert moment_margin(columns) == max(1, int(columns / 50))
