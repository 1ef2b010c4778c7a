"""Does the sample lean over, bend or sway while it turns? Rows at different heights, each with its own centre of mass.

Each row of a rigid sample is a slice of its own, whose centre of mass runs on a circle about the axis (Helgason-Ludwig
conditions of order 1; Natterer, The Mathematics of Computerized Tomography, 1986, II.4). A sample that bends or leans
moves its upper rows one way and its lower rows the other: in the sum over all rows nothing is to be seen of that. It is
in the sum weighted with the height above the middle of the mass, which is on such a circle as well.

An axis that leans adds slow functions of the angle, and so do an uneven beam and stray light. They do not count here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.core.quality.motion.consistency import course
from streamer.core.quality.motion.path import movement_px, without_slow

Series = NDArray[np.float64]

FEWEST_BANDS = 3
"""Bands of rows, with mass in them, that a lean needs."""

LIGHT = 0.05
"""Share of the usual mass of a band below which it counts as empty: single specks are not the sample."""

MOST_ERROR = 1.0
"""Standard error in pixels of one projection's lean beyond which nothing can be told of it."""


def lean_px(
    net: NDArray[np.float32], heights: Series, angle_rad: Series, time: Series, noise: float
) -> tuple[float, float]:
    """Rms displacement, slow and fast, of rows against each other across the axis: that of a row at the rms height.

    ``net`` (n, bands, columns) is attenuation without the beam's, in the order of ``time`` (n,), which is 0 … 1, at
    ``angle_rad`` (n,); ``heights`` (bands,) are the detector rows in their middles, and ``noise`` that of one pixel.
    Zeros where no movement is certain.
    """
    found = _path(net, heights, noise)
    if found is None:
        return 0.0, 0.0
    path, error = found
    rest = course(without_slow(angle_rad, path), error, 7)
    return max(rest.slow, movement_px(angle_rad, time, path, error)), rest.fast


def _path(net: NDArray[np.float32], heights: Series, noise: float) -> tuple[Series, float] | None:
    """By how many pixels rows at the rms height lie to one side (n,), and the error of one value; None if unknown."""
    columns = np.arange(net.shape[2]) - (net.shape[2] - 1) / 2
    masses = net.sum(axis=2, dtype=np.float64)
    usual = np.median(masses, axis=0)
    usual = np.where(usual > LIGHT * usual.max(), usual, 0.0)
    if usual.max() <= 0 or np.count_nonzero(usual) < FEWEST_BANDS:
        return None
    above = np.where(usual > 0, heights - usual @ heights / usual.sum(), 0.0)
    lever = float(usual @ above**2)
    if lever <= 0:
        return None
    rms = float(np.sqrt(lever / usual.sum()))
    path = (net @ columns.astype(np.float32)).astype(np.float64) @ above * (rms / lever)
    error = noise * float(np.linalg.norm(above) * np.linalg.norm(columns)) * rms / lever
    return (path, error) if error < MOST_ERROR else None
