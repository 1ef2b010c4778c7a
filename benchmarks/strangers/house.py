"""A daemon of its own process, with keys or without, its honest clients, and what it holds."""

from __future__ import annotations

import os
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from streamer.cli.rig.processes import ANYWHERE, start_daemon
from streamer.client import Link
from streamer.flow import wire
from streamer.flow.wire.daemon import GetStatus, Report
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.keys import ClientKey, KeyFolder, Role

ROWS, COLUMNS, DARKS, FLATS, PROJECTIONS = 16, 64, 3, 6, 90
PATIENCE_S = 60.0


class House:
    """The daemon, and a key for each role where it has keys."""

    def __init__(self, folder: Path, keys: bool) -> None:
        self.folder, self.context = folder, zmq.Context[zmq.Socket[bytes]]()
        self.keys: dict[Role, ClientKey] = {}
        security: dict[str, Any] = {}
        if keys:
            self.key_folder = KeyFolder(folder / "keys")
            self.key_folder.make()
            for role in Role:
                self.key_folder.add(role, [role], folder / f"{role}.key")
                self.keys[role] = ClientKey.read(folder / f"{role}.key")
            security = {"keys": folder / "keys", "frames": True}
        self.process = start_daemon(
            folder,
            source={"endpoint": ANYWHERE, "bind": True},
            writer={"directory": folder / "data", "reserve_mb": 0},
            ring={"memory_mb": 16},
            security=security,
        )
        self.endpoints = self.process.wait_ready()
        self.scans = 0

    def link(self, key: ClientKey | None = None, timeout_s: float = 10.0) -> Link:
        return Link(self.endpoints["control"], "the daemon", timeout_s, self.context, key)

    def close(self) -> None:
        self.process.stop(timeout_s=60.0)
        self.context.destroy(linger=0)

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self.endpoints['pid']}/statm").read_text(encoding="ascii").split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.endpoints['pid']}/fd"))

    def metric(self, name: str) -> dict[str, float]:
        """The values of a metric by its labels."""
        with urllib.request.urlopen(self.endpoints["metrics"], timeout=30) as page:
            lines = page.read().decode().splitlines()
        return {
            line.rsplit(" ", 1)[0].removeprefix(f"streamer_{name}"): float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(f"streamer_{name}")
        }

    def good_scan(self) -> str:
        """Send a scan as an honest camera does; "complete, 99 of 99 frames" when all is well."""
        self.scans += 1
        spec = ScanSpec(f"good-{self.scans}", "noise", ROWS, COLUMNS, PROJECTIONS, flats=FLATS, darks=DARKS)
        with self.context.socket(zmq.PUSH) as socket, self.link(self.keys.get(Role.STEER)) as link:
            socket.setsockopt(zmq.SNDTIMEO, int(1000 * PATIENCE_S))
            socket.setsockopt(zmq.LINGER, int(1000 * PATIENCE_S))
            if self.keys:
                self.keys[Role.SEND].apply(socket)
            socket.connect(self.endpoints["source"])
            socket.send_multipart(wire.encode(wire.Start(spec, src="camera")))
            for parts in _frames(spec):
                socket.send_multipart(parts)
            socket.send_multipart(wire.encode(wire.End(spec.scan_id, spec.frames, src="camera")))
            report = _final(link, spec.scan_id)
        frames = report.frames
        return f"{report.state}, {frames.received} of {frames.expected} frames, {report.written} written"


def _frames(spec: ScanSpec) -> list[tuple[bytes, memoryview]]:
    random = np.random.default_rng(1)
    kinds = [FrameKind.DARK] * DARKS + [FrameKind.FLAT] * FLATS + [FrameKind.PROJECTION] * PROJECTIONS
    level = {FrameKind.DARK: 100, FrameKind.FLAT: 3000, FrameKind.PROJECTION: 2000}
    frames = []
    for index, kind in enumerate(kinds):
        angle = max(0, index - DARKS - FLATS) * 180 / PROJECTIONS
        meta = FrameMeta(spec.scan_id, index, kind, angle, seq=index + 1)
        frames.append(wire.encode_frame(meta, random.poisson(level[kind], (ROWS, COLUMNS)).astype("<u2"), "camera"))
    return frames


def _final(link: Link, scan_id: str) -> Report:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        report = link.ask(GetStatus(scan_id)).scan
        if report is not None and report.state.final:
            return report
        if time.monotonic() > deadline:
            raise RuntimeError(f"{scan_id} is not over: {report}")
        time.sleep(0.02)
