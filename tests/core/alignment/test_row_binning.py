from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamer.core.alignment.row_binning import LEAST_ROWS, bin_rows, binned_rows, row_bin


@given(st.integers(1, 5000))
def test_many_rows_become_between_96_and_191(rows: int) -> None:
    height, count = row_bin(rows), binned_rows(rows)
    assert height * count <= rows < height * (count + 1)
    assert count == rows if rows < LEAST_ROWS else LEAST_ROWS <= count < 2 * LEAST_ROWS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [192, 288, 299, 1000])
def test_means_of_adjacent_rows(rows: int, dtype: type) -> None:
    image = np.random.default_rng(0).normal(size=(rows, 5)).astype(dtype)
    height, count = row_bin(rows), binned_rows(rows)
    skip = (rows - height * count) // 2
    found = bin_rows(image)
    assert found.dtype == dtype
    for k in (0, 1, count - 1):
        wanted = image[skip + k * height : skip + (k + 1) * height].mean(axis=0)
        np.testing.assert_allclose(found[k], wanted, atol=1e-5)


@example(627)
@given(st.integers(2, 1200))
def test_the_middle_stays_the_middle(rows: int) -> None:
    """To half a row: what is left over is left out at the top and the bottom alike."""
    image = np.repeat(np.arange(rows, dtype=np.float64)[:, None], 2, axis=1)
    assert abs(float(bin_rows(image).mean()) - (rows - 1) / 2) <= 0.5 + 1e-9


def test_few_rows_are_returned_as_they_are() -> None:
    image = np.ones((LEAST_ROWS, 3), np.float32)
    assert bin_rows(image) is image
