"""Pixels of float detectors that are not numbers: their value is unknown, and is taken from their neighbours."""

from __future__ import annotations

import numpy as np

from streamer.core.arrays import Array
from streamer.core.preprocessing.dead_pixels import DeadPixels


def fill_nonfinite(raw: Array) -> tuple[Array, int]:
    """Raw frames (…, rows, columns) without NaN and infinity, and the number of pixels that were filled.

    A pixel is interpolated between the nearest finite ones in its row; a row without any becomes 0. Integer frames, and
    frames that are finite, are returned as they are.
    """
    if raw.dtype.kind != "f":
        return raw, 0
    with np.errstate(over="ignore", invalid="ignore"):
        # A finite sum has finite terms only; to sum is cheaper than to look at each pixel.
        if np.isfinite(raw.sum()):
            return raw, 0
    lines = np.array(raw, np.float32).reshape(-1, raw.shape[-1])
    finite = np.isfinite(lines)
    hit = np.flatnonzero(~finite.all(axis=1))
    rows = lines[hit]
    DeadPixels.of(finite[hit]).fill(rows)
    lines[hit] = rows
    return lines.reshape(raw.shape), int(finite.size - np.count_nonzero(finite))
