"""Milliseconds per slice of a whole tomogram beside every rival that is installed, and the tomogram while frames come.

    python -m benchmarks.reconstruction.volume [--quick] [--threads N]

All ways get the same projections in turn, in one process, with the same threads, so that ratios are robust against a
noisy machine; slow ways get few slices and few rounds. Beside the speed stands the error of each way on analytic
objects, within 0.95 of the radius. Rivals: algotom, scikit-image, finufft (adjoint transform of two slices packed into
one complex one, padded to 2 N), astra-toolbox (CPU). Only the first comes with the tests, the others are installed by
hand (decision 3); what is missing is named in the result.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.reconstruction.volume_rivals import Rival, ways
from benchmarks.record import record
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import PROJECTIONS_PER_BATCH, FourierVolume, fourier_nbytes, reconstruct_rows_fourier
from streamer.core.masks import circle_mask
from streamer.phantoms import gaussians, half_turn, image, shepp_logan, sinogram

SIZES, QUICK_SIZES = (512, 1024, 2048), (256, 512)
PATIENCE = 20.0
"""Seconds that one way may take for its rounds at one size; a way that is slower gets fewer rounds, at least two."""

MOST = 200.0
"""Seconds for one call beyond which a way is left out at the next size."""


def errors(rivals: dict[str, Rival], n: int) -> dict[str, Any]:
    """Root mean square error and mean error of each way against the truth."""
    angles, mask = half_turn(n), circle_mask(n, 0.95)
    result: dict[str, Any] = {name: {} for name in rivals}
    for label, parts in (("shepp_logan", shepp_logan(n)), ("gaussians", gaussians(n))):
        for name, rival in rivals.items():
            dx, dy = rival.offset
            line = sinogram(parts, n, angles, (n - 1) / 2 + dx)
            truth = image([replace(part, x=part.x + dx, y=part.y + dy) for part in parts], n)
            attenuation = np.ascontiguousarray(np.repeat(line[:, None], rival.rows, axis=1))
            error = (rival.run(attenuation, angles)[0] - truth)[mask]
            result[name][f"rmse_{label}"] = round(float(np.sqrt(np.mean(error**2))), 6)
            result[name][f"bias_{label}"] = round(float(error.mean()), 6)
    return result


def speed(rivals: dict[str, Rival], n: int, rounds: int) -> dict[str, Any]:
    """Milliseconds per slice, and paired ratios to ours: each call of a rival is followed by one of ours."""
    angles = half_turn(n)
    line = sinogram(shepp_logan(n), n, angles, oversample=1)[:, None]

    def timed(rival: Rival) -> float:
        attenuation = np.ascontiguousarray(np.repeat(line, rival.rows, axis=1))
        begin = time.perf_counter()
        rival.run(attenuation, angles)
        return 1e3 * (time.perf_counter() - begin) / rival.rows

    ours = rivals["fourier"]
    timed(ours)
    result: dict[str, Any] = {}
    for name, rival in rivals.items():
        first = timed(rival)  # compiles and warms
        turns = int(np.clip(PATIENCE / (1e-3 * first * rival.rows), 2, rounds))
        pairs = np.array([(timed(rival), timed(ours)) for _ in range(turns)])
        result[name] = {
            "ms_per_slice": round(float(np.median(pairs[:, 0])), 3),
            "best": round(float(pairs[:, 0].min()), 3),
            "ratio_to_ours": round(float(np.median(pairs[:, 0] / pairs[:, 1])), 2),
            "rounds": turns,
            "slices": rival.rows,
        }
        print(n, name, result[name], flush=True)
    return result


def streaming(backend: Backend, n: int, order: NDArray[np.int64], rounds: int) -> dict[str, Any]:
    """n projections of n x n in the given order, in batches as they come, then the tomogram; beside offline."""
    angles = half_turn(n)
    line = sinogram(shepp_logan(n), n, angles, oversample=1)
    frames = np.ascontiguousarray(np.repeat(line[order][:, None], n, axis=1))
    angles, weights = angles[order], angular_weights(angles[order])
    volume, tomogram = FourierVolume(backend, n, n), np.zeros((n, n, n), np.float32)
    whole = ProjectionBatch(frames, angles, weights)

    def stream() -> tuple[float, float]:
        volume.clear()
        begin = time.perf_counter()
        for k in range(0, n, PROJECTIONS_PER_BATCH):
            volume.add(whole.part(k, min(k + PROJECTIONS_PER_BATCH, n)))
        gathered = time.perf_counter()
        volume.rows_of(0, volume.blocks, tomogram)
        return gathered - begin, time.perf_counter() - gathered

    def offline() -> float:
        begin = time.perf_counter()
        reconstruct_rows_fourier(backend, frames, angles, weights, (n - 1) / 2, out=tomogram)
        return time.perf_counter() - begin

    took: list[NDArray[np.float64]] = []
    for turn in range(rounds + 1):
        gather, finish = stream()
        if turn:
            took.append(np.array([gather, finish, offline()]))
    table = np.array(took)
    truth, mask = image(shepp_logan(n), n), circle_mask(n, 0.95)
    volume.rows_of(0, volume.blocks, tomogram)
    return {
        "frames": [n, n, n],
        "frames_per_s": round(float(n / np.median(table[:, 0])), 1),
        "best_frames_per_s": round(float(n / table[:, 0].min()), 1),
        "last_frame_to_tomogram_s": round(float(np.median(table[:, 1])), 3),
        "best_last_frame_to_tomogram_s": round(float(table[:, 1].min()), 3),
        "ratio_to_offline": round(float(np.median((table[:, 0] + table[:, 1]) / table[:, 2])), 3),
        "offline_ms_per_slice": round(float(1e3 * np.median(table[:, 2]) / n), 3),
        "memory_mib": round(fourier_nbytes(n, n, threads=backend.threads) / 2**20),
        "rmse": round(float(np.sqrt(np.mean((tomogram[n // 2] - truth)[mask] ** 2))), 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds, nothing kept")
    parser.add_argument("--threads", type=int, help="default: all cores")
    options = parser.parse_args()
    quick = options.quick
    backend, _ = select_backend("numba", options.threads)
    numba.set_num_threads(backend.threads)
    rivals, absent = ways(backend)
    result: dict[str, Any] = {"threads": backend.threads, "absent": absent}
    side = 256 if quick else 512
    orders = {"scan order": np.arange(side), "random order": np.random.default_rng(0).permutation(side)}
    for label, order in orders.items():
        key = f"streaming {side}, {label}"
        result[key] = streaming(backend, side, order, 3 if quick else 7)
        print(key, result[key], flush=True)
    for n in QUICK_SIZES if quick else SIZES:
        entry = speed(rivals, n, 3 if quick else 15)
        if n <= 1024:
            for name, error in errors(rivals, n).items():
                entry[name].update(error)
        result[str(n)] = entry
        rivals = {
            name: rival for name, rival in rivals.items() if entry[name]["ms_per_slice"] * rival.rows < 1e3 * MOST
        }
    if quick:
        print(result)
    else:
        record("volume", result)


if __name__ == "__main__":
    main()
