"""Projections with fewer, thicker rows: what the search for the axis, which runs along the rows, looks at."""

from __future__ import annotations

import numpy as np

from streamer.core.arrays import Array

LEAST_ROWS = 96
"""Larger projections are binned to between this number of rows and twice that."""


def row_bin(rows: int) -> int:
    """Detector rows that are averaged into one."""
    return max(1, rows // LEAST_ROWS)


def binned_rows(rows: int) -> int:
    """Rows that ``bin_rows`` leaves of ``rows``."""
    return rows // row_bin(rows)


def bin_rows(image: Array) -> Array:
    """Means (binned_rows(rows), columns) of adjacent rows of an image (rows, columns) of floats, of the same dtype.

    Rows that are left over are left out at the top and the bottom alike, so that the middle stays the middle.
    """
    rows, columns = image.shape
    height, count = row_bin(rows), binned_rows(rows)
    if height == 1:
        return image
    skip = (rows - height * count) // 2
    stacked = image[skip : skip + height * count].reshape(count, height, columns)
    return np.asarray(np.matmul(np.full(height, 1.0 / height, image.dtype), stacked))
