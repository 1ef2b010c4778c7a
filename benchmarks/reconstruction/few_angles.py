"""Few, limited and noisy projections: total variation against filtered backprojection and SIRT, on one phantom.

``python -m benchmarks.reconstruction.few_angles [--size 256]`` writes results/few_angles.json; --pictures
DIR also a picture per case.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import record
from streamer.core.arrays import Array
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.tv.projector import Projector
from streamer.core.tv.reconstruction import reconstruct_tv
from streamer.phantoms import image, shepp_logan, sinogram

SIRT_ITERATIONS = 150


def cases(size: int) -> dict[str, tuple[Array, float]]:
    """Angles (radian) and noise (share of the largest attenuation) of each case."""
    eighth = size // 8
    return {
        "1/8 of the angles": (np.arange(eighth) * np.pi / eighth, 0.0),
        "1/8 of the angles, 2 % noise": (np.arange(eighth) * np.pi / eighth, 0.02),
        "1/16 of the angles": (np.arange(eighth // 2) * np.pi / (eighth // 2), 0.0),
        "wedge of 40 degrees missing, 1/2 of the angles": (np.arange(size // 2) * np.deg2rad(140) / (size // 2), 0.005),
        "all angles, 6 % noise": (np.arange(size) * np.pi / size, 0.06),
    }


def sirt(backend: Backend, frames: Array, angles: Array, center: float) -> Array:
    """Simultaneous iterative reconstruction, ≥ 0: the usual rival without a prior (Gilbert, J. Theor. Biol. 1972)."""
    columns = frames.shape[2]
    projector = Projector(backend, angles, columns, center, (columns, columns))
    data = projector.padded(frames)
    ones: NDArray[np.float32] = np.ones((columns, columns, frames.shape[1]), np.float32)
    per_ray = 1 / np.maximum(projector.forward(ones), 1e-3)
    per_pixel = 1 / np.maximum(
        projector.backward(projector.padded(np.ones_like(frames)), 1.0, np.zeros_like(ones)), 1e-3
    )
    found = np.zeros_like(ones)
    for _ in range(SIRT_ITERATIONS):
        residual = np.asarray((data - projector.forward(found)) * per_ray, np.float32)
        step = projector.backward(residual, 1.0, np.zeros_like(found))
        found = np.maximum(found + per_pixel * step, 0)
    return np.ascontiguousarray(found.transpose(2, 0, 1))


def measure(make: Callable[[], Array], truth: Array) -> tuple[Array, dict[str, float]]:
    start = time.perf_counter()
    found = make()
    seconds = time.perf_counter() - start
    error = float(np.sqrt(np.mean((found - truth) ** 2)))
    return found, {"rmse": round(error, 4), "seconds": round(seconds, 2)}


def compare(backend: Backend, size: int, rows: int, angles: Array, noise: float) -> tuple[list[Array], dict[str, Any]]:
    """All methods on one case: the middle slices, and for each the error against the truth and the time."""
    center = (size - 1) / 2
    truth = image(shepp_logan(size), size)
    lines = sinogram(shepp_logan(size), size, angles)[:, None].repeat(rows, axis=1)
    noisy = lines + np.random.default_rng(0).normal(0, noise * lines.max(), lines.shape)
    frames = noisy.astype(np.float32)
    made: dict[str, Callable[[], Array]] = {
        "fbp": lambda: reconstruct_block(backend, frames, angles, center, "ramp"),
        "fbp, hann": lambda: reconstruct_block(backend, frames, angles, center, "hann"),
        "sirt": lambda: sirt(backend, frames, angles, center),
        "tv": lambda: reconstruct_tv(backend, frames, angles, center),
    }
    slices, result = [truth], {}
    for name, make in made.items():
        found, result[name] = measure(make, truth)
        slices.append(found[rows // 2])
    result["tv"]["error_to_best_fbp"] = round(
        result["tv"]["rmse"] / min(result["fbp"]["rmse"], result["fbp, hann"]["rmse"]), 3
    )
    return slices, {"angles": int(angles.size), "noise": noise} | result


def main() -> None:
    """Measure, print, and write the result."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--size", type=int, default=256, help="columns of the detector")
    parse.add_argument("--rows", type=int, default=8, help="rows of the detector")
    parse.add_argument("--pictures", type=Path, help="folder for pictures")
    args = parse.parse_args()
    backend, _ = select_backend("numba")
    compare(backend, 32, 2, np.arange(8) * np.pi / 8, 0.0)  # compiles
    result: dict[str, Any] = {"size": args.size, "rows": args.rows}
    for name, (angles, noise) in cases(args.size).items():
        slices, result[name] = compare(backend, args.size, args.rows, angles, noise)
        print(name, result[name], flush=True)
        if args.pictures:
            import matplotlib.image

            args.pictures.mkdir(parents=True, exist_ok=True)
            file = args.pictures / f"{name.replace('/', '_').replace(' ', '_')}.png"
            matplotlib.image.imsave(file, np.hstack(slices), vmin=0.0, vmax=0.6, cmap="gray")
    record("few_angles", result)


if __name__ == "__main__":
    main()
