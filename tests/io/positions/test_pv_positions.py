"""Positions in PVs of real servers: an IOC over Channel Access, a server over PVAccess."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from p4p.nt import NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV

from streamer.flow.positions.positions import Position, PositionEvent, Positions, Remark, RunBegins
from streamer.io.positions import PositionSource, open_source
from tests.io.helpers import local_pv_access

PATIENCE_S = 60.0


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def drained(source: PositionSource, done: Callable[[list[PositionEvent]], Any]) -> list[PositionEvent]:
    found: list[PositionEvent] = []
    deadline = time.monotonic() + PATIENCE_S
    while not done(found):
        assert time.monotonic() < deadline, found
        source.wait(0.05)
        found += source.drain()
    return found


class Ioc:
    """An IOC on a port of its own, and processes that read positions from it."""

    def __init__(self) -> None:
        port = free_port()
        self._environment = os.environ | {
            "EPICS_CA_ADDR_LIST": "127.0.0.1",
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_SERVER_PORT": port,
            "EPICS_CAS_SERVER_PORT": port,
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        }
        self._processes: list[subprocess.Popen[str]] = []
        self._server = self._start("theta_ioc.py")
        assert self._line(self._server) == "ready"

    def _start(self, script: str, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).with_name(script)), *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, text=True, env=self._environment, **pipes)
        self._processes.append(process)
        return process

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().rstrip()

    def write(self, theta: list[float]) -> None:
        """Set the array."""
        assert self._server.stdin is not None
        self._server.stdin.write(f"{theta}\n")
        self._server.stdin.flush()

    def read(self, name: str) -> Callable[[], str]:
        """What gives the next event of a source for this PV, as text."""
        reader = self._start("pv_reader.py", name)
        return lambda: self._line(reader)

    def close(self) -> None:
        for process in reversed(self._processes):
            process.communicate()


@pytest.fixture
def ioc() -> Iterator[Ioc]:
    started = Ioc()
    yield started
    started.close()


def test_an_array_of_an_ioc_that_grows(ioc: Ioc) -> None:
    event = ioc.read("ca://stage:theta")
    assert event() == str(Position(0, 0.0))
    ioc.write([5.0, 6.0])
    assert [event() for _ in range(3)] == [str(RunBegins()), str(Position(0, 5.0)), str(Position(1, 6.0))]
    ioc.write([5.0, 6.0, 7.5])
    assert event() == str(Position(2, 7.5))


def test_a_single_value_is_refused_with_the_way_out(ioc: Ioc) -> None:
    way_out = "holds a single value: positions.value must name an array that grows with the scan"
    assert ioc.read("stage:readback")() == str(Remark(f"stage:readback {way_out}"))


def test_an_array_over_pvaccess(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in local_pv_access().items():
        monkeypatch.setenv(name, value)
    theta = SharedPV(nt=NTScalar("ad"), initial=np.zeros(0))
    with Server(providers=[{"stage:theta": theta}]):
        source = open_source(Positions(source="pv", value="pva://stage:theta"), None)
        assert source is not None
        theta.post(np.array([1.0, 2.0]))
        theta.post(np.array([1.0, 2.0, 4.0]))
        found = drained(source, lambda found: Position(2, 4.0) in found)
    drained(source, lambda found: Remark("pva://stage:theta is disconnected") in found)
    source.close()
    assert [event for event in found if isinstance(event, Position)] == [
        Position(0, 1.0),
        Position(1, 2.0),
        Position(2, 4.0),
    ]
