"""Live slices beside ewokstomo's: ``python -m benchmarks.reconstruction.race --rival PYTHON [--rounds N]``.

PYTHON is the interpreter of an environment with ewokstomo, nabu, pyopencl and pyvkfft (see ``race_rival.py``). All get
the same frames in turn on the same cores, 512², uint16, 1024 angles of a smooth object: ewokstomo's online slice in
batches of 64 (its best) and of 2 (its smallest), one slice and three planes by ``LivePlanes``, one slice by NumPy and
SciPy frame by frame. Then a scan of the virtual beamline, as fast as the daemon takes it into three planes until it
is judged and its raw file read back: that is what a user sees, and no other row has it. Medians of the rounds are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import record
from streamer.cli.rig.processes import start_beamline, start_daemon
from streamer.cli.rig.scan_driver import ScanDriver
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.fbp.ramp_filter import RampFilter
from streamer.core.masks import circle_mask
from streamer.core.planes.live_planes import LivePlanes
from streamer.core.planes.plane import orthogonal_planes
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.flow.wire.beamline import Finish
from streamer.io.messaging.sockets import until_done
from streamer.phantoms import gaussians, half_turn, image, sinogram

SIZE, ANGLES, FLAT, THICKEST = 512, 1024, 50_000.0, 2.5
RIVAL = Path(__file__).with_name("race_rival.py")
BATCHES = 64, 2
AT_ONCE = 1, 8, 100
FRAMES_BY_NUMPY = 128
RATE_HZ, PATIENCE_S = 2000.0, 300.0

Measured = dict[str, float]


def frames() -> dict[str, Any]:
    """Frames (angles, rows, columns) uint16 whose rows are all alike, their angles, and the true slice."""
    angles = half_turn(ANGLES)
    line = sinogram(gaussians(SIZE), SIZE, angles)
    scale = THICKEST / float(line.max())
    counts = np.rint(FLAT * np.exp(-scale * line.astype(np.float64))).astype(np.uint16)
    return {
        "frames": np.repeat(counts[:, None], SIZE, axis=1),
        "angles_deg": np.rad2deg(angles),
        "flat": FLAT,
        "truth": scale * image(gaussians(SIZE), SIZE),
    }


def rival(python: str, path: Path, batch: int) -> dict[str, Any]:
    done = subprocess.run([python, str(RIVAL), str(path), str(batch)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def ours(backend: Backend, data: dict[str, Any], planes: int, at_once: int) -> Measured:
    """Raw frames into ``planes``, ``at_once`` with each call; images are made after each call for the second figure."""
    raw, angles, middle = data["frames"], np.deg2rad(data["angles_deg"]), (SIZE - 1) / 2
    correction = FlatFieldCorrection(None, np.full((SIZE, SIZE), FLAT))
    warm, live = (LivePlanes(backend, orthogonal_planes(SIZE, SIZE)[:planes], SIZE, SIZE, middle) for _ in range(2))
    warm.add_raw(raw[:64], correction, angles[:64])
    warm.images()
    began = time.perf_counter()
    for first in range(0, ANGLES, at_once):
        live.add_raw(raw[first : first + at_once], correction, angles[first : first + at_once])
    slice_ = live.images()["xy"]
    rate = ANGLES / (time.perf_counter() - began)
    shown = []
    for first in range(0, 4 * at_once * (64 // at_once + 1), at_once):
        some = np.arange(first, first + at_once) % ANGLES
        batch = raw[some]
        began = time.perf_counter()
        live.add_raw(batch, correction, angles[some])
        live.images()
        shown.append(1e3 * (time.perf_counter() - began))
    mask = circle_mask(SIZE, 0.9)
    return {
        "frames_per_s": rate,
        "frames_to_slice_ms": float(np.median(shown)),
        "rmse": float(np.sqrt(np.mean(np.square(slice_ - data["truth"])[mask]))),
    }


def plain(data: dict[str, Any]) -> Measured:
    """NumPy and SciPy: the middle row filtered and smeared back, frame by frame."""
    row, away = SIZE // 2, (np.arange(SIZE) - (SIZE - 1) / 2).astype(np.float32)
    ramp = RampFilter(SIZE)
    slice_, places = np.zeros((SIZE, SIZE), np.float32), np.arange(SIZE)
    began = time.perf_counter()
    for counts, angle in zip(data["frames"][:FRAMES_BY_NUMPY, row], np.deg2rad(data["angles_deg"]), strict=False):
        line: NDArray[Any] = np.log(FLAT / np.maximum(counts, 1).astype(np.float32))
        filtered = ramp.apply(line)
        s = (SIZE - 1) / 2 + away * np.cos(angle) + away[:, None] * np.sin(angle)
        slice_ += np.interp(s, places, filtered, 0.0, 0.0).astype(np.float32)
    seconds = (time.perf_counter() - began) / FRAMES_BY_NUMPY
    return {"frames_per_s": 1 / seconds, "frames_to_slice_ms": 1e3 * seconds}


class Daemon:
    """Scans of the virtual beamline, whose frames are rendered ahead, through a daemon that makes no tomogram."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        context = stack.enter_context(until_done())
        cache_mb = 256 + 2 * ANGLES * SIZE * SIZE // 2**20
        options = ("--size", SIZE, "--samples", 1, "--mount-s", 0, "--rate-limit", RATE_HZ, "--cache-mb", cache_mb)
        beamline = start_beamline(folder, *map(str, options))
        stack.callback(beamline.stop, timeout_s=30.0)
        source = {"endpoint": beamline.wait_ready()["frames"]}
        writer = {"directory": folder / "data", "reserve_mb": 64, "tomogram": False}
        daemon = start_daemon(folder, source=source, writer=writer)
        stack.callback(daemon.stop, timeout_s=30.0)
        daemon.wait_ready()
        self._driver = ScanDriver(context, beamline, daemon, PATIENCE_S)
        self._scans = 0

    def scan(self) -> Measured:
        driver, name = self._driver, f"race-{self._scans}"
        self._scans += 1
        spec = driver.spec(name, rows=SIZE, columns=SIZE, projections=ANGLES, flats=10, darks=10)
        driver.begin(spec, RATE_HZ)
        driver.fly(spec, RATE_HZ)
        driver.until(lambda: driver.report(name).projections.received > 0, "the first projection")
        began = time.perf_counter()
        driver.until(driver.at_rest, "the end of the exposures")
        driver.command(Finish(name))
        report = driver.final(name)
        seconds = time.perf_counter() - began
        return {"frames_per_s": ANGLES / seconds, "frames_to_slice_ms": report.latency_ms.p50 or np.nan}


