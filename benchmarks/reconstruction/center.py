"""Centre of rotation on random phantoms: how far off, and does the confidence say so?

``python -m benchmarks.reconstruction.center [--quick]`` draws 100 (20) scans: noise, stripes, half and full turns,
golden angles, axes far off the middle, half acquisition, tilted axes, samples wider than the detector; and writes
results/center.json.
Each scan passes through ``pipeline.measurements.Measurements`` as it does in the daemon: projection by projection,
asked for the centre now and then ("live": the worst confident answer), and at the end with all attenuation at hand
("stored"), or with no more than was kept on the way ("kept").
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.record import record
from streamer.core.alignment.center_of_mass import MomentTrack
from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.opposite_views import center_from_opposites
from streamer.core.alignment.trial_slices import center_from_sharpness
from streamer.core.arrays import Array
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.preprocessing.flat_field import row_moments_of
from streamer.frames import ScanSpec
from streamer.pipeline.measurements import Measurements

CASES = ("whole", "tilted", "offset", "half acquisition", "truncated")
TURNS = ("half", "inclusive", "full", "golden", "interlaced")
BINS = (0.0, 0.5, 0.8, 0.9, 0.96, 1.001)
CONFIDENT = 0.5  # what the verdict calls known (quality.Limits.min_center_confidence)
WRONG_PX = 0.5
LIVE_ASKED = 12  # times that a running scan is asked for its centre
FIRST_SEED = 5000
RANGES_DEG = {"full": 360.0}  # announced range; 180 for all others


@dataclass(frozen=True)
class Scan:
    """One random scan and the column of its axis in the middle row."""

    case: str
    turn: str
    noise: float
    stripes: bool
    tilt_deg: float
    truth: float
    angles: Array
    frames: Array


def random_scan(seed: int) -> Scan:
    """Scan number ``seed``: frames (angles, rows, columns) float32. Case, turn and stripes go round, the rest is drawn.

    Noise is 1 to 8 % of the largest attenuation in every pixel; stripes are errors of gain of single pixels (1 %) and
    of whole columns (up to 10 %, one column in 25).
    """
    rng = np.random.default_rng(seed)
    case, turn = CASES[seed % 5], TURNS[seed // 5 % 5]
    if case == "half acquisition":
        turn = "full"
    # Tall enough for a lean of 0.3 degrees to show: the axis runs over half a pixel to a whole one.
    rows = int(rng.integers(32, 80)) * (3 if case == "tilted" else 1)
    columns = int(rng.integers(160, 257))
    count = int(rng.integers(150, 300))
    middle = (columns - 1) / 2
    side = rng.choice([-1, 1])
    size = 0.28 * columns
    truth = middle + rng.uniform(-0.06, 0.06) * columns
    if case == "offset":
        size, truth = 0.14 * columns, middle + side * rng.uniform(0.1, 0.3) * columns
    elif case == "half acquisition":
        size, truth = 0.55 * columns, middle + side * rng.uniform(0.2, 0.35) * columns
    elif case == "truncated":
        size = rng.uniform(0.5, 0.7) * columns
    tilt = float(side * 0.3 if case == "tilted" else rng.choice([0.0, rng.uniform(-0.3, 0.3)]))
    angles = turn_angles(turn, count) + rng.uniform(0, 2 * np.pi)
    bodies = random_bodies(rng, size, rows, 0.1 * columns if case == "whole" else 0.05 * columns)
    frames = np.stack([project(bodies, rows, columns, float(a), truth, np.deg2rad(tilt)) for a in angles])
    noise = round(float(rng.uniform(0.01, 0.08)), 4)
    frames += rng.normal(0, noise * float(frames.max()), frames.shape)
    stripes = seed % 2 == 1
    if stripes:
        frames += rng.normal(0, 0.01, (rows, columns))
        frames[:, :, rng.integers(0, columns, columns // 25)] += rng.uniform(-0.1, 0.1, columns // 25)
    return Scan(case, turn, noise, stripes, tilt, truth, angles, frames.astype(np.float32))


def turn_angles(turn: str, count: int) -> Array:
    """Angles (radian) of a scan of ``count`` projections."""
    if turn == "half":
        return np.asarray(np.arange(count) * np.pi / count)
    if turn == "inclusive":
        return np.linspace(0, np.pi, count)
    if turn == "golden":
        return np.asarray(np.arange(count) * np.pi * (np.sqrt(5) - 1) / 2)
    if turn == "interlaced":
        return np.concatenate([(np.arange(k, count, 4)) * np.pi / count for k in (0, 2, 1, 3)])
    return np.linspace(0, 2 * np.pi, count, endpoint=bool(count % 2))


def random_bodies(rng: np.random.Generator, size: float, rows: int, shift: float) -> Array:
    """Ellipsoids (n, 8): density, semi-axes a, b, h, place x, y, z, angle; a large one with eight small ones in it."""
    x, y = rng.uniform(-shift, shift, 2)
    outer = [1 / size, size * rng.uniform(0.7, 1), size * rng.uniform(0.6, 1), rows * rng.uniform(0.6, 1.2)]
    bodies = [[*outer, x, y, rows * rng.uniform(-0.2, 0.2), rng.uniform(0, np.pi)]]
    for _ in range(8):
        dx, dy = rng.uniform(-0.4, 0.4, 2) * size
        a, b = rng.uniform(0.05, 0.2, 2) * size
        density = rng.uniform(-0.8, 2.0) / size
        z, h = rows * rng.uniform(-0.5, 0.5), rows * rng.uniform(0.15, 0.6)
        bodies.append([density, a, b, h, x + dx, y + dy, z, rng.uniform(0, np.pi)])
    return np.array(bodies)


def project(bodies: Array, rows: int, columns: int, angle: float, center: float, tilt: float) -> Array:
    """Exact projection (rows, columns) float32, two rays for the width of a pixel; the axis leans by ``tilt``.

    ``center`` is the column of the axis in the middle row.
    """
    u = np.arange(2 * columns, dtype=np.float32)[None, :] * 0.5 - 0.25 - center
    v = np.arange(rows, dtype=np.float32)[:, None] - (rows - 1) / 2
    s, z = u * np.cos(tilt) + v * np.sin(tilt), v * np.cos(tilt) - u * np.sin(tilt)
    total = np.zeros(s.shape, np.float32)
    for density, a, b, h, x, y, z0, phi in bodies.astype(np.float32):
        d = s - (x * np.cos(angle) + y * np.sin(angle))
        r2 = (a * np.cos(angle - phi)) ** 2 + (b * np.sin(angle - phi)) ** 2
        share = 1 - ((z - z0) / h) ** 2
        total += 2 * density * a * b / r2 * np.sqrt(np.maximum(share * r2 - d**2, 0), dtype=np.float32)
    return np.asarray(total.reshape(rows, columns, 2).mean(axis=2))


def methods(backend: Backend, scan: Scan) -> dict[str, CenterEstimate]:
    """What each method says on its own."""
    track = MomentTrack()
    for angle, frame, moments in zip(scan.angles, scan.frames, row_moments_of(scan.frames), strict=True):
        track.add(float(angle), frame, moments)
    return {
        "moments": track.estimate(),
        "pairs": center_from_opposites(scan.frames, scan.angles),
        "sharpness": center_from_sharpness(backend, scan.frames, scan.angles),
    }


def empty_measurements(backend: Backend, scan: Scan) -> Measurements:
    count, rows, columns = scan.frames.shape
    first = float(np.rad2deg(scan.angles[0]))
    spec = ScanSpec("scan", "sample", rows, columns, count, start_deg=first, range_deg=RANGES_DEG.get(scan.turn, 180.0))
    return Measurements(spec, backend)


def center_of(backend: Backend, frames: Array, angles: Array, range_deg: float) -> CenterEstimate:
    """The final centre of a scan of attenuation (angles, rows, columns), as the daemon finds it."""
    first = float(np.rad2deg(angles[0]))
    spec = ScanSpec("scan", "sample", *frames.shape[1:], len(frames), start_deg=first, range_deg=range_deg)
    measured = Measurements(backend=backend, spec=spec)
    for angle, frame, moments in zip(angles, frames, row_moments_of(frames), strict=True):
        measured.projection(float(angle), measured.count, frame, moments)
    return measured.refine_center(frames)


def as_it_comes(backend: Backend, scan: Scan) -> tuple[Measurements, CenterEstimate]:
    """The scan pushed frame by frame, and the live answer furthest off among the confident ones (else the last)."""
    measured = empty_measurements(backend, scan)
    every = max(1, len(scan.frames) // LIVE_ASKED)
    worst: CenterEstimate | None = None
    moments = row_moments_of(scan.frames, backend.threads)
    for number, (angle, frame) in enumerate(zip(scan.angles, scan.frames, strict=True), start=1):
        measured.projection(float(angle), measured.count, frame, moments[number - 1])
        if number % every == 0:
            found = measured.estimate_center()
            if found.confidence >= CONFIDENT and (worst is None or _off(found, scan) > _off(worst, scan)):
                worst = found
    return measured, measured.center if worst is None else worst


def _off(found: CenterEstimate, scan: Scan) -> float:
    return np.inf if found.center is None else abs(found.center - scan.truth)


def row(scan: Scan, found: CenterEstimate, seconds: float) -> dict[str, Any]:
    facts = {key: value for key, value in asdict(scan).items() if key not in ("angles", "frames", "truth")}
    error = None if found.center is None else round(float(found.center - scan.truth), 4)
    numbers = {"error": error, "sigma": round(found.sigma_px, 4), "confidence": round(found.confidence, 4)}
    shape = list(scan.frames.shape)
    return facts | {"shape": shape, "method": found.method, "seconds": round(seconds, 3)} | numbers


def calibration(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Error for each range of confidence, "unknown" first."""
    table: list[dict[str, Any]] = [{"confidence": "unknown", "scans": sum(r["error"] is None for r in rows)}]
    for low, high in itertools.pairwise(BINS):
        inside = [r for r in rows if r["error"] is not None and low <= r["confidence"] < high]
        line: dict[str, Any] = {"confidence": f"{low:.2f}-{min(high, 1):.2f}", "scans": len(inside)}
        if inside:
            error = np.abs([r["error"] for r in inside])
            line |= {"mean_confidence": round(float(np.mean([r["confidence"] for r in inside])), 3)}
            line |= {"median_px": round(float(np.median(error)), 3), "worst_px": round(float(error.max()), 3)}
            line |= {f"within_{limit}": round(float(np.mean(error <= limit)), 3) for limit in (0.1, 0.25, 0.5)}
            normal = error / np.array([r["sigma"] for r in inside])
            line |= {"within_2_sigma": round(float(np.mean(normal <= 2)), 3)}
        table.append(line)
    return table


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    known = [r for r in rows if r["error"] is not None]
    wrong = [r for r in known if r["confidence"] >= CONFIDENT and abs(r["error"]) > WRONG_PX]
    return {
        "scans": len(rows),
        "within_0.1_px": sum(bool(abs(r["error"]) <= 0.1) for r in known),
        "unknown": len(rows) - len(known),
        "confident_and_wrong": len(wrong),
        "calibration": calibration(rows),
    }


