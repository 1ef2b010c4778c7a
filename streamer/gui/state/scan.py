"""The scan on show, as far as the daemon has reported it; no Qt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import Judged, Report
from streamer.frames import Decision, Quality, Reason, Verdict

CLOSING_STATES = {ScanState.DRAINING, ScanState.FINALISING}
MAX_REASONS = 20
MAX_TEXT = 300


@dataclass(frozen=True)
class ShownScan:
    """What is known of a scan. None means "not reported yet"."""

    scan_id: str = ""
    sample: str = ""
    state: ScanState = ScanState.IDLE
    angles: int = 0
    of: int = 0
    missing: int = 0
    corrupt: int = 0
    received: int = 0
    center_px: float | None = None
    center_confidence: float | None = None
    resolution_px: float | None = None
    frame_rate_hz: float | None = None
    verdict: Verdict | None = None
    quality: Quality = field(default_factory=Quality)
    raw_file: str = ""
    tomogram_file: str = ""
    writer: str = "ok"
    note: str = ""
    error: str = ""

    @property
    def lost(self) -> int:
        return self.missing + self.corrupt

    @property
    def decision(self) -> Decision | None:
        return None if self.verdict is None else self.verdict.decision

    @property
    def final(self) -> bool:
        return self.verdict is not None and self.verdict.final

    def moved_to(self, state: ScanState) -> ShownScan:
        """The scan in its new state. A scan that had ended and runs again loses all else."""
        if self.state.final and not state.final:
            return ShownScan(self.scan_id, self.sample, state)
        return replace(self, state=state)

    def with_report(self, report: Report) -> ShownScan:
        scan = replace(
            self.moved_to(report.state),
            sample=report.sample,
            missing=report.frames.missing,
            corrupt=report.frames.corrupt,
            received=report.frames.received,
            angles=report.projections.received,
            of=report.projections.expected,
            raw_file=clean(report.raw_file),
            tomogram_file=clean(report.tomogram_file or ""),
            writer=clean(report.writer),
            note=clean(report.note),
            error=clean(report.error or ""),
        )
        if not scan.final or report.final:
            scan = scan.with_verdict(report)
        return scan.with_quality(report.quality)

    def with_quality(self, quality: Quality) -> ShownScan:
        found = quality.center_px is not None
        return replace(
            self,
            quality=quality,
            center_px=quality.center_px if found else self.center_px,
            center_confidence=quality.center_confidence if found else self.center_confidence,
            resolution_px=known(quality.resolution_px, self.resolution_px),
        )

    def with_verdict(self, message: Judged) -> ShownScan:
        verdict = message.judgement
        reasons = tuple(Reason(reason.code, clean(reason.text)) for reason in verdict.reasons[:MAX_REASONS])
        return replace(self, verdict=replace(verdict, reasons=reasons))


def known(new: float | None, old: float | None) -> float | None:
    return old if new is None else new


def clean(text: str) -> str:
    """A text of a peer, cut to a length, with everything unprintable replaced by spaces."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:MAX_TEXT])
