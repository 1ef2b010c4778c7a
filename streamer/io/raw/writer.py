"""The daemon's side of the raw writer: it starts the process, gives it commands, and replaces it when it fails."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from streamer.flow.ring.ring import Ring
from streamer.frames import ScanSpec, StreamerError
from streamer.io.raw.disk_space import check_space
from streamer.io.raw.frame_writer import RING_READER
from streamer.io.raw.nxtomo import NO_FRAMES
from streamer.io.raw.pixel_mask import PixelMask, pack
from streamer.io.raw.raw_scan import RawScan, WriterEvent, WriterResult
from streamer.io.raw.writer_child import WriterChild, WriterOptions
from streamer.io.raw.writer_pulse import WriterPulse
from streamer.io.shared import SharedBuffer

RETRY_S = 0.5  # between attempts to go on in a new segment


class WriterError(StreamerError):
    """The raw writer could not do what it was asked to; the message is one line."""


class WriterSlow(WriterError):
    """The raw writer did not answer in time. It may soon."""


class WriterProcess:
    """The raw writer as the daemon sees it. Any thread may call; two calls of ``open``/``finish`` must not overlap.

    A process that dies, hangs or reports an error is replaced by the next ``poll_events``, which is to be called all
    the time; its successor finds the frames in the ring and goes on in a new segment (see ``segments``). Meanwhile the
    ring is held back. After ``patience_s`` in which nothing could be written the ring is let go, unless the source
    keeps the frames: they are lost, and the attempts go on.
    """

    def __init__(
        self,
        shared: SharedBuffer,
        directory: Path,
        options: WriterOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Attaches reader 0 of the ring. ``directory`` is where ``open`` puts a file whose path is relative."""
        self._shared, self._directory, self._clock = shared, directory, clock
        self._options = options or WriterOptions()
        self._ring = Ring(shared.memory)
        self._reader = self._ring.reader(RING_READER, lossless=True)
        self._lock = threading.RLock()
        self._events: deque[WriterEvent] = deque()
        self._scan: RawScan | None = None
        self._result = WriterResult(0)
        self.starts = 0
        self.written = 0  # frames of the newest scan that are readable after a crash of any process
        self.safe_position = self._ring.committed
        """Place in the ring below which every frame of the newest scan is readable after a crash of any process."""
        # One pipe for all processes to come: a thread may be writing into it while a dead one is replaced.
        self._wake_read, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._stopping = False
        self._retry_s = 0.0
        self._pulse = WriterPulse(self._options.flush_s, self._options.hang_s)
        self._start()

    def _start(self) -> None:
        self._child = WriterChild(self._options, self._shared.fd, self._wake_read)
        self._pulse.starts(self._clock())
        self.starts += 1

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.alive

    @property
    def restarts(self) -> int:
        """How often a process was replaced."""
        return self.starts - 1

    @property
    def state(self) -> tuple[str, str]:
        """State of the newest scan's raw file and why: "ok", "low_space" (the disk will be full before the end),
        "recovering" (frames wait in the ring for a new segment) or "failed" (frames are being lost).
        """
        scan = self._scan
        return ("ok", "") if scan is None else scan.state

    def notify(self) -> None:
        """A frame was committed. One small write that never blocks and never fails."""
        with contextlib.suppress(OSError):  # a full pipe: it will wake up anyhow
            os.write(self._wake, b"\0")

    def open(self, spec: ScanSpec, path: Path, started: str, timeout: float = 30.0, held: int | None = None) -> Path:
        """Make the raw file of a scan and give its path; from now on frames of ``spec.scan_id`` go into it.

        ``held``: frames in files of an earlier daemon, so that the others go into a new segment; None for a new scan.
        Raises BadInput when there is no room for the scan, WriterError when the file cannot be made, WriterSlow when no
        answer comes in time.
        """
        if self._scan is not None:
            raise WriterError(f"the writer still writes scan {self._scan.spec.scan_id}")
        target = self._directory / path
        check_space(target.parent, (spec.frames - (held or 0)) * spec.frame_nbytes, self._options.reserve_bytes)
        with self._lock:
            self._reader.release_to(self._ring.committed)
            self.written, self.safe_position = 0, self._ring.committed
            self._scan = scan = RawScan(spec, target, started, self._ring.committed, held)
            self._pulse.hangs, self._retry_s = 0, 0.0
            if self.alive:
                self._go_on(scan)  # a process that still starts is told when it is ready
        deadline = self._clock() + timeout
        while not scan.segments and not scan.refusal:
            if self._clock() > deadline:
                why = f"the raw writer did not answer 'open' within {timeout:g} s"
                with self._lock:
                    self._scan = None
                    if self._pulse.ready:  # else it is still starting, and the next one would take as long
                        self._bury(why)
                raise WriterSlow(why)
            self._turn(0.05)
        if scan.refusal:
            self._scan = None
            raise WriterError(scan.refusal)
        return target

    def mark(self, mask: PixelMask) -> None:
        """Have it entered in the files of the newest scan which pixels (rows, columns) are not to be used."""
        with self._lock:
            scan = self._scan
            if scan is not None:
                scan.mask = pack(mask)
                if scan.opening or scan.opened:
                    self._child.send(t="mark", mask=scan.mask)

    def end(
        self,
        status: str,
        frames: Mapping[str, ArrayLike] = NO_FRAMES,
        ended: str = "",
        note: str = "",
        expected: int | None = None,
    ) -> None:
        """Have every frame committed so far written, the file closed and compared with its checksums: ``await_end``.

        ``expected``: frames that were issued, None for all announced. ``frames``: indices of those that are "missing",
        "corrupt" or "unusable".
        """
        scan = self._scan
        if scan is None or scan.end is not None:
            return
        with self._lock:
            scan.ends(self._ring.committed, status, frames, ended, note, expected)
            if scan.opened:
                self._send_finish(scan)

    def await_written(self) -> bool:
        """Wait until every frame of the newest scan that was committed so far can be read from its file.

        False when its file has trouble, or does not lie in one piece.
        """
        scan, upto = self._scan, self._ring.committed
        while scan is not None and scan.end is None and scan.segments == 1 and self.state[0] in ("ok", "low_space"):
            if self.safe_position >= upto:
                return True
            self._turn(0.05)
        return False

    def await_end(self) -> WriterResult:
        """How the newest scan ended. Waits as long as there is progress, and a while when there is none."""
        scan = self._scan
        if scan is None:
            return self._result
        while scan.result is None:
            self._turn(0.05)
        with self._lock:
            self._scan = None
            self._attach()
            self._reader.release_to(self._ring.committed)
        self.written, self._result = scan.result.written, scan.result
        return scan.result

    def finish(self, status: str, frames: Mapping[str, ArrayLike] = NO_FRAMES, **options: Any) -> WriterResult:
        """``end`` and ``await_end``."""
        self.end(status, frames, **options)
        return self.await_end()

    def poll_events(self, timeout: float = 0.0) -> list[WriterEvent]:
        """What happened since the last call; waits up to ``timeout`` s for the first. Replaces a failed process."""
        self._turn(0.0 if self._events else timeout)
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
                self._child.send(t="stop")
            self._child.wait(timeout)
            self._turn(0.0)
        with self._lock:
            self._bury()
            self._reader.detach()
        for fd in (self._wake, self._wake_read):
            if fd >= 0:
                os.close(fd)
        self._wake = self._wake_read = -1

    def _turn(self, timeout: float) -> None:
        """Take in what the process sent, waiting up to ``timeout`` s for it without the lock, and do what follows."""
        child = self._child
        if child.ended:
            time.sleep(min(timeout, 0.02))
        else:
            child.await_message(timeout)
        with self._lock:
            if not self._child.ended:
                gone = self._child.gone  # looked at first: what a process sent before it died is still taken in
                for message in self._child.receive():
                    self._take(message)
                if gone:
                    self._bury()
            if not self._stopping:
                self._supervise(self._clock())

    def _take(self, message: dict[str, Any]) -> None:
        scan, kind = self._scan, message.get("t")
        self._pulse.heard(self._clock())
        if kind == "ready":
            self._pulse.ready = True
            if scan is not None:
                self._go_on(scan)
        elif kind == "error":
            self._trouble(message["text"], "error", message["errno"])
        elif scan is None:
            return
        elif kind == "opened":
            scan.has_opened(message["position"])
            if scan.end is not None:
                self._send_finish(scan)
        elif kind == "written":
            self._pulse.hangs = 0
            if scan.has_written(message["safe"], message["free"], self._options.reserve_bytes):
                self.written, self.safe_position = scan.written, scan.safe_position
                self._events.append(WriterEvent("written", scan.written))
        elif kind == "alive":
            scan.trouble_s = None
        elif kind == "refused":
            scan.was_refused(str(message["text"]))
            self._retry_s = self._clock() + RETRY_S
            if scan.failed:
                self._reader.detach()  # frames go by until a segment can be made
        elif kind == "sealed":
            scan.has_sealed(message)

    def _bury(self, why: str = "") -> None:
        """End the process if it has not ended, and free what belonged to it. Done once per process."""
        if self._child.ended:
            return
        words, scan = self._child.end(), self._scan
        if scan is not None:
            scan.lost_its_process()
        wanted = self._stopping or (not self._child.failed and (scan is None or scan.result is not None))
        if not wanted and (scan is None or scan.trouble_s is None):
            self._trouble(why or f"the raw writer ended ({words})", "died")

    def _trouble(self, why: str, kind: str, errno: int | None = None) -> None:
        """Frames cannot be written for now."""
        scan = self._scan
        self._retry_s = self._clock() + (0.0 if self._pulse.ready else RETRY_S)
        if scan is not None:
            scan.has_trouble(why, self._clock())
        self._events.append(WriterEvent(kind, self.written, why, errno))

    def _supervise(self, now: float) -> None:
        """Replace a process that is gone or hangs, try again what was refused, and give up when patience ends."""
        scan = self._scan
        busy = scan is not None and scan.expects_progress(self._ring.committed)
        silence_s = self._pulse.silence_s(now, busy)
        if not self._child.ended and self._pulse.hangs_after(silence_s):
            why = f"the raw writer did nothing for {silence_s:.1f} s"
            self._trouble(why, "hung")
            self._bury(why)
        if self._child.ended and now >= self._retry_s:
            try:
                self._start()
            except OSError as error:
                self._retry_s = now + RETRY_S
                if scan is not None:
                    scan.error = f"the raw writer could not be started: {error}"
        elif scan is not None and self._pulse.ready and not scan.busy and now >= self._retry_s:
            self._go_on(scan)
        if scan is not None:
            self._lose_patience(scan, now)

    def _lose_patience(self, scan: RawScan, now: float) -> None:
        """Hold the ring back no longer than allowed, and the end of the scan no longer than twice that."""
        waited = 0.0 if scan.trouble_s is None else now - scan.trouble_s
        held = self._options.source_keeps and scan.end is None
        if waited > self._options.patience_s and not scan.failed and not held:
            scan.lets_frames_go(self._reader.position)
            self._reader.detach()
            self._events.append(WriterEvent("failed", self.written, scan.error))
        if scan.end is not None and scan.result is None and (scan.in_vain or waited > 2 * self._options.patience_s):
            scan.give_up(self._ring.committed, scan.error)

    def _go_on(self, scan: RawScan) -> None:
        """Give a process without a file its next command."""
        if not self._pulse.ready or scan.busy or scan.result is not None:
            return
        if scan.end is not None and (scan.failed or self._reader.position >= scan.upto):
            self._send_finish(scan)
        else:
            self._send_open(scan)

    def _attach(self) -> None:
        self._reader = self._ring.reader(RING_READER, lossless=True)

    def _send_open(self, scan: RawScan) -> None:
        self._attach()
        scan.opening = True
        self._pulse.heard(self._clock())
        self._child.send(t="open", **scan.command(), mask=scan.mask, resume=scan.resume or scan.segments > 0)

    def _send_finish(self, scan: RawScan) -> None:
        assert scan.end is not None
        scan.finishing = True
        self._pulse.heard(self._clock())
        upto = 0 if scan.failed else scan.upto
        self._child.send(t="finish", **scan.command(), **scan.end, upto=upto, verify=self._options.verify)
