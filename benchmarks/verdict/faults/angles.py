"""Faults of the rotation: wrong angles, and angles that lack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.verdict.faults.kind import fault, later, moved, some
from benchmarks.verdict.scans import Draft, angles


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


@fault("deg", 3, 5, 8)
def wedge(d: Draft, size: float, rng: np.random.Generator) -> None:
    """All the projections came, but the rotation ends early, or leaves out the same directions in every turn."""
    start = d.recorded[0]
    if d.turn == "full":
        first = rng.uniform(0, 180 - size)
        seen = np.mod(d.recorded - start - first, 180.0) > size
        d.recorded, d.light, d.announced = d.recorded[seen], d.light[seen], int(seen.sum())
    else:
        d.recorded = start + (d.recorded - start) * (1 - size / 180.0)
    d.pose = d.pose.still(np.deg2rad(d.recorded))


@fault("of the projections", 0.07, 0.2)
def lost_random(d: Draft, size: float, rng: np.random.Generator) -> None:
    gone = rng.uniform(size=d.count) < size
    d.after.append(lambda frames: frames.kept.__iand__(~gone))


@fault("of the projections", 0.015, 0.03, 0.06, 0.15)
def lost_block(d: Draft, size: float, rng: np.random.Generator) -> None:
    gone = np.zeros(d.count, bool)
    gone[some(d, size, rng)] = True
    d.after.append(lambda frames: frames.kept.__iand__(~gone))


@fault("of the columns", 0.35, 0.2, needs_limit=True)
def few_projections(d: Draft, size: float, rng: np.random.Generator) -> None:
    count = int(size * d.columns) * (2 if d.turn == "full" else 1)
    d.recorded = d.recorded[0] + angles(d.turn, count)
    d.pose = d.pose.still(np.deg2rad(d.recorded))
    d.light, d.announced = np.ones(count), count
