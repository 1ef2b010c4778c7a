"""A detector, a scan and a daemon with shards for the tests of the cluster: real processes and sockets, on loopback."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from streamer.cli.rig.processes import ANYWHERE, ManagedProcess, start_daemon
from streamer.client import Link, final_report
from streamer.flow import wire
from streamer.flow.wire.daemon import Arm, FixCenter, GetStatus, Report
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.io.senders.outlet import PlainOutlet
from streamer.phantoms import body_projections, exposures, half_turn, random_body

ROWS, COLUMNS, PROJECTIONS, FLATS, DARKS = 64, 64, 96, 6, 3
CENTER = 32.25
PATIENCE_S = 200.0


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of ``condition``; fails the test when there is none."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.01)
    return value


class Scan:
    """Darks, flats, then projections of a body over half a turn: ``pixels`` as a detector sends them."""

    def __init__(self, scan_id: str = "scan", projections: int = PROJECTIONS, rows: int = ROWS) -> None:
        self.spec = ScanSpec(scan_id, "body", rows, COLUMNS, projections, flats=FLATS, darks=DARKS, pixel_size_m=1e-5)
        angles = half_turn(projections)
        lines = body_projections(random_body(np.random.default_rng(5), COLUMNS), rows, COLUMNS, angles, CENTER)
        lines = lines * np.linspace(0.7, 1.3, rows, dtype=np.float32)[None, :, None]  # so that every row is another one
        rng = np.random.default_rng(7)
        darks = rng.normal(100, 2, (DARKS, rows, COLUMNS)).round().astype("<u2")
        flats = exposures(np.zeros((FLATS, rows, COLUMNS), np.float32), rng=rng)
        self.pixels: NDArray[Any] = np.concatenate([darks, flats, exposures(lines, rng=rng)]).astype("<u2")
        kinds = [FrameKind.DARK] * DARKS + [FrameKind.FLAT] * FLATS + [FrameKind.PROJECTION] * projections
        turned = [0.0] * (DARKS + FLATS) + np.rad2deg(angles).tolist()
        self.metas = [
            FrameMeta(scan_id, index, kind, angle, seq=index)
            for index, (kind, angle) in enumerate(zip(kinds, turned, strict=True))
        ]


class Detector:
    """A PUSH socket, to which the daemon connects."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._outlet = PlainOutlet(self._context, ANYWHERE, True, "the detector")
        self.endpoint = self._outlet.endpoint

    def begin(self, scan: Scan) -> None:
        self._send(wire.encode(wire.Start(spec=scan.spec, src="detector")))

    def frames(self, scan: Scan, indices: Iterable[int]) -> None:
        for index in indices:
            self._send(wire.encode_frame(scan.metas[index], scan.pixels[index], "detector"))

    def end(self, scan: Scan) -> None:
        self._send(wire.encode(wire.End(scan.spec.scan_id, scan.spec.frames, src="detector")))

    def _send(self, parts: Sequence[Any]) -> None:
        eventually(lambda: self._outlet.offer(parts, 0.1), "the daemon takes a message")

    def close(self) -> None:
        self._outlet.close(0)
        self._context.destroy(linger=0)


class Sharded:
    """A daemon with shards, and its detector."""

    def __init__(
        self, folder: Path, shards: int, spares: int = 0, engine: str = "processes", **sections: dict[str, Any]
    ) -> None:
        self.detector = Detector()
        self.folder = folder / "data"
        self.daemon: ManagedProcess = start_daemon(
            folder,
            source={"endpoint": self.detector.endpoint},
            writer={"directory": self.folder, "reserve_mb": 0},
            ring={"memory_mb": 64},
            compute={"shards": shards, "spares": spares, "engine": engine},
            **sections,
        )
        self.endpoints = self.daemon.wait_ready()
        self.link = Link(self.endpoints["control"], "the daemon", timeout_s=30)

    def arm(self, scan: Scan, center: float | None = CENTER) -> None:
        self.link.ask(FixCenter(center))
        self.link.ask(Arm(scan.spec))

    def report(self, scan: Scan) -> Report:
        report = self.link.ask(GetStatus(scan.spec.scan_id)).scan
        assert report is not None
        return report

    def run(self, scan: Scan, center: float | None = CENTER) -> Report:
        """A whole scan."""
        self.arm(scan, center)
        self.detector.begin(scan)
        self.detector.frames(scan, range(scan.spec.frames))
        self.detector.end(scan)
        return final_report(self.link, scan.spec.scan_id)

    def children(self, program: str) -> list[int]:
        """Processes that run for the daemon, oldest first: those of one ``program`` of a cluster."""
        return children_of(self.daemon.pid, program)

    def holders(self) -> list[int]:
        """Processes of the shards that have rows, in the order of these; once a scan was armed."""
        rows = {int(name_of(pid).split(" ")[1]): pid for pid in self.children("shard") if " " in name_of(pid)}
        return [rows[row] for row in sorted(rows)]

    def close(self) -> None:
        self.link.close()
        self.daemon.stop(timeout_s=60)
        self.detector.close()


def children_of(pid: int, program: str) -> list[int]:
    """Processes below ``pid`` by the name that they show, oldest first."""
    found, waiting = [], [pid]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            with suppress(OSError):  # it has ended since
                waiting += map(int, task.read_text().split())
        found += waiting
    return sorted(child for child in set(found) if name_of(child).split(" ")[0] == program)


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, ProcessLookupError):
        return False
