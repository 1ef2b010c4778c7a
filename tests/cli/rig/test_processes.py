"""Managed processes: their ready file, their ends, and what is said when they fail."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.cli.rig.processes import ManagedProcess, ProcessError, start_daemon
from streamer.client import Link
from streamer.config import load
from streamer.flow.wire.daemon import Arm
from streamer.frames import BadInput, ScanSpec

READY = """
import json, pathlib, signal, sys, threading
print("hello", flush=True)
ready = pathlib.Path(sys.argv[1])
ready.with_suffix(".tmp").write_text(json.dumps({"control": "tcp://here"}))
ready.with_suffix(".tmp").rename(ready)
threading.Event().wait()
"""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + READY


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Start Python code as a process; what is still running at the end is killed."""
    started: list[ManagedProcess] = []

    def run(code: str, ready: bool = False, **options: Any) -> ManagedProcess:
        path = tmp_path / "ready.json"
        process = ManagedProcess(
            "worker", ["-c", code, str(path)], tmp_path / "worker.log", path if ready else None, **options
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.stop(signal.SIGKILL)


def test_it_is_ready_when_it_has_written_its_endpoints(start: Any, tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_text("of a process before")
    process = start(READY, ready=True)
    assert process.wait_ready() == process.endpoints == {"control": "tcp://here"}
    assert process.poll() is None
    assert process.last_line() == "hello"
    process.stop()
    assert process.poll() == -signal.SIGTERM


def test_one_that_does_not_listen_is_killed(start: Any) -> None:
    process = start(DEAF, ready=True)
    process.wait_ready()
    process.stop(timeout_s=0.2)
    assert process.poll() == -signal.SIGKILL
    process.stop()  # twice is fine


def test_one_that_ends_before_it_is_ready_is_told_by_its_last_line(start: Any) -> None:
    process = start("import sys; print('first'); sys.exit('the disk is full')", ready=True)
    with pytest.raises(ProcessError, match=r"^the worker ended with code 1: the disk is full$"):
        process.wait_ready()


def test_one_that_says_nothing_is_told_by_its_log(start: Any, tmp_path: Path) -> None:
    process = start("raise SystemExit(3)", ready=True)
    with pytest.raises(ProcessError, match=f"ended with code 3: it said nothing; see {tmp_path}/worker.log"):
        process.wait_ready()


def test_one_that_is_slow_is_not_waited_for_ever(start: Any) -> None:
    process = start("import threading; threading.Event().wait()", ready=True)
    with pytest.raises(ProcessError, match=r"the worker was not up after 0\.1 s; see "):
        process.wait_ready(0.1)
    with pytest.raises(ProcessError, match=r"the worker did not end within 0\.1 s; see "):
        process.wait(0.1)


def test_output_can_be_read_while_errors_go_to_the_log(start: Any) -> None:
    process = start("import sys; print('one'); print('two'); print('oops', file=sys.stderr)", pipe=True)
    assert process.output.read() == b"one\ntwo\n"
    assert process.wait(100) == 0
    assert process.last_line() == "oops"


def test_ctrl_c_at_our_terminal_does_not_reach_it(start: Any) -> None:
    process = start(READY, ready=True)
    process.wait_ready()
    assert os.getsid(process.pid) == process.pid


def test_the_daemons_options_are_checked_before_it_is_started(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^ring\.slots: no such option"):
        start_daemon(tmp_path, ring={"slots": 3})
    assert not list(tmp_path.iterdir())


def test_the_daemon_listens_on_free_ports_with_the_options_given(tmp_path: Path) -> None:
    daemon = start_daemon(
        tmp_path / "logs",
        source={"endpoint": "tcp://127.0.0.1:*", "bind": True},
        metrics={"enabled": False},
        writer={"directory": tmp_path / "data", "mode": "640"},
        reconstruction={"window": "hann"},
    )
    try:
        config = load(tmp_path / "logs" / "daemon.toml", {})
        assert config.reconstruction.window == "hann"
        assert config.metrics.port == 0
        endpoints = daemon.wait_ready()
        assert set(endpoints) >= {"control", "events", "preview", "source", "backend", "pid"}
        assert "metrics" not in endpoints
        assert endpoints["pid"] == daemon.pid
        assert stat.S_IMODE((tmp_path / "logs" / "daemon.json").stat().st_mode) == 0o640
        with Link(endpoints["control"], "the daemon", 60.0) as link:
            raw_file = Path(link.ask(Arm(ScanSpec("scan-1", "noise", 8, 16, 4))).raw_file)
        assert stat.S_IMODE(raw_file.stat().st_mode) == 0o640
        assert stat.S_IMODE(raw_file.parent.stat().st_mode) == 0o750
        assert not any(endpoints[name].endswith((":*", ":0")) for name in ("control", "events", "preview", "source"))
    finally:
        daemon.stop(timeout_s=60)
    assert daemon.poll() == 0
