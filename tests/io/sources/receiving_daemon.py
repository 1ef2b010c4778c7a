"""A daemon that is no more than its receiver: what the acknowledged transport is tested against."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from streamer.flow import wire
from streamer.flow.acknowledged import Taken
from streamer.io.sources.acknowledged import AcknowledgingReceiver

ANYWHERE = "tcp://127.0.0.1:*"
WINDOW = 4
MAX_FRAME = 2**16


class Disk:
    """What a daemon keeps: frames on the disk survive it, those that wait for the flush do not."""

    def __init__(self) -> None:
        self.frames: dict[int, bytes] = {}
        self.doubled = 0
        self.ended = 0


class Sink:
    """One life of a daemon."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.waiting: list[tuple[int, bytes]] = []
        self.count = self.safe = 0
        self.flushing = True
        self.refusal = ""
        self.bad: list[str] = []
        self.put_off_by_cause: Counter[str] = Counter()
        self._slot = bytearray(MAX_FRAME)

    def admit(self, message: wire.Start | wire.FrameHeader | wire.End) -> str:
        return self.refusal

    def position(self) -> int:
        return self.count

    def put_off(self, why: str) -> None:
        self.put_off_by_cause[why] += 1

    def settled(self, taken: Taken) -> bool:
        if self.flushing:
            self.flush()
        return taken.position is None or self.safe >= taken.position

    def flush(self) -> None:
        self.disk.frames.update(self.waiting)
        self.waiting.clear()
        self.safe = self.count

    def start(self, message: wire.Start) -> None: ...

    def slot(self, header: wire.FrameHeader) -> memoryview | None:
        return memoryview(self._slot)[: header.size]

    def frame(self, header: wire.FrameHeader) -> None:
        if header.meta.index in self.disk.frames:
            self.disk.doubled += 1
        else:
            self.waiting.append((header.meta.index, bytes(self._slot[: header.size])))
            self.count += 1

    def corrupt(self, header: wire.FrameHeader, reason: str) -> None:
        self.bad.append(reason)

    def end(self, message: wire.End) -> None:
        self.disk.ended += 1

    def rejected(self, reason: str, text: str) -> None:
        self.bad.append(reason)

    def alive(self, message: wire.KeepAlive) -> None: ...

    def failed(self, error: Exception) -> None:
        raise AssertionError(error)


@contextmanager
def receiving(sink: Sink, endpoint: str = ANYWHERE, bind: bool = True) -> Iterator[str]:
    """A daemon that receives; with its end everything that was not flushed is gone."""
    with zmq.Context() as context:
        receiver = AcknowledgingReceiver(
            context, endpoint, bind, WINDOW, MAX_FRAME, daemon=time.time_ns(), clock=time.monotonic
        )
        stopped = threading.Event()
        thread = threading.Thread(target=receiver.run, args=(sink, stopped.is_set))
        thread.start()
        try:
            yield receiver.endpoint
        finally:
            stopped.set()
            thread.join()
