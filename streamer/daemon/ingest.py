"""The receive thread's work: it counts messages, fills slots of the ring and wakes the readers."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import structs

from streamer.daemon.scans import Scans
from streamer.daemon.session import Session
from streamer.daemon.throttle import ThrottledLog
from streamer.flow import wire
from streamer.flow.acknowledged import Taken
from streamer.flow.capture import Capture
from streamer.flow.dialects.message import SeriesStart
from streamer.flow.latency import LatencyHistogram
from streamer.flow.ring.ring import Ring
from streamer.flow.scan import Outcome
from streamer.frames import BadInput, FrameMeta
from streamer.io.raw.pixel_mask import as_mask

log = logging.getLogger(__name__)

T = TypeVar("T")

FULL_WAIT_S = 0.0005
HOLD_WAIT_S = 0.005


class Ingest:
    """The sink of the frame receiver (see ``io.sources.push.FrameSink``)."""

    def __init__(
        self, ring: Ring, scans: Scans, wake: Callable[[], None], stopped: threading.Event, clock: Callable[[], float]
    ) -> None:
        self._ring, self._scans, self._wake, self._stopped, self._clock = ring, scans, wake, stopped, clock
        self._complaints = ThrottledLog(log, clock)
        self._stale_scan = ""
        self.waits = self._waited = False  # now; at some moment since ``held_back`` was called
        self.frames_by_kind: Counter[str] = Counter()
        self.rejected_by_reason: Counter[str] = Counter()
        self.errors_by_kind: Counter[str] = Counter()
        self.put_off_by_cause: Counter[str] = Counter()  # messages of the acknowledged transport
        self.bytes = 0
        self.full_s = 0.0  # time that the receive thread waited for a free slot, or for a scan that is being finished
        self.last_frame_ns = 0
        self.transport = LatencyHistogram()  # stamp of the source, when it sent one, → received
        self.ahead = 0  # frames whose stamp lies in the future: the clocks differ

    def held_back(self) -> bool:
        """Whether frames could not be taken at some moment since the last call, so that silence says nothing."""
        held, self._waited = self.waits or self._waited, False
        return held or 0 < self._ring.slots <= self._ring.occupied

    def start(self, message: wire.Start) -> None:
        spec, running = message.spec, self._scans.current
        if running is not None and running.spec.scan_id != spec.scan_id and not self._free(running, message):
            return
        try:
            session = self._scans.arm(spec)
        except Exception as error:  # also an OSError of the folder: nothing may be lost without a record
            text = str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
            self._scans.refuse(spec, message.src, text)
            self.rejected("refused", f"scan {spec.scan_id} of source {message.src!r}: {text}")
            return
        if not session.begins(message.src):
            self._foreign(session, message.src)

    def _free(self, running: Session, message: wire.Start) -> bool:
        """Wait until a scan that ends is over, and read nothing meanwhile. False when the daemon stops."""
        running.give_way(message.spec.scan_id)
        if running.owner.source == message.src:
            running.superseded(message.spec.scan_id)
        if running.ending is None or running.over:
            return True
        log.info("scan %s is held back until scan %s is finished", message.spec.scan_id, running.spec.scan_id)
        return self._wait(lambda: running.over or None, HOLD_WAIT_S) is not None

    def alive(self, message: wire.KeepAlive) -> None:
        session = self._scans.current
        if session is None or session.owner.source not in (None, message.src):
            return
        if session.capture is not None:
            self._pour(session, message.src)
        if message.paused:
            session.paused()

    def admit(self, message: wire.Start | wire.FrameHeader | wire.End) -> str:
        """Prepare for a message of the acknowledged transport. Returns why it must wait, "" when it can be taken.

        A start arms its scan, and so does a message of a scan that a daemon left behind when it died. Messages of a
        scan that is over are taken, and counted by ``slot``; those of an unknown scan must wait.
        """
        if not isinstance(message, wire.Start):
            return self._scans.take_up(message.scan_id)
        scan_id, running = message.spec.scan_id, self._scans.current
        if running is not None and running.spec.scan_id != scan_id:
            running.give_way(scan_id)
            if running.owner.source == message.src:
                running.superseded(scan_id)  # messages come in order: no more frames of it will
        if self._scans.take_up(scan_id):
            try:
                self._scans.arm(message.spec).begins(message.src)
            except BadInput as error:
                return str(error)
        return ""

    def position(self) -> int:
        """Frames committed to the ring so far."""
        return self._ring.committed

    def put_off(self, why: str) -> None:
        self.put_off_by_cause[why] += 1

    def settled(self, taken: Taken) -> bool:
        """Whether what a message brought may be acknowledged."""
        return self._scans.settled(taken)

    def slot(self, header: wire.FrameHeader) -> memoryview | None:
        session = self._owned(header)
        if session is None:
            return None
        if session.ending is not None:
            session.accept(header.meta)  # counts as late
            return None
        spec, armed = session.spec, (session.seen_rows, session.spec.columns)
        if header.shape != armed or header.dtype != spec.dtype:
            reason = "dtype" if header.dtype != spec.dtype else "shape"
            rows, columns = header.shape
            text = f"{rows}×{columns} {header.dtype}, armed were {armed[0]}×{armed[1]} {spec.dtype}"
            self.corrupt(header, reason, text)
            return None
        if session.capture is not None:
            self._pour(session, header.src)
            if session.capture.place(header.index, header.kind) is None:
                return self._window(session, session.capture, header.index)
        return self._slot()

    def _slot(self) -> memoryview | None:
        return self._ring.acquire() or self._wait(self._ring.acquire, FULL_WAIT_S)

    @staticmethod
    def _window(session: Session, capture: Capture, index: int) -> memoryview | None:
        """Room for a projection that is not kept, or not yet; None for one that nobody will want."""
        session.passed()
        if capture.holds:
            return capture.room()
        capture.let_go(index)
        return None

    def _pour(self, session: Session, source: str) -> None:
        """Enter what a trigger keeps of the window into the scan; the ring has room for it."""
        assert session.capture is not None
        for held in session.capture.opened():
            slot = self._slot()
            if slot is None:
                return
            slot[:] = held.pixels.data
            packed = None if held.packed is None else memoryview(held.packed)
            self._enter(session, held.meta, source, packed)

    def frame(self, header: wire.FrameHeader, packed: memoryview | None = None) -> None:
        session = self._scans.of(header.scan_id)
        if session is None:
            return
        meta, capture = header.meta, session.capture
        if meta.timestamp_ns > 0:
            self._transported(time.time_ns() - meta.timestamp_ns)
        if capture is not None:
            number = capture.place(meta.index, meta.kind)
            if number is None:
                capture.hold(meta, None if packed is None else bytes(packed))
                return
            meta = structs.replace(meta, index=number)
        self._enter(session, meta, header.src, packed)

    def _enter(self, session: Session, meta: FrameMeta, source: str, packed: memoryview | None) -> None:
        """The slot acquired last holds a frame of the scan."""
        meta = structs.replace(meta, received_s=self._clock())
        with session.lock:  # whoever ends the scan finds each accepted frame in the ring
            outcome = session.accept(meta, source)
            if outcome is Outcome.ACCEPT:
                self._ring.commit(meta, packed)
            session.settle()
        if outcome is Outcome.ACCEPT:
            self.frames_by_kind[meta.kind.name.lower()] += 1
            self.bytes += session.spec.frame_nbytes
            self.last_frame_ns = time.time_ns()
            self._wake()
        elif outcome is Outcome.BEYOND:
            self.rejected(
                "beyond", f"frame {meta.index} of scan {meta.scan_id}, which announced {session.spec.frames} frames"
            )

    def _transported(self, duration_ns: int) -> None:
        self.transport.observe(duration_ns * 1e-9)
        self.ahead += duration_ns < 0

    def corrupt(self, header: wire.FrameHeader, reason: str, text: str = "") -> None:
        session = self._scans.of(header.scan_id)
        if session is not None and session.admits(header.src):
            index, capture = header.index, session.capture
            session.corrupt(index if capture is None else capture.place(index, header.kind))
            session.settle()
        self.rejected(reason, f"frame {header.index} of scan {header.scan_id}: {text or reason}")

    def end(self, message: wire.End) -> None:
        session = self._scans.of(message.scan_id)
        if session is None:
            return
        if not session.admits(message.src):
            self._foreign(session, message.src)
            return
        if session.capture is not None:
            self._pour(session, message.src)
        if session.ended(message):
            self._wake()

    def series(self, scan_id: str, start: SeriesStart) -> None:
        session = self._scans.of(scan_id)
        if session is not None and session.ending is None:
            self._scans.know_detector(session, None if start.mask is None else as_mask(start.mask), start.saturation)

    def remarks(self, scan_id: str, texts: Sequence[str]) -> None:
        session = self._scans.of(scan_id)
        if session is not None:
            session.remarks = tuple(texts)

    def rejected(self, reason: str, text: str) -> None:
        self.rejected_by_reason[reason] += 1
        self._complaints.warning(reason, f"rejected ({reason}): {text}")

    def failed(self, error: Exception) -> None:
        kind = type(error).__name__
        self.errors_by_kind[kind] += 1
        if self.errors_by_kind[kind] == 1:
            log.error("a message could not be handled; the next ones like it are counted", exc_info=error)

    def _owned(self, header: wire.FrameHeader) -> Session | None:
        """The scan that a frame belongs to; None, and counted, when there is none or it is another source's."""
        scan_id = header.scan_id
        session = self._scans.of(scan_id)
        if session is None:
            reason = "refused" if self._scans.was_refused(scan_id) else "stale_scan"
            self.rejected_by_reason[reason] += 1
            if scan_id != self._stale_scan:
                self._stale_scan = scan_id
                self._complaints.warning(reason, f"frames of scan {scan_id} are refused: it is not armed")
        elif not session.admits(header.src):
            self._foreign(session, header.src)
            return None
        return session

    def _foreign(self, session: Session, source: str) -> None:
        self.rejected_by_reason["foreign"] += 1
        if session.owner.foreign[source] == 1:
            scan_id, owner = session.spec.scan_id, session.owner.source
            log.warning("source %r sends messages for scan %s of source %r; they are refused", source, scan_id, owner)

    def _wait(self, ask: Callable[[], T | None], pause_s: float) -> T | None:
        """Ask until there is an answer; ZeroMQ holds the source back meanwhile. None when the daemon stops."""
        began, answer, self.waits = self._clock(), None, True
        while answer is None and not self._stopped.wait(pause_s):
            answer = ask()
        self.waits, self._waited = False, True
        self.full_s += self._clock() - began
        return answer
