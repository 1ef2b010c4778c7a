"""Robust statistics.

Medians and percentiles are those of NumPy, of numbers that are all finite: NumPy looks for others, which takes longer
than the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Array


def median(values: Array) -> float:
    """Of all values, float64; there must be one."""
    return float(medians(values.reshape(1, -1))[0])


def medians(values: Array) -> NDArray[Any]:
    """Along the last axis, (…,) of (…, n) float64."""
    middle = values.shape[-1] // 2
    parted = np.partition(values, middle)
    upper: NDArray[Any] = parted[..., middle]
    return upper if values.shape[-1] % 2 else 0.5 * (parted[..., :middle].max(axis=-1) + upper)


def percentile(values: Array, percent: float) -> float:
    """Of all values, float64, linear between two of them; there must be one."""
    place = (values.size - 1) * (percent / 100.0)
    below, share = int(place), place % 1.0
    parted = np.partition(values, below, axis=None)
    low = float(parted[below])
    if below + 1 == values.size:
        return low
    high = float(parted[below + 1 :].min())
    return high - (high - low) * (1.0 - share) if share >= 0.5 else low + (high - low) * share


def robust_sigma(values: Array) -> float:
    """Standard deviation from the median absolute deviation, blind to a minority of outliers."""
    if values.dtype != np.float64 or not np.isfinite(values.sum()):
        return float(1.4826 * np.median(np.abs(values - np.median(values))))
    return 1.4826 * median(np.abs(values - median(values)))
