"""What the benchmarks that kill processes share: a camera, a daemon that is killed, and the comparison of its files."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from streamer.cli.rig.processes import ManagedProcess, start_daemon
from streamer.client import Link, LinkTimeout
from streamer.flow.scan import ScanState
from streamer.flow.wire.acknowledged import Transport
from streamer.flow.wire.control import Ping
from streamer.flow.wire.daemon import Arm, GetStatus, Report
from streamer.frames import FrameKind, ScanSpec
from streamer.io.tomogram import read_tomogram

HIGH_WATER_MARK = 8
SPOOL_MB = 1024
RATE_HZ = 60.0
PATIENCE_S = 300.0


@dataclass
class Trial:
    """One scan with one kill. ``lost`` frames are not in the file, ``listed`` of them in its lists."""

    killed_at: int
    lost: int = 0
    listed: int = 0
    doubled: int = 0  # frames that are in the file more than once
    wrong: int = 0
    resent: int = 0
    up_s: float | None = None  # kill → the new process answers
    armed_s: float | None = None  # kill → the scan is acquiring again
    tomogram_difference: float | None = None  # relative to the largest value
    state: str = ""


@dataclass
class Camera:
    """Frames that follow from their index: darks, flats, and a disc off the axis."""

    rows: int
    columns: int
    projections: int
    flats: int = 4
    darks: int = 4
    _rows: np.ndarray[Any, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._rows = 1.0 + 0.1 * np.sin(np.arange(self.rows) / 7.0)[:, np.newaxis].astype(np.float32)

    def spec(self, scan_id: str) -> ScanSpec:
        return ScanSpec(scan_id, "disc", self.rows, self.columns, self.projections, flats=self.flats, darks=self.darks)

    def kind(self, index: int) -> FrameKind:
        first = self.darks + self.flats
        return FrameKind.DARK if index < self.darks else FrameKind.FLAT if index < first else FrameKind.PROJECTION

    def angle_deg(self, index: int) -> float:
        return max(0, index - self.darks - self.flats) * 180.0 / self.projections

    def pixels(self, index: int) -> np.ndarray[Any, Any]:
        kind = self.kind(index)
        noise = np.random.default_rng(index).integers(0, 40, self.columns).astype(np.float32)
        if kind is FrameKind.DARK:
            return np.broadcast_to(100.0 + noise, (self.rows, self.columns)).astype("<u2")
        light = np.full(self.columns, 20_000.0, np.float32)
        if kind is FrameKind.PROJECTION:
            angle = np.deg2rad(self.angle_deg(index))
            across = np.arange(self.columns) - (self.columns - 1) / 2 - 0.15 * self.columns * np.cos(angle)
            chord = np.sqrt(np.clip((0.25 * self.columns) ** 2 - across**2, 0.0, None))
            light = light * np.exp(-2.0 * chord / self.columns)
        return (100.0 + (light + noise) * self._rows).astype("<u2")


class Beamline:
    """A daemon on fixed ports that is killed and started again."""

    def __init__(
        self,
        folder: Path,
        transport: Transport,
        tomogram: bool,
        address: str = "127.0.0.1",
        with_writer: bool = False,
    ) -> None:
        """``address``: of the frame socket. ``with_writer``: the raw writer is killed at the same moment."""
        self.folder, self._with_writer = folder, with_writer
        source, control = free_ports(2)
        self.source, self.control = f"tcp://{address}:{source}", f"tcp://127.0.0.1:{control}"
        self._sections: dict[str, Any] = {
            "source": {
                "endpoint": self.source,
                "bind": True,
                "transport": transport,
                "high_water_mark": HIGH_WATER_MARK,
            },
            "control": {"endpoint": self.control},
            "security": {"insecure": address != "127.0.0.1"},
            "writer": {"directory": folder / "data", "reserve_mb": 0, "tomogram": tomogram},
            "reconstruction": {"threads": 1},
        }
        self.start()
        self.daemon.wait_ready()

    def start(self) -> None:
        """Start a daemon; ``wait_ready`` says when it listens."""
        self.daemon: ManagedProcess = start_daemon(self.folder, **self._sections)

    def kill(self) -> float:
        """Kill the daemon, start another one, and return when that was."""
        victims = [self.daemon.pid, *(children(self.daemon.pid) if self._with_writer else ())]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: none sees the death of another
            for pid in victims:
                os.kill(pid, number)
        self.daemon.kill()
        killed = time.monotonic()
        self.start()
        return killed

    def stop(self) -> None:
        self.daemon.stop(timeout_s=100.0)

    def link(self) -> Link:
        return Link(self.control, "the daemon", 10.0)

    def report(self, scan_id: str) -> Report | None:
        with self.link() as link:
            try:
                return link.ask(GetStatus(scan_id)).scan
            except LinkTimeout:
                return None

    def until(self, scan_id: str, condition: Callable[[Report], bool]) -> Report:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            report = self.report(scan_id)
            if report is not None and condition(report):
                return report
            if time.monotonic() > deadline:
                raise TimeoutError(f"scan {scan_id}: {report}")
            time.sleep(0.05)

    def await_armed(self, scan_id: str, killed: float, trial: Trial, spec: ScanSpec | None = None) -> None:
        """Wait until the scan goes on in the new daemon; with ``spec``, arm it again as a plan does."""
        with self.link() as link:
            link.ask(Ping(), PATIENCE_S)
            trial.up_s = time.monotonic() - killed
            if spec is not None:
                link.ask(Arm(spec), 60.0)
        self.until(scan_id, lambda report: report.state is not ScanState.IDLE)
        trial.armed_s = time.monotonic() - killed


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    lists = (path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for some in lists for child in some.split()]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def check(camera: Camera, path: Path, trial: Trial) -> None:
    """Compare every frame of the raw file with what was sent."""
    with h5py.File(path, "r") as file:
        index = file["entry/instrument/detector/sequence_number"][()].astype(np.int64)
        data = file["entry/instrument/detector/data"]
        streamer = file["entry/streamer"]
        listed = {int(i) for name in ("missing", "lost", "corrupt") for i in streamer[f"{name}_frames"]}
        trial.wrong = sum(not np.array_equal(data[row], camera.pixels(int(i))) for row, i in enumerate(index))
    expected = set(range(camera.spec("any").frames))
    trial.doubled = len(index) - len(set(index.tolist()))
    lost = expected - set(index.tolist())
    trial.lost, trial.listed = len(lost), len(lost & listed)


def concluded(
    beamline: Beamline, camera: Camera, scan_id: str, trial: Trial, reference: np.ndarray[Any, Any] | None
) -> tuple[Trial, np.ndarray[Any, Any] | None]:
    report = beamline.until(scan_id, lambda report: report.state.final)
    trial.state = str(report.state)
    check(camera, Path(report.raw_file), trial)
    volume = None
    if report.tomogram_file is not None:
        volume = read_tomogram(Path(report.tomogram_file)).data
        if reference is not None:
            difference = np.abs(volume - reference).max() / np.abs(reference).max()
            trial.tomogram_difference = float(difference)
    return trial, volume


def paced(frames: int) -> Iterator[int]:
    """Indices at the rate of the camera."""
    began = time.monotonic()
    for index in range(frames):
        time.sleep(max(0.0, began + index / RATE_HZ - time.monotonic()))
        yield index


PRODUCER = """
import sys, pathlib, json
from benchmarks.faults.killing import Camera, paced
from streamer.producer import Producer
endpoint, scan_id, spool, camera, spool_mb = sys.argv[1:]
camera = Camera(**json.loads(camera))
spec = camera.spec(scan_id)
with Producer(endpoint, spec, spool_mb=float(spool_mb), spool_file=pathlib.Path(spool)) as producer:
    first = producer.next_index
    for index in paced(spec.frames - first):
        index += first
        print(index, flush=True)
        producer.send(index, camera.kind(index), camera.angle_deg(index), camera.pixels(index))
    producer.finish(timeout_s=300.0)
"""


def producer_command(beamline: Beamline, camera: Camera, scan_id: str, spool: Path) -> list[str]:
    """A process that sends a scan and prints the index of each frame before it."""
    size = {name: getattr(camera, name) for name in ("rows", "columns", "projections", "flats", "darks")}
    arguments = [beamline.source, scan_id, str(spool), json.dumps(size), str(SPOOL_MB)]
    return [sys.executable, "-c", PRODUCER, *arguments]