def timed_scan(side: int, count: int, turn: str) -> Scan:
    """A scan of side x side pixels for the clock; its noise comes round every 16 projections."""
    rng = np.random.default_rng(0)
    angles = turn_angles(turn, count)
    truth = (side - 1) / 2 + 3.8
    bodies = random_bodies(rng, 0.28 * side, side, 0.05 * side)
    noise = rng.normal(0, 0.03, (16, side, side)).astype(np.float32)
    frames = np.empty((count, side, side), np.float32)
    for number, angle in enumerate(angles):
        np.add(project(bodies, side, side, float(angle), truth, 0.0), noise[number % 16], out=frames[number])
    return Scan("whole", turn, 0.03, False, 0.0, truth, angles, frames)


def times_ms(backend: Backend, side: int, count: int, turn: str) -> dict[str, Any]:
    """Mean time of ``projection`` per frame with ready sums, live answers, and both refinements."""
    scan = timed_scan(side, count, turn)
    measured = empty_measurements(backend, scan)
    spent, live = 0.0, []
    for number, (angle, frame) in enumerate(zip(scan.angles, scan.frames, strict=True)):
        moments = row_moments_of(frame[None], backend.threads)[0]
        start = time.perf_counter()
        measured.projection(float(angle), measured.count, frame, moments)
        spent += time.perf_counter() - start
        if number % 50 == 49:
            start = time.perf_counter()
            measured.estimate_center()
            live.append(time.perf_counter() - start)
    result: dict[str, Any] = {"shape": [count, side, side], "turn": turn, "projection": round(1e3 * spent / count, 4)}
    result |= {"live_median": round(1e3 * float(np.median(live)), 1), "live_worst": round(1e3 * max(live), 1)}
    for name, stored in (("stored", scan.frames), ("kept", None)):
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            found = measured.refine_center(stored)
            taken.append(time.perf_counter() - start)
        result[f"refine_{name}"] = round(1e3 * float(np.median(taken)), 1)
    sinograms = np.ascontiguousarray(scan.frames[:, side // 8 :: side // 8])
    start = time.perf_counter()
    center_from_sharpness(backend, sinograms, scan.angles, round(scan.truth), 3.0)
    result["sharpness_alone"] = round(1e3 * (time.perf_counter() - start), 1)
    error = None if found.center is None else round(found.center - scan.truth, 4)
    return result | {"method": found.method, "error": error}


def main() -> None:
    """Measure, print, and write the result."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--quick", action="store_true", help="20 scans instead of 100")
    parse.add_argument("--methods", action="store_true", help="each method on its own, too")
    parse.add_argument("--large", action="store_true", help="times for 512 x 512 pixels, too")
    args = parse.parse_args()
    backend, _ = select_backend("numba")
    rows: dict[str, list[dict[str, Any]]] = {"stored": [], "kept": [], "live": []}
    for seed in range(FIRST_SEED, FIRST_SEED + (20 if args.quick else 100)):
        scan = random_scan(seed)
        measured, live = as_it_comes(backend, scan)
        rows["live"].append(row(scan, live, 0.0))
        for name, stored in (("stored", scan.frames), ("kept", None)):
            start = time.perf_counter()
            found = measured.refine_center(stored)
            rows[name].append(row(scan, found, time.perf_counter() - start))
        if args.methods:
            for name, alone in methods(backend, scan).items():
                rows.setdefault(name, []).append(row(scan, alone, 0.0))
        print(
            seed,
            *(f"{name} {found[-1]['error']} {found[-1]['confidence']}" for name, found in rows.items()),
            flush=True,
        )
    result: dict[str, Any] = {name: summary(found) for name, found in rows.items()}
    sizes = [(256, 360), (512, 512)] if args.large else [(256, 360)]
    result["milliseconds"] = [times_ms(backend, *size, turn) for size in sizes for turn in ("half", "full")]
    record("center", result | {"scans": rows})


if __name__ == "__main__":
    main()
