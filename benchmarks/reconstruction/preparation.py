"""Milliseconds per frame of each step of the preparation, beside the plain correction, and the frame rate it permits.

    python -m benchmarks.reconstruction.preparation [--quick] [--threads N]

All steps take the same frame in turn, in one process. ``ratio`` is the cost of a step in units of the plain correction
(darks, flats, logarithm, uint16 in) of the same round, so that a busy machine does not spoil it. Stripe removal is
timed beside that of algotom, where it is installed, on the same sinograms with the same threads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numba
import numpy as np
import scipy.fft

from benchmarks.record import record
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.preprocessing.beam_drift import drift_from_margins, open_margins, remove_drift
from streamer.core.preprocessing.defects import PixelStatistics, defects
from streamer.core.preprocessing.paganin import Paganin, PhaseSolver
from streamer.core.preprocessing.stripes import remove_stripes
from streamer.core.preprocessing.zingers import remove_zingers
from streamer.core.quality.artefacts import stripe_index
from streamer.frames import ScanSpec
from streamer.phantoms import random_body, sinogram
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.preparation.raw_projections import RawProjections
from streamer.pipeline.preparation.stripe_offsets import StripeOffsets

SIZES, QUICK_SIZES = (512, 1024, 2048), (512,)
OPTICS = Paganin(delta_beta=500, energy_eV=25e3, distance_m=0.1, pixel_m=1.5e-6)
PLAIN = PreparationOptions(zingers=0, stripes="off")
CHOICES = {
    "plain": PLAIN,
    "defaults": PreparationOptions(),
    "zingers": PreparationOptions(zingers=8),
    "margins": PreparationOptions(flat_drift="margins"),
    "eigen": PreparationOptions(flat_drift="eigen"),
    "phase": PreparationOptions(delta_beta=500),
}
Steps = dict[str, Callable[[], object]]


def alternated(steps: Steps, rounds: int, unit: str) -> dict[str, Any]:
    """Median milliseconds of each step, and the median of its ratio to ``unit`` in the same round."""
    took: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            if turn:  # the first round compiles and warms
                took[name].append(1e3 * (time.perf_counter() - begin))
    base = np.array(took[unit])
    return {
        name: {
            "ms": round(float(np.median(times)), 3),
            "best_ms": round(min(times), 3),
            "per_s": round(1e3 / float(np.median(times)), 1),
            "ratio": round(float(np.median(np.array(times) / base)), 2),
        }
        for name, times in took.items()
    }


def frames(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw projection with zingers, flats that move a little, dark, all uint16 (n, n)."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n),) * 2, indexing="ij")
    beam = 20_000 * (1 + 0.1 * np.sin(40 * y))
    sample = 1.5 * np.sqrt(np.maximum(0, 1 - (x / 0.7) ** 2))
    moved = [beam * (1 + 0.03 * rng.normal() * np.cos(40 * y)) for _ in range(6)]
    flats = np.stack([rng.poisson(each + 100) for each in moved]).astype("<u2")
    raw = rng.poisson(beam * np.exp(-sample) + 100)
    raw[rng.random(raw.shape) < 1e-5] += 30_000
    return raw.astype("<u2"), flats, np.full((n, n), 100, "<u2")


def retrieved_by_transform(attenuation: np.ndarray, workers: int) -> np.ndarray:
    """Paganin's phase retrieval the usual way: frames mirrored over six decay lengths, and a 2-D transform."""
    alpha = OPTICS.alpha_px2
    pad = int(6 * np.sqrt(alpha)) + 1
    size = [scipy.fft.next_fast_len(side + 2 * pad, real=True) for side in attenuation.shape]
    margins = [(pad, whole - side - pad) for whole, side in zip(size, attenuation.shape, strict=True)]
    ky, kx = 2 * np.pi * scipy.fft.fftfreq(size[0])[:, None], 2 * np.pi * scipy.fft.rfftfreq(size[1])
    gain = (1 / (1 + alpha * (ky**2 + kx**2))).astype(np.float32)
    spectrum = scipy.fft.rfft2(np.pad(np.exp(-attenuation), margins, mode="symmetric"), workers=workers)
    smooth = scipy.fft.irfft2(spectrum * gain, s=size, workers=workers)
    return np.asarray(-np.log(smooth[pad : pad + attenuation.shape[0], pad : pad + attenuation.shape[1]]))


def one(raw: np.ndarray, number: int, angle_rad: float) -> RawProjections:
    """A batch of one projection."""
    return RawProjections(raw[None], number, np.array([angle_rad]), np.ones(1), np.array([number]))


