"""The verdicts on one scan: while it runs and at its end, by the same measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.backend.selection import Backend
from streamer.core.quality.frc import frc_resolution
from streamer.core.quality.live import Evidence, Standing, live_verdict
from streamer.core.quality.verdict import judge, summary, without_shared_errors
from streamer.frames import Decision, Quality, ScanSpec, Verdict
from streamer.pipeline.frame_checks import FrameChecks
from streamer.pipeline.layout.choice import is_full_turn
from streamer.pipeline.measurements import Measurements
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.reconstruction.row_blocks import half_slices
from streamer.pipeline.reconstruction.stored_projections import StoredProjections
from streamer.pipeline.settings import Settings

RESOLUTIONS_PER_SCAN, FEWEST_RESOLUTIONS = 40, 16
"""How often in a scan its resolution is measured, where that may end it: near to what is wanted, and far from it."""

GUESSED = 0.5
"""Confidence, at most, in an axis about which one side of the sample is never seen."""

FEWEST_COLUMNS = 16
"""Width of a slice that has a resolution."""


@dataclass(frozen=True)
class Look:
    """What a look at a running scan found."""

    center: CenterEstimate
    quality: Quality
    verdict: Verdict


@dataclass(frozen=True)
class _Seen:
    """What is judged: the projections so far, what ``FrameChecks`` found in them, and the frames that lack."""

    measured: Measurements
    stored: StoredProjections
    findings: dict[str, Any]
    missing: int
    corrupt: int


class Judgement:
    """Draws verdicts from what was measured of one scan."""

    def __init__(
        self,
        spec: ScanSpec,
        settings: Settings,
        measured: Measurements,
        checks: FrameChecks,
        preparation: Preparation,
        backend: Backend,
    ) -> None:
        self._spec, self._backend = spec, backend
        self._options, self._limits = settings.reconstruction, settings.limits
        self._measured, self._checks, self._preparation = measured, checks, preparation
        self._standing = Standing()
        self._resolution_px: float | None = None
        self._resolution_at = 0
        self._as_if_over: Verdict | None = None  # at the latest resolution

    def look(self, stored: StoredProjections, center: float, missing: int, corrupt: int) -> Callable[[], Look]:
        """Quality and verdict of this moment, about the axis at ``center``, a detector column, if no other is found.

        What is returned does the work. Another thread may call it, as frames come; one look after the other.
        """
        seen = _Seen(self._measured.so_far(), stored.so_far(), self._findings(), missing, corrupt)
        fields_due = self._spec.flats + self._spec.darks - self._measured.flats - self._measured.darks

        def measure() -> Look:
            found = seen.measured.estimate_center()
            quality, verdict = self._live(seen, self._sure(found, center), fields_due)
            return Look(found, quality, verdict)

        return measure

    def _live(self, seen: _Seen, center: float, fields_due: int) -> tuple[Quality, Verdict]:
        renewed = self._is_due(seen)
        if renewed:
            self._measure_resolution(seen, center)
        quality = self._quality(seen, final=False)
        evidence = Evidence(seen.measured.turn_seen, fields_due)
        verdict = live_verdict(quality, self._limits, evidence, self._spec.columns)
        if verdict.decision is Decision.ENOUGH:
            if renewed or self._as_if_over is None:
                quality, self._as_if_over = self._judge_as_if_over(seen, center)
            verdict = self._as_if_over
        return quality, self._standing.look(verdict, quality)

    def final(self, stored: StoredProjections, center: float, missing: int, corrupt: int) -> tuple[Quality, Verdict]:
        """Quality and verdict of a scan that is over, about the final axis at ``center``."""
        seen = _Seen(self._measured, stored, self._findings(), missing, corrupt)
        self._measure_resolution(seen, center)
        quality = self._quality(seen, final=True)
        return quality, self._standing.final(judge(quality, self._limits, True, self._spec.columns), quality)

    def _findings(self) -> dict[str, Any]:
        return {**self._checks.findings(), "odd_fields": self._preparation.odd_fields}

    def _sure(self, found: CenterEstimate, center: float) -> float:
        """The axis that was found, if it can be relied on."""
        known = found.center is not None and found.confidence >= self._limits.min_center_confidence
        return found.center if known and found.center is not None else center

    def _judge_as_if_over(self, seen: _Seen, center: float) -> tuple[Quality, Verdict]:
        """What the final verdict would be if the scan were over, by limits that are a margin sharper."""
        found = seen.measured.refine_center(seen.stored.attenuation)
        self._measure_resolution(seen, self._sure(found, center))
        quality = self._quality(seen, final=True)
        verdict = judge(quality, self._limits.tightened(), True, self._spec.columns)
        if verdict.decision is Decision.ENOUGH:
            return quality, replace(verdict, final=False)
        return quality, Verdict(Decision.CONTINUE, (summary(quality, False),))

    def _is_due(self, seen: _Seen) -> bool:
        """Whether the resolution may have reached what is wanted, and would end the scan."""
        wanted = self._limits.tightened().max_resolution_px
        if wanted is None or seen.measured.coverage(seen.stored.layout.period) < self._limits.min_coverage:
            return False
        # Twice the projections improve it to half at best, but for the first, which may make anything.
        factor = 1.0 if self._resolution_px is None else self._resolution_px / wanted
        wait = (factor - 1) * self._resolution_at / self._spec.projections
        wait = min(max(wait, 1 / RESOLUTIONS_PER_SCAN), 1 / FEWEST_RESOLUTIONS)
        return seen.stored.count - self._resolution_at >= wait * self._spec.projections

    def _measure_resolution(self, seen: _Seen, center: float) -> None:
        """Of the slices in the middle; it is kept until it is measured again.

        Dead columns are told on their own. Their rings, of which two halves share all or nothing, do not make the
        sample less sharp: the halves are of rows in which such columns are bridged.
        """
        stored, measured = seen.stored, seen.measured
        self._resolution_at, self._resolution_px = stored.count, None
        if not stored.count:
            return
        first = measured.first_half(stored.layout.period)
        dead = measured.dead_columns()
        halves = half_slices(stored, first, center, self._options.window, self._backend, dead)
        if halves is not None and halves[0].shape[-1] >= FEWEST_COLUMNS:
            # In a slice made of both halves of the detector's field, other angles count for other parts.
            clear = 0.5 if stored.layout.half else measured.clear_frequency(first, center)
            aliasing, window = measured.shared_aliasing(first, center), self._options.window
            self._resolution_px = frc_resolution(*halves, aliasing, clear, window)

    def _quality(self, seen: _Seen, final: bool) -> Quality:
        layout, stripes = seen.stored.layout, self._preparation.options.stripes != "off"
        resolution = self._resolution_px, self._resolution_at
        measured, frames = seen.measured, (seen.missing, seen.corrupt)
        quality = measured.quality(*frames, *resolution, layout.period, final, layout.tilt_rad, stripes)
        quality = replace(quality, **seen.findings)
        quality = without_shared_errors(quality, self._limits)
        if self._spec.tomogram_deg is not None:  # such a scan is made to see how the sample changes
            quality = replace(quality, motion_px=None, misfit_px=None, mass_change=None)
        if final and not layout.half and measured.cut_on_one_side():
            quality = replace(quality, center_confidence=min(quality.center_confidence, GUESSED))
        if layout.half or (not final and self._options.geometry != "plain" and is_full_turn(self._spec)):
            # An axis near the edge is meant to be there, and the sample to reach over it.
            quality = replace(quality, center_offset_px=None, truncation=quality.truncation if layout.extend else None)
        return quality
