"""Projections with fewer, thicker rows: what the search for the axis, which runs along the rows, looks at."""

from __future__ import annotations

import numpy as np

from streamer.core.arrays import Array, Image, Values
from streamer.core.jit import as_input, kernel

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


def add_binned_rows(images: Image, total: Values) -> None:
    """Add ``bin_rows`` of each of images (…, rows, columns) float32 to ``total`` (binned_rows(rows), columns) float64,
    one after the other.
    """
    rows, columns = images.shape[-2:]
    height, count = row_bin(rows), len(total)
    _add_bands(as_input(images).reshape(-1, rows, columns), (rows - height * count) // 2, height, total)


def band_means(images: Image, first_rows: Array, height: int, means: Image) -> None:
    """Means (…, bands, columns) float32 of bands of ``height`` rows of images (…, rows, columns) float32, each from one
    of ``first_rows`` (bands,) on.
    """
    stack = as_input(images).reshape(-1, *images.shape[-2:])
    _band_means(stack, first_rows, height, means.reshape(-1, *means.shape[-2:]))


@kernel()
def _add_bands(images: Array, skip: int, height: int, total: Array) -> None:
    share = 1.0 / height
    for band in range(total.shape[0]):
        line = total[band]
        for f in range(images.shape[0]):
            for r in range(skip + band * height, skip + (band + 1) * height):
                row = images[f, r]
                for c in range(line.size):
                    line[c] += share * row[c]


@kernel()
def _band_means(images: Array, first_rows: Array, height: int, means: Array) -> None:
    share = np.float32(1.0 / height)
    for f in range(images.shape[0]):
        for band in range(first_rows.size):
            line = means[f, band]
            line[:] = np.float32(0.0)
            for r in range(first_rows[band], first_rows[band] + height):
                row = images[f, r]
                for c in range(line.size):
                    line[c] += row[c]
            for c in range(line.size):
                line[c] *= share
