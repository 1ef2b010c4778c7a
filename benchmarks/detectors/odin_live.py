"""A scan through the live view of odin-data: ``python -m benchmarks.detectors.odin_live PROGRAM``.

PROGRAM is ``odin_live.cpp``, built against odin-data (libFrameProcessor, libLiveViewPlugin). It gives the plugin
frames, and the plugin publishes them. Each frame is known, so that what is in the raw file can be told. ``streamer
check`` listens first.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.environments import begin, waiting
from benchmarks.record import record
from streamer.cli import main as streamer
from streamer.cli.rig.processes import start_daemon
from streamer.client import Link, final_report
from streamer.flow.wire.daemon import Arm
from streamer.frames import ScanSpec

ROWS, COLUMNS = 128, 256
DARKS, FLATS, PROJECTIONS, RATE_HZ = 10, 20, 720, 200.0
ADDRESS = "tcp://127.0.0.1:19995"
SUBSCRIBED_S = 2.0  # a publisher does not wait for its subscribers


def looked(program: Path) -> list[str]:
    """What ``streamer check`` says of the plugin."""
    told = io.StringIO()
    with waiting(program, ADDRESS, ROWS, COLUMNS, 100_000, RATE_HZ) as process, contextlib.redirect_stdout(told):
        begin(process)
        streamer(["check", ADDRESS, "--seconds", "30"])
    return told.getvalue().splitlines()


def scan(program: Path, folder: Path) -> dict[str, Any]:
    spec = ScanSpec("odin", "ramp", ROWS, COLUMNS, projections=PROJECTIONS, flats=FLATS, darks=DARKS)
    daemon = start_daemon(
        folder,
        source={"dialect": "odin", "endpoint": ADDRESS},
        kinds={"order": "darks flats projections"},
        writer={"directory": folder, "reserve_mb": 0},
    )
    try:
        ends = daemon.wait_ready()
        with (
            waiting(program, ADDRESS, ROWS, COLUMNS, spec.frames, RATE_HZ) as process,
            Link(ends["control"], "the daemon") as link,
        ):
            link.ask(Arm(spec))
            time.sleep(SUBSCRIBED_S)
            begin(process)
            report = final_report(link, spec.scan_id)
    finally:
        daemon.stop()
    with h5py.File(report.raw_file) as raw:
        stored = raw["entry/instrument/detector/data"][()]
        keys = raw["entry/instrument/detector/image_key"][()].tolist()
    ramp = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)) + np.arange(spec.frames)[:, None, None]
    return {
        "state": report.state.value,
        "frames": len(stored),
        "missing": report.frames.missing,
        "identical": bool(stored.shape == ramp.shape and (stored == ramp).all()),
        "kinds as taken": keys == [2] * DARKS + [1] * FLATS + [0] * PROJECTIONS,
    }


def main(program: Path) -> None:
    with tempfile.TemporaryDirectory() as made:
        result = {"size": [ROWS, COLUMNS], "rate_hz": RATE_HZ, "check": looked(program)}
        result |= scan(program, Path(made) / "daemon")
    record("odin_live", result)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
