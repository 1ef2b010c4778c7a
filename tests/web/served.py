"""A page that is served by its own process, and a daemon for it that shows cuts through a phantom."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from msgspec import UNSET, structs
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection, connect

from streamer.flow.scan import ScanState
from streamer.flow.wire.control import Busy, Done
from streamer.flow.wire.daemon import (
    Abort,
    CenterReply,
    EndScan,
    FixCenter,
    FrameCounts,
    PlaneSpec,
    ProjectionCounts,
    WatchedPlanes,
    WatchPlanes,
)
from streamer.flow.wire.looks import Brick, GetBrick
from streamer.frames import Decision, Reason, ReasonCode, ScanSpec, Verdict
from streamer.io.batch_queue import JOURNAL
from streamer.io.tomogram import TomogramFile
from streamer.web.geometry import Volume, planes_at
from streamer.web.messages import split_picture
from streamer.web.tomogram import Tomogram
from tests.gui.stand_in_daemon import StandInDaemon, report_of
from tests.paths import ROOT

STEER = "steer-" + "s" * 20
"""The token with which a served page may steer."""

ROWS, COLUMNS = 48, 64
SPEC = ScanSpec("s1", "foam", rows=ROWS, columns=COLUMNS, projections=90, pixel_size_m=6.5e-6)


def phantom() -> NDArray[np.float32]:
    """(z, y, x): a ball with a hole and a rod, different in every slice."""
    z, y, x = np.mgrid[:ROWS, :COLUMNS, :COLUMNS].astype(np.float32)
    ball = np.hypot(np.hypot(x - 32, y - 32), z - 24) < 22
    hole = np.hypot(np.hypot(x - 40, y - 28), z - 30) < 8
    rod = np.hypot(x - 12 - z / 3, y - 20) < 4
    return (0.5 * ball - 0.4 * (ball & hole) + 0.9 * rod).astype(np.float32)


class PhantomDaemon(StandInDaemon):
    """It shows the watched planes of a phantom again and again, on a thread of its own; ``with`` ends it."""

    def __init__(self, folder: Path) -> None:
        self.voxels, self.folder = Tomogram(phantom(), "1/pixel", None), folder
        self.cuts: list[PlaneSpec] = planes_at(Volume(ROWS, COLUMNS), Volume(ROWS, COLUMNS).middle)
        self.axis_px = 31.5
        self.requests: list[Any] = []
        handlers = {
            WatchPlanes: self._planes, FixCenter: self._center, Abort: self._done, EndScan: self._done,
            GetBrick: self._brick,
        }  # fmt: skip
        super().__init__(handlers=handlers)
        self.angles = 30
        self._work = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.report = report_of("s1", angles=30, center_px=31.5, center_confidence=0.9)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.close()

    def run_on(self, scan_id: str, sample: str) -> None:
        """Begin another scan, without a picture of it yet."""
        with self._work:
            self.angles = 0
            self.report = report_of(scan_id, sample)

    def judge(self, decision: Decision, text: str) -> None:
        with self._work:
            reason = Reason(ReasonCode.MOTION, text)
            self.tell(Verdict(decision, (reason,)))

    def finish(self) -> Path:
        """End the scan; its tomogram is in the file."""
        scan_id = self._known().scan_id
        with TomogramFile.create(self.folder / f"{scan_id}.tomogram.h5", self.voxels.data.shape, SPEC) as file:
            file.write_rows(0, self.voxels.data)
        with self._work:
            self.report = structs.replace(
                self._known(), state=ScanState.COMPLETE, tomogram_file=str(file.path), raw_file="/data/s1.nx",
                verdict="ENOUGH", final=True, reasons=(Reason(ReasonCode.NOTHING_WRONG, "the data are good"),),
                frames=FrameCounts(expected=90, received=90), projections=ProjectionCounts(90, 90),
            )  # fmt: skip
            self.enter(ScanState.COMPLETE)
        return file.path

    def _run(self) -> None:
        while not self._ended.is_set():
            self.serve(0.1)
            with self._work:
                if self.angles and not self._known().state.final:
                    for plane in self.cuts:
                        self.plane(plane.name, self.voxels.cut(plane), self.angles, 90, place=plane)
                self.tell()

    def _planes(self, request: WatchPlanes) -> WatchedPlanes:
        if request.set is not None:
            self.requests.append(request)
            self.cuts = request.set
        return WatchedPlanes(self.cuts)

    def _center(self, request: FixCenter) -> CenterReply:
        if request.set is not UNSET:
            self.requests.append(request)
            self.axis_px = 31.5 if request.set is None else float(request.set)  # type: ignore[arg-type]
        return CenterReply(self.axis_px, 1.0, request.set is not UNSET and request.set is not None)

    def _brick(self, request: GetBrick) -> Brick:
        self.requests.append(request)
        report = self._known()
        if report.state.final:
            raise Busy(f"scan {report.scan_id} does not run any more")
        brick = self.voxels.brick(request.box or self.voxels.whole, request.most)
        return Brick(
            scan_id=report.scan_id, angles=self.angles, of=90, whole=self.voxels.data.shape, box=brick.box,
            step=brick.step, shape=brick.voxels.shape, lo=brick.lo, hi=brick.hi, unit="1/pixel",
            voxels=brick.voxels.tobytes(),
        )  # fmt: skip

    def _done(self, request: Abort | EndScan) -> Done:
        self.requests.append(request)
        return Done()


class ServedPage:
    """``streamer web`` as a process; ``with`` ends it."""

    def __init__(self, *options: str | Path) -> None:
        command = [sys.executable, "-m", "streamer", "web", *map(str, options), "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self._process.stdout is not None
        self.metrics = ""  # address, when the server has them
        while True:
            line = self._process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found is not None, line
            if line.startswith("the page"):
                break
            self.metrics = found[0]
        self.address = found[0]
        self.port = int(self.address.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Of the process that serves it."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    @contextmanager
    def enter(self, token: str = "", **options: Any) -> Iterator[ClientConnection]:
        """A WebSocket of somebody with a token."""
        address = self.address.replace("http", "ws") + "/news"
        with connect(address, max_size=2**24, compression=None, proxy=None, **options) as socket:
            want(socket, do="enter", token=token)
            yield socket


def want(socket: ClientConnection, **wish: Any) -> None:
    socket.send(json.dumps(wish))


def until(socket: ClientConnection, condition: Callable[[Any], object], timeout_s: float = 60.0) -> Any:
    """The first message, or header of a picture, for which ``condition`` holds."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        message = socket.recv(timeout_s)
        content = json.loads(message) if isinstance(message, str) else split_picture(message)[0]
        if isinstance(message, bytes):
            want(socket, do="drawn")
        if condition(content):
            return content
    raise AssertionError(f"no such message within {timeout_s:g} s")


def token_file(folder: Path, name: str, token: str) -> Path:
    path = folder / name
    path.write_text(token, encoding="utf-8")
    path.chmod(0o600)
    return path


def journal(folder: Path, event: str, **entries: Any) -> None:
    """Add a line to the journal of a batch."""
    line = {"time": "2026-11-27T03:00:00+00:00", "event": event, **entries}
    with (folder / JOURNAL).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
