"""Bodies to scan: parts with analytic line integrals, and families of samples made of them.

Lengths are in detector pixels, the origin on the axis of rotation in the middle row, z along the axis. Attenuation per
pixel is scaled afterwards so that the most absorbing ray is what the family says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdict_blind.kernels import project

Array = NDArray[Any]
Parts = list[Array]

UNIT = np.eye(3)


@dataclass(frozen=True)
class Phantom:
    """``parts`` (m, PART) of the kernels; ``radius`` of the cylinder about the axis that holds all of it, in pixels."""

    family: str
    parts: Array
    radius: float

    def scaled(self, factor: float) -> Phantom:
        """The same body, larger by ``factor``, with the same attenuation along each ray."""
        parts = self.parts.copy()
        parts[:, 0] /= factor
        parts[:, 4:19] /= factor
        parts[:, 1:4] *= factor
        parts[:, 19:22] *= factor
        return replace(self, parts=parts, radius=self.radius * factor)


def ellipsoid(value: float, center: Any, axes: Any, frame: Array = UNIT) -> Array:
    """``axes`` are the three semi-axes along the columns of ``frame``."""
    axes = np.asarray(axes, float)
    extent = np.sqrt(((frame * axes) ** 2).sum(axis=1))
    return _part(value, center, (frame / axes).T, np.zeros(3), np.zeros(3), extent)


def cylinder(value: float, center: Any, direction: Any, radius: float, half_length: float, flat: float = 1.0) -> Array:
    """``flat`` is the ratio of the second radius to the first."""
    frame = frame_along(np.asarray(direction, float))
    matrix = np.stack([frame[:, 0] / radius, frame[:, 1] / (radius * flat), np.zeros(3)])
    along = np.abs(frame[:, 2]) * half_length
    extent = along + np.sqrt((frame[:, 0] * radius) ** 2 + (frame[:, 1] * radius * flat) ** 2)
    return _part(value, center, matrix, frame[:, 2] / half_length, np.zeros(3), extent)


def box(value: float, center: Any, halves: Any, frame: Array = UNIT) -> Array:
    matrix = np.zeros((3, 3))
    matrix[0] = frame[:, 0] / halves[0]
    extent = (np.abs(frame) * np.asarray(halves, float)).sum(axis=1)
    return _part(value, center, matrix, frame[:, 1] / halves[1], frame[:, 2] / halves[2], extent)


def _part(value: float, center: Any, matrix: Array, slab_1: Array, slab_2: Array, extent: Array) -> Array:
    return np.concatenate([[value], np.asarray(center, float), matrix.ravel(), slab_1, slab_2, extent])


def frame_along(direction: Array) -> Array:
    """Orthonormal columns, the last along ``direction``."""
    last = direction / np.linalg.norm(direction)
    first = np.cross(last, UNIT[np.argmin(np.abs(last))])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(last, first), last], axis=1)


def turned(angle_rad: float) -> Array:
    """Rotation about the axis."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _frame(rng: np.random.Generator) -> Array:
    return frame_along(rng.standard_normal(3)) @ turned(rng.uniform(0, np.pi))


def _in_disk(rng: np.random.Generator, radius: float, height: float) -> Array:
    far, angle = radius * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
    return np.array([far * np.cos(angle), far * np.sin(angle), rng.uniform(-height, height)])


def _apart(rng: np.random.Generator, count: int, draw: Callable[[], Array], sizes: tuple[float, float]) -> list[Any]:
    """Centres and radii of spheres that do not touch each other."""
    found: list[tuple[Array, float]] = []
    for _ in range(4 * count):
        center, radius = draw(), rng.uniform(*sizes)
        if all(np.linalg.norm(center - c) > radius + r for c, r in found):
            found.append((center, radius))
        if len(found) == count:
            break
    return found


def clusters(rng: np.random.Generator, r: float, h: float) -> Parts:
    return [
        ellipsoid(rng.uniform(0.3, 1), _in_disk(rng, 0.7 * r, h), r * rng.uniform(0.08, 0.3, 3), _frame(rng))
        for _ in range(rng.integers(8, 18))
    ]


def bundle(rng: np.random.Generator, r: float, h: float) -> Parts:
    parts = []
    for _ in range(rng.integers(8, 18)):
        center, direction = _in_disk(rng, 0.8 * r, 0.0), np.array([*rng.normal(0, 0.15, 2), 1.0])
        radius, value = r * rng.uniform(0.06, 0.16), rng.uniform(0.6, 1)
        parts.append(cylinder(value, center, direction, radius, 3 * h))
        if rng.random() < 0.4:
            parts.append(cylinder(-value, center, direction, 0.5 * radius, 3 * h))
    return parts


