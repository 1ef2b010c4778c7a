"""Frames per second from raw counts into three planes: LivePlanes and the plain way.

    python -m benchmarks.reconstruction.planes [--quick] [--threads N]

All ways take the same frames in turn, in one process, with the same threads, so that ratios are robust against a noisy
machine. The plain way is what most codes do, done well (``PlainPlanes``): the logarithm by numba, the filter of all
rows by scipy, a backprojection into each plane by numba. Beside the speed stands the error of each way against the
truth on an analytic object, and that of parts of interlaced and golden-ratio scans.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from benchmarks.record import record
from streamer.cli.bench.plain import PlainPlanes
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.masks import circle_mask
from streamer.core.planes.live_planes import FRAMES_PER_FOLD, LivePlanes
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.phantoms import gaussians, half_turn, image, shepp_logan, sinogram

SIZES = ((512, 512), (768, 520), (1024, 1024), (2048, 2048))  # columns, rows
QUICK_SIZES = ((512, 512), (768, 520))
Way = Callable[[], object]


def speed(backend: Backend, cols: int, rows: int, rounds: int) -> dict[str, Any]:
    """Medians of alternated rounds of FRAMES_PER_FOLD frames."""
    rng = np.random.default_rng(0)
    raw = rng.integers(500, 40_000, (FRAMES_PER_FOLD, rows, cols)).astype(np.uint16)
    dark, flat = rng.uniform(90, 110, (rows, cols)), rng.uniform(40_000, 50_000, (rows, cols))
    correction, angles = FlatFieldCorrection(dark, flat), rng.uniform(0, np.pi, FRAMES_PER_FOLD)
    planes, center = orthogonal_planes(rows, cols), (cols - 1) / 2
    fast, single, shown = (LivePlanes(backend, planes, rows, cols, center) for _ in range(3))
    plain = PlainPlanes(backend, planes, rows, cols)
    frame_to_plane: list[float] = []

    def run_single() -> None:
        for k in range(FRAMES_PER_FOLD):
            single.add_raw(raw[k], correction, angles[k])

    def run_shown() -> None:
        for k in range(FRAMES_PER_FOLD):  # rows wait in LivePlanes until its images are made
            begin = time.perf_counter()
            shown.add_raw(raw[k], correction, angles[k])
            shown.images()
            frame_to_plane.append(1e3 * (time.perf_counter() - begin))

    def run_plain() -> None:
        for k in range(FRAMES_PER_FOLD):
            plain.add_raw(raw[k], correction, angles[k])

    ways: dict[str, Way] = {
        "fast": lambda: fast.add_raw(raw, correction, angles),
        "fast, frame by frame": run_single,
        "plain": run_plain,
        "shown": run_shown,
        "images": fast.images,
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            if turn:  # the first round compiles and warms
                took[name].append(time.perf_counter() - begin)
    del frame_to_plane[:FRAMES_PER_FOLD]
    median = {name: float(np.median(times)) for name, times in took.items()}
    return {
        "frames_per_s": {name: round(FRAMES_PER_FOLD / median[name], 1) for name in list(ways)[:3]},
        "best_frames_per_s": {name: round(FRAMES_PER_FOLD / min(took[name]), 1) for name in list(ways)[:3]},
        "ratio_to_plain": round(float(np.median(np.array(took["plain"]) / took["fast"])), 2),
        "ratio_to_plain_frame_by_frame": round(
            float(np.median(np.array(took["plain"]) / took["fast, frame by frame"])), 2
        ),
        "frame_to_plane_ms": {f"p{p}": round(float(np.percentile(frame_to_plane, p)), 3) for p in (50, 99)},
        "images_ms": round(1e3 * median["images"], 2),
    }


def accuracy(backend: Backend, n: int) -> dict[str, Any]:
    """Root mean square error within 0.95 of the radius: xy, and the mean over cuts in x and y, for both ways."""
    angles, mask = half_turn(n), circle_mask(n, 0.95)
    result: dict[str, Any] = {}
    for label, parts in (("shepp_logan", shepp_logan(n)), ("gaussians", gaussians(n))):
        frames, truth = sinogram(parts, n, angles)[:, None], image(parts, n)
        cuts = np.linspace(0.1 * n, 0.9 * n, 7).astype(int)
        planes = [orthogonal_planes(1, n)[0]]
        planes += [Plane(f"x{k}", (0.0, float(k), 0.0), (1.0, 0, 0), (0.0, 0, 1), (1, n)) for k in cuts]
        planes += [Plane(f"y{k}", (float(k), 0.0, 0.0), (0.0, 1, 0), (0.0, 0, 1), (1, n)) for k in cuts]
        fast = LivePlanes(backend, planes, 1, n, (n - 1) / 2)
        fast.add(frames, angles)
        plain = PlainPlanes(backend, planes, 1, n)
        for angle, frame in zip(angles, frames, strict=True):
            plain.add(frame, float(angle))
        filtered = {name: sums * (np.pi / n) for name, sums in plain.sums.items()}
        for way, images in (("LivePlanes", fast.images()), ("plain", filtered)):
            errors = [(images[f"x{k}"][0] - truth[k])[mask[k]] for k in cuts]
            errors += [(images[f"y{k}"][0] - truth[:, k])[mask[:, k]] for k in cuts]
            error = np.concatenate(errors)
            result[f"{label}, {way}"] = {
                "xy": round(float(np.sqrt(np.mean((images["xy"] - truth)[mask] ** 2))), 6),
                "vertical": round(float(np.sqrt(np.mean(error**2))), 6),
                "vertical_bias": round(float(error.mean()), 6),
            }
    return result


def prefix(backend: Backend, n: int) -> dict[str, Any]:
    """Error of the horizontal plane after parts of a scan, over that of a reconstruction from scratch.

    From scratch is filtered backprojection with exact weights; all against the truth within 0.95 of the radius.
    ``seconds`` are those of the whole scan, without its preparation.
    """
    orders = {
        "interlaced": half_turn(n).reshape(-1, 8).T.ravel(),
        "golden": np.arange(n) * np.pi * (np.sqrt(5) - 1) / 2,
    }
    result: dict[str, Any] = {}
    truth, mask, planes = image(shepp_logan(n), n), circle_mask(n, 0.95), orthogonal_planes(1, n)[:1]
    for order, angles in orders.items():
        frames = sinogram(shepp_logan(n), n, angles)[:, None]
        ways = {
            "exact weights": LivePlanes(backend, planes, 1, n, (n - 1) / 2, stored=frames.__getitem__),
            "equal weights": LivePlanes(backend, planes, 1, n, (n - 1) / 2),
        }
        ratios: dict[str, list[float]] = {name: [] for name in ways}
        took = dict.fromkeys(ways, 0.0)
        for quarter in range(4):
            part = range(quarter * n // 4, (quarter + 1) * n // 4)
            scratch = reconstruct_block(backend, frames[: part.stop], angles[: part.stop], (n - 1) / 2)[0]
            limit = float(np.sqrt(np.mean((scratch - truth)[mask] ** 2)))
            for name, way in ways.items():
                begin = time.perf_counter()
                for k in part:
                    way.add(frames[k], float(angles[k]))
                picture = way.images()["xy"]
                took[name] += time.perf_counter() - begin
                ratios[name].append(round(float(np.sqrt(np.mean((picture - truth)[mask] ** 2))) / limit, 4))
        for name in ways:
            result[f"{order}, {name}"] = {"at 25, 50, 75, 100 %": ratios[name], "seconds": round(took[name], 3)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sizes, few rounds, nothing kept")
    parser.add_argument("--threads", type=int, help="default: all cores; on a busy machine 1 is the fairer comparison")
    options = parser.parse_args()
    quick = options.quick
    backend, _ = select_backend("numba", options.threads)
    numba.set_num_threads(backend.threads)
    sizes, rounds = (QUICK_SIZES, 5) if quick else (SIZES, 25)
    result: dict[str, Any] = {"threads": backend.threads, "rmse": accuracy(backend, 256 if quick else 512)}
    result["prefix"] = prefix(backend, 256 if quick else 512)
    for cols, rows in sizes:
        result[f"{cols}x{rows}"] = speed(backend, cols, rows, rounds)
        print(f"{cols}x{rows}", result[f"{cols}x{rows}"], flush=True)
    if quick:
        print(result["rmse"], result["prefix"], sep="\n")
    else:
        record("planes", result)


if __name__ == "__main__":
    main()
