"""Ways to make slices from projections, ours and others', behind one signature, for ``volume``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import FourierVolume
from streamer.core.simd.row_vectors import LANES

Slices = NDArray[np.float32]
Way = Callable[[Slices, NDArray[np.float64]], Slices]  # (angles, rows, n), angles -> (rows, n, n)


@dataclass(frozen=True)
class Rival:
    """A way to reconstruct; ``rows`` at a time, the fewest that use all threads as well as more would."""

    run: Way
    rows: int
    offset: tuple[float, float] = (0.0, 0.0)
    """(x, y) from the middle of an even image to where the way puts the axis; x also from that of the detector."""


def _ours(backend: Backend) -> Rival:
    """The volume and its slices are kept, as is finufft's plan: a long scan allocates them once."""
    rows = LANES * backend.threads
    kept: dict[int, tuple[FourierVolume, Slices]] = {}

    def run(attenuation: Slices, angles: NDArray[np.float64]) -> Slices:
        n = attenuation.shape[2]
        if n not in kept:
            kept.clear()
            kept[n] = FourierVolume(backend, rows, n), np.empty((rows, n, n), np.float32)
        volume, slices = kept[n]
        volume.clear()
        volume.add(ProjectionBatch(attenuation, angles, angular_weights(angles)))
        return volume.rows_of(0, volume.blocks, slices)

    return Rival(run, rows)


def _direct(backend: Backend) -> Rival:
    def run(attenuation: Slices, angles: NDArray[np.float64]) -> Slices:
        return reconstruct_block(backend, attenuation, angles, (attenuation.shape[2] - 1) / 2)

    return Rival(run, LANES)


def _algotom(threads: int) -> Rival:
    reconstruction = importlib.import_module("algotom.rec.reconstruction")

    def run(attenuation: Slices, angles: NDArray[np.float64]) -> Slices:
        center = (attenuation.shape[2] - 1) / 2
        slices = [
            reconstruction.fbp_reconstruction(
                np.ascontiguousarray(attenuation[:, row]), center, angles=angles, ratio=None, ramp_win=None,
                filter_name=None, pad=attenuation.shape[2] // 2, apply_log=False, gpu=False, ncore=threads,
            )[::-1]
            for row in range(attenuation.shape[1])
        ]  # fmt: skip
        return np.stack(slices)

    return Rival(run, 1)


def _skimage(threads: int) -> Rival:
    transform = importlib.import_module("skimage.transform")

    def run(attenuation: Slices, angles: NDArray[np.float64]) -> Slices:
        # Its axis is the pixel N // 2, and its y axis points the other way.
        slices = [
            transform.iradon(np.ascontiguousarray(attenuation[:, row].T), np.degrees(angles), circle=True)[::-1]
            for row in range(attenuation.shape[1])
        ]
        return np.stack(slices).astype(np.float32)

    return Rival(run, 1, (0.5, -0.5))


def _finufft(threads: int) -> Rival:
    library = importlib.import_module("finufft")
    packs = 4
    plans: dict[int, Any] = {}
    kept: dict[int, Slices] = {}

    def plan_of(n: int, angles: NDArray[np.float64]) -> tuple[Any, NDArray[np.complex64]]:
        length = 2 * n
        frequency = np.fft.fftfreq(length)
        lag = np.minimum(np.arange(length), length - np.arange(length))
        kernel = np.where(lag % 2, -1.0 / (np.pi * np.maximum(lag, 1)) ** 2, 0.0)
        kernel[0] = 0.25
        gain = scipy.fft.fft(kernel).real / length
        turn = 2 * np.pi * frequency * ((n - 1) / 2)
        half = (n // 2 - (n - 1) / 2) * 2 * np.pi * frequency[None] * (np.cos(angles) + np.sin(angles))[:, None]
        factor = gain * angular_weights(angles)[:, None] * np.exp(1j * (turn[None] + half))
        plan = library.Plan(
            1, (n, n), n_trans=packs, eps=1e-3, isign=1, dtype="complex64", upsampfac=1.25, nthreads=threads
        )
        x = 2 * np.pi * frequency[None] * np.cos(angles)[:, None]
        y = 2 * np.pi * frequency[None] * np.sin(angles)[:, None]
        plan.setpts(y.ravel().astype(np.float32), x.ravel().astype(np.float32))
        return plan, factor.astype(np.complex64)

    def run(attenuation: Slices, angles: NDArray[np.float64]) -> Slices:
        _, rows, n = attenuation.shape
        if n not in plans:
            plans[n], kept[n] = plan_of(n, angles), np.empty((rows, n, n), np.float32)
        plan, factor = plans[n]
        packed = np.zeros((packs, len(angles), 2 * n), np.complex64)
        for k in range(packs):
            packed[k, :, :n] = attenuation[:, 2 * k] + 1j * attenuation[:, 2 * k + 1]
        spectrum = scipy.fft.fft(packed, axis=-1, workers=threads, overwrite_x=True)
        spectrum *= factor
        images = plan.execute(spectrum.reshape(packs, -1))
        out = kept[n]
        out[0::2], out[1::2] = images.real, images.imag
        return out

    return Rival(run, 2 * packs)


def _astra(threads: int) -> Rival:
    astra = importlib.import_module("astra")
    pool = ThreadPoolExecutor(threads)

    def one(line: Slices, angles: NDArray[np.float64]) -> Slices:
        n = line.shape[1]
        volume, rays = astra.create_vol_geom(n, n), astra.create_proj_geom("parallel", 1.0, n, angles)
        projector = astra.create_projector("linear", rays, volume)
        source, target = astra.data2d.create("-sino", rays, line), astra.data2d.create("-vol", volume)
        job = astra.astra_dict("FBP")
        job.update({"ProjectorId": projector, "ProjectionDataId": source, "ReconstructionDataId": target})
        algorithm = astra.algorithm.create(job)
        astra.algorithm.run(algorithm)
        result = np.array(astra.data2d.get(target)[::-1], np.float32)
        astra.algorithm.delete(algorithm)
        astra.data2d.delete([source, target])
        astra.projector.delete(projector)
        return result

    def run(attenuation: Slices, angles: NDArray[np.float64]) -> Slices:
        lines = [np.ascontiguousarray(attenuation[:, row]) for row in range(attenuation.shape[1])]
        return np.stack(list(pool.map(lambda line: one(line, angles), lines)))

    return Rival(run, threads)


def ways(backend: Backend) -> tuple[dict[str, Rival], list[str]]:
    """Ours and all rivals that are installed; the names of those that are not."""
    found, absent = {"fourier": _ours(backend), "direct": _direct(backend)}, []
    makers = {"algotom fbp": _algotom, "astra fbp": _astra, "finufft adjoint": _finufft, "scikit-image": _skimage}
    for name, maker in makers.items():
        try:
            found[name] = maker(backend.threads)
        except ImportError:
            absent.append(name)
    return found, absent