def per_frame(backend: Backend, n: int, rounds: int) -> dict[str, Any]:
    """Each step alone, and whole choices of options as the pipeline would run them."""
    raw, flats, dark = frames(n)
    # One number serves for every repetition; the sectors are then filled by turning the angle.
    spec = ScanSpec("bench", "bench", n, n, 1000, 6, 1, energy_kev=25.0, distance_m=0.1, pixel_size_m=1.5e-6)
    ready: dict[str, Preparation] = {}
    for name, options in CHOICES.items():
        ready[name] = Preparation(spec, backend.threads, options)
        ready[name].dark(dark)
        for flat in flats:
            ready[name].flat(flat)
        ready[name].begin(raw)
    correction, noise = ready["defaults"].correction, ready["zingers"].noise
    attenuation, out, moments = correction.attenuation(raw), np.empty((n, n), np.float32), np.empty((1, n, 4))
    stripes = StripeOffsets(spec, backend.threads)
    work = attenuation.copy()
    solver = PhaseSolver(n, n, OPTICS, backend.threads)
    statistics = PixelStatistics(backend.threads)
    for flat in flats:
        statistics.add(flat)
    late = ready["defaults"]
    for k in range(64):
        late.prepare(one(raw, k, k * np.pi / 64), out[None], moments)
    late.flat(flats[3])
    late.refresh(final=True)
    eigen = ready["eigen"].drift.eigen
    assert eigen is not None

    def fresh() -> np.ndarray:
        """A copy to work on; its cost is in the step's."""
        np.copyto(work, attenuation)
        return work

    steps: Steps = {
        "plain correction": lambda: correction.attenuation(raw, out),
        "zingers": lambda: remove_zingers(fresh(), 8.0, noise, backend.threads),
        "margins": lambda: remove_drift(
            fresh(), drift_from_margins(work, *(max(1, m) for m in open_margins(work) or (0, 0)))
        ),
        "eigen-flats": lambda: eigen.apply(fresh(), None),
        "stripe sums": lambda: stripes.add(attenuation, 0.1),
        "late terms": lambda: late.apply_late(attenuation, 500, out=out),
        "phase": lambda: solver.attenuation(attenuation, out),
        "phase by 2-D transform": lambda: retrieved_by_transform(attenuation, backend.threads),
        "one more flat": lambda: statistics.add(raw),
    }
    whole: Steps = {
        name: (lambda each=each: each.prepare(one(raw, 5, 0.1), out[None], moments))
        for name, each in ready.items()
        if name != "plain"
    }
    begin = time.perf_counter()
    defects(statistics, threads=backend.threads)
    once_ms = 1e3 * (time.perf_counter() - begin)
    result = alternated({**steps, **{f"all: {name}": step for name, step in whole.items()}}, rounds, "plain correction")
    begin = time.perf_counter()
    late.refresh(final=True)
    return {
        **result,
        "defects, once, ms": round(once_ms, 1),
        "refresh, ms": round(1e3 * (time.perf_counter() - begin), 1),
    }


def stripes(backend: Backend, n: int, rows: int, rounds: int) -> dict[str, Any]:
    """``remove_stripes`` beside algotom's remove_all_stripe: ms per sinogram (n, n), stripe index before and after."""
    rng = np.random.default_rng(0)
    angles = np.arange(n) * np.pi / n
    clean = sinogram(random_body(rng, n), n, angles) + rng.normal(0, 0.01, (n, n))
    bad = clean + np.where(rng.random(n) < 0.05, rng.normal(0, 0.05, n), 0)
    block = np.repeat(bad[:, None].astype(np.float32), rows, axis=1)
    cleaned: dict[str, np.ndarray] = {}

    def ours() -> None:
        cleaned["ours"] = block.copy()
        remove_stripes(cleaned["ours"], threads=backend.threads)

    def theirs() -> None:
        from algotom.prep.removal import remove_all_stripe

        cleaned["algotom"] = np.stack([remove_all_stripe(block[:, row].copy()) for row in range(rows)], axis=1)

    ways: Steps = {"ours": ours, **({"algotom": theirs} if find_spec("algotom") else {})}
    result: dict[str, Any] = {"stripe_index_before": round(stripe_index(block), 5)}
    for name, timing in alternated(ways, rounds, "ours").items():
        error = float(np.sqrt(np.mean((cleaned[name] - clean[:, None]) ** 2)))
        result[name] = {
            "ms_per_sinogram": round(timing["ms"] / rows, 2),
            "ratio": timing["ratio"],
            "stripe_index_after": round(stripe_index(cleaned[name]), 5),
            "rms_from_clean": round(error, 5),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest size, few rounds, nothing kept")
    parser.add_argument("--threads", type=int, help="default: all cores; on a busy machine 1 is the fairer comparison")
    options = parser.parse_args()
    backend, _ = select_backend("numba", options.threads)
    numba.set_num_threads(backend.threads)
    result: dict[str, Any] = {"threads": backend.threads}
    for n in QUICK_SIZES if options.quick else SIZES:
        result[f"{n}x{n}"] = per_frame(backend, n, 9 if options.quick else 31)
        result[f"stripes {n}"] = stripes(backend, n, 2, 1 if options.quick else 3)
        print(n, result[f"{n}x{n}"], result[f"stripes {n}"], flush=True)
    if not options.quick:
        record("preparation", result)


if __name__ == "__main__":
    main()
