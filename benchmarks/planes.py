"""Frames per second from raw counts into three planes: FastPlanes, filtered LivePlanes, and the plain way.

    python -m benchmarks.planes [--quick] [--threads N]

All ways take the same frames in turn, in one process, with the same threads, so that ratios are robust against a noisy
machine. The plain way is what most codes do: logarithm in numpy, the filter of all rows by scipy, a gather into each
plane by numba. Beside the speed stands the error of each way against the truth on an analytic object,
and that of parts of interlaced and golden-ratio scans.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import scipy.fft
from numba import prange
from numpy.typing import NDArray

from benchmarks.record import record
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import RampFilter
from streamer.core.jit import as_input, kernel
from streamer.core.masks import circle_mask
from streamer.core.planes.exact_planes import ExactPlanes
from streamer.core.planes.live_planes import BATCH, FastPlanes
from streamer.core.planes.plane import LivePlanes, Plane, orthogonal_planes
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.phantoms import gaussians, half_turn, image, shepp_logan, sinogram

SIZES = ((512, 512), (768, 520), (1024, 1024), (2048, 2048))  # columns, rows
QUICK_SIZES = ((512, 512), (768, 520))
Way = Callable[[], object]


@kernel(parallel=True)
def gather(filtered: NDArray[Any], t: NDArray[Any], z: NDArray[Any], image: NDArray[Any]) -> None:
    """Bilinear backprojection of filtered (rows, cols) into image, pixel by pixel; t, z as in backproject_plane."""
    rows, cols = filtered.shape
    for i in prange(image.shape[0]):
        for j in range(image.shape[1]):
            tj, zj = t[0] + j * t[1] + i * t[2], z[0] + j * z[1] + i * z[2]
            if tj < 0.0 or tj > cols - 1 or zj < 0.0 or zj > rows - 1:
                continue
            c, r = min(int(tj), cols - 2), min(int(zj), rows - 2)
            a, b = tj - c, zj - r
            upper = filtered[r, c] + a * (filtered[r, c + 1] - filtered[r, c])
            lower = filtered[r + 1, c] + a * (filtered[r + 1, c + 1] - filtered[r + 1, c])
            image[i, j] += upper + b * (lower - upper)


class PlainWay:
    """Float logarithm, scipy's filter of every row, gather."""

    def __init__(self, backend: Backend, planes: tuple[Plane, ...], dark: NDArray[Any], flat: NDArray[Any]) -> None:
        cols = dark.shape[1]
        self._threads, self._planes = backend.threads, planes
        self._dark, self._net = dark.astype(np.float32), (flat - dark).astype(np.float32)
        self._gain, self._length, self._cols = RampFilter(cols).gain, RampFilter(cols).length, cols
        self.images = {plane.name: np.zeros(plane.shape, np.float32) for plane in planes}

    def add(self, raw: NDArray[np.uint16], angle: float) -> None:
        attenuation = -np.log((raw - self._dark) / self._net)
        spectrum = scipy.fft.rfft(attenuation, self._length, axis=1, workers=self._threads)
        spectrum *= self._gain
        filtered = scipy.fft.irfft(spectrum, self._length, axis=1, workers=self._threads)[:, : self._cols]
        source, middle = as_input(filtered, np.float32), (self._cols - 1) / 2
        cos, sin = np.cos(angle), np.sin(angle)
        for p in self._planes:
            column = (
                middle + (p.origin[0] - middle) * cos + (p.origin[1] - middle) * sin,
                p.u[0] * cos + p.u[1] * sin,
                p.v[0] * cos + p.v[1] * sin,
            )
            gather(source, np.array(column), np.array((p.origin[2], p.u[2], p.v[2])), self.images[p.name])


def speed(backend: Backend, cols: int, rows: int, rounds: int) -> dict[str, Any]:
    """Medians of alternated rounds of BATCH frames."""
    rng = np.random.default_rng(0)
    raw = rng.integers(500, 40_000, (BATCH, rows, cols)).astype(np.uint16)
    dark, flat = rng.uniform(90, 110, (rows, cols)), rng.uniform(40_000, 50_000, (rows, cols))
    correction, angles = FlatFieldCorrection(backend, dark, flat), rng.uniform(0, np.pi, BATCH)
    planes, center = orthogonal_planes(rows, cols), (cols - 1) / 2
    fast, single, shown = (FastPlanes(backend, planes, rows, cols, center) for _ in range(3))
    live, ramp, plain = (
        LivePlanes(backend, planes, rows, cols, center),
        RampFilter(cols),
        PlainWay(backend, planes, dark, flat),
    )
    frame_to_plane: list[float] = []

    def run_single() -> None:
        for k in range(BATCH):
            single.add_raw(raw[k], correction, angles[k])

    def run_shown() -> None:
        for k in range(BATCH):  # rows wait in FastPlanes until its images are asked for
            begin = time.perf_counter()
            shown.add_raw(raw[k], correction, angles[k])
            shown.images()
            frame_to_plane.append(1e3 * (time.perf_counter() - begin))

    def run_live() -> None:
        for k in range(BATCH):
            live.add(ramp.apply(correction.attenuation(raw[k]), backend.threads), angles[k])

    def run_plain() -> None:
        for k in range(BATCH):
            plain.add(raw[k], angles[k])

    ways: dict[str, Way] = {
        "fast": lambda: fast.add_raw(raw, correction, angles),
        "fast, frame by frame": run_single,
        "LivePlanes": run_live,
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
    del frame_to_plane[:BATCH]
    median = {name: float(np.median(times)) for name, times in took.items()}
    return {
        "frames_per_s": {name: round(BATCH / median[name], 1) for name in list(ways)[:4]},
        "best_frames_per_s": {name: round(BATCH / min(took[name]), 1) for name in list(ways)[:4]},
        "ratio_to_plain": round(float(np.median(np.array(took["plain"]) / took["fast"])), 2),
        "ratio_to_plain_frame_by_frame": round(
            float(np.median(np.array(took["plain"]) / took["fast, frame by frame"])), 2
        ),
        "ratio_to_live_planes": round(float(np.median(np.array(took["LivePlanes"]) / took["fast"])), 2),
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
        fast = FastPlanes(backend, planes, 1, n, (n - 1) / 2)
        fast.add(frames, angles)
        live, ramp = LivePlanes(backend, planes, 1, n, (n - 1) / 2), RampFilter(n)
        for angle, frame in zip(angles, frames, strict=True):
            live.add(ramp.apply(frame), float(angle))
        for way, images in (("fast", fast.images()), ("LivePlanes", live.images())):
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
        ways: dict[str, ExactPlanes | FastPlanes] = {
            "ExactPlanes": ExactPlanes(backend, planes, 1, n, (n - 1) / 2, stored=frames.__getitem__),
            "FastPlanes, exact weights": FastPlanes(backend, planes, 1, n, (n - 1) / 2, stored=frames.__getitem__),
            "FastPlanes": FastPlanes(backend, planes, 1, n, (n - 1) / 2),
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
