"""Scans of Bluesky with cameras of KIT's Concert: ``python -m benchmarks.detectors.kit_concert_scan [FOLDER]``.

Concert (LGPL) is no dependency of Streamer. It is installed below FOLDER (default build/concert-plans) by uv, beside
what the plans need. There a RunEngine takes a scan with Concert's FileCamera, whose files are the darks, flats and
projections of a body, and with the motors of the virtual beamline; then one whose files run out. Concert's dummy camera
says how fast frames go. The daemon is a process of this environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile

from benchmarks.environments import environment
from benchmarks.record import record
from streamer.cli.rig.processes import ANYWHERE, ManagedProcess, start_beamline, start_daemon
from streamer.phantoms import body_projections, exposures, half_turn, random_body

ROOT = Path(__file__).parents[2]
SESSION = Path(__file__).with_name("kit_concert_scan_session.py")
ROWS, COLUMNS, CENTER = 16, 96, 48.3
DARKS, FLATS, PROJECTIONS, RATE_HZ = 5, 10, 180, 100.0
SIDES = {512: 500, 1024: 200}  # frames of each size

TABLES = """
[file_camera]
class = "concert.devices.cameras.dummy.FileCamera"
pattern = "{images}"
reset_on_start = false

[camera]
class = "streamer_plans.devices.cameras.concert.ConcertCamera"
camera = "@file_camera"
endpoint = "{endpoint}"
pixel_size_m = 1e-5
rotation = "@rotation"
claim = "@claim"
"""


def images() -> np.ndarray[Any, np.dtype[np.uint16]]:
    rng = np.random.default_rng(4)
    darks = rng.normal(100, 2, (DARKS, ROWS, COLUMNS)).round().astype("<u2")
    flats = exposures(np.zeros((FLATS, ROWS, COLUMNS)), rng=rng)
    body = random_body(np.random.default_rng(5), COLUMNS)
    lines = body_projections(body, ROWS, COLUMNS, half_turn(PROJECTIONS), CENTER)
    return np.concatenate([darks, flats, exposures(lines, rng=rng)])


def beamline_file(folder: Path, virtual: str, daemon: dict[str, str], files: Path) -> Path:
    """That of the virtual beamline, with the camera of Concert in place of its own."""
    text = (ROOT / "plans/beamlines/sim.toml").read_text(encoding="utf-8").replace("tcp://127.0.0.1:5590", virtual)
    before, _, rest = text.partition("[camera]")
    after = rest[rest.index("\n[") :].replace("tcp://127.0.0.1:5581", daemon["control"])
    file = folder / f"{files.name}.toml"
    file.write_text(before + TABLES.format(images=files, endpoint=daemon["source"]) + after, encoding="utf-8")
    return file


def session(python: Path, *words: object) -> dict[str, Any]:
    command = [str(python), str(SESSION), *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def scans(python: Path, folder: Path, virtual: str, daemon: dict[str, str]) -> dict[str, Any]:
    taken = images()
    settings = {"sample": "body", "projections": PROJECTIONS, "darks": DARKS, "flats": FLATS, "rate_hz": RATE_HZ}
    told = {}
    for name, count in (("scan", len(taken)), ("files run out", 100)):
        files = folder / name.replace(" ", "-")
        files.mkdir()
        for number, image in enumerate(taken[:count]):
            tifffile.imwrite(files / f"{number:04}.tif", image)
        told[name] = session(python, "fly", beamline_file(folder, virtual, daemon, files), json.dumps(settings))
    with h5py.File(told["scan"].pop("raw_file")) as raw:
        stored = raw["entry/instrument/detector/data"][()]
        keys = raw["entry/instrument/detector/image_key"][()].tolist()
    told["scan"]["identical"] = bool(stored.shape == taken.shape and (stored == taken).all())
    told["scan"]["kinds as taken"] = keys == [2] * DARKS + [1] * FLATS + [0] * PROJECTIONS
    return told


def main(folder: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    python = environment(folder, ["concert", *project["dependencies"], *project["optional-dependencies"]["plans"]])
    asked = "from importlib.metadata import version; print(version('concert'))"
    version = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        beamline = start_beamline(place, "--size", str(COLUMNS), "--rows", str(ROWS), "--mount-s", "0")
        daemon: ManagedProcess = start_daemon(
            place / "daemon",
            source={"endpoint": ANYWHERE, "bind": True, "transport": "acknowledged"},
            writer={"directory": place / "daemon", "reserve_mb": 0},
        )
        try:
            virtual, ends = beamline.wait_ready()["control"], daemon.wait_ready()
            result = {"concert": version, "size": [ROWS, COLUMNS], "center_px": CENTER}
            result |= scans(python, place, virtual, ends)
            result["rates"] = {
                f"{side}x{side} uint16": {
                    what: round(value)
                    for what, value in session(python, "rate", ends["source"], ends["control"], side, count).items()
                }
                for side, count in SIDES.items()
            }
        finally:
            daemon.stop()
            beamline.stop()
    record("kit_concert_scan", result)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/concert-plans").absolute())
