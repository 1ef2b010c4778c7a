"""``streamer bench ingest``: receives frames of another process into the ring, as the daemon does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import zmq

from streamer.cli.bench.figures import Figure, Step, Task, limits_figures
from streamer.cli.processes import ANYWHERE, ManagedProcess
from streamer.core.backend.selection import Backend
from streamer.flow import wire
from streamer.flow.ring import Ring
from streamer.flow.ring_layout import bytes_needed
from streamer.frames import StreamerError
from streamer.io.shared import SharedBuffer
from streamer.io.sockets import until_done
from streamer.io.source_zmq import FrameReceiver

SLOTS = 16
HIGH_WATER = 8
FIRST_FRAME_S = 60.0


class RingSink:
    """Commits every frame to the ring and counts it. No scan and no reader hold it back."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self.frames = 0
        self.bad = 0

    def start(self, message: wire.Start) -> None: ...

    def end(self, message: wire.End) -> None: ...

    def alive(self, message: wire.KeepAlive) -> None: ...

    def slot(self, header: wire.FrameHeader) -> memoryview | None:
        return self._ring.acquire()

    def frame(self, header: wire.FrameHeader) -> None:
        self._ring.commit(header.meta)
        self.frames += 1

    def corrupt(self, header: wire.FrameHeader, reason: str) -> None:
        self.bad += 1

    def rejected(self, reason: str, text: str) -> None:
        self.bad += 1

    def failed(self, error: Exception) -> None:
        self.bad += 1


def ingest(_backend: Backend, task: Task, step: Step) -> list[Figure]:
    """Measure frames per second, with checksums, and compare with a bare socket that drops its messages."""
    step("limits")
    figures = limits_figures(task.seconds, task.threads)
    copied = 1e9 * figures[0].value
    for size in task.sizes:
        step(f"{size}²")
        nbytes = 2 * size * size
        rate, bad = _into_ring(size, task.seconds / 2)
        bare = _bare(size, task.seconds / 2)
        name = f"{size}×{size}"
        figures += [
            Figure(f"{name}, socket → ring", rate, "frames/s", "bare socket, frames dropped", bare),
            Figure(f"{name}, socket → ring", rate, "frames/s", "copy the frame in memory", copied / nbytes),
            Figure(f"{name}, socket → ring", rate * nbytes / 1e9, "GB/s"),
            Figure(f"{name}, corrupt or rejected", float(bad), "frames"),
        ]
    return figures


def _into_ring(size: int, seconds: float) -> tuple[float, int]:
    with SharedBuffer.create(bytes_needed((size, size), "<u2", SLOTS)) as shared, until_done() as context:
        ring = Ring(shared.memory)
        ring.format((size, size), "<u2", SLOTS)
        sink, stopped = RingSink(ring), threading.Event()
        receiver = FrameReceiver(context, ANYWHERE, True, HIGH_WATER, 2 * size * size)
        thread = threading.Thread(target=receiver.run, args=(sink, stopped.is_set), name="receive")
        try:
            with _sender(receiver.endpoint, size):
                thread.start()
                rate = _rate(lambda: sink.frames, seconds)
        finally:
            stopped.set()
            if thread.ident is not None:
                thread.join()
            receiver.close()
        del ring
        return rate, sink.bad


def _bare(size: int, seconds: float) -> float:
    """Frames per second of the sender and ZeroMQ alone."""
    with until_done() as context, context.socket(zmq.PULL) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
        socket.bind(ANYWHERE)
        count, stopped = [0], threading.Event()

        def receive() -> None:
            while not stopped.is_set():
                if socket.poll(50):
                    socket.recv_multipart(copy=False)
                    count[0] += 1

        thread = threading.Thread(target=receive, name="receive")
        try:
            with _sender(str(socket.getsockopt_string(zmq.LAST_ENDPOINT)), size):
                thread.start()
                return _rate(lambda: count[0], seconds)
        finally:
            stopped.set()
            if thread.ident is not None:
                thread.join()


@contextmanager
def _sender(endpoint: str, size: int) -> Any:
    with TemporaryDirectory(prefix="streamer-bench-") as folder:
        arguments = ["-m", "streamer.cli.bench.sender", endpoint, str(size)]
        sender = ManagedProcess("sender", arguments, Path(folder) / "sender.log")
        try:
            yield sender
        finally:
            sender.stop()


def _rate(counted: Callable[[], int], seconds: float) -> float:
    """Counts per second, measured for ``seconds`` from the first count on."""
    deadline = time.perf_counter() + FIRST_FRAME_S
    while not counted():
        if time.perf_counter() > deadline:
            raise StreamerError(f"no frame came within {FIRST_FRAME_S:g} s")
        time.sleep(0.001)
    rates = []
    for _ in range(5):
        first, began = counted(), time.perf_counter()
        time.sleep(seconds / 5)
        rates.append((counted() - first) / (time.perf_counter() - began))
    return float(np.median(rates))
