"""Robust statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def robust_sigma(values: NDArray[Any]) -> float:
    """Standard deviation from the median absolute deviation, blind to a minority of outliers."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
