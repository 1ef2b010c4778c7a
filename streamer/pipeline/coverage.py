"""How much of the wanted angles has come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.core.fbp.ramp_filter import angular_weights

Angles = NDArray[np.float64]

GAP = 2.5
"""Usual steps between angles beyond which a step is a gap; those of golden angles differ by 2.6, their mean by less."""


def covered_share(angle_rad: Angles, wanted_rad: float, period: float) -> float:
    """Share of ``wanted_rad`` that the angles (n,) cover, of a circle of ``period`` after which views repeat; radian.

    A gap of more than ``GAP`` usual ones was not measured.
    """
    if not len(angle_rad):
        return 0.0
    covered = float(angular_weights(angle_rad, period).sum())
    if len(angle_rad) > 1:
        covered = min(covered, _without_gaps(angle_rad, period))
    return float(min(1.0, covered / wanted_rad))


def widest_gap(angle_rad: Angles, range_rad: float, period: float) -> float | None:
    """Widest arc (radian) of the range that the angles (n,) leave out, as for ``covered_share``.

    0 where it is no more than ``GAP`` usual steps; None of fewer than three angles.
    """
    steps = _steps(angle_rad, period) if len(angle_rad) >= 3 else np.empty(0)
    if steps.size < 3:
        return None
    usual = float(steps.sum() - steps.max()) / (steps.size - 1)
    beyond = float(steps.max()) - max(0.0, period - abs(range_rad))
    return beyond - usual if beyond > GAP * usual else 0.0


def _steps(angle_rad: Angles, period: float) -> Angles:
    """From each angle to the next one on the circle of ``period``; equal angles count once."""
    ordered = np.sort(np.mod(angle_rad, period))
    steps = np.diff(ordered, append=ordered[0] + period)
    return np.asarray(steps[steps > 1e-3 * period / steps.size])


def _without_gaps(angle_rad: Angles, period: float) -> float:
    """Angle (radian) that is covered when each gap counts as one usual step."""
    steps = _steps(angle_rad, period)
    if steps.size < 2:
        return float(steps.sum())
    usual = (steps.sum() - steps.max()) / (steps.size - 1)
    return float(np.where(steps > GAP * usual, usual, steps).sum())
