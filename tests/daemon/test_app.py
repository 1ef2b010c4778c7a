"""The whole daemon in this process: silence of the source, stopping, what cannot be served."""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import zmq

from streamer.client import Events, Link
from streamer.config import Config
from streamer.daemon.app import Daemon
from streamer.daemon.supervision import MOST_ERRORS
from streamer.flow import wire
from streamer.flow.wire.control import Ping, R, Request
from streamer.flow.wire.daemon import Arm, GetStatus, GetVerdict, Report
from streamer.flow.wire.events import Event, FaultEvent
from streamer.frames import BadInput
from tests.daemon.rig import TinyScan

ANYWHERE = "tcp://127.0.0.1:*"
PATIENCE_S = 100.0


def config(folder: Path, **sections: dict[str, Any]) -> Config:
    return Config.model_validate(
        {
            "source": {"endpoint": ANYWHERE, "bind": True},
            "control": {"endpoint": ANYWHERE, "events": ANYWHERE},
            "preview": {"endpoint": ANYWHERE},
            "metrics": {"port": 0},
            "ring": {"memory_mb": 4},
            "writer": {"directory": folder, "reserve_mb": 0},
            "reconstruction": {"backend": "numba", "threads": 2},
            **sections,
        }
    )


class Running:
    """A daemon on its threads, a source that is connected to it, and a client."""

    def __init__(self, settings: Config, ready: Callable[[], None] = lambda: None) -> None:
        self.daemon = Daemon(settings)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.source = self.context.socket(zmq.PUSH)
        self.source.connect(self.daemon.endpoints["source"])
        self._link = Link(self.daemon.endpoints["control"], "the daemon", PATIENCE_S, self.context)
        self.thread = threading.Thread(target=self.daemon.run, kwargs={"ready": ready})
        self.thread.start()

    def send(self, scan: TinyScan, indices: range) -> None:
        self.source.send_multipart(wire.encode(wire.Start(scan.spec)))
        for index in indices:
            self.source.send_multipart(wire.encode_frame(scan.metas[index], scan.pixels[index]))

    def ask(self, request: Request[R]) -> R:
        return self._link.ask(request)

    def report(self, until: Callable[[Report], bool]) -> Report:
        """The report of the scan, once there is one that is as wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            report = self.ask(GetStatus()).scan
            if report is not None and until(report):
                return report
            assert time.monotonic() < deadline, report

    def final(self) -> Report:
        """The report of the scan, once it has a final verdict and is over."""
        self.report(lambda report: True)
        self.ask(GetVerdict("scan-1", wait=True, timeout_s=PATIENCE_S))
        return self.report(lambda report: report.state.final)

    def close(self) -> None:
        self.daemon.stop()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        self._link.close()
        self.context.destroy(linger=0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def make(ready: Callable[[], None] = lambda: None, **sections: dict[str, Any]) -> Running:
        started.append(Running(config(tmp_path, **sections), ready))
        return started[-1]

    yield make
    for running in started:
        running.close()


def test_a_source_that_falls_silent_ends_the_scan_as_incomplete(start: Callable[..., Running]) -> None:
    running = start(scan={"stall_timeout_s": 0.5})
    running.send(TinyScan(), range(60))
    report = running.final()
    assert (report.state, report.verdict) == ("incomplete", "RETAKE")
    assert report.frames.received == report.written == 60


def test_a_scan_whose_end_message_was_lost_is_complete(start: Callable[..., Running]) -> None:
    running = start(scan={"end_timeout_s": 0.2})
    scan = TinyScan()
    running.send(scan, range(scan.spec.frames))
    report = running.final()
    assert (report.state, report.verdict) == ("complete", "ENOUGH")


def test_an_armed_scan_that_nobody_wants_any_more_is_given_up(start: Callable[..., Running]) -> None:
    running = start(scan={"armed_timeout_s": 0.5})
    running.ask(Arm(TinyScan().spec))
    report = running.report(lambda report: report.state.final)
    assert report.state == "aborted"
    assert report.note.startswith("given up: no frame for ")
    assert running.ask(Arm(TinyScan("scan-2").spec)).scan_id == "scan-2"


def test_stopping_closes_the_running_scan_as_aborted(start: Callable[..., Running], tmp_path: Path) -> None:
    running = start()
    running.send(TinyScan(), range(40))
    running.report(lambda report: report.frames.received == 40)
    running.daemon.stop()
    report = running.daemon.scans.report("scan-1")
    assert report is not None
    assert (report.state, report.written, report.final) == ("aborted", 40, True)
    assert (tmp_path / "scan-1.nx").exists()


def test_a_message_that_cannot_be_handled_is_counted_and_the_next_scan_is_taken(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, scan = start(), TinyScan()
    frame = running.daemon.ingest.frame
    errors = iter([OSError(24, "Too many open files"), MemoryError()])

    def failing(header: wire.FrameHeader) -> None:
        for error in errors:
            raise error
        frame(header)

    monkeypatch.setattr(running.daemon.ingest, "frame", failing)
    running.send(scan, range(scan.spec.frames))
    running.source.send_multipart(wire.encode(wire.End("scan-1", scan.spec.frames)))
    report = running.final()
    assert (report.frames.received, report.frames.missing) == (scan.spec.frames - 2, 2)
    assert running.daemon.ingest.errors_by_kind == {"OSError": 1, "MemoryError": 1}
    assert running.daemon.supervisor.threads == {"receive": True, "compute": True, "control": True, "connections": True}


def test_a_thread_that_fails_again_and_again_ends_the_daemon(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.CRITICAL)
    running, faults, subscribed = start(), Queue[Event](), threading.Event()

    def heard(event: Event) -> None:
        (faults.put if isinstance(event, FaultEvent) else lambda _event: subscribed.set())(event)

    events = Events(running.daemon.endpoints["events"], heard)
    running.send(TinyScan(), range(40))
    assert subscribed.wait(PATIENCE_S), "progress of the scan"
    running.report(lambda report: report.frames.received == 40)

    def broken(*_: object) -> None:
        raise zmq.ZMQError(zmq.ENOTSOCK)

    monkeypatch.setattr(running.daemon._receiver, "_guarded", broken)
    for _ in range(MOST_ERRORS + 1):
        running.source.send_multipart(wire.encode(wire.KeepAlive()))
    running.thread.join(PATIENCE_S)
    assert not running.thread.is_alive()
    heard_of = [faults.get(timeout=PATIENCE_S) for _ in range(MOST_ERRORS + 1)]
    assert [(fault.part, fault.fatal) for fault in heard_of] == [("receive", False)] * MOST_ERRORS + [("receive", True)]
    assert {fault.scan_id for fault in heard_of} == {"scan-1"}
    assert running.daemon.failure.startswith("the thread receive failed too often: ZMQError")
    assert running.daemon.failure in running.daemon.problems()
    report = running.daemon.scans.report("scan-1")
    assert (report.state, report.written) == ("aborted", report.frames.received)
    events.close()


def test_the_endpoints_are_announced(start: Callable[..., Running], tmp_path: Path) -> None:
    running = start()
    running.daemon.announce(tmp_path / "ready.json")
    told = json.loads((tmp_path / "ready.json").read_text())
    assert set(told) == {"control", "events", "preview", "source", "metrics", "backend", "pid"}
    assert told["control"] == running.daemon.endpoints["control"] != ANYWHERE
    assert list(tmp_path.glob("*.tmp")) == []


def test_readiness_is_a_page(start: Callable[..., Running]) -> None:
    running = start()
    deadline = time.monotonic() + PATIENCE_S
    while running.daemon.problems():  # its threads have yet to start
        assert time.monotonic() < deadline, running.daemon.problems()
    with urllib.request.urlopen(running.daemon.endpoints["metrics"].replace("metrics", "readyz"), timeout=60) as reply:
        assert (reply.status, reply.read()) == (200, b"ready\n")
    running.daemon.failure = "the test says so"
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(reply.url, timeout=60)
    running.daemon.failure = ""


def test_frames_are_received_and_written_while_the_kernels_are_loaded(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded, ready = threading.Event(), threading.Event()
    monkeypatch.setattr("streamer.daemon.app.warm", lambda *_, **__: loaded.wait(PATIENCE_S))
    running = start(ready=ready.set)
    scan = TinyScan()
    running.send(scan, range(40))
    report = running.report(lambda report: report.written == 40)
    assert report.projections.received == 0
    assert [line for line in running.daemon.problems() if "kernels" in line]
    assert not ready.is_set()
    loaded.set()
    assert ready.wait(PATIENCE_S)
    for index in range(40, scan.spec.frames):
        running.source.send_multipart(wire.encode_frame(scan.metas[index], scan.pixels[index]))
    running.source.send_multipart(wire.encode(wire.End(scan.spec.scan_id, scan.spec.frames)))
    assert (running.final().state, running.final().verdict) == ("complete", "ENOUGH")


def test_an_endpoint_in_use_is_named_and_nothing_stays_open(
    start: Callable[..., Running], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "streamer.daemon.app")
    first = start()
    taken = first.daemon.endpoints["preview"]
    with first.context.socket(zmq.ROUTER) as socket:
        socket.bind(ANYWHERE)
        control = {"endpoint": socket.getsockopt_string(zmq.LAST_ENDPOINT), "events": ANYWHERE}
    with pytest.raises(BadInput, match=f"preview.endpoint {taken}: .*in use"):
        Daemon(config(tmp_path, control=control, preview={"endpoint": taken}))
    assert not caplog.records, "what was open could be closed"
    assert start(control=control).ask(Ping()).ok, "its control socket is free again"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"writer\.directory .*file/data: cannot be made"):
        Daemon(config(tmp_path, writer={"directory": tmp_path / "file" / "data"}))
