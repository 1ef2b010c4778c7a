"""A daemon to be hurt, a detector whose pixels follow from the frame index, and what became of every frame."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import zmq
from numpy.typing import NDArray

from streamer.cli.rig.processes import ANYWHERE, start_daemon
from streamer.client import Link
from streamer.flow import wire
from streamer.flow.wire.daemon import Arm, GetStatus, Report
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec
from streamer.io.raw.nxtomo import DETECTOR, STREAMER
from streamer.io.raw.unclosed import open_raw

SHAPE = (128, 128)
DARKS = FLATS = 5
RING_SLOTS = 64
PATIENCE_S = 150.0
SOURCE = "detector"


@cache
def pixels_of(index: int) -> NDArray[np.uint16]:
    """An image that says which frame it is."""
    rng = np.random.default_rng([7, index])
    level = 100 if index < DARKS else 3000 if index < DARKS + FLATS else 1500
    return rng.normal(level, 10, SHAPE).astype("<u2")


def meta_of(spec: ScanSpec, index: int) -> FrameMeta:
    kind = FrameKind.DARK if index < DARKS else FrameKind.FLAT if index < DARKS + FLATS else FrameKind.PROJECTION
    turned = max(0, index - DARKS - FLATS) * 180.0 / spec.projections
    return FrameMeta(spec.scan_id, index, kind, turned, index)


@dataclass(frozen=True)
class Fate:
    """What became of the frames of a scan. ``silent``: neither in the file nor listed there."""

    state: str
    right: int
    wrong: int
    listed: int
    silent: int
    lied: int  # listed as missing or lost, and in the file
    claimed: int  # lost, as the report says
    segments: int

    @property
    def sound(self) -> bool:
        """Every frame is right or listed, once, and the report says the same."""
        return self.wrong == self.silent == self.lied == 0


class Rig:
    """``writer`` are options of the daemon's section of that name, ``scan`` of that one; with ``shared`` the detector
    binds, and others may connect to it.
    """

    def __init__(
        self,
        folder: Path,
        data: Path | None = None,
        tomogram: bool = False,
        scan: Mapping[str, float] | None = None,
        shared: bool = False,
        **writer: Any,
    ) -> None:
        self.data = data or folder / "data"
        section = {"directory": self.data, "reserve_mb": 0, "tomogram": tomogram, "flush_s": 0.05, **writer}
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        # nobody is held back where several receivers take turns: a full queue would be passed over
        self.push = self.new_push(send_hwm=1000 if shared else 8)
        source = {"endpoint": ANYWHERE, "bind": True}
        if shared:
            self.push.bind(ANYWHERE)
            source = {"endpoint": self.push.getsockopt_string(zmq.LAST_ENDPOINT)}
        self._daemon = start_daemon(
            folder,
            source=source,
            ring={"memory_mb": 16, "max_slots": RING_SLOTS},
            scan={"stall_timeout_s": 60.0, "end_timeout_s": 60.0, **(scan or {})},
            writer=section,
        )
        self._scans = 0
        try:
            self.endpoints = self._daemon.wait_ready()
            self.link = Link(self.endpoints["control"], "daemon", 60.0, self.context)
            if not shared:
                self.push.connect(self.endpoints["source"])
        except BaseException:
            self._daemon.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.link.close()
        self._daemon.stop(timeout_s=100.0)
        self.context.destroy(linger=0)

    def new_push(self, send_hwm: int = 8) -> zmq.Socket[bytes]:
        """Another connection of a detector, which queues so many messages for each receiver."""
        push = self.context.socket(zmq.PUSH)
        push.setsockopt(zmq.SNDHWM, send_hwm)
        push.setsockopt(zmq.LINGER, 0)
        return push

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def kill_daemon(self) -> None:
        self._daemon.kill()

    @property
    def writer_pid(self) -> int:
        """The raw writer among the daemon's children."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if b"streamer.io.raw.writer_process" in path.read_bytes() and self._is_child(path.parent):
                    return int(path.parent.name)
            except OSError:
                continue
        raise ProcessLookupError("the daemon has no raw writer now")

    def _is_child(self, process: Path) -> bool:
        return int((process / "stat").read_text().rsplit(")", 1)[1].split()[1]) == self._daemon.pid

    def arm(self, projections: int = 300) -> ScanSpec:
        spec = self.new_spec(projections)
        self.link.ask(Arm(spec))
        return spec

    def new_spec(self, projections: int = 300) -> ScanSpec:
        self._scans += 1
        return ScanSpec(f"scan-{self._scans}", "fault", *SHAPE, projections, flats=FLATS, darks=DARKS)

    def start(self, spec: ScanSpec, source: str = SOURCE) -> None:
        """The detector announces the scan itself."""
        self.tell(wire.Start(spec, src=source))

    def send(
        self,
        spec: ScanSpec,
        first: int,
        last: int,
        per_s: float | None = None,
        push: zmq.Socket[bytes] | None = None,
        source: str = SOURCE,
    ) -> None:
        """Frames ``first`` up to ``last``; waits where the daemon holds the detector back."""
        push = push or self.push
        for index in range(first, last):
            header, payload = wire.encode_frame(meta_of(spec, index), pixels_of(index), source)
            assert push.poll(int(1000 * PATIENCE_S), zmq.POLLOUT), f"frame {index} could not be sent"
            push.send_multipart([header, payload])
            if per_s is not None:
                time.sleep(1 / per_s)

    def end(self, spec: ScanSpec, source: str = SOURCE) -> None:
        self.tell(wire.End(spec.scan_id, spec.frames, src=source))

    def tell(self, message: wire.Start | wire.End | wire.KeepAlive) -> None:
        self.push.send_multipart(wire.encode(message))

    def report(self, spec: ScanSpec) -> Report:
        report = self.link.ask(GetStatus(spec.scan_id)).scan
        assert report is not None
        return report

    def wait(self, spec: ScanSpec, condition: Callable[[Report], bool], what: str) -> float:
        """Seconds until the report of the scan is so."""
        began = time.monotonic()
        while not condition(self.report(spec)):
            assert time.monotonic() - began < PATIENCE_S, f"{what}: {self.report(spec)}"
            time.sleep(0.01)
        return time.monotonic() - began

    def wait_written(self, spec: ScanSpec, frames: int) -> float:
        """Until so many frames are safe."""
        return self.wait(spec, lambda report: report.written >= frames, f"{frames} frames in the file")

    def fate(self, spec: ScanSpec) -> Fate:
        """Wait for the end of the scan and look at every frame of its file, as another program would."""
        self.wait(spec, lambda report: report.state.final, "the end")
        report = self.report(spec)
        return fate(self.data / f"{spec.scan_id}.nx", spec, report)

    def good_scan(self) -> bool:
        """Whether a scan without a fault succeeds now."""
        spec = self.arm(60)
        self.send(spec, 0, spec.frames)
        self.end(spec)
        found = self.fate(spec)
        return found.sound and found.right == spec.frames and found.state == "complete"


