"""Robust statistics."""

from __future__ import annotations

import numpy as np

from streamer.core.arrays import Array


def robust_sigma(values: Array) -> float:
    """Standard deviation from the median absolute deviation, blind to a minority of outliers."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
