"""One scan in the daemon, from arm to its final report. Every method is safe to call from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from streamer.daemon.outcome import Ending, Result, remarks_of, without_raw_data
from streamer.flow import wire
from streamer.flow.capture import Capture
from streamer.flow.latency import LatencyHistogram
from streamer.flow.losses import CounterWatch
from streamer.flow.owner import Owner
from streamer.flow.patience import Patience, PatienceLimits
from streamer.flow.row_cut import RowCut
from streamer.flow.scan import Ledger, Outcome, ScanEvent, ScanLife, ScanState
from streamer.flow.wire.daemon import FrameCounts, Latency, ProjectionCounts, Report
from streamer.frames import (
    NOT_JUDGED,
    BadInput,
    FrameKind,
    FrameMeta,
    Quality,
    ScanSpec,
    Verdict,
)
from streamer.io.raw.pixel_mask import PixelMask
from streamer.io.raw.unfinished import Batch, UnfinishedScan
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.store import FRAMES_PER_BATCH


@dataclass
class Session:
    """State of one scan. The lock guards all but the pipeline, which belongs to the compute thread."""

    spec: ScanSpec
    pipeline: ScanPipeline | None
    raw_file: Path
    clock: Callable[[], float]
    limits: PatienceLimits
    ledger: Ledger = field(init=False)
    life: ScanLife = field(default_factory=ScanLife)
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    quality: Quality = field(default_factory=Quality)
    verdict: Verdict = NOT_JUDGED
    owner: Owner = field(default_factory=Owner)
    end_message: wire.End | None = None  # it came, and frames lack that other connections may still bring
    ending: Ending | None = None
    result: Result = field(default_factory=Result)
    written: int = 0
    writer: tuple[str, str] = ("ok", "")  # state of the raw file and why; see ``WriterProcess.state``
    raw_loss: str = ""  # why too few of the frames received are in the raw file
    remarks: tuple[str, ...] = ()  # what was wrong with its frames, in words
    first_preview_projections: int | None = None
    first_frame_s: float | None = None
    last_frame_s: float | None = None
    restored: int = 0  # frames that the files of an earlier daemon hold
    stored: Iterator[Batch] | None = None  # those of them that the pipeline has not seen
    mask: PixelMask | None = None  # pixels (rows, columns) of the detector that are not to be used
    saturation: float | None = None  # of the detector, as it said itself
    rows: RowCut | None = None  # of the detector that this daemon sees; None: all

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.ledger = Ledger.of(self.spec)
        self.capture = None if self.spec.before_trigger is None else Capture(self.spec)
        self.life.fire(ScanEvent.ARM)
        self.armed_s = self.clock()
        self._patience = Patience(self.limits, self.armed_s)
        self._counter = CounterWatch()
        self.plan = {} if self.pipeline is None else self.pipeline.plan.to_dict()
        self.raw_error: str | None = None  # what went wrong with the raw file
        self.raw_closed = False  # its frames are counted
        self.unclaimed = False  # the daemon took it up by itself, and nobody has asked for it or sent for it since
        self.anew = False  # the reconstruction is made again, from the raw file
        self.reconstructed = False  # the final verdict and the tomogram were made, or failed
        self.over = False  # the last report is published; another scan may be armed

    @property
    def state(self) -> ScanState:
        return self.life.state

    @property
    def seen_rows(self) -> int:
        """Of each frame that comes here."""
        return self.spec.rows if self.rows is None else self.rows.rows

    @property
    def ends(self) -> bool:
        """No more frames are to be sent: the end message came, or the scan was ended otherwise."""
        return self.ending is not None or self.end_message is not None

    @property
    def all_came(self) -> bool:
        """Whether every frame that is expected has been received, or will not come."""
        with self.lock:
            return self.ending is not None or self.ledger.seen == self.ledger.expected

    def begins(self, source: str) -> bool:
        """The source announces this scan. False when it belongs to another one."""
        with self.lock:
            self.unclaimed = False
            self.owner.begins(source)
            return self.owner.admits(source)

    def admits(self, source: str) -> bool:
        """Whether a message of this source belongs to the scan."""
        with self.lock:
            return self.owner.admits(source)

    def accept(self, meta: FrameMeta, source: str = "") -> Outcome:
        """Enter a frame that passed its checks into the ledger."""
        with self.lock:
            outcome = self.ledger.frame(meta.index, meta.kind)
            if self.capture is not None:
                self.capture.entered(meta.index)
            self._counter.frame(meta.index, outcome)
            self.unclaimed = False
            if outcome is Outcome.ACCEPT:
                self.owner.begins(source)
                if self.first_frame_s is None:
                    self.first_frame_s = meta.received_s
                self.life.fire(ScanEvent.FRAME)
                self.last_frame_s = meta.received_s
                self._patience.heard()
            return outcome

    def restore(self, unfinished: UnfinishedScan) -> None:
        """Go on with a scan whose daemon died: enter the frames on the disk, and have the pipeline read them."""
        with self.lock:
            for index, kind in unfinished.kinds.items():
                self.ledger.frame(index, kind)
            self.restored = len(unfinished.kinds)
            if self.capture is not None and FrameKind.PROJECTION in unfinished.kinds.values():
                self.capture.give_up()
            self.written = self.restored
            if self.restored:
                self.life.fire(ScanEvent.FRAME)
                self.first_frame_s = self.last_frame_s = self.clock()
            self.stored = unfinished.batches(self._lacks, FRAMES_PER_BATCH)

    def _lacks(self, index: int) -> bool:
        """Whether the pipeline has not seen a frame."""
        return self.pipeline is not None and not self.pipeline.arrivals.has(index)

    def corrupt(self, index: int | None) -> None:
        with self.lock:
            self.ledger.corrupt_frame(index)

    def passed(self) -> None:
        """A frame came that is not kept, or not yet: the source is there."""
        with self.lock:
            self.unclaimed = False
            self._patience.heard()

    def trigger(self) -> None:
        """Keep the last turns and the turns that follow. Raises BadInput unless the scan waits for that."""
        with self.lock:
            if self.capture is None:
                raise BadInput(f"scan {self.spec.scan_id} keeps every frame: it was announced without before_trigger")
            if self.ends:
                raise BadInput(f"scan {self.spec.scan_id} is over; nothing of it can be kept any more")
            self.capture.trigger()

    def asked(self) -> None:
        """A client asks for this very scan: before its first frame that shows that somebody still wants it."""
        with self.lock:
            self.unclaimed = False
            if self.first_frame_s is None:
                self._patience.heard()

    def paused(self) -> None:
        """The source says that it will go on."""
        with self.lock:
            self.unclaimed = False
            self._patience.heard()

    def ended(self, message: wire.End) -> bool:
        """The source has sent its last frame. The scan ends at once, unless frames lack that may still come."""
        with self.lock:
            if self.ends:
                return False
            if self.capture is not None:
                message = structs.replace(message, frames=self.capture.issued(message.frames))
            self.end_message = message
            self._patience.heard()
            return self.settle()

    def settle(self) -> bool:
        """End the scan if its end message came and no frame lacks any more."""
        with self.lock:
            message = self.end_message
            if message is None or self.ending is not None:
                return False
            if message.status != "aborted" and self.ledger.seen < min(message.frames, self.ledger.announced):
                return False
            return self.end(message.status, message.frames)

    def wait(self, now: float, held: bool) -> bool:
        """Let the time pass; ``held``: frames could not be taken. True when this ends the scan: nothing came."""
        with self.lock:
            if self.ending is not None:
                return False
            complete, begun = self.ledger.seen == self.ledger.expected, self.first_frame_s is not None
            self._patience.wait(now, held)
            if not self._patience.over(begun, complete or self.ends):
                return False
            silence = f"no frame for {self._patience.silence_s:.1f} s"
            if self.end_message is not None:
                return self.end(self.end_message.status, self.end_message.frames)
            if begun:
                return self.end("ok" if complete else "stalled", None, f"{silence} and no end message")
            return self.end("aborted", 0, f"given up: {silence} since it was armed, and nobody asked for it")

    def give_way(self, scan_id: str) -> None:
        """Another scan is announced. One that the daemon took up by itself, and nobody wants, must not block it."""
        if self.unclaimed and scan_id != self.spec.scan_id:
            self.end("stalled", None, f"nothing of it came after the restart before scan {scan_id} was announced")

    def superseded(self, scan_id: str) -> None:
        """Its source begins another scan."""
        with self.lock:
            message = self.end_message
            if message is not None:
                self.end(message.status, message.frames)
            else:
                self.end("stalled", None, f"its source began scan {scan_id} without an end message")

    def end(self, status: str, frames: int | None, note: str = "") -> bool:
        """End the scan now: what has not come is missing. Returns False when it had ended before.

        ``frames``: how many the source says it has issued.
        """
        with self.lock:
            if self.ending is not None:
                return False
            self.ledger.close(frames, status)
            remarks = remarks_of(self.ledger, self.owner, self._counter.restart, status, frames)
            self.ending = Ending(status, "; ".join(filter(None, (note, *remarks))))
            self.life.fire({"aborted": ScanEvent.ABORT, "stalled": ScanEvent.STALL}.get(status, ScanEvent.END))
            return True

    def drained(self) -> None:
        with self.lock:
            if self.state is ScanState.DRAINING:
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

    def judge(self, quality: Quality | None, verdict: Verdict) -> bool:
        """Set the quality (None: unchanged) and its verdict. Returns whether decision, codes or finality changed."""
        with self.lock:
            verdict = without_raw_data(verdict, self.raw_loss) if self.raw_loss else verdict
            before, self.verdict = self.verdict, verdict
            if quality is not None:
                self.quality = quality
        return (before.decision, before.codes, before.final) != (verdict.decision, verdict.codes, verdict.final)

    def follow_writer(self, written: int, state: tuple[str, str]) -> bool:
        """The raw file has so many frames, and is in this state. Returns whether the state is another one."""
        with self.lock:
            before, self.writer, self.written = self.writer, state, written
        if state[0] == "failed" and before[0] != "failed":
            self.lose_raw_data(f"frames are being lost: {state[1]}")
        return before[0] != state[0]

    def lose_raw_data(self, why: str) -> None:
        """Too few frames are in the raw file: the scan must be done again, however good the reconstruction is."""
        with self.lock:
            if not self.raw_loss:
                self.raw_loss = why
                self.judge(None, self.verdict)

    @property
    def note(self) -> str:
        """How the scan ended, and what was wrong with its frames, in words."""
        captured = ""
        if self.capture is not None and self.capture.from_index:
            captured = f"kept from projection {self.capture.from_index} of the rotation on"
        return "; ".join(filter(None, ("" if self.ending is None else self.ending.note, *self.remarks, captured)))

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
                frames=FrameCounts(**self.ledger.to_dict(), passed=0 if self.capture is None else self.capture.seen),
                capture=None if self.capture is None else self.capture.state,
                written=self.written,
                writer=self.writer[0],
                writer_note=self.writer[1],
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
                tomograms=len(self.result.tomogram_files),
                artefacts=self.result.artefacts,
                geometry=self.result.geometry,
                plan=self.plan,
                latency_ms=_latency(latency),
                last_frame_to_tomogram_s=self.result.last_frame_to_tomogram_s,
                scan_s=scan_s,
                source=self.owner.source,
                foreign=dict(self.owner.foreign),
                note=self.note,
                first_preview_projections=self.first_preview_projections,
                error=self.result.error,
            )


def _latency(seen: LatencyHistogram) -> Latency:
    p50, p90, p99, p999, worst = map(_milliseconds, seen.quantiles(0.5, 0.9, 0.99, 0.999, 1.0))
    return Latency(p50, p99, seen.count, p90, p999, worst)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds
