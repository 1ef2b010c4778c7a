"""The parts of the daemon put together as ``daemon.app`` does it, without its threads: a test turns them by hand.

Ring, raw writer (a process), pipelines, files and sockets are real; only time is the test's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import zmq
from msgspec import structs
from numpy.typing import NDArray

from streamer.config import Config
from streamer.core.backend.selection import Backend
from streamer.daemon.compute.finish import Finisher
from streamer.daemon.compute.thread import Compute
from streamer.daemon.connections import Connections
from streamer.daemon.handlers import Handlers
from streamer.daemon.ingest import Ingest
from streamer.daemon.scans import Scans
from streamer.daemon.session import Session
from streamer.daemon.supervision import Supervisor
from streamer.flow import wire
from streamer.flow.ring.ring import Ring
from streamer.flow.wire.daemon import DaemonStatus, Endpoints, Report, RingStatus
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.io.messaging.control import ControlServer
from streamer.io.messaging.publish import EVENT_HIGH_WATER_MARK, Publisher
from streamer.io.raw.writer import WriterProcess
from streamer.io.raw.writer_child import WriterOptions
from streamer.io.shared import SharedBuffer
from streamer.phantoms import body_projections, exposures, half_turn, random_body

T = TypeVar("T")

RING_BYTES = 2**20
COMPUTE_READER = 1
TURN_S = 0.02  # what one turn of the compute thread takes on the rig's clock
PATIENCE_S = 100.0
ROWS, COLUMNS, PROJECTIONS, FLATS, DARKS = 16, 64, 90, 6, 3
CENTER = 32.4


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class AtOnce(Executor):
    """Does what it is given before it returns."""

    def __init__(self, name: str) -> None:
        """``name`` of the thread that it stands for."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class Late(Executor):
    """Does what it is given when the test says so, or when somebody waits for it."""

    def __init__(self) -> None:
        self.waiting: list[Later[Any]] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        later = Later(lambda: fn(*args, **kwargs))
        self.waiting.append(later)
        return later

    def work(self) -> None:
        self.waiting.pop(0).result()


class Later(Future[T]):
    """Comes true when it is asked for."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__()
        self._work = work

    def result(self, timeout: float | None = None) -> T:
        if not self.done():
            self.set_result(self._work())
        return super().result(timeout)


class Transport:
    """What outlives a scan and takes time to start: shared memory, ring and writer process. One for many rigs."""

    def __init__(self, folder: Path) -> None:
        self.shared = SharedBuffer.create(RING_BYTES)
        self.ring = Ring(self.shared.memory)
        self.writer = WriterProcess(self.shared, folder, WriterOptions(flush_s=0.02, hang_s=PATIENCE_S))
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.rigs = 0

    def close(self) -> None:
        self.writer.stop()
        self.context.destroy(linger=0)
        self.shared.close()


class Listener:
    """Everything that a publisher sends, from the moment on at which this returns."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], publisher: Publisher) -> None:
        self._socket = context.socket(zmq.SUB)
        self._socket.subscribe(b"")
        self._socket.connect(publisher.endpoint)
        while not self._socket.poll(10):
            publisher.send([b"hello", b""])

    def heard(self) -> list[tuple[str, dict[str, Any]]]:
        """Topics and maps since the last call, without the payloads of planes."""
        messages = []
        while self._socket.poll(50):
            topic, entries, *_ = self._socket.recv_multipart()
            if topic != b"hello":
                messages.append((topic.decode(), wire.unpack(entries)))
        return messages

    def close(self) -> None:
        self._socket.close()


