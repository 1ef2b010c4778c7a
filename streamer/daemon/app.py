"""The composition root: it builds every part from the configuration and owns the threads."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from streamer import __version__
from streamer.config import NATIVE, Config, check_security, check_source, unguarded
from streamer.core.backend.selection import backend_asked_in, usable_threads
from streamer.core.backend.staging import lock_pages, upload_buffer
from streamer.core.warmup import warm
from streamer.daemon.access import Access
from streamer.daemon.compute.finish import Finisher
from streamer.daemon.compute.thread import Compute
from streamer.daemon.connections import FRAMES, REQUESTS, SUBSCRIPTIONS, Connections
from streamer.daemon.elsewhere import Elsewhere, RowsReceiver
from streamer.daemon.handlers import Handlers, check_role
from streamer.daemon.ingest import Ingest
from streamer.daemon.monitoring.http import PageServer
from streamer.daemon.monitoring.pages import monitoring_pages
from streamer.daemon.monitoring.snapshot import disk_space, snapshot
from streamer.daemon.receivers import Receiver, new_receiver
from streamer.daemon.scans import Scans
from streamer.daemon.supervision import Supervisor
from streamer.daemon.writer_options import writer_options
from streamer.flow.folder_template import placeholders
from streamer.flow.ring.ring import Ring
from streamer.flow.wire.daemon import DaemonStatus, Endpoints, Report, RingStatus
from streamer.flow.wire.events import FaultEvent
from streamer.frames import BadInput, ScanSpec
from streamer.io.messaging.control import ControlServer
from streamer.io.messaging.publish import EVENT_HIGH_WATER_MARK, PREVIEW_HIGH_WATER_MARK, Publisher
from streamer.io.messaging.sockets import Guard, open_to_all, port_of
from streamer.io.place import give_to_group
from streamer.io.positions import open_source
from streamer.io.raw.disk_space import check_space
from streamer.io.raw.raw_writer import RawWriter
from streamer.io.raw.writer import WriterProcess
from streamer.io.service_manager import Tell, condition
from streamer.io.shared import SharedBuffer
from streamer.keys import KeyFolder
from streamer.pipeline.preparation.warmup import warm_preparation
from streamer.pipeline.rehearsal import rehearse

log = logging.getLogger(__name__)

COMPUTE_READER = 1  # reader 0 of the ring is the raw writer's
TICK_S = 0.05
TELL_S = 1.0
DRAIN_S = 90.0
LONGEST_WORK_S = 1800.0  # of the compute thread: a tomogram that is made from the raw file
IO_THREADS = 2  # so that previews and events, or a second connection of the detector, do not wait for frames


class _Stopped(Exception):
    """The daemon is to end while it loads its kernels."""


class Daemon:
    """The whole daemon. Construction binds every socket; ``run`` works until ``stop``.

    Raises BadInput when the configuration cannot be served here (port in use, folder not writable).
    """

    def __init__(
        self, config: Config, clock: Callable[[], float] = time.monotonic, elsewhere: Elsewhere | None = None
    ) -> None:
        """``elsewhere``: who holds the rows of a scan, if not this process alone."""
        check_security(config)
        config.positions.check(native=config.source.dialect == NATIVE)
        check_source(config.source)
        self._clock, self._began_s = clock, clock()
        self.stopped = threading.Event()
        self.warmed = threading.Event()  # the kernels are loaded
        self.failure = ""  # why the daemon ends by itself
        asked = config.reconstruction
        backend, why = backend_asked_in("reconstruction.backend", asked.backend, asked.threads)
        log.info(why)
        self._prepare_directory(config.writer.directory, config.writer.group)
        self.backend = backend
        self.access: Access | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(IO_THREADS)
        self._open: list[Callable[[], Any]] = [self._context.term]  # undone in reverse order
        self.elsewhere = elsewhere
        try:
            self._build(config)
        except BaseException:
            self._close()
            raise

    @staticmethod
    def _prepare_directory(directory: Path, group: str | None) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"writer.directory {directory}: cannot be made: {error.strerror}") from error
        if group is not None and not placeholders(group):
            give_to_group(directory, group)
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
        self.positions = open_source(config.positions, config.kinds.shutter)
        if self.positions is not None:
            self._open.append(self.positions.close)
        frames_guard = guard("source") if config.security.frames else open_to_all
        self._receiver: Receiver | RowsReceiver = (
            new_receiver(config, self._context, frames_guard, self._awaiting, self.positions, self._clock)
            if self.elsewhere is None
            else self.elsewhere.receiver
        )
        self._open.append(self._receiver.close)
        self.events = Publisher(
            self._context, config.control.events, EVENT_HIGH_WATER_MARK, "control.events", guard("events")
        )
        self._open.append(self.events.close)
        self.previews = Publisher(
            self._context, config.preview.endpoint, PREVIEW_HIGH_WATER_MARK, "preview.endpoint", guard("preview")
        )
        self._open.append(self.previews.close)
        self.writer: RawWriter
        if self.elsewhere is None:
            options = writer_options(config, config.source.transport == "acknowledged")
            self.writer = WriterProcess(shared, config.writer.directory, options, self._clock)
        else:
            self.writer = self.elsewhere.writer
        self._open.append(self.writer.stop)
        self.scans = Scans(config, self.backend, self.ring, self.writer, self.events, self._clock, self.elsewhere)
        self.finisher = Finisher(self.scans, self.writer, self.events, config, self._clock, elsewhere=self.elsewhere)
        new_buffer = partial(upload_buffer, self.backend)
        self.compute = Compute(
            config, reader, self.scans, self.finisher, self.events, self.previews, self._clock, new_buffer,
            elsewhere=self.elsewhere,
        )  # fmt: skip
        self.ingest = Ingest(self.ring, self.scans, self._wake, self.stopped, self._clock)
        handlers = Handlers(self.scans, self._status, self._clock, self.compute, self.positions)
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
        self._open.append(self.connections.close)
        self.control.taken = self.connections.taken
        if config.metrics.enabled:
            self._serve_metrics(config)
        self.supervisor = Supervisor(self.stopped, self._fault, self._clock)
        self.supervisor.add("receive", partial(self._receiver.run, self.ingest), excused=lambda: self.ingest.waits)
        self.supervisor.add("compute", self._compute, LONGEST_WORK_S)
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

    def _awaiting(self) -> ScanSpec | None:
        """The scan that waits for frames."""
        session = self.scans.current
        return None if session is None or session.ending is not None else session.spec

    def _serve_metrics(self, config: Config) -> None:
        pages = monitoring_pages(lambda: snapshot(self), lambda: self.writer.pid, self.faults, self.problems)
        server = PageServer(pages, config.metrics.host, config.metrics.port)
        self._open.append(server.close)
        self.endpoints["metrics"] = f"http://{config.metrics.host}:{server.port}/metrics"

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
            self._clock() - self._began_s,
            self.connections.leads_to(self.endpoints["source"]) if self.elsewhere is None else None,
            time.time() - self.ingest.last_frame_ns / 1e9 if self.ingest.last_frame_ns else None,
            None if (disk := disk_space(self.directory)) is None else disk[0],
        )

    def _compute(self, stopped: Callable[[], bool]) -> None:
        """The work of the compute thread. Frames are received and written while it loads the kernels."""

        def go_on(_done: int, _total: int) -> None:
            if stopped():
                raise _Stopped

        if not self.warmed.is_set():
            more = {"preparation": warm_preparation, "rehearsal": rehearse}
            with suppress(_Stopped):
                warm(self.backend, go_on, more=more, processes=usable_threads())
                self.warmed.set()
        self.compute.run(stopped)

    def scan_in_hand(self) -> str | None:
        """Id of the scan that is not over."""
        session = self.scans.current
        return None if session is None or session.over else session.spec.scan_id

    def run(
        self,
        orphaned: Callable[[], bool] = lambda: False,
        ready: Callable[[], None] = lambda: None,
        tell: Tell = lambda _text: None,
    ) -> None:
        """Work until ``stop`` is called or ``orphaned()`` is true; a running scan is aborted and finished first.

        ``ready`` is called once, when the kernels are loaded. Frames are received and written before. ``tell`` tells
        the service manager how the daemon is, once a second.
        """
        self.supervisor.start()
        said, told_s = False, -math.inf
        while not self.stopped.wait(TICK_S):
            self._tick()
            if not said and self.warmed.is_set():
                said = True
                ready()
                tell("READY=1")
            if self._clock() - told_s >= TELL_S:
                told_s = self._clock()
                status = "; ".join(self.problems()) or f"{self.scans.state} {self.scan_in_hand() or ''}"
                tell(condition(status, starting=not self.warmed.is_set(), alive=not self.faults()))
            if orphaned():
                self.stop()
        tell("STOPPING=1")
        self.supervisor.join()
        self._close()

    def announce(self, path: Path) -> None:
        """Write the endpoints to a file in one step; it tells the process that started the daemon that it is ready."""
        temporary = path.with_name(path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        with temporary.open("x", encoding="utf-8") as file:  # "x" follows no symbolic link
            json.dump({**self.endpoints, "backend": self.backend.name, "pid": os.getpid()}, file)
        temporary.replace(path)

    def faults(self) -> list[str]:
        """What only a restart of the daemon ends, a line each."""
        found = [self.failure] if self.failure else []
        return found + [
            f"the thread {name} {'hangs' if self.supervisor.up(name) else 'is down'}"
            for name, up in self.supervisor.threads.items()
            if not up
        ]

    def problems(self) -> list[str]:
        """What keeps the daemon from doing its work, a line each."""
        found = self.faults()
        found += [] if self.warmed.is_set() else ["the kernels are being loaded, or compiled: frames are only written"]
        return found if self.writer.alive else [*found, "the raw writer is down"]

    def _fault(self, part: str, text: str, fatal: bool) -> None:
        """A part failed. It begins anew, unless that is ``fatal``: then the daemon finishes what it has and ends."""
        self._publish_fault(part, text, fatal)
        if not fatal:
            log.error("%s failed and begins anew: %s", part, text)
        elif not self.failure:
            self.failure = f"the thread {part} failed too often: {text}"
            log.critical("the daemon ends: %s", self.failure)
            threading.Thread(target=self.stop, args=(self.failure,), name="stop").start()

    def _publish_fault(self, part: str, text: str, fatal: bool) -> None:
        scan_id = self.scan_in_hand()
        self.events.event(FaultEvent(scan_id=scan_id, part=part, text=text, fatal=fatal, time_ns=time.time_ns()))

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
        for name, quiet_s in self.supervisor.hanging().items():
            text = f"it has done nothing for {quiet_s:.0f} s: it hangs"
            log.error("the thread %s: %s", name, text)
            self._publish_fault(name, text, fatal=False)
        self.scans.wait(held=self.ingest.held_back())

    def _close(self) -> None:
        while self._open:
            try:
                self._open.pop()()
            except Exception:  # the remaining parts must still be closed
                log.exception("closing")