def porous(rng: np.random.Generator, r: float, h: float) -> Parts:
    turn, halves = turned(rng.uniform(0, np.pi)), np.array([0.75 * r, rng.uniform(0.5, 0.65) * r, 2 * h])
    parts = [box(1.0, (0, 0, 0), halves, turn)]
    inner = halves - np.array([0.15 * r, 0.15 * r, h])
    pores = _apart(rng, 24, lambda: turn @ (inner * rng.uniform(-1, 1, 3)), (0.05 * r, 0.14 * r))
    return parts + [ellipsoid(-1.0, center, (size,) * 3) for center, size in pores]


def tooth(rng: np.random.Generator, r: float, h: float) -> Parts:
    a, b, tall = 0.9 * r, rng.uniform(0.6, 0.85) * r, rng.uniform(2, 4) * h
    turn, at = turned(rng.uniform(0, np.pi)), np.array([0, 0, rng.uniform(-1, 1) * h])
    parts = [ellipsoid(2.0, at, (a, b, tall), turn), ellipsoid(-1.0, at, (0.82 * a, 0.8 * b, 0.9 * tall), turn)]
    for _ in range(rng.integers(1, 4)):
        canal = turn @ _in_disk(rng, 0.4 * b, 0)
        parts.append(cylinder(-0.95, canal, (0.1, 0.05, 1), rng.uniform(0.05, 0.12) * r, 2 * h))
    for _ in range(rng.integers(1, 4)):
        crack = turned(rng.uniform(0, np.pi))
        parts.append(box(-0.6, turn @ _in_disk(rng, 0.3 * b, h), (0.2 * r, max(0.012 * r, 0.5), h), crack))
    return parts


def insect(rng: np.random.Generator, r: float, h: float) -> Parts:
    along = np.array([*rng.normal(0, 1, 2), rng.uniform(0.3, 1.5)])
    frame = frame_along(along)
    parts, legs = [], []
    for k, size in enumerate((0.22, 0.28, 0.34)):
        center = frame[:, 2] * (k - 1) * 0.42 * r
        axes = r * np.array([size, 0.85 * size, 0.3])
        parts += [ellipsoid(1.0, center, axes, frame), ellipsoid(-0.6, center, 0.8 * axes, frame)]
        parts.append(ellipsoid(0.5, center, 0.3 * axes, frame))
        for side in (-1, 1):
            direction = frame[:, 0] * side + rng.normal(0, 0.35, 3)
            direction /= np.linalg.norm(direction)
            half = 0.3 * r
            legs.append(cylinder(0.9, center + direction * (half + 0.15 * r), direction, max(0.7, 0.02 * r), half))
    return parts + legs


def tissue(rng: np.random.Generator, r: float, h: float) -> Parts:
    parts = [ellipsoid(1.0, (0, 0, 0), (0.9 * r, rng.uniform(0.6, 0.9) * r, 4 * h), turned(rng.uniform(0, np.pi)))]
    for _ in range(rng.integers(8, 16)):
        axes = r * rng.uniform(0.06, 0.25, 3)
        parts.append(ellipsoid(rng.uniform(-0.3, 0.4), _in_disk(rng, 0.45 * r, h), axes, _frame(rng)))
    return parts


def metal(rng: np.random.Generator, r: float, h: float) -> Parts:
    parts = [ellipsoid(0.3, (0, 0, 0), (0.9 * r, 0.8 * r, 5 * h)), *clusters(rng, 0.7 * r, h)[:6]]
    for _ in range(rng.integers(1, 4)):
        axes = r * rng.uniform(0.05, 0.12, 3)
        parts.append(ellipsoid(rng.uniform(6, 12), _in_disk(rng, 0.6 * r, 0.7 * h), axes, _frame(rng)))
    return parts


def needle(rng: np.random.Generator, r: float, h: float) -> Parts:
    turn = turned(rng.uniform(0, np.pi))
    parts = [ellipsoid(1.0, (0, 0, 0), (0.97 * r, rng.uniform(0.06, 0.14) * r, 3 * h), turn)]
    for _ in range(6):
        center = turn @ np.array([rng.uniform(-0.7, 0.7) * r, 0, rng.uniform(-1, 1) * h])
        parts.append(ellipsoid(rng.choice([-0.9, 1.5]), center, r * rng.uniform(0.02, 0.05, 3)))
    return parts


