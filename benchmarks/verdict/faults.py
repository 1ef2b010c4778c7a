"""Kinds of fault, each in several sizes, and which verdicts are right. Laid down before any of them was run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdict.phantoms import FAMILIES
from benchmarks.verdict.scans import DARK_LEVEL, Draft, Frames, angles
from streamer.frames import Decision

Array = NDArray[Any]
Change = Callable[[Draft, float, np.random.Generator], None]

RETAKE, UNKNOWN, REALIGN = Decision.RETAKE, Decision.UNKNOWN, Decision.REALIGN
SPOILED = frozenset({RETAKE, UNKNOWN})


@dataclass(frozen=True)
class Fault:
    """``always``: counts whatever the error of the tomogram; ``needs_limit``: only a wanted resolution can show it."""

    name: str
    unit: str
    sizes: tuple[float, ...]
    change: Change
    right: frozenset[Decision] = SPOILED
    always: bool = False
    needs_limit: bool = False


FAULTS: dict[str, Fault] = {}


def fault(unit: str, *sizes: float, **more: Any) -> Callable[[Change], Change]:
    """Enter a kind of fault under its function's name."""

    def enter(change: Change) -> Change:
        FAULTS[change.__name__] = Fault(change.__name__, unit, sizes, change, **more)
        return change

    return enter


def moved(d: Draft, **shift: Array) -> None:
    d.pose = replace(d.pose, **{name: getattr(d.pose, name) + by for name, by in shift.items()})


def in_plane(d: Draft, path: Array, rng: np.random.Generator) -> None:
    phi = rng.uniform(0, 2 * np.pi)
    moved(d, ux=path * np.cos(phi), uy=path * np.sin(phi))


def later(d: Draft, rng: np.random.Generator) -> Array:
    """1 from a moment in the middle part of the scan on."""
    return (d.when > rng.uniform(0.2, 0.8)).astype(float)


def some(d: Draft, share: float, rng: np.random.Generator) -> slice:
    """A part of the projections that came one after the other."""
    length = max(1, round(share * d.count))
    first = int(rng.integers(2, d.count - length - 1))
    return slice(first, first + length)


@fault("px", 0.7, 1.5, 3, 6)
def jump_in_plane(d: Draft, size: float, rng: np.random.Generator) -> None:
    in_plane(d, size * later(d, rng), rng)


@fault("px", 0.5, 1, 2, 5)
def jump_stage_x(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, columns=size * later(d, rng) * rng.choice([-1, 1]))


@fault("rows", 0.5, 1, 2, 4)
def jump_z(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, rows=size * later(d, rng) * rng.choice([-1, 1]))


@fault("px", 1, 2, 4, 8)
def drift_in_plane(d: Draft, size: float, rng: np.random.Generator) -> None:
    in_plane(d, size * d.when, rng)


@fault("px", 1, 2, 4, 8)
def drift_stage_x(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, columns=size * (d.when - 0.5) * rng.choice([-1, 1]))


@fault("rows", 1, 2, 4)
def drift_z(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, rows=size * (d.when - 0.5) * rng.choice([-1, 1]))


@fault("px", 1.5, 3, 6)
def settling(d: Draft, size: float, rng: np.random.Generator) -> None:
    in_plane(d, size * np.exp(-d.when / rng.uniform(0.05, 0.2)), rng)


@fault("px rms", 0.4, 0.8, 1.5, 3)
def vibration(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, columns=size * rng.standard_normal(d.count))


@fault("px", 0.7, 1.5, 3)
def sway(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, columns=size * np.sin(2 * np.pi * (rng.uniform(2.5, 8) * d.when + rng.uniform())))


@fault("px", 1, 2, 4)
def excursion(d: Draft, size: float, rng: np.random.Generator) -> None:
    path = np.zeros(d.count)
    path[some(d, 0.12, rng)] = size
    in_plane(d, path, rng)


@fault("px", 1, 2, 4)
def several_jumps(d: Draft, size: float, rng: np.random.Generator) -> None:
    in_plane(d, size * later(d, rng), rng)
    in_plane(d, size * later(d, rng), rng)
    moved(d, columns=0.5 * size * later(d, rng))


