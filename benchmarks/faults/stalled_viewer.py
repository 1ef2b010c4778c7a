"""``python -m benchmarks.faults.stalled_viewer [--rounds N] [--size PX] [--rate FPS]``: does it slow the scan?

One raw file is replayed into a daemon at a camera's rate, in turn undisturbed and with a real subscriber of
events and previews that has been stopped by SIGSTOP. The ratio of the frame rates is the result.
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
from pathlib import Path
from typing import Any

from benchmarks.record import record
from streamer.cli.rig.processes import ANYWHERE, start_daemon
from streamer.client import Link, final_report

SUBSCRIBER = """
import sys, zmq
context = zmq.Context()
socket = context.socket(zmq.SUB)
socket.subscribe(b"")
for endpoint in sys.argv[1:]:
    socket.connect(endpoint)
while True:
    socket.recv_multipart()
"""


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--rounds", type=int, default=7)
    parse.add_argument("--size", type=int, default=256)
    parse.add_argument("--rate", type=float, default=400.0, help="frames per second of the camera")
    args = parse.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo = [sys.executable, "-m", "streamer", "demo", "--headless", "--samples", "1", "--size", str(args.size)]
        subprocess.run([*demo, "--out", str(folder / "demo"), "--rate", "200"], check=True, capture_output=True)
        scan = next((folder / "demo").glob("*.nx"))
        record("stalled_viewer", measure(folder, scan, args.rounds, args.rate))


def measure(folder: Path, scan: Path, rounds: int, rate: float) -> dict[str, Any]:
    daemon = start_daemon(
        folder,
        source={"endpoint": ANYWHERE, "bind": True},
        writer={"directory": folder / "data", "reserve_mb": 0, "tomogram": False},
    )
    try:
        ends = daemon.wait_ready()
        quiet, stalled = [], []
        replay(ends, scan, "warm-up", rate)
        for turn in range(rounds):
            quiet.append(replay(ends, scan, f"quiet-{turn}", rate))
            command = [sys.executable, "-c", SUBSCRIBER, ends["events"], ends["preview"]]
            viewer = subprocess.Popen(command)
            time.sleep(0.7)  # it must have subscribed before it is stopped
            os.kill(viewer.pid, signal.SIGSTOP)
            stalled.append(replay(ends, scan, f"stalled-{turn}", rate))
            viewer.kill()
            viewer.wait()
    finally:
        daemon.stop()
    ratios = [with_viewer / alone for with_viewer, alone in zip(stalled, quiet, strict=True)]
    return {
        "frames_per_s_quiet": quiet,
        "frames_per_s_stalled_viewer": stalled,
        "ratio_median": statistics.median(ratios),
        "ratios": ratios,
    }


def replay(ends: dict[str, Any], scan: Path, scan_id: str, rate: float) -> float:
    """Frames per second of one replay, by the daemon's own times of arrival."""
    command = [sys.executable, "-m", "streamer", "replay", str(scan), "--to", ends["source"], "--connect"]
    options = ("--control", ends["control"], "--scan-id", scan_id, "--rate", str(rate))
    subprocess.run([*command, *options], check=True, capture_output=True)
    with Link(ends["control"], "the daemon", 10.0) as link:
        report = final_report(link, scan_id)
    if not report.scan_s:
        raise RuntimeError(f"{scan_id}: {report.frames}")
    return (report.frames.received - 1) / report.scan_s


if __name__ == "__main__":
    main()
