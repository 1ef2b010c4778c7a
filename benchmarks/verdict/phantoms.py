"""Families of samples made of ellipsoids, with exact line integrals for any pose in any projection.

Independent of ``streamer.sim`` and of ``streamer.phantoms``: what the verdict is judged by shares no code with it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Array = NDArray[Any]

OVERSAMPLE = 2
"""Samples per pixel, along each axis, of a slice's truth."""

FINE = 5
"""Samples per pixel, along each axis, from which a band-limited truth is made."""


@dataclass(frozen=True)
class Body:
    """Ellipsoids, one array entry each: attenuation per pixel, semi-axes a, b across and c along the axis of rotation,
    position (x, y) from the axis and z from the middle row, in pixels, and the turn of a in radian.
    """

    value: Array
    a: Array
    b: Array
    c: Array
    x: Array
    y: Array
    z: Array
    turn: Array

    def __add__(self, other: Body) -> Body:
        return Body(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(Body)))

    def scaled(self, factor: float) -> Body:
        """The same shapes with ``factor`` times the attenuation."""
        return replace(self, value=self.value * factor)


@dataclass(frozen=True)
class Pose:
    """Where the sample is in each projection (n,): its true angle (radian), its shift on the holder (ux, uy, turned
    with it), the shift of the stage (columns, rows), its size, and how far it turned on its holder (radian).
    """

    theta: Array
    ux: Array
    uy: Array
    columns: Array
    rows: Array
    size: Array
    slip: Array

    @classmethod
    def still(cls, theta: Array) -> Pose:
        """Nothing moves but the rotation."""
        zero = np.zeros(len(theta))
        return cls(np.asarray(theta, float), zero, zero, zero, zero, zero + 1.0, zero)

    def at(self, k: int) -> Pose:
        """Of the k-th projection alone."""
        return Pose(*(getattr(self, f.name)[k : k + 1] for f in fields(Pose)))


def ellipsoids(rows: list[tuple[float, ...]]) -> Body:
    """From tuples (value, a, b, c, x, y, z, turn)."""
    return Body(*np.array(rows, float).T)


def project(body: Body, pose: Pose, rows: int, columns: int, center: float) -> Array:
    """Line integrals (n, rows, columns) about the axis at column ``center``, each the mean over the pixel's width.

    The mean is exact: a few rays for a pixel would alias sharp edges, which no detector does so strongly.
    """
    edges = np.arange(columns + 1) - 0.5 - center
    height = np.arange(rows) - (rows - 1) / 2
    out = np.zeros((len(pose.theta), rows, columns))
    angle = pose.theta + pose.slip
    for k in range(body.value.size):
        a, b, c = (getattr(body, name)[k] * pose.size for name in "abc")
        x, y = body.x[k] * pose.size, body.y[k] * pose.size
        offset = x * np.cos(angle) + y * np.sin(angle) + pose.ux * np.cos(pose.theta) + pose.uy * np.sin(pose.theta)
        inside = 1 - ((height - (body.z[k] * pose.size + pose.rows)[:, None]) / c[:, None]) ** 2
        r2 = (a * np.cos(angle - body.turn[k])) ** 2 + (b * np.sin(angle - body.turn[k])) ** 2
        radius = np.sqrt(r2[:, None] * np.maximum(inside, 1e-12))[:, :, None]
        # The integral of √(radius² - d²) over d, up to each edge of a pixel.
        sine = np.clip((edges - (offset + pose.columns)[:, None])[:, None] / radius, -1.0, 1.0)
        up_to = 0.5 * radius**2 * (sine * np.sqrt(1 - sine**2) + np.arcsin(sine))
        out += (2 * body.value[k] * a * b / r2)[:, None, None] * np.diff(up_to, axis=2)
    return out.astype(np.float32)


def slices(body: Body, pose: Pose, rows: int, width: int) -> Array:
    """The truth (rows, width, width) for the pose of one projection; the stage's shift is no part of it."""
    fine = _sampled(body, pose, rows, _grid(width, OVERSAMPLE))
    return fine.reshape(rows, width, OVERSAMPLE, width, OVERSAMPLE).mean(axis=(2, 4))