@fault("share", 0.02, 0.05, 0.1)
def shrinking(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.pose = replace(d.pose, size=1 - size * d.when)


@fault("deg", 2, 5, 10)
def slip(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, slip=np.deg2rad(size) * later(d, rng))


@fault("deg", 3, 8)
def creep(d: Draft, size: float, rng: np.random.Generator) -> None:
    """Own kind: the sample turns slowly on its holder, as under a cable that pulls."""
    moved(d, slip=np.deg2rad(size) * d.when**1.5)


@fault("when", 0.75, 0.5, 0.3)
def falls_off(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, columns=3.0 * d.columns * (d.when > size))


@fault("deg", 2, 5, 10)
def skip(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, theta=-np.deg2rad(size) * later(d, rng))


@fault("share", 0.03, 0.06, 0.15)
def stalls(d: Draft, size: float, rng: np.random.Generator) -> None:
    """The rotation stands still while angles go on being written down."""
    part = some(d, size, rng)
    theta = d.pose.theta.copy()
    theta[part] = theta[part.start]
    if d.turn != "golden":
        theta[part.stop :] += theta[part.start] - d.pose.theta[part.stop - 1]
    d.pose = replace(d.pose, theta=theta)


@fault("of the step", 0.01, 0.02, 0.05, 0.1)
def angle_step(d: Draft, size: float, rng: np.random.Generator) -> None:
    start = d.pose.theta[0]
    d.pose = replace(d.pose, theta=start + (d.pose.theta - start) * (1 + size * rng.choice([-1, 1])))


@fault("times", 2)
def double_step(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.pose = replace(d.pose, theta=d.pose.theta[0] + (d.pose.theta - d.pose.theta[0]) * size)


@fault("projections", 1, 3)
def wrong_angles(d: Draft, size: float, rng: np.random.Generator) -> None:
    """Single angles that the encoder got wrong by a lot."""
    hit = rng.choice(np.arange(3, d.count - 3), int(size) * 2, replace=False)
    d.recorded = d.recorded.copy()
    d.recorded[hit] += rng.uniform(40, 140, hit.size)


@fault("deg", 10, 20, 40)
def short_range(d: Draft, size: float, rng: np.random.Generator) -> None:
    gone = np.abs(d.recorded - d.recorded[0]) > 180 * (1 if d.turn != "full" else 2) - size - (
        180 if d.turn == "full" else 0
    )
    d.after.append(lambda frames: frames.kept.__iand__(~gone))


@fault("of the columns", 0.08, 0.15, 0.3, always=True, right=frozenset({REALIGN}))
def off_axis(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.body = FAMILIES["soft"](rng, 0.15 * d.columns, d.rows).scaled(1.0 / (0.3 * d.columns))
    d.center = (d.columns - 1) / 2 + size * d.columns * rng.choice([-1, 1])


@fault("of the columns", 0.55, 0.7, always=True, right=frozenset({REALIGN, RETAKE, UNKNOWN, Decision.EMPTY}))
def off_field(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.center = (d.columns - 1) / 2 + size * d.columns * rng.choice([-1, 1])


@fault(
    "attenuation",
    0.0,
    0.01,
    always=True,
    right=frozenset({UNKNOWN, Decision.EMPTY}),
)
def empty(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.body = d.body.scaled(size * 0.5)


@fault("of the light", 0.15, 0.3, 0.5)
def beam_decay(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.light = d.light * np.exp(np.log(1 - size) * d.when)


@fault("of the scan", 0.01, 0.03, 0.06, 0.15)
def beam_dump(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.light = d.light.copy()
    d.light[some(d, size, rng)] = 0.0


@fault("of the light", 0.1, 0.3)
def flicker(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.light = d.light * np.maximum(0.1, 1 + size * rng.standard_normal(d.count))


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


@fault("of the flats", 0.3, 1.0)
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


@fault("of the projections", 0.07, 0.2)
def lost_random(d: Draft, size: float, rng: np.random.Generator) -> None:
    gone = rng.uniform(size=d.count) < size
    d.after.append(lambda frames: frames.kept.__iand__(~gone))


@fault("of the projections", 0.03, 0.06, 0.15)
def lost_block(d: Draft, size: float, rng: np.random.Generator) -> None:
    gone = np.zeros(d.count, bool)
    gone[some(d, size, rng)] = True
    d.after.append(lambda frames: frames.kept.__iand__(~gone))


@fault("of the scan", 0.03, 0.08, 0.2)
def frozen_frames(d: Draft, size: float, rng: np.random.Generator) -> None:
    part = some(d, size, rng)

    def change(frames: Frames) -> None:
        frames.projections[part] = frames.projections[part.start]

    d.after.append(change)


@fault("of the columns", 0.35, 0.2, needs_limit=True)
def few_projections(d: Draft, size: float, rng: np.random.Generator) -> None:
    count = int(size * d.columns) * (2 if d.turn == "full" else 1)
    d.recorded = d.recorded[0] + angles(d.turn, count)
    d.pose = d.pose.still(np.deg2rad(d.recorded))
    d.light, d.announced = np.ones(count), count


@fault("photons", 150, 50, 15, needs_limit=True)
def low_dose(d: Draft, size: float, rng: np.random.Generator) -> None:
    d.photons = size


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
