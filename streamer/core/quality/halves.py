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


REACH = 0.375
"""Radius, as a share of a slice's width, within which the window of the ring correlation counts."""


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


def shared_aliasing(angle_rad: NDArray[np.float64], first: NDArray[np.bool_], center: float) -> float:
    """Correlation, -1 … 1, of what the detector's pixels alias in one half of a scan with that in the other.

    ``angle_rad`` (n,); ``first`` (n,) marks one half; ``center`` is the axis, a detector column. What lies at 1 - f
    cycles per pixel is seen at f, with the phase 2π · center from the front, and the opposite one from behind.
    Neighbours in angle from one side alias alike. Opposite views do where the axis is on a pixel or between two; a
    quarter of a pixel off that, each fills the gaps between the other's samples (the quarter detector offset of
    Peters and Lewitt, J. Comput. Assist. Tomogr. 1, 429, 1977), and what the halves alias cancels.
    """
    if first.all() or not first.any():
        return 1.0
    direction, behind = np.mod(angle_rad, np.pi), np.mod(angle_rad, 2 * np.pi) >= np.pi
    order = np.argsort(direction[~first], kind="stable")
    others, side = direction[~first][order], behind[~first][order]
    after = np.clip(np.searchsorted(others, direction[first]), 1, max(1, others.size - 1))
    before = after - 1
    after = np.minimum(after, others.size - 1)
    nearer = np.abs(others[after] - direction[first]) < np.abs(others[before] - direction[first])
    same = float(np.mean(np.where(side[np.where(nearer, after, before)] == behind[first], 1.0, -1.0)))
    phase = 2 * np.pi * center
    return float(np.cos(phase) ** 2 + same * np.sin(phase) ** 2)


def clear_frequency(angle_rad: NDArray[np.float64], first: NDArray[np.bool_], radius_px: float, width_px: int) -> float:
    """Cycles per pixel, up to 0.5, to which both halves have all directions of a sample that they need.

    ``angle_rad`` (n,); ``first`` (n,) marks one half; the sample reaches ``radius_px`` from the axis, and the slices
    are ``width_px`` wide. At f cycles per pixel a projection changes with the angle by up to 2π·f·radius harmonics. Of
    angles that are d apart those are seen 2π/d harmonics higher as well, and make streaks at the distance r from the
    axis if f·(radius + r) exceeds 1/d (Rattey and Lindgren, IEEE Trans. Acoust. Speech Signal Process. 29, 994, 1981).
    """
    if first.all() or not first.any():
        return 0.0
    widest = max(_widest_gap(angle_rad[half]) for half in (first, ~first))
    return float(min(0.5, 1.0 / (widest * (radius_px + REACH * width_px))))


def _widest_gap(angle_rad: NDArray[np.float64], period: float = np.pi) -> float:
    ordered = np.sort(np.mod(angle_rad, period))
    return float(np.diff(ordered, append=ordered[0] + period).max())


def _even(angle_rad: NDArray[np.float64], period: float) -> bool:
    """Whether angles leave no gap that is much wider than the others."""
    if angle_rad.size < 2:
        return False
    covers = float(angular_weights(angle_rad, period).sum()) >= COVERED * period
    return covers and _widest_gap(angle_rad, period) <= WIDEST * period / angle_rad.size
