from __future__ import annotations

import numpy as np
import pytest

from streamer.core.jit import as_input, kernel
from streamer.core.preprocessing.kernels import PIXEL_KINDS, read_row, subtract_logarithm, twice_atanh


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
