from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.preview import contrast, decimate, quantise
from streamer.frames import BadInput


def test_contrast_looks_at_finite_pixels_of_the_circle() -> None:
    n = 101
    image = np.random.default_rng(0).uniform(1, 2, (n, n))
    image[0, 0] = 1e9
    image[50, 50] = np.nan
    image[50, 51] = np.inf
    lo, hi = contrast(image)
    assert 1 <= lo < 1.02
    assert 1.98 < hi <= 2


@pytest.mark.parametrize("image", [np.zeros((9, 9)), np.full((3, 40), -7.0), np.full((4, 4), np.nan), np.zeros((0, 5))])
def test_contrast_of_nothing_is_still_a_range(image: np.ndarray) -> None:
    lo, hi = contrast(image)
    assert lo < hi


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1))
def test_quantising_loses_half_a_level(lo: float, width: float, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(lo, lo + width, (5, 7))
    back = lo + quantise(values, lo, lo + width) * (width / 65_535)
    assert np.abs(back - values).max() <= width / 65_535 * 0.51 + 2e-7 * max(abs(lo), abs(lo + width))


def test_quantising_cuts_off_and_refuses_nonsense() -> None:
    result = quantise(np.array([-1.0, 0, 1, 2, np.nan, np.inf, -np.inf]), 0, 1)
    assert result.tolist() == [0, 0, 65_535, 65_535, 0, 65_535, 0]
    with pytest.raises(BadInput):
        quantise(np.zeros(3), 1, 1)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 50))
def test_decimation_fits_and_keeps_the_level(rows: int, cols: int, limit: int) -> None:
    small = decimate(np.full((rows, cols), 3.0), limit)
    assert max(small.shape) <= limit
    np.testing.assert_allclose(small, 3.0, rtol=1e-6)


def test_decimation_takes_means() -> None:
    image = np.arange(16.0).reshape(4, 4)
    np.testing.assert_allclose(decimate(image, 2), [[2.5, 4.5], [10.5, 12.5]])
    assert decimate(image, 4) is not image
    with pytest.raises(BadInput):
        decimate(image, 0)
