from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamer.core.preprocessing.dead_pixels import DeadPixels
from streamer.frames import BadInput


def filled(image: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """What filling is meant to do, by interpolation along each row."""
    out = image.astype(np.float64)
    for row, good in zip(out, alive, strict=True):
        columns = np.flatnonzero(good)
        row[~good] = np.interp(np.flatnonzero(~good), columns, row[columns]) if columns.size else 0.0
    return out


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 9))), st.integers(0, 99))
def test_pixels_are_interpolated_in_their_row(alive: np.ndarray, seed: int) -> None:
    image = np.random.default_rng(seed).normal(size=alive.shape).astype(np.float32)
    expected, dead = filled(image, alive), DeadPixels.of(alive)
    dead.fill(image)
    np.testing.assert_allclose(image, expected, atol=1e-6)
    assert len(dead) == np.count_nonzero(~alive)


@given(hnp.arrays(np.bool_, (7, 5)), st.integers(0, 7), st.integers(0, 7))
def test_a_range_of_rows_has_its_own(alive: np.ndarray, first: int, last: int) -> None:
    image = np.arange(35, dtype=np.float32).reshape(7, 5)
    whole, part = image.copy(), image[first:last].copy()
    DeadPixels.of(alive).fill(whole)
    DeadPixels.of(alive).rows(slice(first, last)).fill(part)
    np.testing.assert_array_equal(part, whole[first:last])


def test_none_are_none_and_images_must_fit() -> None:
    image = np.ones((3, 4), np.float32)
    DeadPixels.none(3).fill(image)
    assert (image == 1).all()
    with pytest.raises(BadInput, match="2 rows"):
        DeadPixels.none(3).fill(image[:2])
