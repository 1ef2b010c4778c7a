"""The daemon's side of the raw writer: starts the process, gives it commands, learns how far it is."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import streamer
from streamer.flow.ring import Ring
from streamer.frames import BadInput, ScanSpec, StreamerError
from streamer.io.channel import Channel, await_ready
from streamer.io.nxtomo import NO_FRAMES
from streamer.io.shared import SharedBuffer
from streamer.io.unclosed import clear_swmr_flags
from streamer.io.writer_process import RING_READER

PROCESS = "streamer.io.writer_process"


class WriterError(StreamerError):
    """The raw writer could not do what it was asked to; the message is one line."""


@dataclass(frozen=True, slots=True)
class WriterEvent:
    """``kind`` is "written" (more frames are safe), "error" (the file was given up) or "died" (the process is gone)."""

    kind: str
    written: int
    text: str = ""
    errno: int | None = None


@dataclass(frozen=True, slots=True)
class WriterResult:
    """How a raw file ended. ``lost`` frames came through the ring but are not in the file; ``error`` says why."""

    written: int
    lost: int = 0
    error: str = ""


def check_space(directory: Path, nbytes: int, reserve_bytes: int) -> None:
    """Raises BadInput unless ``directory`` can be written and has room for ``nbytes`` and the reserve."""
    if not directory.is_dir():
        raise BadInput(f"{directory}: no such folder; make it or set another one")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise BadInput(f"{directory}: may not be written by this user")
    stat = os.statvfs(directory)
    free = stat.f_bavail * stat.f_frsize
    if stat.f_flag & os.ST_RDONLY:
        raise BadInput(f"{directory}: lies on a read-only file system")
    if free < nbytes + reserve_bytes:
        raise BadInput(
            f"{directory}: {free / 1e9:.2f} GB free, the scan needs {nbytes / 1e9:.2f} GB "
            f"and {reserve_bytes / 1e9:.2f} GB are to stay free"
        )


class WriterProcess:
    """The raw writer as the daemon sees it. Any thread may call; two calls of ``open``/``finish`` must not overlap.

    The process is started at once, and again by ``open`` when it has died. While it is dead the ring is not held back.
    """

    def __init__(
        self,
        shared: SharedBuffer,
        directory: Path,
        flush_s: float = 0.2,
        reserve_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Attaches reader 0 of the ring. ``directory`` is where ``open`` puts a file whose path is relative."""
        self._shared, self._directory = shared, directory
        self._flush_s, self._reserve_bytes, self._clock = flush_s, reserve_bytes, clock
        self._ring = Ring(shared.memory)
        self._lock = threading.Lock()
        self._events: deque[WriterEvent] = deque()
        self._replies: dict[int, dict[str, Any]] = {}
        self._requests = 0
        self.starts = 0
        self.written = 0  # frames of the newest scan that are readable after a crash of any process
        self.error = ""  # why the newest scan's file was given up
        # One pipe for all processes to come: a thread may be writing into it while a dead one is replaced.
        self._wake_read, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._stopping = False
        self._opened_at = 0  # position in the ring at which the newest scan begins
        self._unclosed: Path | None = None  # file of the newest scan until its writer closed it
        self._start()

    def _start(self) -> None:
        reader = self._ring.reader(RING_READER, lossless=True)
        reader.detach()
        self._reader = self._ring.reader(RING_READER, lossless=True)
        ours, theirs = socket.socketpair()
        fds = {"ring-fd": self._shared.fd, "socket-fd": theirs.fileno(), "wake-fd": self._wake_read}
        command = [sys.executable, "-m", PROCESS, "--flush-s", str(self._flush_s)]
        command += ["--reserve-bytes", str(self._reserve_bytes)]
        for name, fd in fds.items():
            command += [f"--{name}", str(fd)]
        self._process = subprocess.Popen(
            command,
            pass_fds=tuple(fds.values()),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        self._channel = Channel(ours)
        self._buried = False
        self.starts += 1

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._buried and self._process.poll() is None

    @property
    def restarts(self) -> int:
        """How often a dead writer was replaced."""
        return self.starts - 1

    @property
    def safe_position(self) -> int:
        """Place in the ring below which every frame of the newest scan is readable after a crash of any process."""
        return self._opened_at + self.written

    def notify(self) -> None:
        """A frame was committed. One small write that never blocks and never fails."""
        with contextlib.suppress(OSError):  # a full pipe: it will wake up anyhow
            os.write(self._wake, b"\0")

    def open(self, spec: ScanSpec, path: Path, started: str, timeout: float = 30.0) -> Path:
        """Make the raw file of a scan and give its path; from now on frames of ``spec.scan_id`` go into it.

        Raises BadInput when there is no room for the scan, WriterError when the file cannot be made.
        """
        target = self._directory / path
        check_space(target.parent, spec.frames * spec.frame_nbytes, self._reserve_bytes)
        if not self.alive:
            self._bury()
            self._start()
        self.written, self.error = 0, ""  # before the next line: ``safe_position`` must not be too large for a moment
        self._opened_at = self._ring.committed
        reply = self._ask(timeout, t="open", spec=spec.to_dict(), path=str(target), started=started)
        if reply.get("t") != "opened":
            raise WriterError(str(reply.get("text")))
        self._unclosed = target
        return target

    def finish(
        self,
        status: str,
        frames: Mapping[str, ArrayLike] = NO_FRAMES,
        ended: str = "",
        note: str = "",
        timeout: float = 60.0,
    ) -> WriterResult:
        """Have every frame committed so far written, and the file closed. Does not raise: read ``error``.

        ``frames``: indices of those that are "missing", "corrupt" or "unusable".
        """
        lists = {name: np.asarray(indices, np.int64).tobytes() for name, indices in frames.items()}
        request = {"upto": self._ring.committed, "status": status, "ended": ended, "note": note, "frames": lists}
        try:
            reply = self._ask(timeout, t="finish", **request)
            result = WriterResult(reply["written"], reply["lost"], reply["error"])
            if result.error:
                self._await_end(timeout)
            self._unclosed = None
        except WriterError as error:
            lost = self._ring.committed - self._opened_at - self.written
            result = WriterResult(self.written, lost, self.error or str(error))
        self.written = result.written
        return result

    def poll_events(self, timeout: float = 0.0) -> list[WriterEvent]:
        """What the writer reported since the last call; waits up to ``timeout`` s for the first. Notices its death."""
        self._pump(0.0 if self._events else timeout)
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def stop(self, timeout: float = 10.0) -> None:
        """Let the process finish and end; kill it when it does not. An open file is closed as "incomplete".

        Call it when no thread calls ``notify`` any more.
        """
        self._stopping = True
        if self.alive:
            with self._lock:
                self._channel.send({"t": "stop"})
        self._await_end(timeout)
        for fd in (self._wake, self._wake_read):
            if fd >= 0:
                os.close(fd)
        self._wake = self._wake_read = -1

    def _await_end(self, timeout: float) -> None:
        """The process was told to end, or is about to: wait for it, kill it after ``timeout`` s."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._pump(0.0)
        self._bury()

    def _ask(self, timeout: float, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer. Raises WriterError when none comes."""
        deadline = self._clock() + timeout
        with self._lock:
            self._requests += 1
            number = self._requests
            self._channel.send({"id": number, **request})
        while number not in self._replies:
            if self._clock() > deadline:
                raise WriterError(f"the raw writer did not answer {request['t']!r} within {timeout:g} s")
            # Looked at before the socket: what a process sent before it died is still taken in.
            dead = not self.alive
            self._pump(0.0 if dead else 0.05)
            if dead and number not in self._replies:
                self._bury()
                raise WriterError(f"the raw writer ended ({_exit_words(self._process.poll())})")
        return self._replies.pop(number)

    def _pump(self, timeout: float) -> None:
        """Take in what the process sent. Short holds of the lock, so that several threads may wait at once."""
        channel = self._channel
        with contextlib.suppress(OSError, ValueError):  # another thread has just buried the process
            await_ready([channel.fileno()], [channel.fileno()] if channel.backlog else [], timeout)
        with self._lock:
            channel = self._channel
            channel.push()
            for message in channel.receive():
                self._take(message)
        if channel.eof and channel is self._channel:
            self._bury()

    def _take(self, message: dict[str, Any]) -> None:
        kind = message.get("t")
        if "id" in message:
            self._replies[message["id"]] = message
        elif kind in ("written", "error"):
            self.written = message["written"]
            self.error = message.get("text", self.error)
            self._events.append(WriterEvent(kind, self.written, self.error, message.get("errno")))

    def _bury(self) -> None:
        """The process is gone or about to be: free the ring and what belonged to it. Done once per process."""
        with self._lock:
            if self._buried:
                return
            self._buried = True
            status = self._process.wait()
            self._reader.detach()
            self._channel.close()
            self._release_file()
            if status not in (0, 1):
                self.error = self.error or f"the raw writer ended ({_exit_words(status)})"
            if not self._stopping:
                self._events.append(WriterEvent("died", self.written, self.error))

    def _release_file(self) -> None:
        """HDF5 refuses a file that its writer did not close: make one that holds good frames open as any other."""
        if self._unclosed is not None:
            with contextlib.suppress(BadInput, OSError):  # our own reader opens it nevertheless
                clear_swmr_flags(self._unclosed)
            self._unclosed = None


def _environment() -> dict[str, str]:
    """Ours, and a path on which the child finds this very package, from whatever folder we were started."""
    root = str(Path(streamer.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _exit_words(status: int | None) -> str:
    if status is None:
        return "its socket was closed"
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
