"""One raw writer process and the socket to it, as its parent holds them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamer
from streamer.io.messaging.channel import Channel, await_ready

PROCESS = "streamer.io.raw.writer_process"
DYING_S = 1.0


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """``flush_s``: between flushes. ``reserve_bytes``: to stay free. ``fsync_s``: between fsyncs, None for none.

    ``hang_s``: without progress after which the process is replaced. ``patience_s``: for which the ring is held back
    while nothing can be written; with ``source_keeps`` the source has every frame until it is safe, and the ring is
    held back until the scan ends. ``direct``: write past the page cache. ``verify``: read every frame back at the end.
    ``keep_compressed``: store frames that came compressed as they are.
    """

    flush_s: float = 0.2
    reserve_bytes: int = 0
    fsync_s: float | None = None
    hang_s: float = 5.0
    patience_s: float = 60.0
    source_keeps: bool = False
    direct: bool = True
    verify: bool = True
    keep_compressed: bool = False


class WriterChild:
    """Starts the process. ``ended`` is true once ``end`` was called."""

    def __init__(self, options: WriterOptions, shared_fd: int, wake_fd: int) -> None:
        """Raises OSError when the process cannot start."""
        ours, theirs = socket.socketpair()
        fds = {"ring-fd": shared_fd, "socket-fd": theirs.fileno(), "wake-fd": wake_fd}
        command = [sys.executable, "-m", PROCESS]
        settings = {"flush-s": options.flush_s, "reserve-bytes": options.reserve_bytes, "fsync-s": options.fsync_s}
        for name, value in {**settings, **fds}.items():
            command += [] if value is None else [f"--{name}", str(value)]
        command += ["--keep-compressed"] if options.keep_compressed else []
        command += [] if options.direct else ["--through-page-cache"]
        try:
            self._process = subprocess.Popen(
                command,
                pass_fds=tuple(fds.values()),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._channel = Channel(ours)
        self.ended = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self.ended and self._process.poll() is None

    @property
    def gone(self) -> bool:
        """The process has ended, or closed its socket to do so."""
        return self._channel.eof or self._process.poll() is not None

    @property
    def failed(self) -> bool:
        """Whether the process ended by itself and with an error; asked after ``end``."""
        return self._process.returncode != 0

    def send(self, **message: Any) -> None:
        self._channel.send(message)

    def await_message(self, timeout: float) -> None:
        """Wait until the process says something, or until it can be told more."""
        fd = self._channel.fileno()
        with contextlib.suppress(OSError, ValueError):  # another thread has just ended it
            await_ready([fd], [fd] if self._channel.backlog else [], timeout)

    def receive(self) -> list[dict[str, Any]]:
        """Messages that have arrived, also those of a process that has died since."""
        self._channel.push()
        return self._channel.receive()

    def wait(self, timeout: float) -> None:
        """Wait for the end of the process."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    def end(self) -> str:
        """Have the process ended; gives in words how it did. One that hangs in the kernel does nothing any more."""
        if self._channel.eof:
            self.wait(DYING_S)  # it is about to end by itself
        self._process.kill()
        self.wait(DYING_S)
        self._channel.close()
        self.ended = True
        status = self._process.returncode
        if status is None:
            return "hangs in the kernel"
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def _environment() -> dict[str, str]:
    """Ours, and a path on which the child finds this very package, from whatever folder we were started."""
    root = str(Path(streamer.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
