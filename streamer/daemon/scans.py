"""The running scan and those before it: arming, aborting and looking up, on any thread."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable

from streamer.config import Config
from streamer.core.backend.selection import Backend
from streamer.core.planes.plane import Plane, check_planes
from streamer.daemon.arming.opening import Opening
from streamer.daemon.arming.pipelines import Pipelines
from streamer.daemon.elsewhere import Elsewhere
from streamer.daemon.monitoring.tally import Tally
from streamer.daemon.reports import Reports, refusal
from streamer.daemon.session import Session
from streamer.flow.acknowledged import Taken
from streamer.flow.ring.ring import Ring
from streamer.flow.scan import Ledger, ScanState
from streamer.flow.wire import End, EndStatus
from streamer.flow.wire.control import Busy
from streamer.flow.wire.daemon import Report
from streamer.flow.wire.events import ProgressEvent, StateEvent
from streamer.frames import BadInput, Decision, ScanSpec
from streamer.io.messaging.publish import Publisher
from streamer.io.raw.pixel_mask import PixelMask, joined
from streamer.io.raw.raw_writer import RawWriter
from streamer.pipeline.scan_pipeline import ScanPipeline

log = logging.getLogger(__name__)


class Scans:
    """The running session and the reports of those before it."""

    def __init__(
        self,
        config: Config,
        backend: Backend,
        ring: Ring,
        writer: RawWriter,
        events: Publisher,
        clock: Callable[[], float],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._writer, self._events, self._clock = writer, events, clock
        self.lock = threading.RLock()
        self.pipelines = Pipelines(config, backend, elsewhere)
        self._reports = Reports()
        self.opening = Opening(config, self.pipelines, ring, writer, clock, elsewhere)
        self._left = self.opening.left
        self.current: Session | None = None
        self.planes: tuple[Plane, ...] | None = None  # chosen by a client; None: the three orthogonal ones
        self.fixed_center: float | None = None
        self.operator_revision = 0  # grows when planes or centre are set; the compute thread then applies them
        self.lost_by_writer = 0
        self.tally = Tally()

    @property
    def state(self) -> ScanState:
        session = self.current
        return ScanState.IDLE if session is None else session.state

    def of(self, scan_id: str) -> Session | None:
        session = self.current
        return session if session is not None and session.spec.scan_id == scan_id else None

    def is_known(self, scan_id: str) -> bool:
        """Whether the scan runs, or is over and has a report."""
        return self.of(scan_id) is not None or self._reports.is_over(scan_id)

    def settled(self, taken: Taken) -> bool:
        """Whether what a message brought is readable after a crash of any process, or its scan is over."""
        session = self.of(taken.scan_id)
        if session is None or session.over:
            return True
        return taken.position is not None and self._writer.safe_position >= taken.position

    def is_busy(self) -> bool:
        session = self.current
        return session is not None and not session.over

    def arm(self, spec: ScanSpec) -> Session:
        """Prepare for the frames of a scan: check the disk space, open the raw file, format the ring for its frames.

        Raises Busy while another scan runs, or the raw writer does not answer, BadInput when the scan cannot be taken;
        nothing is left behind then.
        """
        with self.lock:
            session = self.of(spec.scan_id)
            if session is not None and session.spec == spec and not session.over:
                session.asked()
                return session
            if self.is_busy():
                assert self.current is not None
                raise Busy(f"scan {self.current.spec.scan_id} is {self.current.state}; wait for it, or abort it")
            if self._reports.has(spec.scan_id) or session is not None:
                raise BadInput(f"scan id {spec.scan_id!r} was used before; every scan needs its own")
            session = self.opening.open(spec, self.planes, self.fixed_center)
            self.current = session
            self._reports.taken(spec.scan_id)
        log.info(
            "scan %s armed: %d frames of %d×%d, file %s; tomogram %s, %.0f MB",
            spec.scan_id,
            spec.frames,
            spec.rows,
            spec.columns,
            session.raw_file,
            session.plan["tomogram"],
            session.plan["memory_mb"],
        )
        self._events.event(StateEvent(scan_id=spec.scan_id, state=session.state, time_ns=time.time_ns()))
        return session

    def take_up(self, scan_id: str) -> str:
        """Go on with a scan that a daemon left behind when it died. Returns why that cannot be, "" when it is done.

        A scan that is over counts as known from then on: nothing of it is waited for.
        """
        with self.lock:
            if self.is_known(scan_id):
                return ""
            try:
                unfinished = self._left.find(scan_id)
                if unfinished is not None:
                    self.arm(unfinished.spec)
                elif self._left.exists(scan_id):
                    self._reports.keep_older(scan_id)
                else:
                    return f"scan {scan_id} is not armed"
            except BadInput as error:
                return str(error)
            return ""

    def pipeline(self, spec: ScanSpec, mask: PixelMask | None = None, saturation: float | None = None) -> ScanPipeline:
        """A reconstruction that has no frames yet; see ``know_detector``. Raises MemoryError or BadInput."""
        return self.pipelines.new(spec, self.planes, self.fixed_center, mask, saturation)

    def know_detector(self, session: Session, mask: PixelMask | None, saturation: float | None) -> None:
        """The detector says which pixels (rows, columns) are not to be used, and where it is full.

        Raises BadInput for a mask of another shape than the scan's images.
        """
        with session.lock:
            if session.pipeline is not None:
                session.pipeline.know_detector(None if mask is None else mask != 0, saturation)
            session.saturation = saturation
            if mask is not None and mask.shape == (session.spec.rows, session.spec.columns):
                session.mask = joined(session.mask, mask)
                assert session.mask is not None
                self._writer.mark(session.mask)

    def refuse(self, spec: ScanSpec, source: str, why: str) -> None:
        """Record a scan that its source announced and that cannot be taken: all of its frames are missing."""
        ledger = Ledger.of(spec)
        ledger.close(None, "ok")
        report = refusal(spec, ledger, source, why)
        with self.lock:
            if self.of(spec.scan_id) is None:
                self._reports.keep_refused(report)
            self.tally.refused(ledger, report.state)
        self._publish(report)

    def was_refused(self, scan_id: str) -> bool:
        return self._reports.was_refused(scan_id)

    def wait(self, held: bool) -> None:
        """Let the time pass for the running scan. ``held``: its frames could not be taken since the last call."""
        if self._left.newest is not None:
            self._take_up_newest(self._left.newest)
        session = self.current
        if session is None or session.over:
            return
        before = 0 if session.raw_closed else session.restored
        if session.follow_writer(before + self._writer.written, self._writer.state):
            self._events.event(ProgressEvent(scan_id=session.spec.scan_id, report=session.report()))
        if session.wait(self._clock(), held) and session.ending is not None:
            log.warning("scan %s: %s", session.spec.scan_id, session.ending.note)

    def disarm(self, scan_id: str) -> None:
        """Forget an armed scan without frames. Raises BadInput when it has frames or is not armed."""
        session = self._named(scan_id)
        if session.ledger.received:
            raise BadInput(f"scan {scan_id} has {session.ledger.received} frames; abort it instead")
        session.end("aborted", 0, "disarmed before the first frame")

    def abort(self, scan_id: str, reason: str) -> None:
        """End the running scan as aborted; the frames received are kept. Aborting twice is allowed."""
        self._named(scan_id).end("aborted", None, reason)

    def trigger(self, scan_id: str) -> None:
        """Keep the latest turns of a scan that waits for this. Raises BadInput for another one."""
        self._named(scan_id).trigger()

    def end(self, scan_id: str, frames: int, status: EndStatus) -> None:
        """A client says for its detector that no more frames come, as an end message does."""
        self._named(scan_id).ended(End(scan_id, frames, status))

    def watch(self, planes: tuple[Plane, ...]) -> None:
        """Show these planes, in this scan and the next ones. Raises BadInput for too many planes or equal names."""
        check_planes(planes)
        with self.lock:
            self.planes = planes or None
            self.operator_revision += 1

    def fix_center(self, center: float | None) -> None:
        """Fix the centre of rotation at a detector column; None: find it."""
        with self.lock:
            self.fixed_center = center
            self.operator_revision += 1

    def _take_up_newest(self, scan_id: str) -> None:
        """Go on with the scan of the daemon before, unless another one was armed; its writer may need a moment."""
        with self.lock:
            if self.current is None and self._left.is_written(scan_id):
                return
            self._left.newest = None
            if self.current is not None:
                return
            if reason := self.take_up(scan_id):
                log.warning("scan %s of the daemon before is not taken up: %s", scan_id, reason)
            elif (session := self.of(scan_id)) is not None:
                session.unclaimed = True

    def _named(self, scan_id: str) -> Session:
        session = self.of(scan_id)
        if session is None:
            raise BadInput(f"scan {scan_id!r} is not armed or running")
        return session

    def finished(self, session: Session) -> None:
        """Keep and publish the report of a scan that reached its final state."""
        session.pipeline = None
        gc.collect()  # a pipeline is part of reference cycles, and the next scan needs its gigabytes
        report = session.report()
        with self.lock:
            # Under the lock, so that no scrape of the metrics counts this scan twice or not at all.
            session.over = True
            self._reports.keep(report)
            self.tally.add(session, self._clock(), time.time())
        fine = session.state is ScanState.COMPLETE and session.verdict.decision in (Decision.ENOUGH, Decision.CONTINUE)
        level = logging.INFO if fine else logging.WARNING
        scan_id = session.spec.scan_id
        log.log(level, "scan %s %s: %s", scan_id, session.state, session.verdict, extra={"scan_id": scan_id})
        if report.note:
            log.warning("scan %s: %s", scan_id, report.note, extra={"scan_id": scan_id})
        self._publish(report)

    def report(self, scan_id: str | None = None) -> Report | None:
        """Report of the named scan, else of the running or the last one. None when there is none."""
        session = self.current
        if session is not None and scan_id in (None, session.spec.scan_id):
            return session.report()
        return None if scan_id is None else self._reports.find(scan_id)

    def past(self, most: int) -> list[Report]:
        """Reports of the newest scans that are over, the oldest first."""
        return self._reports.newest(most)

    def _publish(self, report: Report) -> None:
        """Publish a final state."""
        event = StateEvent(scan_id=report.scan_id, state=report.state, time_ns=time.time_ns(), report=report)
        self._events.event(event)
