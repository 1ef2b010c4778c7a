"""The raw writer's own process: reads the shared ring, writes the raw file. Started by ``writer.WriterProcess``.

It is a process of its own because HDF5, after a full disk, can leave wrong frames behind and can crash at exit; its
death must be an event for the daemon and nothing more.

Commands (parent → here): ``open`` {id, spec, path, started}, ``finish`` {id, upto, status, frames, ended, note},
``stop`` {}. Answers carry the ``id``: ``opened``, ``closed`` {written, lost, error}, ``refused`` {text}. Events:
``written`` {written} after a flush, ``error`` {text, errno}. Each message is a length and a msgpack map.

After an error the file is left as it is, the ring is drained so that the camera is not held back (those frames are
lost, and counted), and the process ends with the answer to ``finish``; the parent starts a new one.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from streamer.flow.ring import Reader, Ring
from streamer.frames import BadInput, Frame, FrameMeta, ScanSpec, StreamerError
from streamer.io.channel import Channel, await_ready
from streamer.io.nxtomo import NO_FRAMES, NXtomoFile
from streamer.io.shared import SharedBuffer

RING_READER = 0
"""The ring's reader that belongs to the raw writer."""

FRAMES_PER_TURN = 16  # written before commands are looked at again
ORPHANED = "the daemon ended unexpectedly"
TERMINATED = "the writer was told to stop during the scan"


class RawFile(Protocol):
    """What the writer needs of a file; ``NXtomoFile`` is the one there is."""

    written: int

    @property
    def frames(self) -> int: ...
    def append(self, meta: FrameMeta, pixels: Any) -> None: ...
    def flush(self) -> int: ...
    def close(
        self,
        status: str,
        expected: int | None = None,
        frames: Mapping[str, Any] = NO_FRAMES,
        ended: str = "",
        note: str = "",
    ) -> int: ...


