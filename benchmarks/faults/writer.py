"""Faults of the raw writer and of its disk."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.rig import Fate, LoopDisk, Rig, fate, fill, small_disk
from streamer.frames import ScanSpec
from streamer.io.messaging.sockets import port_of
from streamer.io.raw.segments import seal

Act = Callable[[Rig, ScanSpec], None]


@dataclass(frozen=True)
class Row:
    """One line of the fault table. ``good_after_s``: from the fault until frames are written safely again."""

    fault: str
    happens: str
    fate: Fate
    lost: int
    good_after_s: float | None
    next_scan_good: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def scan_with(
    rig: Rig, fault: str, happens: str, act: Act, at: int = 150, undo: Act | None = None, undo_at: int = 0
) -> Row:
    """A scan of 310 frames; the fault comes when frame ``at`` is safe, and goes, once it is noticed, before frame
    ``undo_at`` is sent.
    """
    spec = rig.arm()
    rig.send(spec, 0, at)
    rig.wait_written(spec, at)
    act(rig, spec)
    began = time.monotonic()
    if undo is not None:
        rig.send(spec, at, undo_at)
        rig.wait(spec, lambda report: report.writer in ("recovering", "failed"), "the writer's notice of the fault")
        undo(rig, spec)
        began = time.monotonic()
    rest = max(at, undo_at)
    rig.send(spec, rest, rest + 1)
    rig.wait_written(spec, rest + 1)
    good = round(time.monotonic() - began, 2)
    rig.send(spec, rest + 1, spec.frames)
    rig.end(spec)
    found = rig.fate(spec)
    return Row(fault, happens, found, spec.frames - found.right, good, rig.good_scan())


def kill_writer(rig: Rig, _spec: ScanSpec) -> None:
    os.kill(rig.writer_pid, signal.SIGKILL)


def stop_writer(rig: Rig, _spec: ScanSpec) -> None:
    os.kill(rig.writer_pid, signal.SIGSTOP)


def kills(folder: Path, count: int, seed: int = 1) -> Row:
    """``count`` scans, in each of which the writer is killed at a random frame while frames come at full speed."""
    rng = np.random.default_rng(seed)
    fates, seconds = [], []
    with Rig(folder) as rig:
        for _ in range(count):
            spec = rig.arm()
            at = int(rng.integers(0, spec.frames))
            rig.send(spec, 0, at)
            os.kill(rig.writer_pid, signal.SIGKILL)
            killed = time.monotonic()
            rig.send(spec, at, spec.frames)
            rig.wait_written(spec, spec.frames)
            seconds.append(time.monotonic() - killed)
            rig.end(spec)
            fates.append(rig.fate(spec))
        good = rig.good_scan()
    names = ("right", "wrong", "listed", "silent", "lied", "claimed", "segments")
    total = Fate("; ".join(sorted({one.state for one in fates})), *(sum(getattr(f, n) for f in fates) for n in names))
    what = f"the writer is killed (SIGKILL) at {count} random frames, one in each scan"
    lost = sum(spec.frames - one.right for one in fates)
    return Row(what, "replaced; a new segment from the ring", total, lost, round(max(seconds), 2), good)


def hangs(folder: Path, hang_s: float = 5.0) -> Row:
    with Rig(folder, hang_s=hang_s) as rig:
        what = f"the writer hangs for good (SIGSTOP), hang_s = {hang_s:g}"
        return scan_with(rig, what, "killed and replaced; the ring holds the detector back", stop_writer)


def out_of_descriptors(folder: Path) -> Row:
    """The daemon can open nothing when its writer dies; before, the receive thread died of it."""

    def exhaust(rig: Rig, _spec: ScanSpec) -> None:
        highest = max(int(name) for name in os.listdir(f"/proc/{rig.pid}/fd"))
        resource.prlimit(rig.pid, resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        # Those below that are free are taken by connections that do nothing.
        idle.extend(socket.create_connection(("127.0.0.1", port_of(rig.endpoints["control"]))) for _ in range(highest))
        os.kill(rig.writer_pid, signal.SIGKILL)

    def restore(rig: Rig, _spec: ScanSpec) -> None:
        resource.prlimit(rig.pid, resource.RLIMIT_NOFILE, limits)
        for connection in idle:
            connection.close()

    with Rig(folder) as rig:
        limits, idle = resource.prlimit(rig.pid, resource.RLIMIT_NOFILE), list[socket.socket]()
        what = "no descriptor is left when the writer is killed, for a while"
        return scan_with(rig, what, "replaced when there are some again", exhaust, undo=restore, undo_at=190)


def file_size_limit(folder: Path) -> Row:
    def limit(rig: Rig, spec: ScanSpec) -> None:
        # Its length is that of the whole scan; frames are written one after the other.
        written = (rig.data / f"{spec.scan_id}.nx").stat().st_blocks * 512
        resource.prlimit(rig.writer_pid, resource.RLIMIT_FSIZE, (written + 10_000, resource.RLIM_INFINITY))

    with Rig(folder) as rig:
        return scan_with(rig, "EFBIG: the file may not grow any more", "given up; a new segment", limit)


def full_disk(folder: Path, reserve_mb: float) -> Row | None:
    """The disk is full for a while. None where no file system can be mounted."""
    with small_disk(folder / "disk", 64) as disk:
        if disk is None:
            return None
        with Rig(folder, disk, reserve_mb=reserve_mb) as rig:
            keep = int(reserve_mb * 2**19) + 200_000
            what = f"the disk is full, then freed; reserve {reserve_mb:g} MB"
            happens = "the segment ends; the ring holds the detector back until there is room"

            def undo(_rig: Rig, _spec: ScanSpec) -> None:
                (disk / "filler").unlink()

            return scan_with(rig, what, happens, lambda *_: fill(disk, keep) and None, undo=undo, undo_at=200)


def disk_stays_full(folder: Path) -> Row | None:
    """Nobody frees the disk before patience ends; then it is freed for the next scan."""
    with small_disk(folder / "disk", 64) as disk:
        if disk is None:
            return None
        with Rig(folder, disk, reserve_mb=4, patience_s=2.0) as rig:
            spec = rig.arm()
            rig.send(spec, 0, 150)
            rig.wait_written(spec, 150)
            filler = fill(disk, 1_500_000)
            rig.send(spec, 150, spec.frames)
            rig.end(spec)
            found = rig.fate(spec)
            filler.unlink()
            happens = "the detector is held back for patience_s, then frames are lost; verdict RETAKE"
            lost = spec.frames - found.right
            return Row("the disk is full to the end of the scan", happens, found, lost, None, rig.good_scan())


def power_cut(folder: Path, fsync_s: float | None) -> Row | None:
    """The disk answers EIO and forgets what was not written to it, then comes back. None where it cannot be done."""
    try:
        disk = LoopDisk(folder, 256)
    except OSError:
        return None

    def come_back(_rig: Rig, _spec: ScanSpec) -> None:
        disk.unmount()
        disk.mount()

    try:
        with Rig(folder, disk.folder, **({} if fsync_s is None else {"fsync_s": fsync_s})) as rig:
            what = f"EIO, as in a power cut of the disk's server, for a while; fsync_s {fsync_s or 'unset'}"
            happens = "a new segment when the disk is back; what was not on the disk is listed as lost"
            return scan_with(rig, what, happens, lambda *_: disk.fail(), undo=come_back, undo_at=190)
    finally:
        disk.unmount()


def read_only(folder: Path) -> Row | None:
    """The kernel makes the file system read-only because of an error. None where it cannot be done."""
    try:
        disk = LoopDisk(folder, 256)
    except OSError:
        return None

    def fail(_rig: Rig, _spec: ScanSpec) -> None:
        disk.turn_read_only()

    def come_back(_rig: Rig, _spec: ScanSpec) -> None:
        disk.unmount()
        disk.mount()

    try:
        if not os.access(disk.trigger, os.W_OK):
            return None
        with Rig(folder, disk.folder, fsync_s=0.05) as rig:
            what = "the file system turns read-only for a while; fsync_s 0.05"
            happens = "the segment is given up; the ring holds the detector back until a new one can be made"
            return scan_with(rig, what, happens, fail, undo=come_back, undo_at=190)
    finally:
        disk.unmount()


def shrunk(folder: Path) -> Row | None:
    """The file system becomes as small as what is in it, and later as large as before. None where it cannot be done."""
    with small_disk(folder / "disk", 64) as disk:
        if disk is None:
            return None

        def resize(kilobytes: int) -> None:
            subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(disk)], check=True)

        def shrink(_rig: Rig, _spec: ScanSpec) -> None:
            stat = os.statvfs(disk)
            resize((stat.f_blocks - stat.f_bfree) * stat.f_frsize // 1024 + 200)

        def grow(_rig: Rig, _spec: ScanSpec) -> None:
            resize(64 * 1024)

        with Rig(folder, disk) as rig:
            what = "the file system shrinks, then grows"
            return scan_with(rig, what, "as on a full disk", shrink, undo=grow, undo_at=200)


def unlinked(folder: Path) -> Row:
    with Rig(folder) as rig:
        what = "the raw file is removed during the scan"
        happens = "noticed at the next flush; a new segment; the removed frames are listed as lost"
        return scan_with(rig, what, happens, lambda rig, spec: (rig.data / f"{spec.scan_id}.nx").unlink())


def scribbled(folder: Path) -> Row:
    def scribble(rig: Rig, spec: ScanSpec) -> None:
        with (rig.data / f"{spec.scan_id}.nx").open("r+b") as file:
            file.seek(2_000_000)
            file.write(b"\xff" * 40_000)

    with Rig(folder) as rig:
        what = "40 kB are written into the raw file by somebody else"
        return scan_with(rig, what, "found by checksum at the end; the damaged frames are listed as lost", scribble)


def everything_killed(folder: Path) -> Row:
    """Daemon and writer die together; ``streamer recover`` makes the file readable."""
    with Rig(folder) as rig:
        spec = rig.arm()
        rig.send(spec, 0, 200)
        rig.wait_written(spec, 200)
        pid = rig.writer_pid
        rig.kill_daemon()
        os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    while Path(f"/proc/{pid}").exists() and time.monotonic() - began < 60:
        time.sleep(0.01)
    path = rig.data / f"{spec.scan_id}.nx"
    seal(path)
    found = fate(path, spec)
    happens = "streamer recover: the frames that were safe are right, the others listed as missing"
    return Row("daemon and writer are killed at once", happens, found, 200 - found.right, None, True)
