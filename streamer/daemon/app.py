"""The composition root: it builds every part from the configuration and owns the threads and the signals."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import zmq
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from streamer import __version__
from streamer.config import Config, Source, check_security, unguarded
from streamer.core.backend.selection import BackendError, select_backend, usable_threads
from streamer.core.backend.staging import lock_pages, upload_buffer
from streamer.core.warmup import warm
from streamer.daemon.access import Access
from streamer.daemon.compute import Compute
from streamer.daemon.connections import FRAMES, REQUESTS, SUBSCRIPTIONS, Connections
from streamer.daemon.finish import Finisher
from streamer.daemon.handlers import Handlers, check_role
from streamer.daemon.http import Page, PageServer
from streamer.daemon.ingest import Ingest
from streamer.daemon.scans import Scans
from streamer.daemon.snapshot import snapshot
from streamer.daemon.supervision import Supervisor
from streamer.flow.ring import Ring
from streamer.flow.wire.daemon import DaemonStatus, Endpoints, Report, RingStatus
from streamer.flow.wire.events import FaultEvent
from streamer.frames import BadInput
from streamer.io.control import ControlServer
from streamer.io.publish import EVENT_HIGH_WATER_MARK, PREVIEW_HIGH_WATER_MARK, Publisher
from streamer.io.raw.writer import WriterProcess, check_space
from streamer.io.raw.writer_child import WriterOptions
from streamer.io.shared import SharedBuffer
from streamer.io.sockets import Guard, open_to_all, port_of
from streamer.io.source_acknowledged import AcknowledgingReceiver
from streamer.io.source_zmq import FrameReceiver
from streamer.keys import KeyFolder
from streamer.metrics import StreamerCollector
from streamer.pipeline.preparation.warmup import warm_preparation
from streamer.pipeline.rehearsal import rehearse

log = logging.getLogger(__name__)

COMPUTE_READER = 1  # reader 0 of the ring is the raw writer's
TICK_S = 0.05
DRAIN_S = 90.0


class Daemon:
    """The whole daemon. Construction binds every socket; ``run`` works until ``stop``.

    Raises BadInput when the configuration cannot be served here (port in use, folder not writable).
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        check_security(config)
        self._clock = clock
        self.stopped = threading.Event()
        self.failure = ""  # why the daemon ends by itself
        try:
            backend, why = select_backend(config.reconstruction.backend, config.reconstruction.threads)
        except BackendError as error:
            raise BadInput(f"reconstruction.backend: {error}") from error
        log.info(why)
        warm(backend, more={"preparation": warm_preparation, "rehearsal": rehearse}, processes=usable_threads())
        self._prepare_directory(config.writer.directory)
        self.backend = backend
        self.access: Access | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._open: list[Callable[[], Any]] = [self._context.term]  # undone in reverse order
        try:
            self._build(config)
        except BaseException:
            self._close()
            raise

    @staticmethod
    def _prepare_directory(directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"writer.directory {directory}: cannot be made: {error.strerror}") from error
        check_space(directory, 0, 0)

    def _build(self, config: Config) -> None:
        self.directory = config.writer.directory
        self.writer_errors = 0
        self.ring_bytes = int(config.ring.memory_mb * 2**20)
        shared = SharedBuffer.create(self.ring_bytes)
        self._open.append(shared.close)
        if self.backend.on_device:
            memory = np.frombuffer(shared.memory, np.uint8)
            self._open.append(lock_pages(self.backend.kernels.engine, memory, "the ring"))
        self.ring = Ring(shared.memory)
        reader = self.ring.reader(COMPUTE_READER, lossless=False)
        self._open.append(reader.detach)
        guard = self._build_access(config)
        self._receiver = self._new_receiver(config.source, guard("source") if config.security.frames else open_to_all)
        self._open.append(self._receiver.close)
        self.events = Publisher(
            self._context, config.control.events, EVENT_HIGH_WATER_MARK, "control.events", guard("events")
        )
        self._open.append(self.events.close)
        self.previews = Publisher(
            self._context, config.preview.endpoint, PREVIEW_HIGH_WATER_MARK, "preview.endpoint", guard("preview")
        )
        self._open.append(self.previews.close)
        section = config.writer
        options = WriterOptions(
            flush_s=section.flush_s,
            reserve_bytes=int(section.reserve_mb * 2**20),
            fsync_s=section.fsync_s,
            hang_s=section.hang_s,
            patience_s=section.patience_s,
            verify=section.verify,
        )
        self.writer = WriterProcess(shared, section.directory, options, self._clock)
        self._open.append(self.writer.stop)
        self.scans = Scans(config, self.backend, self.ring, self.writer, self.events, self._clock)
        self.finisher = Finisher(self.scans, self.writer, self.events, config, self._clock)
        new_buffer = partial(upload_buffer, self.backend)
        self.compute = Compute(
            config, reader, self.scans, self.finisher, self.events, self.previews, self._clock, new_buffer
        )
        self.ingest = Ingest(self.ring, self.scans, self._wake, self.stopped, self._clock)
        handlers = Handlers(self.scans, self._status, self._clock)
        permit = None if self.access is None else partial(check_role, self.access.client)
        self.control = ControlServer(
            self._context,
            config.control.endpoint,
            handlers.table(),
            self._clock,
            guard=guard("control"),
            permit=permit,
        )
        self._open.append(self.control.close)
        self.endpoints = {
            "control": self.control.endpoint,
            "events": self.events.endpoint,
            "preview": self.previews.endpoint,
            "source": self._receiver.endpoint,
        }
        budgets = {"control": REQUESTS, "events": SUBSCRIPTIONS, "preview": SUBSCRIPTIONS}
        if config.source.bind:
            budgets["source"] = FRAMES
        self.connections = Connections(
            {port: (name, budgets[name]) for name in budgets if (port := port_of(self.endpoints[name]))}, self._clock
        )
        self.control.taken = self.connections.taken
        if config.metrics.enabled:
            self._serve_metrics(config)
        self.supervisor = Supervisor(self.stopped, self._fault, self._clock)
        self.supervisor.add("receive", partial(self._receiver.run, self.ingest))
        self.supervisor.add("compute", self.compute.run)
        self.supervisor.add("control", self.control.run)
        self.supervisor.add("connections", partial(self.connections.run, wait=self.stopped.wait))
        if self.access is not None:
            self.supervisor.add("access", self.access.run)

    def _build_access(self, config: Config) -> Callable[[str], Guard]:
        """What guards a socket, by its name."""
        open_to_others = unguarded(config)
        self.insecure = bool(open_to_others)
        if open_to_others:
            log.warning("security.insecure: everybody who reaches %s may use it", ", ".join(open_to_others.values()))
        if config.security.keys is None:
            return lambda _name: open_to_all
        self.access = Access(self._context, KeyFolder(config.security.keys), self._clock)
        self._open.append(self.access.close)
        return self.access.guard

    def _new_receiver(self, source: Source, guard: Guard) -> FrameReceiver | AcknowledgingReceiver:
        max_bytes = int(source.max_frame_mb * 2**20)
        common = (self._context, source.endpoint, source.bind, source.high_water_mark, max_bytes)
        if source.transport == "push":
            wanted = None if source.attach == "always" else self._awaits_frames
            return FrameReceiver(*common, guard=guard, wanted=wanted)
        return AcknowledgingReceiver(*common, daemon=time.time_ns(), clock=self._clock, guard=guard)

    def _awaits_frames(self) -> bool:
        session = self.scans.current
        return session is not None and session.ending is None

    def _serve_metrics(self, config: Config) -> None:
        registry = CollectorRegistry()
        registry.register(StreamerCollector(lambda: snapshot(self)))
        pages = {"/metrics": lambda: Page(generate_latest(registry), CONTENT_TYPE_LATEST), "/readyz": self._readiness}
        server = PageServer(pages, config.metrics.host, config.metrics.port)
        self._open.append(server.close)
        self.endpoints["metrics"] = f"http://{config.metrics.host}:{server.port}/metrics"

    def _readiness(self) -> Page:
        problems = self.problems()
        return Page("".join(f"{line}\n" for line in problems or ["ready"]).encode(), status=503 if problems else 200)

    def _wake(self) -> None:
        self.writer.notify()
        self.compute.wake()

    def _status(self, report: Report | None) -> DaemonStatus:
        return DaemonStatus(
            self.scans.state,
            __version__,
            self.backend.name,
            Endpoints(**self.endpoints),
            RingStatus(self.ring.slots, self.ring.occupied, self.ring.high_water),
            report,
        )

    def run(self, orphaned: Callable[[], bool] = lambda: False) -> None:
        """Work until ``stop`` is called or ``orphaned()`` is true; a running scan is aborted and finished first."""
        self.supervisor.start()
        while not self.stopped.wait(TICK_S):
            self._tick()
            if orphaned():
                self.stop()
        self.supervisor.join()
        self._close()

    def announce(self, path: Path) -> None:
        """Write the endpoints to a file in one step; it tells the process that started the daemon that it is ready."""
        temporary = path.with_name(path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        with temporary.open("x", encoding="utf-8") as file:  # "x" follows no symbolic link
            json.dump({**self.endpoints, "backend": self.backend.name, "pid": os.getpid()}, file)
        temporary.replace(path)

    def problems(self) -> list[str]:
        """What keeps the daemon from taking a scan, a line each."""
        found = [self.failure] if self.failure else []
        found += [f"the thread {name} is down" for name, up in self.supervisor.threads.items() if not up]
        return found if self.writer.alive else [*found, "the raw writer is down"]

    def _fault(self, part: str, text: str, fatal: bool) -> None:
        """A part failed. It begins anew, unless that is ``fatal``: then the daemon finishes what it has and ends."""
        session = self.scans.current
        running = None if session is None or session.over else session.spec.scan_id
        self.events.event(FaultEvent(scan_id=running, part=part, text=text, fatal=fatal, time_ns=time.time_ns()))
        if not fatal:
            log.error("%s failed and begins anew: %s", part, text)
        elif not self.failure:
            self.failure = f"the thread {part} failed too often: {text}"
            log.critical("the daemon ends: %s", self.failure)
            threading.Thread(target=self.stop, args=(self.failure,), name="stop").start()

    def stop(self, why: str = "the daemon was stopped") -> None:
        """Abort and finish a running scan, then end ``run``."""
        session = self.scans.current
        if session is not None and not session.over:
            session.end("aborted", None, why)
            deadline = self._clock() + DRAIN_S
            while not session.over and self._clock() < deadline and self.supervisor.up("compute"):
                time.sleep(TICK_S)
        self.stopped.set()

    def _tick(self) -> None:
        for event in self.writer.poll_events():
            if event.kind != "written":
                self.writer_errors += 1
                self._fault("writer", event.text, fatal=False)
        self.scans.wait(held=self.ingest.held_back())

    def _close(self) -> None:
        while self._open:
            try:
                self._open.pop()()
            except Exception:  # the remaining parts must still be closed
                log.exception("closing")


def serve_forever(config: Config, ready_file: Path | None, with_parent: bool) -> int:
    """Run a daemon until SIGTERM, SIGINT or SIGHUP; the exit code is 1 when it failed. A second signal exits at once.

    The ready file is removed at the end.
    """
    parent = os.getppid()  # before the long start: a parent that ends during it would not be missed
    daemon = Daemon(config)
    asked = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            os._exit(1)
        asked.set()
        threading.Thread(target=daemon.stop, name="stop").start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it, and it stays so
        signal.signal(signal.SIGHUP, on_signal)
    log.info("listening: %s", ", ".join(f"{name} {value}" for name, value in daemon.endpoints.items()))
    try:
        if ready_file is not None:
            daemon.announce(ready_file)
        daemon.run(lambda: with_parent and os.getppid() != parent)
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
    return 1 if daemon.failure else 0
