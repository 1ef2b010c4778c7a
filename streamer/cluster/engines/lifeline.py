"""The connection between the scout and a process that was started for it: while it is there, the other one lives.

The scout says what the process is to be, as a line of JSON; the process says when it can work, as another. Nothing else
is ever said: the system closes the connection when either dies, whoever started the process and wherever it runs.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from streamer.cluster.messages import Ready, Setup
from streamer.frames import BadInput

START_S = 300.0
"""What a process may take that has to compile its kernels."""

KEEP_ALIVE_S, KEEP_ALIVE_PROBES = 1, 3
"""A machine that is gone closes no connection: after so many seconds without an answer it counts as closed."""


class Lifeline:
    """See ``engine.Helper``: the scout's end. Any thread may ask."""

    def __init__(self, program: str, setup: Setup, kill: Callable[[int], None]) -> None:
        """``kill`` ends the process with a given pid at once."""
        self._program, self._setup, self._kill = program, setup, kill
        self._lock = threading.Lock()
        self._end: socket.socket | None = None
        self._line = b""
        self._ready: Ready | None = None
        self._lost, self._why = False, ""
        self.pid = 0

    def attach(self, end: socket.socket, host: str = "") -> None:
        """The process is at the other end; ``host``, if given, is where it is to listen."""
        setup = self._setup if not host else msgspec.structs.replace(self._setup, host=host)
        with self._lock:
            self._end = end
            try:
                end.sendall(msgspec.json.encode(setup) + b"\n")
            except OSError:
                self._lost = True

    @property
    def connected(self) -> bool:
        return self._end is not None

    def fail(self, why: str) -> None:
        """No process was started."""
        with self._lock:
            self._lost, self._why = True, why

    @property
    def alive(self) -> bool:
        self._listen(0.0)
        return not self._lost

    @property
    def is_ready(self) -> bool:
        self._listen(0.0)
        return self._ready is not None

    def ready(self) -> Ready:
        deadline = time.monotonic() + START_S
        while self._ready is None:
            self._listen(0.02)
            if self._lost:
                raise BadInput(f"{self._program} {self._why or 'ended as it started'}")
            if time.monotonic() > deadline:
                raise BadInput(f"{self._program} was not ready within {START_S:g} s")
        return self._ready

    def _listen(self, wait_s: float) -> None:
        """Take what the process says, or that it is gone."""
        with self._lock:
            if self._lost:
                return
            if self._end is None or not readable(self._end, wait_s):
                attached = self._end is not None
            else:
                attached = True
                try:
                    said = self._end.recv(4096)
                except OSError:
                    said = b""
                self._lost = not said
                self._line += said
                if self._line.endswith(b"\n") and self._ready is None:
                    self._ready = msgspec.json.decode(self._line, type=Ready)
                    self.pid = self._ready.pid
        if not attached:
            time.sleep(wait_s)

    def leave(self) -> None:
        """Have the process notice that nothing is wanted of it any more."""
        with self._lock, suppress(OSError):
            if self._end is not None:
                self._end.shutdown(socket.SHUT_WR)

    def end(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        if not self._lost and self.pid:
            self._kill(self.pid)
        with self._lock:
            self._lost = True
            if self._end is not None:
                self._end.close()


class ScoutGone(BadInput):
    """Nobody is there any more who could say what to do."""


class ToScout:
    """The end of the process."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def setup(self) -> Setup:
        """What the process is to be. Raises ScoutGone."""
        line = b""
        while not line.endswith(b"\n"):
            if not (said := self._end.recv(65536)):
                raise ScoutGone("the scout was gone before it said what to do")
            line += said
        return msgspec.json.decode(line, type=Setup)

    def say_ready(self, ready: Ready) -> None:
        with suppress(OSError):  # the scout is gone, which is found out soon enough
            self._end.sendall(msgspec.json.encode(msgspec.structs.replace(ready, pid=os.getpid())) + b"\n")

    @property
    def gone(self) -> bool:
        """Whether the scout is; nothing comes from one that lives."""
        return readable(self._end, 0.0)


def readable(end: socket.socket, wait_s: float) -> bool:
    """Whether something is there to be read, or will never be."""
    poll = select.poll()
    poll.register(end, select.POLLIN)
    return bool(poll.poll(1000 * wait_s))


def keep_alive(end: socket.socket) -> None:
    """Have a TCP connection closed some seconds after the other machine is gone."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_S)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_ALIVE_S)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEP_ALIVE_PROBES)