def tube(rng: np.random.Generator, r: float, h: float) -> Parts:
    at, inner = np.array([*rng.normal(0, 0.01, 2) * r, 0.0]), rng.uniform(0.5, 0.8)
    parts = [cylinder(1.0, at, (0, 0, 1), 0.95 * r, 4 * h), cylinder(-1.0, at, (0, 0, 1), 0.95 * inner * r, 4 * h)]
    for _ in range(rng.integers(3, 8)):
        angle, far = rng.uniform(0, 2 * np.pi), 0.95 * r * (1 + inner) / 2
        center = at + np.array([far * np.cos(angle), far * np.sin(angle), rng.uniform(-1, 1) * h])
        parts.append(ellipsoid(rng.choice([-1.0, 0.5]), center, r * (1 - inner) * rng.uniform(0.1, 0.3, 3)))
    return parts


def grains(rng: np.random.Generator, r: float, h: float) -> Parts:
    wall = [cylinder(0.5, (0, 0, 0), (0, 0, 1), 0.97 * r, 4 * h), cylinder(-0.5, (0, 0, 0), (0, 0, 1), 0.9 * r, 4 * h)]
    packed = _apart(rng, 40, lambda: _in_disk(rng, 0.75 * r, 1.5 * h), (0.07 * r, 0.14 * r))
    return wall + [ellipsoid(rng.uniform(0.6, 1.2), center, (size,) * 3) for center, size in packed]


def layers(rng: np.random.Generator, r: float, h: float) -> Parts:
    frame = turned(rng.uniform(0, np.pi)) @ frame_along(np.array([rng.normal(0, 0.1), 0.0, 1.0]))
    parts, at = [], -0.5 * r
    while at < 0.5 * r:
        thick = r * rng.uniform(0.03, 0.1)
        center = frame[:, 0] * (at + thick)
        parts.append(box(rng.uniform(0.2, 1.2), center, (thick, rng.uniform(0.5, 0.75) * r, 3 * h), frame))
        at += 2 * thick + rng.uniform(0, 0.05) * r
    return parts


def pin(rng: np.random.Generator, r: float, h: float) -> Parts:
    """A small crystal and a few crumbs on a thin pin: most of the field is air."""
    parts = [cylinder(0.7, _in_disk(rng, 0.1 * r, 0), (*rng.normal(0, 0.03, 2), 1), 0.1 * r, 3 * h)]
    parts.append(ellipsoid(1.0, _in_disk(rng, 0.15 * r, 0.3 * h), (0.3 * r, 0.22 * r, 0.9 * h), _frame(rng)))
    crumbs = [
        ellipsoid(1.0, _in_disk(rng, 0.9 * r, h), r * rng.uniform(0.03, 0.08, 3), _frame(rng))
        for _ in range(rng.integers(3, 8))
    ]
    return parts + crumbs


FAMILIES: dict[str, tuple[Callable[[np.random.Generator, float, float], Parts], float, float]] = {
    "clusters": (clusters, 0.4, 2.2),
    "bundle": (bundle, 0.4, 2.0),
    "porous": (porous, 0.6, 2.5),
    "tooth": (tooth, 1.0, 3.0),
    "insect": (insect, 0.3, 1.5),
    "tissue": (tissue, 0.08, 0.3),
    "metal": (metal, 2.0, 4.0),
    "needle": (needle, 0.8, 2.5),
    "tube": (tube, 0.4, 1.8),
    "grains": (grains, 0.5, 2.0),
    "layers": (layers, 0.6, 2.5),
    "pin": (pin, 0.3, 1.5),
}
"""How each is made, and from what to what its largest attenuation along a ray is drawn."""


def make(family: str, rng: np.random.Generator, radius: float, rows: int) -> Phantom:
    """A body that reaches at most ``radius`` pixels from the axis, for a detector of ``rows``."""
    draw, low, high = FAMILIES[family]
    parts = np.array(draw(rng, radius, max(rows / 2, 0.25 * radius)))
    angles = np.deg2rad(np.arange(0.0, 180.0, 15.0))
    still = np.broadcast_to(UNIT, (len(angles), 3, 3)).copy()
    columns = 4 * int(radius) + 3
    middle = (columns - 1) / 2
    views = project(parts, still, np.zeros((len(angles), 3)), np.ones(len(angles)), angles, middle, rows, columns, 1)
    parts[:, 0] *= rng.uniform(low, high) / float(views.max())
    reach = np.abs(np.flatnonzero(views.max(axis=(0, 1)) > 1e-6) - middle).max() + 0.5
    return Phantom(family, parts, reach).scaled(radius / reach)
