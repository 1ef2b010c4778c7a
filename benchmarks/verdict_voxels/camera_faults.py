"""What goes wrong between the scintillator and the file: pixels, frames, numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdict_voxels.kinds import block, kind, some_frames
from benchmarks.verdict_voxels.setup import CEILING, DARK_LEVEL, Recording, Setup

Random = np.random.Generator
Counts = NDArray[Any]


def _images(setup: Setup, change: Callable[[Counts, Random], Counts]) -> None:
    """Change the projections (n, rows, columns) once they are recorded."""

    def edit(recording: Recording, rng: Random) -> None:
        recording.projections = change(recording.projections, rng)

    setup.edits.append(edit)


@kind("camera", (0.01, 0.05, 0.3), "of the gain, rms")
def stripes(setup: Setup, amount: float, rng: Random) -> None:
    def change(images: Counts, rng: Random) -> Counts:
        gain = np.ones(images.shape[2])
        which = some_frames(len(gain), 0.1, rng)
        gain[which] = np.clip(1 + amount * rng.standard_normal(len(which)), 0.05, None)
        return np.asarray(np.clip((images - DARK_LEVEL) * gain + DARK_LEVEL, 0, CEILING).round(), np.uint16)

    _images(setup, change)


def _pixels(setup: Setup, share: float, value: Callable[[Counts, Random], Any]) -> None:
    def change(images: Counts, rng: Random) -> Counts:
        which = some_frames(images[0].size, share, rng)
        changed = images.copy().reshape(len(images), -1)
        changed[:, which] = value(changed[:, which], rng)
        return changed.reshape(images.shape)

    _images(setup, change)


@kind("camera", (0.0005, 0.005, 0.03), "of the pixels")
def hot_pixels(setup: Setup, amount: float, rng: Random) -> None:
    _pixels(setup, amount, lambda old, rng: rng.uniform(0.8, 1.0, old.shape[1]) * setup.photons + 2 * DARK_LEVEL)


@kind("camera", (0.0005, 0.005, 0.03), "of the pixels")
def dead_pixels(setup: Setup, amount: float, rng: Random) -> None:
    _pixels(setup, amount, lambda old, rng: 0)


@kind("camera", (0.0002, 0.003, 0.03), "of all pixels")
def zingers(setup: Setup, amount: float, rng: Random) -> None:
    def change(images: Counts, rng: Random) -> Counts:
        struck = rng.uniform(size=images.shape) < amount
        light = images + struck * rng.exponential(setup.photons, images.shape)
        return np.asarray(np.clip(light.round(), 0, CEILING), np.uint16)

    _images(setup, change)


@kind("camera", (0.0001, 0.002, 0.05), "of all pixels")
def nan_pixels(setup: Setup, amount: float, rng: Random) -> None:
    def change(images: Counts, rng: Random) -> Counts:
        changed = images.astype(np.float32)
        changed[rng.uniform(size=images.shape) < amount] = np.nan
        return changed

    _images(setup, change)


@kind("camera", (0.01, 0.05, 0.25), "of the frames")
def frozen_frames(setup: Setup, amount: float, rng: Random) -> None:
    def change(images: Counts, rng: Random) -> Counts:
        which, changed = block(len(images) - 1, amount, rng), images.copy()
        changed[which.start + 1 : which.stop + 1] = images[which.start]
        return changed

    _images(setup, change)


@kind("camera", (0.01, 0.05, 0.25), "of the frames")
def torn_frames(setup: Setup, amount: float, rng: Random) -> None:
    def change(images: Counts, rng: Random) -> Counts:
        changed = images.copy()
        for frame in some_frames(len(images), amount, rng):
            changed[frame, int(images.shape[1] * rng.uniform(0.1, 0.8)) :] = 0
        return changed

    _images(setup, change)


@kind("camera", (1.0, 4.0, 20.0), "columns")
def shifted_readout(setup: Setup, amount: float, rng: Random) -> None:
    def change(images: Counts, rng: Random) -> Counts:
        changed = images.copy()
        which = some_frames(len(images), 0.08, rng)
        changed[which] = np.roll(images[which], int(amount), axis=2)
        return changed

    _images(setup, change)


@kind("camera", (0.02, 0.08, 0.4), "of the frames")
def swapped_frames(setup: Setup, amount: float, rng: Random) -> None:
    def change(images: Counts, rng: Random) -> Counts:
        which, changed = some_frames(len(images), max(amount, 2.01 / len(images)), rng), images.copy()
        changed[which] = images[np.roll(which, 1)]
        return changed

    _images(setup, change)


@kind("camera", (1.0, 3.0, 12.0), "frames")
def frames_late(setup: Setup, amount: float, rng: Random) -> None:
    def change(images: Counts, rng: Random) -> Counts:
        late, first = int(amount), int(rng.integers(len(images) // 4, len(images) // 2))
        return np.concatenate([images[: first + late], images[first:-late]])

    _images(setup, change)


@kind("camera", (0.02, 0.08, 0.3), "of the last image")
def afterglow(setup: Setup, amount: float, rng: Random) -> None:
    def change(images: Counts, rng: Random) -> Counts:
        light = images.astype(float) - DARK_LEVEL
        light[1:] = (1 - amount) * light[1:] + amount * light[:-1]
        return np.asarray(np.clip((light + DARK_LEVEL).round(), 0, CEILING), np.uint16)

    _images(setup, change)


@kind("camera", (0.03, 0.15, 0.5), "of the frames")
def lost_frames(setup: Setup, amount: float, rng: Random) -> None:
    def drop(recording: Recording, rng: Random) -> None:
        count = len(recording.projections)
        recording.keep(np.setdiff1d(np.arange(count), some_frames(count, amount, rng)))

    setup.edits.append(drop)


@kind("camera", (0.03, 0.12, 0.35), "of the frames")
def lost_block(setup: Setup, amount: float, rng: Random) -> None:
    def drop(recording: Recording, rng: Random) -> None:
        count = len(recording.projections)
        which = block(count - 2, amount, rng)
        recording.keep(np.setdiff1d(np.arange(count), np.arange(count)[which.start + 1 : which.stop + 1]))

    setup.edits.append(drop)
