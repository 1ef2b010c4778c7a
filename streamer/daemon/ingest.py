"""The receive thread's work: it counts messages, fills slots of the ring and wakes the readers."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

from msgspec import structs

from streamer.daemon.scans import Scans
from streamer.daemon.throttle import ThrottledLog
from streamer.flow import wire
from streamer.flow.acknowledged import Taken
from streamer.flow.ring import Ring
from streamer.flow.scan import Outcome
from streamer.frames import BadInput, ScanSpec

log = logging.getLogger(__name__)

FULL_WAIT_S = 0.0005


class Ingest:
    """The sink of the frame receiver (see ``io.source_zmq.FrameSink``)."""

    def __init__(
        self, ring: Ring, scans: Scans, wake: Callable[[], None], stopped: threading.Event, clock: Callable[[], float]
    ) -> None:
        self._ring, self._scans, self._wake, self._stopped, self._clock = ring, scans, wake, stopped, clock
        self._complaints = ThrottledLog(log, clock)
        self._refused_scan = ""
        self.frames_by_kind: Counter[str] = Counter()
        self.rejected_by_reason: Counter[str] = Counter()
        self.errors_by_kind: Counter[str] = Counter()
        self.bytes = 0
        self.full_s = 0.0  # time that the receive thread waited for the raw writer; ZeroMQ then holds the detector back
        self.last_frame_ns = 0

    def start(self, message: wire.Start) -> None:
        try:
            self._scans.arm(message.spec)
        except BadInput as error:
            self.rejected("spec", str(error))

    def admit(self, message: wire.Start | wire.FrameHeader | wire.End) -> str:
        """Prepare for a message of the acknowledged transport. Returns why it must wait, "" when it can be taken.

        Messages of a scan that is over are taken, and counted by ``slot``; those of an unknown scan must wait.
        """
        if isinstance(message, wire.Start):
            return self._admit_scan(message.spec)
        scan_id = message.meta.scan_id if isinstance(message, wire.FrameHeader) else message.scan_id
        return "" if self._scans.is_known(scan_id) else f"scan {scan_id} is not armed"

    def _admit_scan(self, spec: ScanSpec) -> str:
        if not self._scans.is_known(spec.scan_id):
            try:
                self._scans.arm(spec)
            except BadInput as error:
                return str(error)
        return ""

    def position(self) -> int:
        """Frames committed to the ring so far."""
        return self._ring.committed

    def settled(self, taken: Taken) -> bool:
        """Whether what a message brought may be acknowledged."""
        return self._scans.settled(taken)

    def slot(self, header: wire.FrameHeader) -> memoryview | None:
        session = self._scans.of(header.meta.scan_id)
        if session is None:
            self._stale(header)
            return None
        if session.ending is not None:
            session.accept(header.meta)  # counts as late
            return None
        spec = session.spec
        if header.shape != (spec.rows, spec.columns) or header.dtype != spec.dtype:
            reason = "dtype" if header.dtype != spec.dtype else "shape"
            self.corrupt(header, reason)
            return None
        return self._wait_for_slot()

    def frame(self, header: wire.FrameHeader) -> None:
        session = self._scans.of(header.meta.scan_id)
        if session is None:
            return
        meta = structs.replace(header.meta, received_s=self._clock())
        outcome = session.accept(meta)
        if outcome is Outcome.ACCEPT:
            self._ring.commit(meta)
            self.frames_by_kind[meta.kind.name.lower()] += 1
            self.bytes += header.size
            self.last_frame_ns = time.time_ns()
            self._wake()
        elif outcome is Outcome.BEYOND:
            self.rejected(
                "beyond", f"frame {meta.index} of scan {meta.scan_id}, which announced {session.spec.frames} frames"
            )

    def corrupt(self, header: wire.FrameHeader, reason: str) -> None:
        session = self._scans.of(header.meta.scan_id)
        if session is not None:
            session.corrupt(header.meta.index)
        self.rejected(reason, f"frame {header.meta.index} of scan {header.meta.scan_id}: {reason}")

    def end(self, message: wire.End) -> None:
        session = self._scans.of(message.scan_id)
        if session is not None and session.end(message.status, message.frames):
            self._wake()

    def rejected(self, reason: str, text: str) -> None:
        self.rejected_by_reason[reason] += 1
        self._complaints.warning(reason, f"rejected ({reason}): {text}")

    def failed(self, error: Exception) -> None:
        kind = type(error).__name__
        self.errors_by_kind[kind] += 1
        if self.errors_by_kind[kind] == 1:
            log.error("a message could not be handled; the next ones like it are counted", exc_info=error)

    def _stale(self, header: wire.FrameHeader) -> None:
        self.rejected_by_reason["stale_scan"] += 1
        if header.meta.scan_id != self._refused_scan:
            self._refused_scan = header.meta.scan_id
            self._complaints.warning("stale_scan", f"frames of scan {header.meta.scan_id} are refused: it is not armed")

    def _wait_for_slot(self) -> memoryview | None:
        """A free slot of the ring. Waits while the raw writer holds the ring back; None when the daemon stops."""
        slot = self._ring.acquire()
        if slot is not None:
            return slot
        began = self._clock()
        while slot is None and not self._stopped.wait(FULL_WAIT_S):
            slot = self._ring.acquire()
        self.full_s += self._clock() - began
        return slot