def fate(path: Path, spec: ScanSpec, report: Report | None = None) -> Fate:
    """Compare a file frame by frame with what was sent."""
    right, wrong, lacking = set(), 0, set()
    segments = len(list(path.parent.glob(f"{path.stem}+[0-9]*.nx"))) or 1
    try:
        file = h5py.File(path, "r") if report is not None else open_raw(path)
    except (OSError, BadInput):
        return Fate("unreadable", 0, 0, 0, spec.frames, 0, 0, segments)
    with file:
        for name in ("missing", "corrupt", "lost"):
            lacking |= set(file[f"{STREAMER}/{name}_frames"][()].tolist())
        indices = file[f"{DETECTOR}/sequence_number"][()].tolist()
        for index, image in zip(indices, file[f"{DETECTOR}/data"], strict=True):
            same = index < spec.frames and index not in right and np.array_equal(image, pixels_of(index))
            right.add(index) if same else None
            wrong += not same
    silent = set(range(spec.frames)) - right - lacking
    written = len(right) if report is None else report.written
    received = spec.frames if report is None else report.frames.received
    state = "" if report is None else str(report.state)
    return Fate(state, len(right), wrong, len(lacking), len(silent), len(lacking & right), received - written, segments)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path | None]:
    """A file system of its own of that size; None where it cannot be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class LoopDisk:
    """An ext4 file system in a file, which can fail as in a power cut and come back. Raises OSError where it cannot."""

    SHUTDOWN, WITHOUT_LOG = 0x8004587D, struct.pack("I", 2)  # EXT4_IOC_SHUTDOWN, with nothing more written

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder, self._image = folder / "disk", folder / "image"
        self.folder.mkdir(parents=True)
        with self._image.open("wb") as file:
            file.truncate(megabytes * 2**20)
        self._run("mkfs.ext4", "-q", str(self._image))
        self.mount()

    @staticmethod
    def _run(*command: str) -> None:
        if os.geteuid() or subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
            raise OSError(f"{command[0]} does not work here")

    def mount(self) -> None:
        self._run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.folder))

    def fail(self) -> None:
        """From now on every access is EIO, and what was not written to the disk never will be."""
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, self.SHUTDOWN, self.WITHOUT_LOG)
        finally:
            os.close(fd)

    @property
    def trigger(self) -> Path:
        """Where the kernel is told to find an error in the file system."""
        device = os.stat(self.folder).st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        return Path(f"/sys/fs/ext4/{name}/trigger_fs_error")

    def turn_read_only(self) -> None:
        """What the kernel does with a file system in which it has found an error."""
        self.trigger.write_text("a test of Streamer")

    def unmount(self) -> None:
        self._run("umount", "-l", str(self.folder))


def fill(folder: Path, keep_bytes: int) -> Path:
    """Take the space of a disk but for ``keep_bytes``; gives the file to remove."""
    stat, path = os.statvfs(folder), folder / "filler"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, stat.f_bavail * stat.f_frsize - keep_bytes))
    return path