def measure(python: str, rounds: int) -> dict[str, Any]:
    backend, _ = select_backend("numba")
    found: dict[str, list[Any]] = {}
    with TemporaryDirectory(prefix="streamer-race-") as folder, ExitStack() as stack:
        data, path = frames(), Path(folder) / "frames.npz"
        np.savez(path, **data)
        daemon = Daemon(Path(folder), stack)
        daemon.scan()  # which is not counted: its frames are rendered
        for turn in range(rounds):
            print(f"round {turn + 1} of {rounds}", flush=True)
            for batch in BATCHES:
                found.setdefault(f"ewokstomo, {batch} at once", []).append(rival(python, path, batch))
            for planes, what in ((1, "one slice"), (3, "three planes")):
                for at_once in AT_ONCE:
                    way = f"LivePlanes, {what}, {at_once} at once"
                    found.setdefault(way, []).append(ours(backend, data, planes, at_once))
            found.setdefault("NumPy and SciPy, one slice, frame by frame", []).append(plain(data))
            found.setdefault("the daemon, three planes", []).append(daemon.scan())
    best = found[f"ewokstomo, {BATCHES[0]} at once"]
    result: dict[str, Any] = {"rounds": rounds, "versions": best[0].pop("versions"), "ways": {}}
    for way, runs in found.items():
        figures = {name: [run[name] for run in runs if name in run] for name in runs[-1] if name != "versions"}
        ratios = [run["frames_per_s"] / one["frames_per_s"] for run, one in zip(runs, best, strict=True)]
        result["ways"][way] = {
            **{name: float(f"{np.median(values):.4g}") for name, values in figures.items()},
            "times_the_best_of_ewokstomo": round(float(np.median(ratios)), 3),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rival", required=True, metavar="PYTHON", help="an interpreter that has ewokstomo")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(default 3)")
    args = parser.parse_args()
    record("race", {"threads": os.cpu_count(), **measure(args.rival, args.rounds)})


if __name__ == "__main__":
    main()
