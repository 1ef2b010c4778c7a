"""A whole beamline for a test: the virtual beamline and the daemon as processes, scanned without Bluesky."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from streamer.cli.rig.processes import start_beamline, start_daemon
from streamer.cli.rig.scan_driver import ScanDriver
from streamer.flow.wire.acknowledged import Transport
from streamer.flow.wire.beamline import Faults, Finish
from streamer.flow.wire.daemon import Report
from streamer.frames import ScanSpec
from streamer.sim.truth import read_truth


def eventually(condition: Callable[[], Any], what: str, timeout_s: float = 150.0) -> Any:
    """The first true value of ``condition``; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)
    return value


class Station(ScanDriver):
    """``scan`` takes one scan with darks, flats and projections, as a plan would."""

    def __init__(
        self, folder: Path, size: int = 64, rows: int = 48, transport: Transport = "push", **daemon: Any
    ) -> None:
        """``daemon``: sections of its configuration, on top of the usual ones."""
        self.folder, self.size, self.rows = folder, size, rows
        options = ("--size", size, "--rows", rows, "--seed", 3, "--mount-s", 0, "--truth-dir", folder / "truth")
        options += ("--transport", transport)
        self._beamline_process = start_beamline(folder, *map(str, options))
        usual = {
            "source": {"endpoint": self._beamline_process.wait_ready()["frames"], "transport": transport},
            "writer": {"directory": folder / "data", "reserve_mb": 0},
        }
        self._daemon_process = start_daemon(folder, **{**usual, **daemon})
        self._daemon_process.wait_ready()
        super().__init__(zmq.Context(), self._beamline_process, self._daemon_process)

    def close(self) -> None:
        self._daemon_process.stop()
        self._beamline_process.stop()
        self.context.destroy(linger=0)

    def spec(self, scan_id: str, **fields: Any) -> ScanSpec:
        numbers = {"rows": self.rows, "columns": self.size, "projections": 90, "flats": 8, "darks": 4}
        return super().spec(scan_id, **{**numbers, **fields})

    def scan(self, scan_id: str, slot: int = 0, faults: Faults | None = None, **fields: Any) -> Report:
        """One whole scan; the daemon's final report."""
        spec = self.spec(scan_id, **fields)
        self.begin(spec, slot=slot, faults=faults)
        self.fly(spec)
        self.until(self.at_rest, "all projections are taken")
        self.do(Finish(scan_id))
        return self.final(scan_id)

    def truth(self, scan_id: str) -> Any:
        return read_truth(self.folder / "truth" / f"{scan_id}.truth.json")
