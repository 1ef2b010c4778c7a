"""One scan in the daemon, from arm to its final report. Every method is safe to call from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamer.flow.latency import LatencyHistogram
from streamer.flow.scan import Ledger, Outcome, ScanEvent, ScanLife, ScanState
from streamer.flow.wire.daemon import FrameCounts, Latency, ProjectionCounts, Report
from streamer.frames import NOT_JUDGED, FrameMeta, Quality, ScanSpec, Verdict
from streamer.pipeline.scan_pipeline import ScanPipeline


@dataclass
class Ending:
    """How the frames of a scan ended. ``status``: ok, stopped, aborted or stalled."""

    status: str
    note: str = ""


@dataclass
class Result:
    """What the finisher produced."""

    tomogram_file: str | None = None
    last_frame_to_tomogram_s: float | None = None
    artefacts: Mapping[str, float | None] = field(default_factory=dict)
    geometry: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass
class Session:
    """State of one scan. The lock guards all but the pipeline, which belongs to the compute thread."""

    spec: ScanSpec
    pipeline: ScanPipeline | None
    raw_file: Path
    clock: Callable[[], float]
    ledger: Ledger = field(init=False)
    life: ScanLife = field(default_factory=ScanLife)
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    quality: Quality = field(default_factory=Quality)
    verdict: Verdict = NOT_JUDGED
    ending: Ending | None = None
    result: Result = field(default_factory=Result)
    written: int = 0
    first_preview_projections: int | None = None
    armed_s: float = 0.0
    first_frame_s: float | None = None
    last_frame_s: float | None = None

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.ledger = Ledger.of(self.spec)
        self.life.fire(ScanEvent.ARM)
        self.armed_s = self.clock()
        self.plan = {} if self.pipeline is None else self.pipeline.plan.to_dict()
        self.reconstructed = False  # the final verdict and the tomogram were made, or failed
        self.over = False  # the last report is published; another scan may be armed

    @property
    def state(self) -> ScanState:
        return self.life.state

    def accept(self, meta: FrameMeta) -> Outcome:
        """Enter a frame that passed its checks into the ledger."""
        with self.lock:
            outcome = self.ledger.frame(meta.index, meta.kind)
            if outcome is Outcome.ACCEPT:
                if self.first_frame_s is None:
                    self.first_frame_s = meta.received_s
                self.life.fire(ScanEvent.FRAME)
                self.last_frame_s = meta.received_s
            return outcome

    def corrupt(self, index: int | None) -> None:
        with self.lock:
            self.ledger.corrupt_frame(index)

    def end(self, status: str, frames: int | None, note: str = "") -> bool:
        """The source has sent its last frame, or is silent ("stalled"). Returns False when it had ended before."""
        with self.lock:
            if self.ending is not None:
                return False
            self.ending = Ending(status, note)
            self.ledger.close(frames, status)
            self.life.fire({"aborted": ScanEvent.ABORT, "stalled": ScanEvent.STALL}.get(status, ScanEvent.END))
            return True

    def drained(self) -> None:
        with self.lock:
            self.life.fire(ScanEvent.DRAINED)

    def conclude(self, error: str | None) -> ScanState:
        """Enter and return the final state: failed with an error, else aborted, complete or incomplete."""
        with self.lock:
            self.result.error = error
            if error is not None:
                self.life.fire(ScanEvent.ERROR)
            elif self.ending is not None and self.ending.status == "aborted":
                self.life.fire(ScanEvent.FINALISED_ABORTED)
            else:
                whole = self.ledger.received == self.ledger.expected
                self.life.fire(ScanEvent.FINALISED_COMPLETE if whole else ScanEvent.FINALISED_INCOMPLETE)
            return self.life.state

    def idle_s(self) -> float:
        """Seconds since the last frame, or since arming."""
        with self.lock:
            return self.clock() - (self.last_frame_s or self.armed_s)

    def judge(self, quality: Quality | None, verdict: Verdict) -> bool:
        """Set the quality (None: unchanged) and its verdict. Returns whether decision, codes or finality changed."""
        with self.lock:
            before, self.verdict = self.verdict, verdict
            if quality is not None:
                self.quality = quality
        return (before.decision, before.codes, before.final) != (verdict.decision, verdict.codes, verdict.final)

    def report(self) -> Report:
        """Everything about the scan at this moment."""
        with self.lock:
            quality, verdict, latency = self.quality, self.verdict, self.latency
            scan_s = None
            if self.first_frame_s is not None and self.last_frame_s is not None:
                scan_s = self.last_frame_s - self.first_frame_s
            return Report(
                scan_id=self.spec.scan_id,
                sample=self.spec.sample,
                state=self.state,
                frames=FrameCounts(**self.ledger.to_dict()),
                written=self.written,
                projections=ProjectionCounts(quality.projections, self.spec.projections),
                coverage=quality.coverage,
                verdict=verdict.decision,
                reasons=verdict.reasons,
                final=verdict.final,
                quality=quality,
                center_px=quality.center_px,
                center_confidence=quality.center_confidence,
                raw_file=str(self.raw_file),
                tomogram_file=self.result.tomogram_file,
                artefacts=self.result.artefacts,
                geometry=self.result.geometry,
                plan=self.plan,
                latency_ms=Latency(
                    _milliseconds(latency.quantile(0.5)), _milliseconds(latency.quantile(0.99)), latency.count
                ),
                last_frame_to_tomogram_s=self.result.last_frame_to_tomogram_s,
                scan_s=scan_s,
                first_preview_projections=self.first_preview_projections,
                error=self.result.error,
            )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds
