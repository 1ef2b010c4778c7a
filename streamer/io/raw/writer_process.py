"""The raw writer's own process: it reads the shared ring and writes the raw file. Started by ``writer.WriterProcess``.

It is a process of its own because HDF5, after a full disk, can leave wrong frames behind and can crash at exit; its
death must be an event for the daemon and nothing more.

Commands (parent → here): ``open`` {spec, path, started, resume, [mask]}, ``mark`` {mask}, ``finish`` {upto,
verify, path, spec, started, expected, status, frames, ended, note}, ``stop`` {}. Answers: ``ready`` {}, ``opened``
{position}, ``refused`` {text}, ``sealed`` {written, lost, problems, segments}. Events: ``written`` {safe, free} after a
flush, ``alive`` {} while the files are read back, ``error`` {text, errno}. Each message is a length and a msgpack map.

After an error the process ends and leaves the file as it is. What it has not given back to the ring is there for its
successor.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from streamer.flow.ring.ring import Ring
from streamer.frames import BadInput, ScanSpec
from streamer.io.messaging.channel import Channel, await_ready
from streamer.io.nexus import now
from streamer.io.raw.frame_writer import FrameWriter
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.raw.pixel_mask import unpack
from streamer.io.raw.segments import Account, next_segment, seal, segments_of
from streamer.io.shared import SharedBuffer

FRAMES_PER_TURN = 32  # written before commands are looked at again
ALIVE_EVERY_S = 0.5
ORPHANED = "the daemon ended unexpectedly"
TERMINATED = "the writer was told to stop during the scan"


def one_line(error: Exception) -> str:
    """HDF5's own words go over several lines and name addresses; the system's are better when there are any."""
    if isinstance(error, OSError) and error.errno:
        own = error.strerror if error.strerror and len(error.strerror) < 100 and "\n" not in error.strerror else ""
        return own or os.strerror(error.errno)
    return " ".join(str(error).split())[:300] or type(error).__name__


class Service:
    """Joins the writer to its parent: commands, wake-ups, signals. ``run`` gives the exit status."""

    def __init__(
        self, writer: FrameWriter, channel: Channel, wake_fd: int, signal_fd: int, clock: Callable[[], float]
    ) -> None:
        self._writer, self._channel, self._clock = writer, channel, clock
        self._wake_fd, self._signal_fd = wake_fd, signal_fd
        self._path, self._shape = Path(), (0, 0)  # of the scan's first file, and of its frames
        self._finish: dict[str, Any] | None = None
        self._told = -1  # position last announced as safe
        self._alive_s = clock()
        self._stop = False
        self._note = ""  # set when the end comes without a finish

    def run(self) -> int:
        self._channel.send({"t": "ready"})
        try:
            while True:
                busy = self._writer.take(FRAMES_PER_TURN) > 0
                self._writer.flush_if_due()
                self._tell()
                self._finish_if_drained()
                if not busy and (self._stop or self._note):
                    self._leave()
                    return 0
                self._listen(0.0 if busy else min(self._writer.flush_in(), 3600.0))
        except Exception as error:  # h5py raises OSError, RuntimeError and ValueError for what goes wrong in HDF5
            number = error.errno if isinstance(error, OSError) else None
            self._channel.send({"t": "error", "text": one_line(error), "errno": number})
            return 1
        finally:
            self._push_out()

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
        elif verb == "mark":
            self._mark(command["mask"])
        elif verb == "finish":
            self._finish = command
        elif verb == "stop":
            self._stop = True

    def _open(self, command: dict[str, Any]) -> None:
        path = Path(command["path"])
        try:
            file = next_segment(path) if command["resume"] else path
            spec = ScanSpec.from_dict(command["spec"])
            self._writer.open(file, spec, command["started"], command["resume"])
        except (BadInput, OSError, RuntimeError, ValueError) as error:
            self._channel.send({"t": "refused", "text": one_line(error)})
            return
        self._path, self._shape = path, (spec.rows, spec.columns)
        self._mark(command.get("mask", b""))
        self._told = -1
        self._channel.send({"t": "opened", "position": self._writer.safe})

    def _mark(self, packed: bytes) -> None:
        if packed:
            self._writer.mark(unpack(packed, self._shape))

    def _finish_if_drained(self) -> None:
        command, writer = self._finish, self._writer
        if command is None or (writer.scan_open and writer.next < command["upto"]):
            return
        self._finish = None
        frames = {name: np.frombuffer(indices, np.int64) for name, indices in command["frames"].items()}
        ending = {key: command[key] for key in ("status", "expected", "ended", "note")}
        writer.close(frames=frames, **ending)
        self._tell()
        account = Account(spec=ScanSpec.from_dict(command["spec"]), frames=frames, started=command["started"], **ending)
        try:
            sealed = seal(Path(command["path"]), account, command["verify"], self._alive)
        except BadInput as error:
            self._channel.send({"t": "refused", "text": str(error)})
            return
        self._channel.send(
            {
                "t": "sealed",
                "written": sealed.written,
                "lost": len(sealed.lost),
                "problems": list(sealed.problems),
                "segments": sealed.segments,
            }
        )
        # HDF5 is not to be trusted after damaged files: the next scan gets a new process.
        self._stop = self._stop or bool(sealed.problems)

    def _alive(self) -> None:
        if self._clock() - self._alive_s >= ALIVE_EVERY_S:
            self._alive_s = self._clock()
            self._channel.send({"t": "alive"})

    def _tell(self) -> None:
        """Announce progress. While the parent does not listen only the newest number is kept, so nothing piles up."""
        safe = self._writer.safe
        if safe != self._told and not self._channel.backlog:
            self._told = safe
            self._channel.send({"t": "written", "safe": safe, "free": self._writer.free_bytes})

    def _leave(self) -> None:
        """The end came without a finish: close the file, which lists what it lacks, and join the segments."""
        if not self._writer.scan_open:
            return
        self._writer.close("incomplete", ended=now(), note=self._note or TERMINATED)
        self._tell()
        if len(segments_of(self._path)) > 1:
            seal(self._path, verify=False)  # quickly: the next daemon may be about to take the scan up

    def _push_out(self) -> None:
        deadline = self._clock() + 2.0
        while self._channel.backlog and not self._channel.eof and self._clock() < deadline:
            await_ready([], [self._channel.fileno()], 0.1)
            self._channel.push()


def _signal_pipe() -> int:
    """SIGTERM becomes a byte in a pipe. SIGINT, which a terminal sends to the whole group, is the parent's affair."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    return read_fd


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="streamer.io.raw.writer_process")
    for name in ("ring-fd", "socket-fd", "wake-fd", "reserve-bytes"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--flush-s", type=float, required=True)
    parser.add_argument("--fsync-s", type=float)
    parser.add_argument("--keep-compressed", action="store_true")
    parser.add_argument("--through-page-cache", action="store_true")
    options = parser.parse_args(arguments)
    signal_fd = _signal_pipe()
    ring = Ring(SharedBuffer.open(options.ring_fd).memory)
    create = partial(NXtomoFile.create, keep_compressed=options.keep_compressed, direct=not options.through_page_cache)
    writer = FrameWriter(ring, create, options.flush_s, options.reserve_bytes, options.fsync_s, time.monotonic)
    channel = Channel(socket.socket(fileno=options.socket_fd))
    return Service(writer, channel, options.wake_fd, signal_fd, time.monotonic).run()


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
