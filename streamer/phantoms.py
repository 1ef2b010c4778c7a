"""Analytic phantoms: objects whose line integrals are known in closed form, to try a reconstruction against the truth.

Lengths are in pixels and values in 1/pixel, so line integrals are attenuations without unit. An object is a sequence
of parts, which add up. Its origin lies on the rotation axis. The ray that meets detector column ``c`` at the angle θ
has the distance s = c − center = x·cos θ + y·sin θ from the axis; pixel centres are at integers. The virtual beamline
(``streamer.sim``) does not use them: its bodies are three-dimensional, of real materials, and move.

>>> angles = half_turn(180)
>>> lines = sinogram(shepp_logan(128), 128, angles)     # (180, 128): one detector row
>>> frames = exposures(0.02 * lines[:, None])           # (180, 1, 128) uint16, as a detector counts
>>> truth = 0.02 * image(shepp_logan(128), 128)         # (128, 128), 1/pixel
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "SHEPP_LOGAN",
    "Ellipse",
    "Gaussian",
    "Part",
    "body_projections",
    "exposures",
    "gaussians",
    "half_turn",
    "image",
    "random_body",
    "shepp_logan",
    "sinogram",
]

Image = NDArray[np.float32]
Floats = NDArray[np.float64]

SHEPP_LOGAN = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0.0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
)
"""The head phantom of Shepp and Logan (1974) with the contrast of Toft (1996): value, semi-axes a and b, centre x and y
in half widths, tilt in degrees."""


class Part(Protocol):
    """One piece of an object."""

    def line(self, s: Floats, theta: float) -> Floats:
        """Integral along the rays at distances ``s`` (pixels) from the axis at the angle ``theta`` (radian)."""

    def at(self, x: Floats, y: Floats) -> Floats:
        """Value at points (pixels from the axis); ``x`` and ``y`` broadcast."""


@dataclass(frozen=True)
class Ellipse:
    """Uniform ellipse of ``value``; semi-axes ``a`` and ``b``, centre (x, y), the axis a turned by ``tilt`` radian."""

    value: float
    a: float
    b: float
    x: float
    y: float
    tilt: float = 0.0

    def line(self, s: Floats, theta: float) -> Floats:
        d = s - (self.x * np.cos(theta) + self.y * np.sin(theta))
        r2 = (self.a * np.cos(theta - self.tilt)) ** 2 + (self.b * np.sin(theta - self.tilt)) ** 2
        return np.asarray(2 * self.value * self.a * self.b * np.sqrt(np.maximum(r2 - d**2, 0)) / r2)

    def at(self, x: Floats, y: Floats) -> Floats:
        u = (x - self.x) * np.cos(self.tilt) + (y - self.y) * np.sin(self.tilt)
        v = -(x - self.x) * np.sin(self.tilt) + (y - self.y) * np.cos(self.tilt)
        return np.asarray(self.value * ((u / self.a) ** 2 + (v / self.b) ** 2 <= 1))


@dataclass(frozen=True)
class Gaussian:
    """Round Gaussian of peak ``value``: smooth, so that only the algorithm's error shows, not that of the grid."""

    value: float
    sigma: float
    x: float
    y: float

    def line(self, s: Floats, theta: float) -> Floats:
        d = s - (self.x * np.cos(theta) + self.y * np.sin(theta))
        return np.asarray(self.value * self.sigma * np.sqrt(2 * np.pi) * np.exp(-0.5 * (d / self.sigma) ** 2))

    def at(self, x: Floats, y: Floats) -> Floats:
        squared = (x - self.x) ** 2 + (y - self.y) ** 2
        return np.asarray(self.value * np.exp(-0.5 * squared / self.sigma**2))


def shepp_logan(n: int) -> list[Ellipse]:
    """The Shepp-Logan phantom for a detector of ``n`` columns; values from 0 to 1."""
    h = n / 2
    return [Ellipse(v, a * h, b * h, x * h, y * h, np.deg2rad(t)) for v, a, b, x, y, t in SHEPP_LOGAN]


