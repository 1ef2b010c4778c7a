"""Do the angles belong to one scan? Each against the step between frames, all of them against the announcement."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.schema import runs

LEARN = 6
"""Steps between frames that came one after the other, before single angles are judged by them."""

REMEMBERED = 32
"""Steps that are remembered."""

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


FEWEST_STEPS = 8
"""Steps from which on there is a usual one."""

OFF = 0.25
"""Part of the usual step by which a step may differ from a whole number of them."""

STEADY = 0.95
"""Share of the steps that must be whole numbers of the usual one for those that lack to be counted."""


FAR_DEG, SAME_DEG = 30.0, 0.05
"""Steps so large are those of golden angles; they differ by less than so much, from computed or exact angles."""


class AngleWatch:
    """Tells single wrong angles of a running scan, by the step from one frame index to the next. Constant time.

    Steps are taken modulo half a turn, so that golden angles, which are often folded to it, have one step, too.
    Interlaced and random orders have none that lasts, and nothing is judged where there is none.
    """

    def __init__(self) -> None:
        self._steps: deque[float] = deque()
        self._ordered: list[float] = []
        self._anchor: tuple[int, float] | None = None
        self._strays: list[tuple[int, float]] = []

    def wrong(self, index: int, angle_deg: float) -> bool:
        """Whether the angle of frame ``index`` cannot be its own; one that is no number is wrong."""
        if not isfinite(angle_deg):
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
            self._remember(_folded(angle_deg - self._anchor[1]))
        self._anchor, self._strays = (index, angle_deg), []
        return False

    def _remember(self, step: float) -> None:
        self._steps.append(step)
        insort(self._ordered, step)
        if len(self._steps) > REMEMBERED:
            del self._ordered[bisect_left(self._ordered, self._steps.popleft())]

    def _usual(self) -> float | None:
        """The median step, if most of those remembered agree with it."""
        steps, count = self._ordered, len(self._ordered)
        if count < LEARN:
            return None
        step = 0.5 * (steps[(count - 1) // 2] + steps[count // 2])
        near = max(0.05, 0.25 * abs(step))
        alike = sum(bisect_right(steps, at + near) - bisect_left(steps, at - near) for at in _alike(step, near))
        return step if alike >= max(LEARN, AGREE * count) else None

    def _goes_on(self, index: int, angle_deg: float, step: float) -> bool:
        """Whether wrong angles follow each other by the usual step: then the rotation goes on from here."""
        last = self._strays[-1] if self._strays else None
        follows = last is not None and abs(_folded(angle_deg - last[1] - (index - last[0]) * step)) < OFF_DEG
        self._strays = [*(self._strays if follows else []), (index, angle_deg)]
        return len(self._strays) >= TWICE


def wrong_at_first(index: NDArray[np.int64], angle_deg: NDArray[Any]) -> list[int]:
    """Indices of the first frames whose angle cannot be their own, by those after them; all (n,) in any order.

    An ``AngleWatch`` knows no step before it has seen some: what came until then is looked at backwards.
    """
    order = np.argsort(index, kind="stable")[: LEARN + REMEMBERED][::-1]
    watch, first = AngleWatch(), int(np.min(index, initial=0)) + LEARN
    looked = [(int(index[k]), watch.wrong(-int(index[k]), float(angle_deg[k]))) for k in order]
    return sorted(at for at, wrong in looked if wrong and at <= first)


def _alike(step: float, near: float) -> tuple[float, ...]:
    """Where steps alike may lie: those that differ by half a turn are the same, near the ends of -90 … 90 degrees."""
    return (step,) if abs(step) + near < 90.0 else (step, step - 180.0, step + 180.0)


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
    stray = wrong_at_first(at, angle)
    if stray:
        words.append(f"the angles of frames {runs(stray)} are not where the steps after them lead back to: encoder?")
        angle, at = angle[~np.isin(at, stray)], at[~np.isin(at, stray)]
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


def missing_before(angle_deg: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many projections lack before each one (n,), where a scan goes on in steps of one size, else zeros.

    Steps of more than a quarter of a turn, as golden ones, are taken modulo half a turn.
    """
    before = np.zeros(len(angle_deg), np.int64)
    if len(angle_deg) <= FEWEST_STEPS:
        return before
    steps = (np.diff(angle_deg) + 180.0) % 360.0 - 180.0
    usual = float(np.median(steps))
    if usual == 0:
        return before
    ratio = steps / usual
    whole = np.rint(ratio)
    fits = (whole >= 1) & (np.abs(ratio - whole) < OFF)
    gaps = np.where(fits, whole - 1, 0).astype(np.int64)
    # A single wrong angle looks like a gap and a step back: both together are no way.
    way = float(ratio.sum()) - len(steps) - int(gaps.sum())
    if np.mean(fits) < STEADY or abs(way) > 1 + 0.1 * int(gaps.sum()):
        gaps = _lacking_far_steps(np.diff(angle_deg))
    before[1:] = gaps
    return before


def _lacking_far_steps(moves: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many lack in moves (n,), in degrees, of which nearly all are the same modulo half a turn, and far apart."""
    lacking = np.zeros(len(moves), np.int64)
    usual = float(np.median(_halves(moves)))
    same = min(SAME_DEG, 0.2 * 180.0 / len(moves))
    odd = np.flatnonzero(np.abs(_halves(moves - usual)) > same)
    if abs(usual) < FAR_DEG or odd.size > (1 - STEADY) * len(moves):
        return lacking
    apart = np.abs(_halves(moves[odd, None] - np.arange(1, len(moves) + 2) * usual))
    # A wrong angle is an odd move and back again.
    after = odd[:-1][np.diff(odd) == 1]
    back = np.abs(_halves(moves[after] + moves[after + 1] - 2 * usual)) < 2 * same
    if (apart > same).all(axis=1).any() or back.any():
        return lacking
    lacking[odd] = np.argmax(apart <= same, axis=1)
    return lacking


def _halves(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Modulo half a turn, -90 … 90."""
    return np.asarray((degrees + 90.0) % 180.0 - 90.0)
