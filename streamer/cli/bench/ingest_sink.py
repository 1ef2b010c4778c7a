"""A sink that commits every frame to a ring, for ``streamer bench ingest``."""

from __future__ import annotations

import time

from streamer.flow import wire
from streamer.flow.acknowledged import Taken
from streamer.flow.ring.ring import Ring
from streamer.io.raw.writer import WriterProcess

FULL_WAIT_S = 0.0005


class RingSink:
    """There is no scan. Only the raw writer, if there is one, holds the ring back; a frame is safe when it says so."""

    def __init__(self, ring: Ring, writer: WriterProcess | None) -> None:
        self._ring, self._writer = ring, writer
        self._stopped = False
        self.frames = 0
        self.bad = 0

    def count(self) -> int:
        return self.frames

    def stop(self) -> None:
        """Wait for no more slots."""
        self._stopped = True

    def admit(self, message: wire.Start | wire.FrameHeader | wire.End) -> str:
        return ""

    def position(self) -> int:
        return self._ring.committed

    def put_off(self, why: str) -> None: ...

    def settled(self, taken: Taken) -> bool:
        if self._writer is None or taken.position is None:
            return True
        self._writer.poll_events()
        return self._writer.safe_position >= taken.position

    def start(self, message: wire.Start) -> None: ...

    def end(self, message: wire.End) -> None: ...

    def alive(self, message: wire.KeepAlive) -> None: ...

    def slot(self, header: wire.FrameHeader) -> memoryview | None:
        slot = self._ring.acquire()
        while slot is None and not self._stopped:
            time.sleep(FULL_WAIT_S)
            slot = self._ring.acquire()
        return slot

    def frame(self, header: wire.FrameHeader, packed: memoryview | None = None) -> None:
        self._ring.commit(header.meta, packed)
        if self._writer is not None:
            self._writer.notify()
        self.frames += 1

    def corrupt(self, header: wire.FrameHeader, reason: str) -> None:
        self.bad += 1

    def rejected(self, reason: str, text: str) -> None:
        self.bad += 1

    def failed(self, error: Exception) -> None:
        self.bad += 1
