"""What several tests of files and processes share."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.flow.ring.ring import Ring
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.io.raw.segments import INDEX, read_segment, segments_of

STARTED = "2026-11-21T00:00:00+00:00"
ENDED = "2026-11-21T00:05:00+00:00"

SPEC = ScanSpec(
    "scan-1",
    "tooth",
    rows=8,
    columns=12,
    projections=40,
    flats=4,
    darks=6,
    exposure_s=0.01,
    pixel_size_m=6.5e-6,
    energy_kev=25.0,
    distance_m=0.1,
)


def kind_of(index: int, spec: ScanSpec = SPEC) -> FrameKind:
    """Darks first, then flats, then projections."""
    if index < spec.darks:
        return FrameKind.DARK
    return FrameKind.FLAT if index < spec.darks + spec.flats else FrameKind.PROJECTION


def meta_of(index: int, spec: ScanSpec = SPEC) -> FrameMeta:
    kind = kind_of(index, spec)
    angle = (index - spec.darks - spec.flats) * 180.0 / spec.projections if kind is FrameKind.PROJECTION else 0.0
    stamp = 1_790_000_000_000_000_001 + index
    return FrameMeta(spec.scan_id, index, kind, angle, index, stamp, spec.exposure_s, 1.0 + index / 100)


def pixels_of(index: int, spec: ScanSpec = SPEC) -> NDArray[Any]:
    """An image that tells which frame it is."""
    rng = np.random.default_rng(index)
    return rng.integers(0, 60_000, (spec.rows, spec.columns)).astype(spec.dtype)


def commit(ring: Ring, index: int, spec: ScanSpec = SPEC) -> bool:
    """Put one frame into the ring; False when it is full."""
    slot = ring.acquire()
    if slot is None:
        return False
    np.frombuffer(slot, spec.dtype).reshape(spec.rows, spec.columns)[...] = pixels_of(index, spec)
    ring.commit(meta_of(index, spec))
    return True


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def local_pv_access() -> dict[str, str]:
    """An environment in which EPICS PVAccess stays on this machine, at ports that nobody has."""
    server, search = map(str, free_ports(2))
    return {
        "EPICS_PVA_SERVER_PORT": server,
        "EPICS_PVA_BROADCAST_PORT": search,
        "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_PVA_ADDR_LIST": "127.0.0.1",
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
    }


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 100.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.005)


def run_python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own; for what must not happen to the one that runs the tests."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


@contextmanager
def small_disk(tmp_path: Path, kilobytes: int) -> Iterator[Path]:
    """A folder that is full after so many kB: a file system of that size, or a limit on the size of files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if os.geteuid() == 0 and subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, before[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def frames_held(path: Path) -> NDArray[np.int64]:
    """Indices of the frames that the files of a scan hold, sorted; nobody writes the files any more."""
    good = [segment.columns[INDEX][segment.good] for segment in map(read_segment, segments_of(path))]
    return np.unique(np.concatenate([np.empty(0, np.int64), *good])).astype(np.int64)
