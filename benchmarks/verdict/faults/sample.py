"""Faults of the sample and of the stage that carries it: it moves, changes, or lies in the wrong place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.verdict.faults.kind import REALIGN, RETAKE, UNKNOWN, fault, in_plane, later, moved, some
from benchmarks.verdict.phantoms import FAMILIES
from benchmarks.verdict.scans import Draft
from streamer.frames import Decision


@fault("px", 0.7, 1.5, 3, 6)
def jump_in_plane(d: Draft, size: float, rng: np.random.Generator) -> None:
    in_plane(d, size * later(d, rng), rng)


@fault("px", 0.35, 0.5, 1, 2, 5)
def jump_stage_x(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, columns=size * later(d, rng) * rng.choice([-1, 1]))


@fault("rows", 0.5, 1, 2, 4)
def jump_z(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, rows=size * later(d, rng) * rng.choice([-1, 1]))


@fault("px", 1, 2, 4, 8)
def drift_in_plane(d: Draft, size: float, rng: np.random.Generator) -> None:
    in_plane(d, size * d.when, rng)


@fault("px", 0.5, 1, 2, 4, 8)
def drift_stage_x(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, columns=size * (d.when - 0.5) * rng.choice([-1, 1]))


@fault("rows", 1, 2, 4)
def drift_z(d: Draft, size: float, rng: np.random.Generator) -> None:
    moved(d, rows=size * (d.when - 0.5) * rng.choice([-1, 1]))


@fault("px", 0.8, 1.5, 3, 6)
def settling(d: Draft, size: float, rng: np.random.Generator) -> None:
    in_plane(d, size * np.exp(-d.when / rng.uniform(0.05, 0.2)), rng)


@fault("px", 0.7, 1.5, 3)
def settling_stage(d: Draft, size: float, rng: np.random.Generator) -> None:
    """The stage comes to rest across the beam after the scan has begun."""
    moved(d, columns=size * np.exp(-d.when / rng.uniform(0.05, 0.2)) * rng.choice([-1, 1]))


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
