"""Analytic objects with exact line integrals, for tests that need the truth (independent of ``streamer.sim``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Shepp-Logan in the modified contrast of Toft: value, semi-axes, centre, tilt in degrees, in units of the half width.
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


@dataclass(frozen=True)
class Ellipse:
    """Uniform ellipse; lengths in pixels, (x, y) from the axis of rotation."""

    value: float
    a: float
    b: float
    x: float
    y: float
    tilt: float = 0.0

    def line(self, s: np.ndarray, theta: float) -> np.ndarray:
        """Integral along the ray at distance ``s`` from the axis, seen at ``theta``."""
        d = s - (self.x * np.cos(theta) + self.y * np.sin(theta))
        r2 = (self.a * np.cos(theta - self.tilt)) ** 2 + (self.b * np.sin(theta - self.tilt)) ** 2
        return 2 * self.value * self.a * self.b * np.sqrt(np.maximum(r2 - d**2, 0)) / r2

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u = (x - self.x) * np.cos(self.tilt) + (y - self.y) * np.sin(self.tilt)
        v = -(x - self.x) * np.sin(self.tilt) + (y - self.y) * np.cos(self.tilt)
        return self.value * ((u / self.a) ** 2 + (v / self.b) ** 2 <= 1)


@dataclass(frozen=True)
class Gaussian:
    """Round Gaussian of peak ``value``; smooth, so that the error of the algorithm shows and not that of the grid."""

    value: float
    sigma: float
    x: float
    y: float

    def line(self, s: np.ndarray, theta: float) -> np.ndarray:
        d = s - (self.x * np.cos(theta) + self.y * np.sin(theta))
        return self.value * self.sigma * np.sqrt(2 * np.pi) * np.exp(-0.5 * (d / self.sigma) ** 2)

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self.value * np.exp(-0.5 * ((x - self.x) ** 2 + (y - self.y) ** 2) / self.sigma**2)


def shepp_logan(n: int) -> list[Ellipse]:
    h = n / 2
    return [Ellipse(v, a * h, b * h, x * h, y * h, np.deg2rad(t)) for v, a, b, x, y, t in SHEPP_LOGAN]


def gaussians(n: int) -> list[Gaussian]:
    return [
        Gaussian(1.0, 0.04 * n, 0.0, 0.0),
        Gaussian(0.7, 0.03 * n, 0.25 * n, 0.1 * n),
        Gaussian(0.5, 0.05 * n, -0.15 * n, 0.2 * n),
        Gaussian(0.9, 0.025 * n, -0.05 * n, -0.3 * n),
    ]


def sinogram(parts, n: int, angles, center: float | None = None, oversample: int = 4) -> np.ndarray:
    """(angles, n) float32; each pixel is the mean over ``oversample`` rays, as a detector pixel averages."""
    axis = (n - 1) / 2 if center is None else center
    fine = np.arange(n * oversample) / oversample + (0.5 / oversample - 0.5) - axis
    lines = np.zeros((len(angles), n), np.float32)
    for i, theta in enumerate(angles):
        full = sum(part.line(fine, float(theta)) for part in parts)
        lines[i] = full.reshape(n, oversample).mean(axis=1)
    return lines


def image(parts, n: int, oversample: int = 4) -> np.ndarray:
    """(n, n) float32 truth with the axis in its middle, averaged over each pixel."""
    fine = np.arange(n * oversample) / oversample + (0.5 / oversample - 0.5) - (n - 1) / 2
    full = sum(part.at(fine[None, :], fine[:, None]) for part in parts)
    return full.reshape(n, oversample, n, oversample).mean(axis=(1, 3)).astype(np.float32)


def half_turn(n: int) -> np.ndarray:
    return np.arange(n) * np.pi / n


def random_body(rng: np.random.Generator, columns: int) -> list[Ellipse]:
    """A body that fits the detector: one large ellipse with five small ones of other density in it."""
    size = 0.28 * columns
    x, y = rng.uniform(-0.07, 0.07, 2) * columns
    body = [Ellipse(1.0 / size, size * rng.uniform(0.7, 1), size * rng.uniform(0.6, 1), x, y, rng.uniform(0, np.pi))]
    for _ in range(5):
        dx, dy = rng.uniform(-0.35, 0.35, 2) * size
        a, b = rng.uniform(0.06, 0.25, 2) * size
        body.append(Ellipse(rng.uniform(-0.7, 1.5) / size, a, b, x + dx, y + dy, rng.uniform(0, np.pi)))
    return body


def body_projections(body, rows: int, columns: int, angles, center: float) -> np.ndarray:
    """(angles, rows, columns) float32 of a body that narrows towards its ends, so that the rows differ."""
    z = (np.arange(rows) - (rows - 1) / 2) / max(rows / 2, 1)
    scale = np.sqrt(np.maximum(1 - 0.6 * z**2, 0))
    out = np.zeros((len(angles), rows, columns), np.float32)
    for r in range(rows):
        k = scale[r]
        parts = [Ellipse(e.value, e.a * k, e.b * k, e.x * k, e.y * k, e.tilt) for e in body]
        out[:, r] = sinogram(parts, columns, angles, center, 2)
    return out
