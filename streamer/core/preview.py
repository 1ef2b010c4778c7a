"""From a slice to something to look at: contrast, 16-bit numbers, fewer pixels."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Array, Mask
from streamer.core.masks import circle_mask
from streamer.frames import BadInput

LEVELS = 65_535
SAMPLE = 65_536  # pixels that are enough for a percentile


def contrast(image: Array, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """Grey values (lo, hi) for black and white: percentiles of the finite pixels, in a square image of its circle only.

    hi is above lo even for a flat image, and (0, 1) without a finite pixel.
    """
    values = np.asarray(image, np.float32)
    step = max(1, math.isqrt(values.size // SAMPLE))
    if values.ndim == 2 and values.shape[0] == values.shape[1] and values.shape[0] >= 8:
        values = values[::step, ::step][_inside(values.shape[0], step)]
    else:
        values = values.ravel()[:: step**2]
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    lo, hi = (float(edge) for edge in np.percentile(values, (low, high)))
    if hi - lo <= 1e-6 * max(abs(lo), abs(hi)):
        half = 0.5 * max(abs(lo), 1.0) * 1e-3
        return lo - half, hi + half
    return lo, hi


@lru_cache(8)
def _inside(n: int, step: int) -> Mask:
    """Which of every ``step``-th row and column of an image of n × n pixels lie within its circle."""
    return circle_mask(n)[::step, ::step]


def quantise(image: Array, lo: float, hi: float) -> NDArray[np.uint16]:
    """uint16 of the image's shape: 0 at lo and below, 65535 at hi and above; NaN becomes 0. BadInput unless lo < hi."""
    if not (np.isfinite(lo) and np.isfinite(hi) and lo < hi):
        raise BadInput(f"grey values from {lo} to {hi}: the lower must be below the upper")
    scaled = np.atleast_1d((image - lo) * (LEVELS / (hi - lo)))
    np.fmax(scaled, 0, out=scaled)  # of a number and none it takes the number
    np.fmin(scaled, LEVELS, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint16).reshape(np.shape(image))


def decimate(image: Array, max_px: int) -> NDArray[np.float32]:
    """Image (rows, cols) binned by whole pixels until neither side exceeds ``max_px``; float32 means of the bins.

    A last incomplete bin is the mean of what there is. Raises BadInput unless max_px is positive.
    """
    if max_px < 1:
        raise BadInput(f"a preview of {max_px} pixels cannot be made")
    values = np.asarray(image, np.float32)
    factor = max(1, -(-max(values.shape) // max_px))
    if factor == 1:
        return values.copy()
    for axis in (0, 1):
        edges = np.arange(0, values.shape[axis], factor)
        size = np.diff(np.append(edges, values.shape[axis])).astype(np.float32)
        sums = np.add.reduceat(values, edges, axis=axis)
        values = np.asarray(sums / (size[:, None] if axis == 0 else size), np.float32)
    return values
