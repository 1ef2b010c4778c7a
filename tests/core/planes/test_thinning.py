"""Fewer rows and columns of projections."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.planes.thinning import thin


@pytest.mark.parametrize(("factor", "columns"), [(2, 10), (2, 11), (4, 16), (4, 19), (3, 7)])
@pytest.mark.parametrize("threads", [1, 2])
def test_columns_are_means_and_rows_are_picked(factor: int, columns: int, threads: int) -> None:
    frames = np.random.default_rng(columns).random((6, 9, columns), np.float32)
    rows, numbers = range(1, 9, factor), np.array([4, 0, 5])
    thinned = thin(frames, numbers, rows, factor, threads)
    edges = range(0, columns, factor)
    expected = np.stack([frames[numbers][:, rows, edge : edge + factor].mean(-1) for edge in edges], axis=-1)
    assert thinned.dtype == np.float32
    np.testing.assert_allclose(thinned, expected, rtol=1e-6)


def test_a_single_row_of_every_frame() -> None:
    frames = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(thin(frames, np.arange(2), range(2, 3), 2, 1), [[[8.5, 10.5]], [[20.5, 22.5]]])