class Rig:
    """``sections`` of the configuration go on top of the defaults."""

    def __init__(
        self,
        transport: Transport,
        backend: Backend,
        folder: Path,
        threads: Callable[[str], Executor] = AtOnce,
        **sections: dict[str, Any],
    ) -> None:
        writer = {"directory": folder, "reserve_mb": 0, **sections.pop("writer", {})}
        self.config = Config.model_validate({"writer": writer, **sections})
        self.clock, self.directory, self.backend = Clock(), folder, backend
        self.ring, self.writer, self.context = transport.ring, transport.writer, transport.context
        self.ring_bytes, self.writer_errors = RING_BYTES, 0
        transport.rigs += 1
        here = f"inproc://rig-{transport.rigs}"
        self.reader = self.ring.reader(COMPUTE_READER, lossless=False)
        self.events = Publisher(self.context, f"{here}/events", EVENT_HIGH_WATER_MARK, "events")
        self.previews = Publisher(self.context, f"{here}/previews", EVENT_HIGH_WATER_MARK, "previews")
        self.event_listener = Listener(self.context, self.events)
        self.preview_listener = Listener(self.context, self.previews)
        self.previews.sent = 0
        self.scans = Scans(self.config, backend, self.ring, self.writer, self.events, self.clock)
        self.finisher = Finisher(self.scans, self.writer, self.events, self.config, self.clock, threads)
        self.compute = Compute(
            self.config, self.reader, self.scans, self.finisher, self.events, self.previews, self.clock, threads=threads
        )
        self.access, self.insecure, self.connections = None, False, Connections({}, self.clock)
        self.stopped = threading.Event()
        self.supervisor = Supervisor(self.stopped, lambda _part, _text, _fatal: None, self.clock)
        self.ingest = Ingest(self.ring, self.scans, self.wake, self.stopped, self.clock)
        self.handlers = Handlers(self.scans, self.status, self.clock, self.compute)
        self.control = ControlServer(self.context, f"{here}/control", self.handlers.table(), self.clock)

    def status(self, report: Report | None) -> DaemonStatus:
        endpoints = Endpoints(self.control.endpoint, self.events.endpoint, self.previews.endpoint, source="")
        return DaemonStatus(self.scans.state, "", "", endpoints, RingStatus(0, 0, 0), report)

    def wake(self) -> None:
        self.writer.notify()
        self.compute.wake()

    def close(self) -> None:
        session = self.scans.current
        if session is not None and not session.over:
            session.end("aborted", None, "the test is over")
            self.turn_until(lambda: session.over)
        for part in (self.control, self.events, self.previews, self.event_listener, self.preview_listener):
            part.close()
        self.connections.close()
        self.reader.detach()

    # ── what the source does ────────────────────────────────────────────────────────────────────────────────────
    def send(self, meta: FrameMeta, pixels: NDArray[Any], source: str = "") -> bool:
        """One frame, as the receive thread hands it over. False when the daemon did not want it."""
        header, payload = wire.encode_frame(meta, pixels, source)
        message = wire.decode(header)
        assert isinstance(message, wire.FrameHeader)
        slot = self.ingest.slot(message)
        if slot is None:
            return False
        slot[:] = payload
        self.ingest.frame(message)
        return True

    def end(self, spec: ScanSpec, frames: int | None = None, status: wire.EndStatus = "ok") -> None:
        self.ingest.end(wire.End(spec.scan_id, spec.frames if frames is None else frames, status))

    # ── what the compute thread does ────────────────────────────────────────────────────────────────────────────
    def turn_until(self, condition: Callable[[], bool]) -> None:
        """Let the compute thread turn until ``condition``; the rig's clock goes on with each turn."""
        deadline = time.monotonic() + PATIENCE_S

        def stopped() -> bool:
            self.clock.now += TURN_S
            self.scans.wait(held=self.ingest.held_back())
            assert time.monotonic() < deadline, "the compute thread did not get there"
            return condition()

        self.compute.run(stopped)

    def turn_for(self, seconds: float) -> None:
        """Let the compute thread turn, and so many seconds pass on the rig's clock."""
        end = self.clock.now + seconds
        self.turn_until(lambda: self.clock.now > end)

    def fold(self) -> None:
        """Until every frame in the ring is folded in."""
        self.turn_until(lambda: self.compute.backlog == 0)

    def run(self, scan: TinyScan, indices: Iterable[int] | None = None, turn_every: int = 8) -> None:
        """Arm the scan and send its frames (default: all), folding them in every so often."""
        self.scans.arm(scan.spec)
        self.feed(scan, range(scan.spec.frames) if indices is None else indices, turn_every)

    def feed(self, scan: TinyScan, indices: Iterable[int], turn_every: int = 8) -> None:
        for count, index in enumerate(indices, start=1):
            self.send(scan.metas[index], scan.pixels[index])
            if count % turn_every == 0:
                self.fold()
        self.fold()

    def finish(self, scan: TinyScan, frames: int | None = None, status: wire.EndStatus = "ok") -> Report:
        """Send the end and let the scan be finished; its report."""
        self.end(scan.spec, frames, status)
        return self.finished(scan)

    def finished(self, scan: TinyScan) -> Report:
        session = self.session(scan)
        self.turn_until(lambda: session.over)
        report = self.scans.report(scan.spec.scan_id)
        assert report is not None
        return report

    def session(self, scan: TinyScan) -> Session:
        session = self.scans.of(scan.spec.scan_id)
        assert session is not None
        return session


class TinyScan:
    """A body on a turntable: darks, flats, then projections over half a turn, in ``turns`` interlaced turns.

    ``pixels`` are the frames as sent, ``metas`` what is said of each.
    """

    def __init__(
        self,
        scan_id: str = "scan-1",
        center: float = CENTER,
        turns: int = 1,
        empty: bool = False,
        **changes: Any,
    ) -> None:
        spec = ScanSpec(scan_id, "body", ROWS, COLUMNS, PROJECTIONS, flats=FLATS, darks=DARKS, pixel_size_m=1e-5)
        self.spec = structs.replace(spec, **changes)
        evenly = half_turn(self.spec.projections)
        angles = np.concatenate([evenly[turn::turns] for turn in range(turns)])
        body = random_body(np.random.default_rng(5), COLUMNS)
        lines = body_projections(body, ROWS, COLUMNS, angles, center)
        rng = np.random.default_rng(7)
        no_sample = np.zeros((self.spec.flats, ROWS, COLUMNS), np.float32)
        darks = rng.normal(100, 2, (self.spec.darks, ROWS, COLUMNS)).round().astype("<u2")
        flats = exposures(no_sample, rng=rng)
        projections = exposures(np.zeros_like(lines) if empty else lines, rng=rng)
        self.pixels = np.concatenate([darks, flats, projections]).astype("<u2")
        kinds = [FrameKind.DARK] * self.spec.darks + [FrameKind.FLAT] * self.spec.flats
        kinds += [FrameKind.PROJECTION] * self.spec.projections
        turned = [0.0] * (self.spec.darks + self.spec.flats) + np.rad2deg(angles).tolist()
        self.metas = [
            FrameMeta(scan_id, index, kind, angle, seq=index)
            for index, (kind, angle) in enumerate(zip(kinds, turned, strict=True))
        ]
        self.first_projection = self.spec.darks + self.spec.flats
