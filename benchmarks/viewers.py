"""``python -m benchmarks.viewers [--rounds N]``: does a viewer slow the scan, a living one or one that is stopped?

A detector of 512² at 100 frames/s; in turn the scan is alone, beside one viewer (the real program, its window painted
though there is no screen), and beside one that was stopped by SIGSTOP while it watched. The viewer runs on the same
machine, with a lower priority, as ``benchmarks.web`` runs its browsers: it stands for one on a machine of its own.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import zmq

from benchmarks.record import record
from benchmarks.web import ELSEWHERE_NICE, Scan
from streamer.cli.rig.processes import start_beamline, start_daemon
from streamer.cli.rig.scan_driver import ScanDriver

WAYS = ("alone", "one viewer", "one stopped")
WATCHES_S = 8.0
"""How long a viewer has to begin and to show the last scan, before the next one."""


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--size", type=int, default=512)
    parse.add_argument("--projections", type=int, default=720)
    parse.add_argument("--rate", type=float, default=100.0, help="frames per second of the detector")
    parse.add_argument("--rounds", type=int, default=5)
    args = parse.parse_args()
    with tempfile.TemporaryDirectory() as name:
        record("viewers", measure(Path(name), args))


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    reports: dict[str, list[Any]] = {way: [] for way in WAYS}
    with ExitStack() as stack:
        beamline = start_beamline(folder, "--size", str(args.size), "--mount-s", "0", "--seed", "3")
        stack.callback(beamline.stop)
        daemon = start_daemon(
            folder,
            source={"endpoint": beamline.wait_ready()["frames"]},
            writer={"directory": folder / "data", "reserve_mb": 0},
        )
        stack.callback(daemon.stop)
        control = daemon.wait_ready()["control"]
        scan = Scan(ScanDriver(zmq.Context(), beamline, daemon), args)
        scan.take("warm-up")
        for turn in range(args.rounds):
            for way in WAYS:
                with beside(way, control, folder):
                    reports[way].append(scan.take(f"{way.replace(' ', '-')}-{turn}"))
    rates = {way: [(one.frames.received - 1) / (one.scan_s or 1) for one in reports[way]] for way in WAYS}
    late = {way: [one.latency_ms.p99 for one in reports[way]] for way in WAYS}
    return {
        way: {
            "frames_per_s": rates[way],
            "ratio": statistics.median(b / a for a, b in zip(rates["alone"], rates[way], strict=True)),
            "p99_ms": late[way],
            "p99_ms_median": statistics.median(late[way]),
            "missing": [one.frames.missing for one in reports[way]],
        }
        for way in WAYS
    }


@contextmanager
def beside(way: str, control: str, folder: Path) -> Iterator[None]:
    """The viewer of one way to measure; none for the first."""
    if way == "alone":
        yield
        return
    command = [sys.executable, "-m", "streamer", "view", control, "--snapshot", str(folder / "a.png"), "--after", "900"]
    viewer = subprocess.Popen(command, env={**os.environ, "QT_QPA_PLATFORM": "offscreen"})
    os.setpriority(os.PRIO_PROCESS, viewer.pid, ELSEWHERE_NICE)  # before it begins any thread
    try:
        time.sleep(WATCHES_S)
        if way == "one stopped":
            os.kill(viewer.pid, signal.SIGSTOP)
        yield
    finally:
        viewer.kill()
        viewer.wait()


if __name__ == "__main__":
    main()
