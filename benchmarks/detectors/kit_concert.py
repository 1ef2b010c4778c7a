"""A scan that KIT's Concert takes, in the raw file: ``python -m benchmarks.detectors.kit_concert [FOLDER]``.

Concert (LGPL) is no dependency of Streamer. It is installed below FOLDER (default build/concert) by uv, and runs there
as a program of its own: its FileCamera sends darks, flats and projections of 64 × 96 pixels in three calls of
``grab_send``. Beside it, ``streamer check`` listens to the same camera.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile

from benchmarks.environments import begin, environment, waiting
from benchmarks.record import record
from streamer.cli import main as streamer
from streamer.cli.rig.processes import start_daemon
from streamer.client import Link, final_report
from streamer.flow.wire.daemon import Arm
from streamer.frames import ScanSpec

SESSION = Path(__file__).with_name("kit_concert_session.py")
DARKS, FLATS, PROJECTIONS = 5, 10, 180
IMAGES = np.random.default_rng(4).integers(0, 2**16, (DARKS + FLATS + PROJECTIONS, 64, 96)).astype("<u2")
SPEC = ScanSpec("concert", "noise", 64, 96, projections=PROJECTIONS, flats=FLATS, darks=DARKS)
PORT = 19991


def scan(python: Path, images: Path, folder: Path) -> dict[str, Any]:
    """What is in the raw file of a scan."""
    daemon = start_daemon(
        folder,
        source={"dialect": "concert", "endpoint": f"tcp://127.0.0.1:{PORT}"},
        writer={"directory": folder, "reserve_mb": 0},
    )
    try:
        ends = daemon.wait_ready()
        with (
            waiting(python, SESSION, images, PORT, DARKS, FLATS, PROJECTIONS) as process,
            Link(ends["control"], "the daemon") as link,
        ):
            link.ask(Arm(SPEC))
            begin(process)
            report = final_report(link, SPEC.scan_id)
    finally:
        daemon.stop()
    with h5py.File(report.raw_file) as raw:
        stored = raw["entry/instrument/detector/data"][()]
        keys = raw["entry/instrument/detector/image_key"][()]
    return {
        "state": report.state.value,
        "frames": len(stored),
        "identical": bool(stored.shape == IMAGES.shape and (stored == IMAGES).all()),
        "kinds as taken": keys.tolist() == [2] * DARKS + [1] * FLATS + [0] * PROJECTIONS,
    }


def looked(python: Path, images: Path) -> list[str]:
    """What ``streamer check`` says of the camera."""
    told = io.StringIO()
    with waiting(python, SESSION, images, PORT, len(IMAGES)) as process, contextlib.redirect_stdout(told):
        begin(process)
        streamer(["check", f"tcp://127.0.0.1:{PORT}", "--seconds", "30"])
    return told.getvalue().splitlines()


def main(folder: Path) -> None:
    python = environment(folder, ["concert"])
    asked = "from importlib.metadata import version; print(version('concert'))"
    version = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as made:
        images = Path(made) / "images"
        images.mkdir()
        for number, image in enumerate(IMAGES):
            tifffile.imwrite(images / f"{number:04}.tif", image)
        result = {"concert": version, **scan(python, images, Path(made) / "daemon"), "check": looked(python, images)}
    record("kit_concert", result)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/concert").absolute())
