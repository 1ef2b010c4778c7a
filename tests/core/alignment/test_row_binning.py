from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamer.core.alignment.row_binning import (
    LEAST_ROWS,
    add_binned_rows,
    band_means,
    bin_rows,
    binned_rows,
    row_bin,
)


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


@pytest.mark.parametrize("rows", [1, 5, 96, 193, 400])
def test_binned_rows_are_added_up(rows: int) -> None:
    images = np.random.default_rng(rows).normal(size=(3, rows, 7)).astype(np.float32)
    total = np.zeros((binned_rows(rows), 7))
    for image in images:
        add_binned_rows(image, total)
    np.testing.assert_allclose(total, sum(bin_rows(image).astype(np.float64) for image in images), atol=1e-6)


def test_means_of_bands_of_rows() -> None:
    image = np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32)
    means = np.full((2, 9), np.nan, np.float32)
    band_means(image, np.array([3, 11]), 4, means)
    np.testing.assert_allclose(means, [image[3:7].mean(axis=0), image[11:15].mean(axis=0)], atol=1e-6)
