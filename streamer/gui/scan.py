"""The scan on show, as far as the daemon has told. Reading of reports, verdicts and qualities; no Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from streamer.flow.scan import FINAL_STATES, ScanState
from streamer.flow.wire import WireError
from streamer.frames import MAX_FRAMES, NAME, Decision, Reason, Verdict
from streamer.gui.plane import clean, mapping, real, text, whole

WAITING_STATES = {"armed"}
RUNNING_STATES = {"acquiring"}
CLOSING_STATES = {"draining", "finalising"}
MAX_REASONS = 20


@dataclass(frozen=True)
class Scan:
    """What is known of the scan on show. None means "not told yet"."""

    scan_id: str = ""
    sample: str = ""
    state: str = "idle"
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

    def moved_to(self, state: str) -> Scan:
        """The scan in its new state; one that had ended and runs again starts from nothing."""
        if self.state in FINAL_STATES and state not in FINAL_STATES:
            return Scan(self.scan_id, self.sample, state)
        return replace(self, state=state)


def known(new: float | None, old: float | None) -> float | None:
    return old if new is None else new


def read_scan_id(entries: Mapping[str, Any]) -> str:
    scan_id = text(entries, "scan_id")
    if not NAME.fullmatch(scan_id):
        raise WireError("header", f"scan id {scan_id!r} is not a name")
    return scan_id


def read_state(entries: Mapping[str, Any], default: str) -> str:
    state = text(entries, "state", default=default)
    if state not in frozenset(ScanState):
        raise WireError("header", f"scan in the unknown state {state!r}")
    return state


def with_report(scan: Scan, report: Mapping[str, Any]) -> Scan:
    if not report:
        return scan
    frames, projections = mapping(report, "frames"), mapping(report, "projections")
    scan = replace(
        scan.moved_to(read_state(report, scan.state)),
        sample=text(report, "sample", default=scan.sample),
        missing=whole(frames, "missing", 0, MAX_FRAMES, default=scan.missing),
        corrupt=whole(frames, "corrupt", 0, MAX_FRAMES, default=scan.corrupt),
        received=whole(frames, "received", 0, MAX_FRAMES, default=scan.received),
        angles=whole(projections, "received", 0, MAX_FRAMES, default=scan.angles),
        of=whole(projections, "expected", 0, MAX_FRAMES, default=scan.of),
        error=text(report, "error", default=""),
    )
    if not scan.final or report.get("final"):
        scan = with_verdict(scan, report)
    return with_quality(scan, {**mapping(report, "quality"), **_present(report, "center_px", "center_confidence")})


def _present(entries: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: entries[key] for key in keys if entries.get(key) is not None}


def with_quality(scan: Scan, quality: Mapping[str, Any]) -> Scan:
    return replace(
        scan,
        center_px=known(real(quality, "center_px"), scan.center_px),
        center_confidence=known(real(quality, "center_confidence"), scan.center_confidence),
        resolution_px=known(real(quality, "resolution_px"), scan.resolution_px),
    )


def with_verdict(scan: Scan, entries: Mapping[str, Any]) -> Scan:
    verdict = Verdict.from_dict(entries)
    reasons = tuple(Reason(reason.code, clean(reason.text)) for reason in verdict.reasons[:MAX_REASONS])
    return replace(scan, verdict=replace(verdict, reasons=reasons))
