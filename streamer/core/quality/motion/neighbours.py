"""Does a sample move that is wider than the detector? Each projection against the one before it.

Where mass lies beyond the edges, neither moments nor a reconstruction tell what a projection should be. A small turn
changes it little, and nearly as much as the turn before did; a jolt or a vibration does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from streamer.core.quality.motion.consistency import FEWEST, sudden_px

Array = NDArray[Any]

SOFT_PX = 1.5
"""Width of the Gaussian under which neighbours are compared."""

STEEP = 5.0
"""Of the noise, what the slopes of a projection must be at least for its place to be told."""


def sudden_between_px(views: Array, noise: float) -> float | None:
    """Sudden movement (pixels along the last axis) between views (n, rows, columns) in the order of time and of angle.

    ``noise`` of one pixel. Each difference of neighbours is fitted by the slope, the level and a constant of each row.
    Steps of a movement add up to a path, of which ``sudden_px`` is taken. None where slopes do not exceed the noise.
    """
    if len(views) < FEWEST or views.shape[-1] < 8:
        return None
    soft = gaussian_filter1d(np.asarray(views, np.float32), SOFT_PX, axis=-1, mode="nearest")
    change = np.diff(soft, axis=0)
    level = 0.5 * (soft[1:] + soft[:-1])
    slope = np.gradient(level, axis=-1)
    change, level, slope = (part - part.mean(axis=-1, keepdims=True) for part in (change, level, slope))
    # A level that follows the slope would take a movement over: what it shares with the slope is the slope's.
    steep = np.einsum("nrc,nrc->n", slope, slope)
    if float(np.median(steep)) < STEEP**2 * noise**2 * slope[0].size / (2 * np.sqrt(np.pi) * SOFT_PX):
        return None
    shared = np.einsum("nrc,nrc->n", level, slope) / steep
    level = level - shared[:, None, None] * slope
    thick = np.einsum("nrc,nrc->n", level, level) + 1e-30
    change = change - (np.einsum("nrc,nrc->n", level, change) / thick)[:, None, None] * level
    steps = -np.einsum("nrc,nrc->n", slope, change) / steep
    error = noise * np.sqrt(2.0 / float(np.median(steep)))
    return sudden_px(np.concatenate([[0.0], np.cumsum(steps)]), error / np.sqrt(3.0))
