"""Where a shard's frames arrive: checked against its part of the scan, and into the ring. Of the receive thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from streamer.flow import wire
from streamer.flow.acknowledged import Taken
from streamer.flow.ring.ring import Ring
from streamer.flow.scan import Ledger, Outcome
from streamer.frames import FrameKind, ScanSpec
from streamer.io.raw.writer import WriterProcess

log = logging.getLogger(__name__)

FULL_WAIT_S = 0.0005
FRAMES_AT_ONCE = 8
"""For so many frames the raw writer is woken; for fewer, a moment later."""


@dataclass
class Part:
    """The rows of one scan that a shard holds; ``spec`` is that of these rows. The lock guards the ledger."""

    spec: ScanSpec
    path: Path
    heard_s: float
    ledger: Ledger = field(init=False)
    end: wire.End | None = None
    restored: int = 0  # frames that a shard that is gone has written
    over: bool = False  # its raw file is closed, no frame is taken any more

    def __post_init__(self) -> None:
        self.ledger, self.lock = Ledger.of(self.spec), threading.Lock()

    def restore(self, kinds: dict[int, FrameKind]) -> None:
        """Frames that are in the file already."""
        self.restored = len(kinds)
        for index, kind in kinds.items():
            self.ledger.frame(index, kind)


class Intake:
    """The sink of a shard's receiver (see ``io.sources.acknowledged.AcknowledgingSink``)."""

    def __init__(
        self,
        ring: Ring,
        writer: WriterProcess,
        stopped: threading.Event,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        """``wake`` tells whoever folds frames in that one has come."""
        self._ring, self.writer, self._stopped, self._clock, self._wake = ring, writer, stopped, clock, wake
        self.part: Part | None = None
        self._unwritten = 0  # frames, about, of which the raw writer was not told yet

    def admit(self, message: wire.Start | wire.FrameHeader | wire.End) -> str:
        """Messages before the first scan, and of one that is to come, wait at the cutter."""
        part = self.part
        if part is None or (part.over and _scan_of(message) != part.spec.scan_id):
            return "no scan is armed"
        return ""

    def start(self, message: wire.Start) -> None:
        """The scout has armed the scan before the cutter lets its messages through."""

    def position(self) -> int:
        return self._ring.committed

    def put_off(self, why: str) -> None:
        """The cutter keeps the message, and counts it."""

    def settled(self, taken: Taken) -> bool:
        part = self.part
        if taken.position is None or part is None or part.over or taken.scan_id != part.spec.scan_id:
            return True
        return self.writer.safe_position >= taken.position

    def slot(self, header: wire.FrameHeader) -> memoryview | None:
        part = self.part
        if part is None or part.over or header.scan_id != part.spec.scan_id:
            return None
        if header.shape != (part.spec.rows, part.spec.columns) or header.dtype != part.spec.dtype:
            self.corrupt(header, "shape")
            return None
        slot = self._ring.acquire()
        if slot is None:
            self.have_written()  # it is the raw writer that frees slots
        while slot is None and not self._stopped.wait(FULL_WAIT_S):
            slot = self._ring.acquire()
        return slot

    def frame(self, header: wire.FrameHeader, packed: memoryview | None = None) -> None:
        part = self.part
        if part is None or part.over or header.scan_id != part.spec.scan_id:
            return
        meta = structs.replace(header.meta, received_s=self._clock())
        with part.lock:  # whoever ends the scan finds each accepted frame in the ring
            part.heard_s = meta.received_s
            if part.ledger.frame(meta.index, meta.kind) is not Outcome.ACCEPT:
                return
            self._ring.commit(meta, packed)
        self._unwritten += 1
        if self._unwritten >= FRAMES_AT_ONCE:
            self.have_written()
        self._wake()

    def have_written(self) -> None:
        """Tell the raw writer that frames have come. Of any thread; called some times in a second as well."""
        if self._unwritten:
            self._unwritten = 0
            self.writer.notify()

    def corrupt(self, header: wire.FrameHeader, reason: str) -> None:
        part = self.part
        if part is not None and not part.over and header.scan_id == part.spec.scan_id:
            with part.lock:
                part.ledger.corrupt_frame(header.index)
            log.warning("frame %d of scan %s: its rows are corrupt (%s)", header.index, header.scan_id, reason)

    def end(self, message: wire.End) -> None:
        part = self.part
        if part is not None and message.scan_id == part.spec.scan_id:
            part.end = message

    def alive(self, message: wire.KeepAlive) -> None:
        if self.part is not None:
            self.part.heard_s = self._clock()

    def rejected(self, reason: str, text: str) -> None:
        log.warning("rejected (%s): %s", reason, text)

    def failed(self, error: Exception) -> None:
        log.error("a message could not be handled", exc_info=error)


def _scan_of(message: wire.Start | wire.FrameHeader | wire.End) -> str:
    return message.spec.scan_id if isinstance(message, wire.Start) else message.scan_id
