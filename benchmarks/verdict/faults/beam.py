"""Faults of the beam and of the fields: light that changes, fails, or is where it should not be."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from benchmarks.verdict.faults.kind import UNKNOWN, Array, fault, some
from benchmarks.verdict.scans import DARK_LEVEL, Draft, Frames


@fault("of the light", 0.15, 0.3, 0.5)
def beam_decay(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.light = d.light * np.exp(np.log(1 - size) * d.when)


@fault("of the scan", 0.01, 0.03, 0.06, 0.15)
def beam_dump(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.light = d.light.copy()
    d.light[some(d, size, rng)] = 0.0


@fault("of the light", 0.02, 0.05, 0.1, 0.3)
def flicker(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.light = d.light * np.maximum(0.1, 1 + size * rng.standard_normal(d.count))


@fault("of the light", 0.02, 0.05, 0.1)
def restless_beam(d: Draft, size: float, rng: np.random.Generator) -> None:
    """The light wanders within tens of projections, rather than from one to the next."""
    slow = gaussian_filter1d(rng.standard_normal(d.count), rng.uniform(3, 12), mode="wrap")
    d.light = d.light * (1 + size * slow / slow.std())


@fault("px", 1, 2, 4)
def beam_moves(d: Draft, size: float, rng: np.random.Generator) -> None:
    """The pattern of the beam, with stripes of the monochromator, moves against the detector."""
    column = np.arange(d.columns)
    period, phase = rng.uniform(9, 25), rng.uniform(0, 6)

    def pattern(shift: Array) -> Array:
        return 1 + 0.1 * np.sin(2 * np.pi * (column - shift[:, None]) / period + phase)

    now = pattern(size * d.when) / pattern(np.zeros(1))
    d.beam = d.beam * pattern(np.zeros(1))

    def change(frames: Frames) -> None:
        frames.projections = (frames.projections - DARK_LEVEL) * now[:, None, :] + DARK_LEVEL

    d.after.append(change)


def shade(d: Draft, part: tuple[slice, slice], names: tuple[str, ...]) -> None:
    def change(frames: Frames) -> None:
        for name in names:
            pixels = getattr(frames, name)
            pixels[(slice(None), *part)] = d.rng.normal(DARK_LEVEL, 2.0, pixels[(slice(None), *part)].shape)

    d.after.append(change)


@fault("of the columns", 0.15, 0.4)
def half_shutter(d: Draft, size: float, rng: np.random.Generator) -> None:
    shade(d, (slice(None), slice(0, int(size * d.columns))), ("projections",))


@fault("of the rows", 0.2, 0.5)
def half_shutter_rows(d: Draft, size: float, rng: np.random.Generator) -> None:
    shade(d, (slice(0, max(1, int(size * d.rows))), slice(None)), ("projections",))


@fault("of the columns", 0.15, 0.4)
def half_shutter_all(d: Draft, size: float, rng: np.random.Generator) -> None:
    shade(d, (slice(None), slice(0, int(size * d.columns))), ("projections", "flats"))


@fault("of the flats", 0.1, 0.2, 0.3, 1.0)
def sample_in_flats(d: Draft, size: float, rng: np.random.Generator) -> None:
    def change(frames: Frames) -> None:
        count = round(size * len(frames.flats))
        frames.flats[:count] = frames.projections[:count]

    d.after.append(change)


@fault("", 1.0, always=True, right=frozenset({UNKNOWN}))
def dark_flats(d: Draft, size: float, rng: np.random.Generator) -> None:
    shade(d, (slice(None), slice(None)), ("flats",))


@fault("of the beam", 0.05, 0.2, 0.5)
def light_in_darks(d: Draft, size: float, rng: np.random.Generator) -> None:
    def change(frames: Frames) -> None:
        frames.darks = frames.darks + size * d.photons * d.beam

    d.after.append(change)


@fault("of the darks", 0.4)
def lit_darks(d: Draft, size: float, rng: np.random.Generator) -> None:
    """Own kind: some of the darks were taken with the shutter open."""

    def change(frames: Frames) -> None:
        count = round(size * len(frames.darks))
        frames.darks[:count] = frames.flats[:count]

    d.after.append(change)


@fault("photons", 150, 50, 15, needs_limit=True)
def low_dose(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.photons = size
