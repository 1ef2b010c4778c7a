"""How a scan is halved for its resolution: the halves should share nothing that may be wrong with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.core.fbp.ramp_filter import angular_weights

COVERED = 0.98
"""Share of the angular range that each half must cover."""

WIDEST = 3.5
"""Gap between the angles of a half, in mean gaps, beyond which streaks would be mistaken for noise; golden angles have
2.3, interlaced turns of which one is not complete up to 3."""


def first_half(angle_rad: NDArray[np.float64], index: NDArray[np.int64], period: float = np.pi) -> NDArray[np.bool_]:
    """Which projections (n,) make one half: those that were taken first, if both halves cover the whole ``period``.

    So it is with golden angles, interlaced turns and full turns. Then what happened in time, such as movement, is not
    common to both halves. Of a single half turn, every second projection by frame ``index``. ``angle_rad`` (n,) are
    in any order.
    """
    time = np.empty(len(index), np.intp)
    time[np.argsort(index, kind="stable")] = np.arange(len(index))
    earlier = time < (len(index) + 1) // 2
    if _even(angle_rad[earlier], period) and _even(angle_rad[~earlier], period):
        return np.asarray(earlier, np.bool_)
    return np.asarray(time % 2 == 0, np.bool_)


def _even(angle_rad: NDArray[np.float64], period: float) -> bool:
    """Whether angles leave no gap that is much wider than the others."""
    if angle_rad.size < 2:
        return False
    ordered = np.sort(np.mod(angle_rad, period))
    widest = float(np.diff(ordered, append=ordered[0] + period).max())
    covers = float(angular_weights(angle_rad, period).sum()) >= COVERED * period
    return covers and widest <= WIDEST * period / angle_rad.size
