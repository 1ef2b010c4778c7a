"""``streamer bench planes`` and ``streamer bench volume``: the numerics alone, on frames in memory."""

from __future__ import annotations

import time

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from streamer.cli.bench.figures import Figure, Step, Task, alternate, limits_figures
from streamer.cli.bench.plain import PlainPlanes
from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import FourierVolume, reconstruct_rows_fourier
from streamer.core.masks import circle_mask
from streamer.core.planes.live_planes import FRAMES_PER_FOLD, LivePlanes
from streamer.core.planes.plane import orthogonal_planes
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.phantoms import gaussians, half_turn, image, sinogram

ROWS_PER_THREAD = 16
FEWER_ANGLES = 8
"""The direct backprojection is timed with one angle in eight. Its time is linear in the angles."""


def planes(backend: Backend, task: Task, step: Step) -> list[Figure]:
    """Measure how fast raw uint16 frames are added to the three orthogonal planes."""
    step("limits")
    figures = limits_figures(task.seconds, task.threads)
    for size in task.sizes:
        step(f"{size}²")
        figures += _planes_of(backend, size, task.seconds)
    return figures


def _planes_of(backend: Backend, size: int, seconds: float) -> list[Figure]:
    rng = np.random.default_rng(0)
    raw = rng.integers(500, 40_000, (FRAMES_PER_FOLD, size, size)).astype(np.uint16)
    angles = rng.uniform(0, np.pi, FRAMES_PER_FOLD)
    correction = FlatFieldCorrection(np.full((size, size), 100.0), rng.uniform(40_000, 50_000, (size, size)))
    watched, center = orthogonal_planes(size, size), (size - 1) / 2
    batch, single = (LivePlanes(backend, watched, size, size, center) for _ in range(2))
    plain = PlainPlanes(backend, watched, size, size)
    copy = np.empty_like(raw)
    latency: list[float] = []

    def one_by_one() -> None:
        for frame, angle in zip(raw, angles, strict=True):
            began = time.perf_counter()
            single.add_raw(frame, correction, float(angle))
            latency.append(time.perf_counter() - began)

    took = alternate(
        {
            "batch": lambda: batch.add_raw(raw, correction, angles),
            "single": one_by_one,
            "plain": lambda: plain.add_raw(raw[0], correction, float(angles[0])),
            "copy": lambda: np.copyto(copy, raw),
            "images": batch.images,
        },
        seconds / 5,
    )
    median = {name: float(np.median(times)) for name, times in took.items()}
    rate, alone = FRAMES_PER_FOLD / median["batch"], 1 / median["plain"]
    copies = FRAMES_PER_FOLD / median["copy"]
    p50, p99 = (1e3 * float(np.percentile(latency[FRAMES_PER_FOLD:], share)) for share in (50, 99))
    name = f"{size}×{size}"
    batches = f"{name}, {FRAMES_PER_FOLD} at a time"
    return [
        Figure(batches, rate, "frames/s", "filter every row, backproject", alone),
        Figure(batches, rate, "frames/s", "copy the frame in memory", copies),
        Figure(f"{name}, one by one", FRAMES_PER_FOLD / median["single"], "frames/s"),
        Figure(f"{name}, frame → planes, p50", p50, "ms", "filter every row, backproject", 1e3 * median["plain"]),
        Figure(f"{name}, frame → planes, p99", p99, "ms"),
        Figure(f"{name}, pictures of the planes", 1e3 * median["images"], "ms"),
    ]


def volume(backend: Backend, task: Task, step: Step) -> list[Figure]:
    """Measure how fast N projections of N columns become a tomogram, at once and while they arrive, and its error."""
    step("limits")
    figures = limits_figures(task.seconds, task.threads)
    for size in task.sizes:
        step(f"{size}²")
        figures += _volume_of(backend, size, task.seconds)
    return figures


def _volume_of(backend: Backend, size: int, seconds: float) -> list[Figure]:
    rows, center = ROWS_PER_THREAD * backend.threads, (size - 1) / 2
    angles = half_turn(size)
    weights = angular_weights(angles)
    blobs = gaussians(size)
    lines, truth = sinogram(blobs, size, angles, oversample=1), image(blobs, size, oversample=1)
    attenuation = np.ascontiguousarray(np.repeat(lines[:, None], rows, axis=1))
    out = np.empty((rows, size, size), np.float32)
    whole = ProjectionBatch(attenuation, angles, weights)
    stream = FourierVolume(backend, rows, size, center)
    few = np.ascontiguousarray(attenuation[::FEWER_ANGLES, :ROWS_PER_THREAD])
    spectrum = np.ones((stream_size(size), stream_size(size)), np.complex64)
    folding: list[float] = []
    finishing: list[float] = []

    def while_they_come() -> None:
        stream.clear()
        began = time.perf_counter()
        for first in range(0, size, FRAMES_PER_FOLD):
            stream.add(whole.part(first, min(first + FRAMES_PER_FOLD, size)))
        between = time.perf_counter()
        stream.rows_of(0, stream.blocks, out)
        folding.append(between - began)
        finishing.append(time.perf_counter() - between)

    took = alternate(
        {
            "at once": lambda: reconstruct_rows_fourier(backend, attenuation, angles, weights, center, out=out),
            "stream": while_they_come,
            "direct": lambda: reconstruct_block(backend, few, angles[::FEWER_ANGLES], center),
            "fft": lambda: scipy.fft.fft2(spectrum, workers=backend.threads),
        },
        seconds / 4,
    )
    median = {name: float(np.median(times)) for name, times in took.items()}
    while_they_come()
    inside = circle_mask(size, 0.95)
    streamed = _rmse(out[0], truth, inside)
    reconstruct_rows_fourier(backend, attenuation, angles, weights, center, out=out)
    error, slice_ms = _rmse(out[0], truth, inside), 1e3 * median["at once"] / rows
    direct = reconstruct_block(backend, np.ascontiguousarray(attenuation[:, :1]), angles, center)
    direct_ms = 1e3 * FEWER_ANGLES * median["direct"] / ROWS_PER_THREAD
    name = f"{size}×{size}"
    return [
        Figure(f"{name}, at once", slice_ms, "ms/slice", "direct backprojection", direct_ms),
        Figure(f"{name}, at once", slice_ms, "ms/slice", "one 2-D FFT for two slices (scipy)", 500 * median["fft"]),
        Figure(
            f"{name}, RMSE on smooth blobs", error, "1/px", "direct backprojection", _rmse(direct[0], truth, inside)
        ),
        Figure(f"{name} × {rows} rows, as frames come", size / float(np.median(folding)), "frames/s"),
        Figure(f"{name} × {rows} rows, after the last frame", float(np.median(finishing)), "s"),
        Figure(f"{name}, RMSE as frames come", streamed, "1/px"),
    ]


def stream_size(columns: int) -> int:
    """Points on a side of a grid oversampled by 1.25, of a length that transforms fast."""
    return int(scipy.fft.next_fast_len(columns + columns // 4))


def _rmse(found: Image, truth: Image, inside: NDArray[np.bool_]) -> float:
    return float(np.sqrt(np.mean((found[inside].astype(np.float64) - truth[inside]) ** 2)))
