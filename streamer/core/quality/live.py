"""Verdicts on a running scan: given on evidence that more frames cannot overturn, and not taken back afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.quality.verdict import Limits, judge, summary
from streamer.frames import Decision, Quality, Reason, ReasonCode, Verdict

SEEN = 0.75
"""Share of a half turn from which an absent sample, the path of the sample and the axis are known from all sides."""

FEWEST = 16
"""Projections without which nothing is said of the sample."""

IN_A_ROW = 2
"""Looks, each at more projections than the one before, that must agree before a verdict may end a scan."""

STOPPING = 0.25
"""Projections, as a share of those that were enough, that may come until a scan is stopped for it."""


@dataclass(frozen=True)
class Evidence:
    """``turn`` share of a half turn that the projections show, see ``turn_seen``; ``fields_due`` announced flats and
    darks that have not come yet.
    """

    turn: float
    fields_due: int = 0


def turn_seen(angle_rad: NDArray[Any]) -> float:
    """Share, 0 … 1, of a half turn over which the angles (n,) in radian go: a whole turn less the largest gap in it.

    It is counted in angle, not in projections: a quarter of a full turn shows half of a half turn, as does half of a
    half turn. A few golden angles, or one of several interlaced turns, show all of it.
    """
    if len(angle_rad) < 2:
        return 0.0
    ordered = np.sort(np.mod(angle_rad, 2 * np.pi))
    gap = float(np.diff(ordered, append=ordered[0] + 2 * np.pi).max())
    return float(min(1.0, max(0.0, (2 * np.pi - gap) / np.pi)))


def live_verdict(q: Quality, limits: Limits, evidence: Evidence, columns: int | None = None) -> Verdict:
    """The verdict on the quality so far. A reason that could be overturned is left out; the others say how sure it is.

    ``columns`` of the detector, as for ``judge``.
    """
    verdict = judge(q, limits, False, columns)
    if verdict.decision in (Decision.CONTINUE, Decision.ENOUGH):
        return verdict
    kept = []
    for reason in verdict.reasons:
        how = "" if reason.code.decision is None else _how_sure(reason.code, q, limits, evidence)
        if how is not None:
            kept.append(Reason(reason.code, f"{reason.text} ({how})") if how else reason)
    decision = next((reason.code.decision for reason in kept if reason.code.decision is not None), None)
    if decision is None:
        return Verdict(Decision.CONTINUE, (summary(q, False), *kept))
    return Verdict(decision, tuple(kept))


def _how_sure(code: ReasonCode, q: Quality, limits: Limits, evidence: Evidence) -> str | None:
    """Why projections to come cannot overturn a reason, as words with a number; None where they can."""
    share = min(1.0, q.projections / max(1, q.expected))
    seen = q.projections >= FEWEST and evidence.turn >= SEEN
    around = f"seen in {q.projections} projections over {180 * evidence.turn:.0f}°"
    match code:
        case ReasonCode.NO_FLATS | ReasonCode.NO_LIGHT | ReasonCode.DARKS_LIT | ReasonCode.SHADOW:
            return "certain: no more flats and darks are announced" if evidence.fields_due <= 0 else None
        case ReasonCode.EMPTY:
            return around if seen else None
        case ReasonCode.SATURATED:
            least = share * (q.saturation or 0.0)
            return f"certain: {100 * least:.1f} % of the whole scan" if least > limits.max_saturation else None
        case ReasonCode.MOTION:
            # Twice the rms over the whole scan, even if all the other projections fit.
            least = (q.motion_px or 0.0) * share**0.5
            sure = f"{around}; {least:.1f} px remain if the sample moves no more"
            return sure if q.projections >= FEWEST and least > limits.max_motion_px else None
        case ReasonCode.AXIS_OFF:
            return f"confidence {q.center_confidence:.2f}, {around}" if seen else None
        case ReasonCode.UNUSABLE:
            # Frames that are still due may be flats, or those projections once more: a plan announces room for them.
            lost = sum(q.unusable_counts.values())
            return "certain: they cannot come again" if evidence.fields_due < lost else None
        case _:
            return None


class Standing:
    """What the verdicts on one scan amount to, in the order in which they are given.

    ENOUGH, or that a scan is spoiled, is said when IN_A_ROW looks agree, and stands from then on. The final verdict
    does not take back what may have stopped the scan.
    """

    def __init__(self) -> None:
        self._candidate: tuple[Decision, ReasonCode] | None = None
        self._in_a_row = 0
        self._at = -1  # projections of the latest look that counted
        self._given: Verdict | None = None
        self._given_at = 0

    def look(self, verdict: Verdict, q: Quality) -> Verdict:
        """The verdict to give, from that of a look at the quality ``q``.

        A look after no more projections, of use or not, than the one before does not count; nor does ENOUGH by the same
        resolution.
        """
        found = (verdict.decision, verdict.codes[0])
        came = q.projections + sum(q.unusable_counts.values())
        at = q.resolution_at if verdict.decision is Decision.ENOUGH else came
        if found != self._candidate:
            self._candidate, self._in_a_row, self._at = found, 0, -1
        if at > self._at:
            self._in_a_row, self._at = self._in_a_row + 1, at
        last = Decision.CONTINUE if self._given is None else self._given.decision
        undecided = last in (Decision.CONTINUE, Decision.ENOUGH)
        if undecided and self._in_a_row >= IN_A_ROW and verdict.decision is not Decision.CONTINUE:
            self._given_at = q.projections if last is not verdict.decision else self._given_at
            self._given = verdict
        return self._given or Verdict(Decision.CONTINUE, (summary(q, False), *_remarks(verdict)))

    def final(self, verdict: Verdict, q: Quality) -> Verdict:
        """The final verdict, from that on all projections."""
        given = self._given
        if given is None or given.decision is verdict.decision:
            return verdict
        if given.decision is not Decision.ENOUGH:
            told = [r for r in verdict.reasons if r.code not in (*given.codes, ReasonCode.NOTHING_WRONG)]
            return Verdict(given.decision, (*given.reasons, *told), True)
        lost = q.missing + q.corrupt + sum(q.unusable_counts.values())
        went_on = q.projections + lost >= q.expected or q.projections > (1 + STOPPING) * self._given_at
        if went_on:
            return verdict  # nothing was stopped by it, and the rest of the scan shows more
        later = f"after the {self._given_at} projections that were enough"
        notes = [
            Reason(ReasonCode.AFTER_ENOUGH, f"{later}: {r.text}")
            for r in verdict.reasons
            if r.code.decision is not None
        ]
        return Verdict(Decision.ENOUGH, (summary(q, True), *notes, *_remarks(verdict)), True)


def _remarks(verdict: Verdict) -> list[Reason]:
    """Reasons that decide nothing, without the sentence that sums up."""
    return [r for r in verdict.reasons if r.code.decision is None and r.code is not ReasonCode.NOTHING_WRONG]
