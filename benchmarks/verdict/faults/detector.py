"""Faults of the detector and of what it sends."""

from __future__ import annotations

import numpy as np

from benchmarks.verdict.faults.kind import fault, some
from benchmarks.verdict.scans import DARK_LEVEL, Draft, Frames


@fault("times full scale", 1.05, 1.3, 2)
def saturated(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.top = 65_535.0

    def change(frames: Frames) -> None:
        gain = size * 65_435 / (d.photons * float(d.beam.max()))
        for name in ("flats", "projections"):
            setattr(frames, name, np.minimum((getattr(frames, name) - DARK_LEVEL) * gain + DARK_LEVEL, 65_535))

    d.after.append(change)


@fault("times 4095", 1.05, 1.3, 2)
def saturated_12bit(d: Draft, size: float, rng: np.random.Generator) -> None:
    def change(frames: Frames) -> None:
        gain = size * 3_995 / (d.photons * float(d.beam.max()))
        for name in ("flats", "projections"):
            setattr(frames, name, np.minimum((getattr(frames, name) - DARK_LEVEL) * gain + DARK_LEVEL, 4_095))

    d.after.append(change)


@fault("gain", 0.03, 0.1)
def stripes(d: Draft, size: float, rng: np.random.Generator) -> None:
    """The gain of some columns differs since the flats."""
    gain = np.ones(d.columns)
    gain[rng.choice(d.columns, max(2, d.columns // 20), replace=False)] += size * rng.choice([-1, 1])

    def change(frames: Frames) -> None:
        frames.projections = (frames.projections - DARK_LEVEL) * gain + DARK_LEVEL

    d.after.append(change)


@fault("of the pixels", 0.003, 0.01, 0.05)
def new_hot_pixels(d: Draft, size: float, rng: np.random.Generator) -> None:
    hot = rng.uniform(size=(d.rows, d.columns)) < size

    def change(frames: Frames) -> None:
        frames.projections[:, hot] += 0.5 * d.photons

    d.after.append(change)


@fault("of the pixels", 0.001, 0.01, 0.03)
def zingers(d: Draft, size: float, rng: np.random.Generator) -> None:
    def change(frames: Frames) -> None:
        hit = d.rng.uniform(size=frames.projections.shape) < size
        frames.projections[hit] += d.rng.exponential(d.photons, int(hit.sum()))

    d.after.append(change)


@fault("of the scan", 0.03, 0.08, 0.2)
def frozen_frames(d: Draft, size: float, rng: np.random.Generator) -> None:
    part = some(d, size, rng)

    def change(frames: Frames) -> None:
        frames.projections[part] = frames.projections[part.start]

    d.after.append(change)


@fault("px sigma", 1.5, 2.5, 4, needs_limit=True)
def defocus(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.blur = size


@fault("of the frame", 0.3, 0.6)
def torn_frames(d: Draft, size: float, rng: np.random.Generator) -> None:
    """Part of some frames did not come and is 0."""
    part = some(d, 0.06, rng)

    def change(frames: Frames) -> None:
        frames.projections[part, : max(1, int(size * d.rows))] = 0

    d.after.append(change)
