"""Do the angles belong to one scan? Each against the step between frames, all of them against the announcement."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEARN = 6
"""Steps between frames that came one after the other, before single angles are judged by them."""

AGREE = 0.5
"""Share of the remembered steps that must agree with their median, or there is no usual step."""

OFF_STEPS, OFF_DEG = 3.0, 2.0
"""An angle that is farther than so many steps, and degrees, from where it belongs is wrong."""

TWICE = 3
"""Wrong angles one after the other that belong together: the rotation went on from somewhere else."""

SPAN_OFF = 0.005
"""Share by which the range of the angles may differ from the announced one, beyond one step."""

GOLDEN, EVEN = 5.0, 3.0
"""Golden angles fill the announced range although their steps exceed GOLDEN announced ones: no gap on the half circle
is as wide as EVEN mean ones."""

INTERLACED, WHOLE_TURN = 1.5, 1.5
"""Interlaced turns begin again within the announced range. Their steps exceed INTERLACED announced ones, and no gap on
the half circle is as wide as WHOLE_TURN of their steps."""


def turned_deg(a: float, b: float) -> float:
    """Angle from b to a in degrees, -180 … 180."""
    return (a - b + 180.0) % 360.0 - 180.0


class AngleWatch:
    """Tells single wrong angles of a running scan, by the step from one frame index to the next. Constant time.

    Steps are taken modulo half a turn, so that golden angles, which are often folded to it, have one step, too.
    Interlaced and random orders have none that lasts, and nothing is judged where there is none.
    """

    def __init__(self) -> None:
        self._steps: list[float] = []
        self._anchor: tuple[int, float] | None = None
        self._strays: list[tuple[int, float]] = []

    def wrong(self, index: int, angle_deg: float) -> bool:
        """Whether the angle of frame ``index`` cannot be its own; one that is no number is wrong."""
        if not np.isfinite(angle_deg):
            return True
        step = self._usual()
        if self._anchor is None:
            self._anchor = (index, angle_deg)
            return False
        gap = index - self._anchor[0]
        if step is not None and 0 < abs(gap) <= 4:
            off = abs(_folded(angle_deg - self._anchor[1] - gap * step))
            if off > max(OFF_DEG, OFF_STEPS * min(abs(step), 180 - abs(step), 10.0)) and not self._goes_on(
                index, angle_deg, step
            ):
                return True
        if gap == 1:
            self._steps = [*self._steps[-31:], _folded(angle_deg - self._anchor[1])]
        self._anchor, self._strays = (index, angle_deg), []
        return False

    def _usual(self) -> float | None:
        if len(self._steps) < LEARN:
            return None
        step = median(self._steps)
        alike = sum(abs(_folded(s - step)) <= max(0.05, 0.25 * abs(step)) for s in self._steps)
        return step if alike >= max(LEARN, AGREE * len(self._steps)) else None

    def _goes_on(self, index: int, angle_deg: float, step: float) -> bool:
        """Whether wrong angles follow each other by the usual step: then the rotation goes on from here."""
        last = self._strays[-1] if self._strays else None
        follows = last is not None and abs(_folded(angle_deg - last[1] - (index - last[0]) * step)) < OFF_DEG
        self._strays = [*(self._strays if follows else []), (index, angle_deg)]
        return len(self._strays) >= TWICE


def _folded(difference_deg: float) -> float:
    return float((difference_deg + 90.0) % 180.0 - 90.0)


@dataclass(frozen=True)
class AngleFindings:
    """What is wrong with the angles of a scan, as words for a person; empty when nothing is.

    ``stood_still`` counts frames whose angle repeats that of the frame before.
    """

    words: tuple[str, ...] = ()
    stood_still: int = 0


def check_angles(
    index: NDArray[np.int64], angle_deg: NDArray[Any], range_deg: float, projections: int
) -> AngleFindings:
    """Look at all angles (n,) of a scan, with the frame index of each, against its announcement.

    ``range_deg`` of ``projections`` was announced. Found are angles that are all the same, in radian, stood still,
    wrapped, or spread over another range than announced.
    """
    order = np.argsort(index)
    angle, at = np.asarray(angle_deg, float)[order], np.asarray(index)[order]
    if angle.size < LEARN:
        return AngleFindings()
    span = float(np.ptp(angle))
    if span < 1e-6:
        return AngleFindings((f"all {angle.size} angles are the same ({angle[0]:g}°): does the encoder count?",))
    wanted, step = abs(range_deg), abs(range_deg) / max(1, projections)
    whole = angle.size > 0.95 * projections
    words = []
    if whole and wanted >= 90 and abs(span - np.deg2rad(wanted)) < 0.05 * np.deg2rad(wanted):
        words.append(f"the angles span {span:.2f}, which is {wanted:g}° in radian; degrees are expected")
    moves = np.diff(angle)
    following = np.diff(at) == 1
    still = int(np.count_nonzero(following & (np.abs(moves) < 0.02 * step)))
    if still > max(2, 0.01 * angle.size):
        words.append(f"the angle of {still} frames repeats that of the frame before: did the rotation stand still?")
    # One way, step by step: then the announced step says how far the last one must be.
    steady = following.any() and np.median(np.abs(moves[following])) > 0
    forward = steady and np.mean(np.sign(moves[following]) == np.sign(np.median(moves[following]))) > 0.9
    if forward and angle.size > 0.5 * projections and not words:
        # Sub-rotations of an interlaced scan begin near the first angle again, and yet go over the whole range.
        typical = float(np.median(np.abs(moves[following])))
        passed = {angle.size - 1, int(at[-1] - at[0])}  # fewer frames than indices where some are missing
        expected = {wanted / count * steps for count in (projections, max(1, projections - 1)) for steps in passed}
        off = min(abs(span - value) for value in expected)
        gap = _widest_gap(angle)
        golden = typical > GOLDEN * step and gap < EVEN * 180.0 / angle.size
        interlaced = typical > INTERLACED * step and span <= wanted + typical and gap < WHOLE_TURN * typical
        if off > SPAN_OFF * span + 1.5 * max(step, typical) and not (golden or interlaced):
            told = (
                f"the angles go over {span:.1f}° in steps of {typical:.3f}°, {wanted:g}° in steps of {step:.3f}° were"
            )
            words.append(f"{told} announced: are the counts per degree right?")
        back = np.flatnonzero(following & (np.sign(moves) != np.sign(np.median(moves))) & (np.abs(moves) > 90))
        if back.size and span < 0.95 * wanted:
            words.append(
                f"the angles jump back by {abs(moves[back[0]]):.0f}° at frame {at[back[0] + 1]}: encoder wrapped?"
            )
    return AngleFindings(tuple(words), still)


def _widest_gap(angle_deg: NDArray[np.float64]) -> float:
    """Between neighbours on the half circle, in degrees, whatever their order."""
    ordered = np.sort(np.mod(angle_deg, 180.0))
    return float(np.diff(ordered, append=ordered[0] + 180.0).max())
