"""Projections with fewer, thicker rows: what the search for the axis, which runs along the rows, looks at."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.engine import DeviceOutOfMemory
from streamer.core.backend.on_device import OnDevice, Projections
from streamer.core.jit import as_input, kernel

LEAST_ROWS = 96
"""Larger projections are binned to between this number of rows and twice that."""


def row_bin(rows: int) -> int:
    """Detector rows that are averaged into one."""
    return max(1, rows // LEAST_ROWS)


def binned_rows(rows: int) -> int:
    """Rows that ``bin_rows`` leaves of ``rows``."""
    return rows // row_bin(rows)


def bin_rows(image: Any) -> Array:
    """Means (binned_rows(rows), columns) of adjacent rows of an image (rows, columns) of floats, of the same dtype.

    Rows that are left over are left out at the top and the bottom alike, so that the middle stays the middle. An image
    on a device is binned there.
    """
    rows, columns = image.shape
    height, count = row_bin(rows), binned_rows(rows)
    if height == 1:
        return np.asarray(image)
    if isinstance(image, OnDevice):
        try:
            means: Array = image[None].band_means(_bins(rows), height)[0]
        except DeviceOutOfMemory:
            return bin_rows(np.asarray(image))
        return means
    skip = (rows - height * count) // 2
    stacked = image[skip : skip + height * count].reshape(count, height, columns)
    return np.asarray(np.matmul(np.full(height, 1.0 / height, image.dtype), stacked))


def _bins(rows: int) -> Array:
    """First row of each bin."""
    height, count = row_bin(rows), binned_rows(rows)
    return (rows - height * count) // 2 + height * np.arange(count)


def add_binned_rows(images: Projections, total: Values, every: int = 1) -> None:
    """Add ``bin_rows`` of each ``every``-th of images (…, rows, columns) float32 to ``total`` (binned_rows(rows),
    columns) float64, one after the other; those on a device are summed there.
    """
    rows, columns = images.shape[-2:]
    if isinstance(images, OnDevice):
        if not len(images):
            return
        try:
            total += images.band_sum(_bins(rows), row_bin(rows), every)
        except DeviceOutOfMemory:
            add_binned_rows(np.asarray(images), total, every)
        return
    stack, height = images.reshape(-1, rows, columns)[::every], row_bin(rows)
    _add_bands(as_input(stack), (rows - height * len(total)) // 2, height, total)


def band_means(images: Projections, first_rows: Array, height: int, means: Image) -> None:
    """Means (…, bands, columns) float32 of bands of ``height`` rows of images (…, rows, columns) float32, each from one
    of ``first_rows`` (bands,) on; those on a device are made there.
    """
    if isinstance(images, OnDevice):
        if not len(images):
            return
        try:
            means[...] = images.band_means(first_rows, height)
        except DeviceOutOfMemory:
            band_means(np.asarray(images), first_rows, height, means)
        return
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