def gaussians(n: int) -> list[Gaussian]:
    """Four Gaussians for a detector of ``n`` columns; peaks from 0.5 to 1."""
    return [
        Gaussian(1.0, 0.04 * n, 0.0, 0.0),
        Gaussian(0.7, 0.03 * n, 0.25 * n, 0.1 * n),
        Gaussian(0.5, 0.05 * n, -0.15 * n, 0.2 * n),
        Gaussian(0.9, 0.025 * n, -0.05 * n, -0.3 * n),
    ]


def half_turn(n: int) -> Floats:
    """``n`` equidistant angles (radian) of half a turn, its end left out."""
    return np.asarray(np.arange(n) * np.pi / n)


def sinogram(parts: Sequence[Part], n: int, angles: Floats, center: float | None = None, oversample: int = 4) -> Image:
    """Line integrals (angles, n) float32 of one detector row; ``angles`` in radian.

    ``center`` is the column of the rotation axis, by default the middle (n − 1)/2. Each pixel is the mean over
    ``oversample`` rays, as a detector pixel averages.
    """
    axis = (n - 1) / 2 if center is None else center
    fine = np.arange(n * oversample) / oversample + (0.5 / oversample - 0.5) - axis
    lines = np.zeros((len(angles), n), np.float32)
    for i, theta in enumerate(angles):
        full = reduce(np.add, (part.line(fine, float(theta)) for part in parts))
        lines[i] = full.reshape(n, oversample).mean(axis=1)
    return lines


def image(parts: Sequence[Part], n: int, oversample: int = 4) -> Image:
    """The object itself, (n, n) float32 as (y, x) with the axis in the middle, averaged over each pixel."""
    fine = np.arange(n * oversample) / oversample + (0.5 / oversample - 0.5) - (n - 1) / 2
    full = reduce(np.add, (part.at(fine[None, :], fine[:, None]) for part in parts))
    return np.asarray(full.reshape(n, oversample, n, oversample).mean(axis=(1, 3)), np.float32)


def random_body(rng: np.random.Generator, columns: int) -> list[Ellipse]:
    """A body that fits the detector: one large ellipse with five small ones of other density in it.

    A ray through it has an attenuation of about 2.
    """
    size = 0.28 * columns
    x, y = rng.uniform(-0.07, 0.07, 2) * columns
    body = [Ellipse(1.0 / size, size * rng.uniform(0.7, 1), size * rng.uniform(0.6, 1), x, y, rng.uniform(0, np.pi))]
    for _ in range(5):
        dx, dy = rng.uniform(-0.35, 0.35, 2) * size
        a, b = rng.uniform(0.06, 0.25, 2) * size
        body.append(Ellipse(rng.uniform(-0.7, 1.5) / size, a, b, x + dx, y + dy, rng.uniform(0, np.pi)))
    return body


def body_projections(body: Sequence[Ellipse], rows: int, columns: int, angles: Floats, center: float) -> Image:
    """Line integrals (angles, rows, columns) float32 of a body that narrows towards its ends, so that the rows differ.

    ``angles`` in radian; ``center`` is the column of the rotation axis.
    """
    z = (np.arange(rows) - (rows - 1) / 2) / max(rows / 2, 1)
    scale = np.sqrt(np.maximum(1 - 0.6 * z**2, 0))
    out = np.zeros((len(angles), rows, columns), np.float32)
    for r in range(rows):
        k = scale[r]
        parts = [Ellipse(e.value, e.a * k, e.b * k, e.x * k, e.y * k, e.tilt) for e in body]
        out[:, r] = sinogram(parts, columns, angles, center, 2)
    return out


def exposures(
    attenuation: ArrayLike,
    beam: ArrayLike = 40_000.0,
    dark: ArrayLike = 100.0,
    rng: np.random.Generator | None = None,
) -> NDArray[np.uint16]:
    """What a detector counts behind the attenuation (any shape), uint16: beam·exp(−attenuation) + dark.

    ``beam`` is the number of photons in a pixel without sample. With ``rng`` they have Poisson noise. Numbers above
    65 535 are cut, as the detector is saturated.
    """
    photons = np.asarray(beam) * np.exp(-np.asarray(attenuation, np.float64))
    counted = photons if rng is None else rng.poisson(photons)
    return np.asarray(np.clip(np.round(counted + np.asarray(dark)), 0, 65_535), np.uint16)
