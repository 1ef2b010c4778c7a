from __future__ import annotations

import numpy as np
import pytest

from streamer.core.preprocessing.nonfinite import fill_nonfinite


def test_pixels_are_interpolated_in_their_row_and_counted() -> None:
    nan, inf = np.nan, np.inf
    raw = np.array([[[1, nan, nan, 4], [nan, 2, 3, inf]], [[5, 6, 7, 8], [-inf, nan, inf, nan]]], np.float32)
    before = raw.copy()
    filled, count = fill_nonfinite(raw)
    assert filled.tolist() == [[[1, 2, 3, 4], [2, 2, 3, 3]], [[5, 6, 7, 8], [0, 0, 0, 0]]]
    assert count == 8
    np.testing.assert_array_equal(raw, before)


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", "<f4"])
def test_what_is_finite_stays_as_it_is(dtype: str) -> None:
    raw = np.full((2, 3, 5), 250, dtype)
    filled, count = fill_nonfinite(raw)
    assert filled is raw
    assert count == 0


def test_numbers_whose_sum_is_too_large_are_finite() -> None:
    raw = np.full((3, 5), 3e38, np.float32)
    filled, count = fill_nonfinite(raw)
    np.testing.assert_array_equal(filled, raw)
    assert count == 0
