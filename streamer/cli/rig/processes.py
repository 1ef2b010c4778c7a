"""Processes that a command starts, waits for and always stops, such as the virtual beamline and the daemon."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from streamer.config import Config, render
from streamer.frames import StreamerError

ANYWHERE = "tcp://127.0.0.1:*"
START_S = 300.0  # the first start of an installation compiles the kernels
POLL_S = 0.02


class ProcessError(StreamerError):
    """A process ended too early, did not come up or did not end; the message names its log."""


class ManagedProcess:
    """``python ARGUMENTS`` in a session of its own: Ctrl-C does not reach it, so that it can be stopped in good order.

    Its output goes to the file ``log``; with ``pipe`` only its errors do, and the rest is read from ``output``.
    ``ready`` is the JSON file that it writes once its sockets are bound. ``environment`` is added to ours.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        ready: Path | None = None,
        pipe: bool = False,
        cwd: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name, self.log, self._ready = name, log, ready
        self.endpoints: dict[str, Any] = {}
        log.parent.mkdir(parents=True, exist_ok=True)
        if ready is not None:
            ready.unlink(missing_ok=True)
        with log.open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else sink,
                stderr=sink,
                start_new_session=True,
                cwd=cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def poll(self) -> int | None:
        return self._process.poll()

    def wait_ready(self, timeout_s: float = START_S) -> dict[str, Any]:
        """``endpoints``, once the process has written them. Raises ProcessError when it ends before, or is too slow."""
        assert self._ready is not None
        deadline = time.monotonic() + timeout_s
        while not self._ready.exists():
            if self._process.poll() is not None:
                raise ProcessError(f"the {self.name} ended with code {self._process.returncode}: {self.last_line()}")
            if time.monotonic() > deadline:
                raise ProcessError(f"the {self.name} was not up after {timeout_s:g} s; see {self.log}")
            time.sleep(POLL_S)
        self.endpoints = json.loads(self._ready.read_text(encoding="utf-8"))
        return self.endpoints

    def last_line(self) -> str:
        """The last line of its log, which is where a one-line error is."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it said nothing; see {self.log}"

    def wait(self, timeout_s: float) -> int:
        """Wait for its end and return its exit code. Raises ProcessError when it takes longer."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ProcessError(f"the {self.name} did not end within {timeout_s:g} s; see {self.log}") from error

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 15.0) -> None:
        """Ask it to end, and kill it when it does not."""
        if self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


def start_beamline(folder: Path, *options: str) -> ManagedProcess:
    """Start the virtual beamline on free ports; its log and ready file are in ``folder``."""
    ready = folder / "beamline.json"
    arguments = ["-m", "streamer.sim", *options, "--ready-file", str(ready), "--with-parent"]
    return ManagedProcess("virtual beamline", arguments, folder / "beamline.log", ready)


def local_channel_access() -> dict[str, str]:
    """An environment in which EPICS Channel Access stays on this machine, at ports that nobody has: none is searched
    for, and nobody searches, beyond loopback.
    """
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    access, repeater = (str(one.getsockname()[1]) for one in sockets)
    for one in sockets:
        one.close()
    return {
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": access,
        "EPICS_CA_REPEATER_PORT": repeater,
        "EPICS_CAS_SERVER_PORT": access,
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_BEACON_PORT": repeater,
    }


def start_ioc(folder: Path, beamline: str, environment: Mapping[str, str]) -> ManagedProcess:
    """Start the IOC in front of the virtual beamline whose control socket is ``beamline``; for its files see above."""
    ready = folder / "ioc.json"
    arguments = ["-m", "streamer.sim.epics", "--beamline", beamline, "--ready-file", str(ready)]
    return ManagedProcess("IOC", arguments, folder / "ioc.log", ready, environment=environment)


def start_daemon(folder: Path, **sections: Mapping[str, Any]) -> ManagedProcess:
    """Start a daemon on free ports with the options in ``sections``; its files but the data are in ``folder``."""
    free: dict[str, dict[str, Any]] = {
        "control": {"endpoint": ANYWHERE, "events": ANYWHERE},
        "preview": {"endpoint": ANYWHERE},
        "metrics": {"port": 0},
    }
    config = Config(**{name: {**free.get(name, {}), **sections.get(name, {})} for name in {**free, **sections}})
    ready, path = folder / "daemon.json", folder / "daemon.toml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(render(config), encoding="utf-8")
    arguments = ["-m", "streamer", "run", str(path), "--ready-file", str(ready), "--with-parent"]
    return ManagedProcess("daemon", arguments, folder / "daemon.log", ready)