def band_limited(body: Body, pose: Pose, rows: int, width: int) -> Array:
    """The same without what is finer than two pixels: means over pixels take some of that for something coarser."""
    size = width * FINE
    spectrum = scipy.fft.fft2(_sampled(body, pose, rows, _grid(width, FINE)))
    kept = np.r_[0 : (width + 1) // 2, size - width // 2 : size]
    # The first sample lies beside the middle of the first pixel.
    phase = np.exp(-1j * np.pi * scipy.fft.fftfreq(width) * (1 / FINE - 1)).astype(np.complex64)
    coarse = spectrum[:, kept][:, :, kept] * phase[:, None] * phase
    return np.asarray(scipy.fft.ifft2(coarse).real / FINE**2, np.float32)


def _grid(width: int, over: int) -> Array:
    """``over`` places (width · over,) in each pixel, in pixels from the axis."""
    return np.asarray((np.arange(width * over) + 0.5) / over - 0.5 - (width - 1) / 2)


def _sampled(body: Body, pose: Pose, rows: int, places: Array) -> Array:
    """Attenuation (rows, n, n) at these places (n,) along x and y."""
    height = np.arange(rows) - (rows - 1) / 2
    out = np.zeros((rows, len(places), len(places)), np.float32)
    size, slip = float(pose.size[0]), float(pose.slip[0])
    cos, sin = np.cos(slip), np.sin(slip)
    for k in range(body.value.size):
        x = size * (body.x[k] * cos - body.y[k] * sin) + float(pose.ux[0])
        y = size * (body.x[k] * sin + body.y[k] * cos) + float(pose.uy[0])
        turn, gx, gy = body.turn[k] + slip, places[None, :] - x, places[:, None] - y
        u, v = gx * np.cos(turn) + gy * np.sin(turn), -gx * np.sin(turn) + gy * np.cos(turn)
        flat = (u / (size * body.a[k])) ** 2 + (v / (size * body.b[k])) ** 2
        inside = 1 - ((height - size * body.z[k] - float(pose.rows[0])) / (size * body.c[k])) ** 2
        out += np.float32(body.value[k]) * (flat[None] < inside[:, None, None])
    return out


def _scatter(rng: np.random.Generator, count: int, reach: float, tall: float, size: tuple[float, float]) -> list[Any]:
    """Centres (x, y, z) within a cylinder and the sizes of ``count`` parts."""
    r, phi = reach * np.sqrt(rng.uniform(size=count)), rng.uniform(0, 2 * np.pi, count)
    z = rng.uniform(-0.5, 0.5, count) * tall
    return list(zip(r * np.cos(phi), r * np.sin(phi), z, rng.uniform(*size, count), strict=True))


def bone(rng: np.random.Generator, half: float, rows: int) -> Body:
    """A dense shell with pores in the marrow."""
    outer = [
        (1.0, half, 0.8 * half, 4 * rows, 0, 0, 0, rng.uniform(0, 3)),
        (-0.7, 0.8 * half, 0.6 * half, 3 * rows, 0, 0, 0, 0),
    ]
    pores = [
        (0.6, s, s * rng.uniform(0.6, 1), 2 * s, x, y, z, rng.uniform(0, 3))
        for x, y, z, s in _scatter(rng, 9, 0.5 * half, rows, (0.06 * half, 0.16 * half))
    ]
    return ellipsoids(outer + pores)


def soft(rng: np.random.Generator, half: float, rows: int) -> Body:
    """Soft tissue: one large body, parts that differ little from it."""
    body = [(1.0, half, 0.85 * half, 3 * rows, rng.uniform(-0.05, 0.05) * half, 0, 0, rng.uniform(0, 3))]
    parts = [
        (rng.uniform(-0.3, 0.4), s, s * rng.uniform(0.5, 1), 3 * s, x, y, z, rng.uniform(0, 3))
        for x, y, z, s in _scatter(rng, 10, 0.65 * half, rows, (0.08 * half, 0.25 * half))
    ]
    return ellipsoids(body + parts)


def fibres(rng: np.random.Generator, half: float, rows: int) -> Body:
    """Fibres along the axis: hardly anything differs from row to row."""
    return ellipsoids(
        [
            (1.0, s, s * rng.uniform(0.7, 1), 20 * rows, x, y, 0, rng.uniform(0, 3))
            for x, y, _, s in _scatter(rng, 12, 0.85 * half, rows, (0.06 * half, 0.13 * half))
        ]
    )


def grains(rng: np.random.Generator, half: float, rows: int) -> Body:
    """Grains of several densities in a thin tube."""
    tube = [(0.3, half, half, 50 * rows, 0, 0, 0, 0), (-0.3, 0.93 * half, 0.93 * half, 50 * rows, 0, 0, 0, 0)]
    parts = [
        (rng.uniform(0.3, 1.0), s, s * rng.uniform(0.6, 1), s * rng.uniform(0.6, 1.2), x, y, z, rng.uniform(0, 3))
        for x, y, z, s in _scatter(rng, 16, 0.75 * half, 1.2 * rows, (0.1 * half, 0.22 * half))
    ]
    return ellipsoids(tube + parts)


def foam(rng: np.random.Generator, half: float, rows: int) -> Body:
    """A ball full of holes."""
    parts = [
        (-1.0, s, s, s, x, y, z, 0)
        for x, y, z, s in _scatter(rng, 14, 0.7 * half, 1.2 * rows, (0.07 * half, 0.16 * half))
    ]
    return ellipsoids([(1.0, half, half, 2 * rows, 0, 0, 0, 0), *parts])


def cone(rng: np.random.Generator, half: float, rows: int) -> Body:
    """A tip that narrows quickly along the axis, with a few hard grains."""
    parts = [
        (1.2, s, s, s, x, y, z, 0)
        for x, y, z, s in _scatter(rng, 5, 0.4 * half, 0.8 * rows, (0.06 * half, 0.12 * half))
    ]
    tip = (1.0, half, 0.9 * half, 1.1 * rows, 0.05 * half, 0, 0.5 * rows, rng.uniform(0, 3))
    return ellipsoids([tip, *parts])


def eccentric(rng: np.random.Generator, half: float, rows: int) -> Body:
    """A small sample that is mounted far from the axis."""
    phi, r = rng.uniform(0, 2 * np.pi), 0.55 * half
    x, y = r * np.cos(phi), r * np.sin(phi)
    parts = [
        (0.8, s, s, 2 * s, x + dx, y + dy, z, 0)
        for dx, dy, z, s in _scatter(rng, 6, 0.25 * half, rows, (0.05 * half, 0.1 * half))
    ]
    return ellipsoids([(1.0, 0.4 * half, 0.33 * half, 3 * rows, x, y, 0, rng.uniform(0, 3)), *parts])


FAMILIES = {f.__name__: f for f in (bone, soft, fibres, grains, foam, cone, eccentric)}