class Writer:
    """The work of the process without its sockets: frames of the ring into one file at a time."""

    def __init__(
        self,
        reader: Reader,
        create: Callable[[Path, ScanSpec, str], RawFile],
        flush_s: float,
        reserve_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._create = create
        self._flush_s, self._reserve_bytes, self._clock = flush_s, reserve_bytes, clock
        self._file: RawFile | None = None
        self._path = Path()
        self._scan_id = ""
        self._unflushed_since: float | None = None
        self._unchecked = 0  # bytes since the free space was looked at
        self.written = 0
        self.lost = 0  # frames of the open scan that are not in its file, and never will be
        self.error = ""
        self.errno: int | None = None

    @property
    def scan_open(self) -> bool:
        """A scan was opened and not closed, though its file may have failed."""
        return bool(self._scan_id)

    def open(self, path: Path, spec: ScanSpec, started: str) -> None:
        """Raises BadInput when there is a scan already or the file cannot be made."""
        if self.scan_open:
            raise BadInput(f"raw file {path}: the writer still writes scan {self._scan_id}")
        self._file = self._create(path, spec, started)
        self._path, self._scan_id = path, spec.scan_id
        self.written = self.lost = 0
        self._unflushed_since = None

    def take(self, limit: int) -> int:
        """Write up to ``limit`` frames of the ring; gives how many it took. Never raises: see ``error``."""
        for taken in range(limit):
            frame = self._reader.poll()
            if frame is None:
                return taken
            if self._file is None or frame.meta.scan_id != self._scan_id:
                self.lost += 1
            else:
                self._append(self._file, frame)
            self._reader.release()
        return limit

    def _append(self, file: RawFile, frame: Frame) -> None:
        self._guarded(file.append, frame.meta, frame.pixels)
        if self._file is None:
            self.lost += 1  # this one; the file counts those before it
            return
        if self._unflushed_since is None:
            self._unflushed_since = self._clock()
        self._unchecked += frame.pixels.nbytes
        if self._unchecked > self._reserve_bytes // 8:
            self._guarded(self._check_room)

    def flush_if_due(self) -> bool:
        """Flush when frames have waited for ``flush_s``; True if the number of readable frames grew."""
        if self._file is None or self._unflushed_since is None or self.flush_in() > 0:
            return False
        before = self.written
        self._guarded(self._flush)
        self._guarded(self._check_room)
        return self.written > before

    def flush_in(self) -> float:
        """Seconds until the next flush is due; infinite when nothing waits."""
        if self._file is None or self._unflushed_since is None:
            return float("inf")
        return max(0.0, self._unflushed_since + self._flush_s - self._clock())

    def close(self, status: str, frames: Mapping[str, Any] = NO_FRAMES, ended: str = "", note: str = "") -> None:
        """End the scan. After an error there is no file to close any more."""
        if self._file is not None:
            self._guarded(self._close, status, None, frames, ended, note)
        self._file, self._scan_id = None, ""

    def _flush(self) -> None:
        assert self._file is not None
        self._unflushed_since = None
        self.written = self._file.flush()

    def _close(self, *arguments: Any) -> None:
        assert self._file is not None
        self.written = self._file.close(*arguments)

    def _check_room(self) -> None:
        """Give the file up while HDF5 is still sound: a disk that is really full would leave wrong frames in it."""
        self._unchecked = 0
        if self._file is None or self._reserve_bytes <= 0:
            return
        stat = os.statvfs(self._path.parent)
        free = stat.f_bavail * stat.f_frsize
        # Half of it is for what the estimate before the scan did not count.
        if free < self._reserve_bytes // 2:
            text = f"only {free} bytes left, {self._reserve_bytes} are to stay free"
            self.written = self._file.close("incomplete", note=text)
            raise OSError(errno.ENOSPC, text)

    def _guarded(self, step: Callable[..., Any], *arguments: Any) -> None:
        try:
            step(*arguments)
        except Exception as error:  # h5py raises OSError, RuntimeError and ValueError for what goes wrong in HDF5
            self._abandon(error)

    def _abandon(self, error: Exception) -> None:
        file, self._file = self._file, None
        self._unflushed_since = None
        _keep_alive.append(file)  # letting it go would close it: that touches the damaged file, and can crash
        self.error = f"raw file {self._path}: {_one_line(error)}"
        self.errno = error.errno if isinstance(error, OSError) else None
        # Frames of the last flush are good; those after it are not known to be.
        if file is not None:
            self.lost += max(0, file.frames - self.written)


_keep_alive: list[Any] = []


def _one_line(error: Exception) -> str:
    """HDF5's own words go over several lines and name addresses; the system's are better when there are any."""
    if isinstance(error, OSError) and error.errno:
        own = error.strerror if error.strerror and len(error.strerror) < 100 and "\n" not in error.strerror else ""
        return own or os.strerror(error.errno)
    return " ".join(str(error).split())[:300] or type(error).__name__


class Service:
    """Joins the writer to its parent: commands, wake-ups, signals. ``run`` gives the exit status."""

    def __init__(self, writer: Writer, reader: Reader, channel: Channel, wake_fd: int, signal_fd: int) -> None:
        self._writer, self._reader, self._channel = writer, reader, channel
        self._wake_fd, self._signal_fd = wake_fd, signal_fd
        self._finish: dict[str, Any] | None = None
        self._told = 0  # number of frames last announced as written
        self._error_told = False
        self._stop = False
        self._note = ""  # set when the end comes without a finish

    def run(self) -> int:
        while True:
            busy = self._writer.take(FRAMES_PER_TURN) > 0
            self._writer.flush_if_due()
            self._tell()
            self._finish_if_drained()
            if not busy and (self._stop or self._note):
                return self._leave()
            self._listen(0.0 if busy else min(self._writer.flush_in(), 3600.0))

    def _listen(self, timeout: float) -> None:
        """Wait for a wake-up, a command, a signal or the timeout in s."""
        channel = self._channel.fileno()
        want_write = [channel] if self._channel.backlog else []
        ready = await_ready([self._wake_fd, self._signal_fd, channel], want_write, timeout)
        self._channel.push()
        if self._wake_fd in ready:
            os.read(self._wake_fd, 65536)  # all of it: one look at the ring serves them all
        if self._signal_fd in ready:
            self._note = self._note or TERMINATED
        if channel in ready:
            for command in self._channel.receive():
                self._obey(command)
            if self._channel.eof:
                self._note = self._note or ORPHANED

    def _obey(self, command: dict[str, Any]) -> None:
        verb = command.get("t")
        if verb == "open":
            self._open(command)
        elif verb == "finish":
            self._finish = command
        elif verb == "stop":
            self._stop = True

    def _open(self, command: dict[str, Any]) -> None:
        try:
            spec = ScanSpec.from_dict(command["spec"])
            self._writer.open(Path(command["path"]), spec, command["started"])
        except (StreamerError, OSError, RuntimeError, ValueError) as error:
            self._channel.send({"t": "refused", "id": command["id"], "text": _one_line(error)})
            return
        self._told = 0
        self._channel.send({"t": "opened", "id": command["id"]})

    def _finish_if_drained(self) -> None:
        command = self._finish
        if command is None or self._reader.position < command["upto"]:
            return
        self._finish = None
        writer = self._writer
        frames = {name: np.frombuffer(indices, np.int64) for name, indices in command["frames"].items()}
        writer.close(command["status"], frames, command["ended"], command["note"])
        result = {"written": writer.written, "lost": writer.lost, "error": writer.error}
        self._channel.send({"t": "closed", "id": command["id"], **result})
        # HDF5 is not to be trusted after an error: the next scan gets a new process.
        self._stop = self._stop or bool(writer.error)

    def _tell(self) -> None:
        """Announce progress. While the parent does not listen only the newest number is kept, so nothing piles up."""
        writer = self._writer
        if writer.error and not self._error_told:
            self._error_told = True
            self._channel.send({"t": "error", "text": writer.error, "errno": writer.errno, "written": writer.written})
        if writer.written != self._told and not self._channel.backlog:
            self._told = writer.written
            self._channel.send({"t": "written", "written": writer.written})

    def _leave(self) -> int:
        writer = self._writer
        if writer.scan_open:
            ended = datetime.now(UTC).isoformat(timespec="milliseconds")
            writer.close("incomplete", ended=ended, note=self._note or TERMINATED)
            self._tell()
        deadline = time.monotonic() + 2.0
        while self._channel.backlog and not self._channel.eof and time.monotonic() < deadline:
            await_ready([], [self._channel.fileno()], 0.1)
            self._channel.push()
        return 1 if writer.error else 0


def _signal_pipe() -> int:
    """SIGTERM becomes a byte in a pipe. SIGINT, which a terminal sends to the whole group, is the parent's affair."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    return read_fd


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="streamer.io.writer_process")
    for name in ("ring-fd", "socket-fd", "wake-fd", "reserve-bytes"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--flush-s", type=float, required=True)
    options = parser.parse_args(arguments)
    signal_fd = _signal_pipe()
    shared = SharedBuffer.open(options.ring_fd)
    reader = Ring(shared.memory).reader(RING_READER, lossless=True)
    writer = Writer(reader, NXtomoFile.create, options.flush_s, options.reserve_bytes, time.monotonic)
    channel = Channel(socket.socket(fileno=options.socket_fd))
    return Service(writer, reader, channel, options.wake_fd, signal_fd).run()


if __name__ == "__main__":
    status = 1
    try:
        status = main(sys.argv[1:])
    except Exception:
        traceback.print_exc()
    finally:
        # No normal exit: HDF5's own clean-up can crash after a full disk.
        sys.stderr.flush()
        os._exit(status)
