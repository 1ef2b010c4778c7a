"""Families of bodies on a grid of voxels half a pixel wide and one detector row high.

A family is a function of (points, radius, rng) that returns the relative density (z, y, x) at the points. Lengths are
in pixels, the rotation axis is at x = y = 0, z counts detector rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Volume = NDArray[np.float32]
Floats = NDArray[np.float64]
VOXEL = 0.5


@dataclass(frozen=True)
class Points:
    """Coordinates of a grid, broadcastable to (z, y, x)."""

    z: Floats
    y: Floats
    x: Floats

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.z.size, self.y.size, self.x.size

    def moved(self, x: float, y: float) -> Points:
        """The same grid, seen from a body whose middle is at (x, y)."""
        return Points(self.z, self.y - y, self.x - x)


def grid(half: float, rows: int, pad: int) -> Points:
    """Points from −half to half pixels across, and from row −pad to row rows + pad along the axis."""
    across = np.asarray((np.arange(round(2 * half / VOXEL)) + 0.5) * VOXEL - half, float)
    along = np.arange(-pad, rows + pad, dtype=float)
    return Points(along[:, None, None], across[None, :, None], across[None, None, :])


def outline(p: Points, radius: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A lumpy body: its radius changes with the direction and slowly along the axis, and never exceeds ``radius``."""
    direction = np.arctan2(p.y, p.x)
    lumps = sum(rng.uniform(0.02, 0.09) * np.cos(k * direction + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3, 5))
    swelling = rng.uniform(0.02, 0.06) * np.sin(p.z / rng.uniform(5, 12) + rng.uniform(0, 2 * np.pi))
    return np.hypot(p.x, p.y) < radius * np.minimum(0.84 + lumps + swelling, 1.0)


def texture(p: Points, length: float, rng: np.random.Generator) -> Volume:
    """A smooth random field with mean 0 and variance 1; ``length`` is its correlation length in pixels."""
    field = ndimage.gaussian_filter(
        rng.standard_normal(p.shape).astype(np.float32), (length, length / VOXEL, length / VOXEL), mode="wrap"
    )
    return np.asarray(field / field.std(), np.float32)


def spheres(
    p: Points, radius: float, count: int, sizes: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Where ``count`` spheres are, at random inside a cylinder; they may overlap."""
    inside = np.zeros(p.shape, bool)
    for _ in range(count):
        r, where = rng.uniform(*sizes), rng.uniform(0, 2 * np.pi)
        away = radius * np.sqrt(rng.uniform(0, 0.75))
        x, y, z = away * np.cos(where), away * np.sin(where), rng.uniform(p.z.min(), p.z.max())
        near = tuple(
            slice(*np.searchsorted(axis.ravel(), (middle - r, middle + r)))
            for axis, middle in ((p.z, z), (p.y, y), (p.x, x))
        )
        squared = (p.x[..., near[2]] - x) ** 2 + (p.y[:, near[1]] - y) ** 2 + (p.z[near[0]] - z) ** 2
        inside[near] |= squared < r**2
    return inside


def foam(p: Points, radius: float, rng: np.random.Generator) -> Volume:
    bubbles = spheres(p, radius, int(rng.integers(60, 140)), (0.05 * radius, 0.2 * radius), rng)
    return np.asarray(outline(p, radius, rng) & ~bubbles, np.float32)


def fibres(p: Points, radius: float, rng: np.random.Generator) -> Volume:
    """A bundle of tilted fibres, some hollow, in a thin resin."""
    body = 0.15 * outline(p, radius, rng).astype(np.float32)
    for _ in range(int(rng.integers(20, 45))):
        where, away = rng.uniform(0, 2 * np.pi), 0.72 * radius * np.sqrt(rng.uniform())
        lean_x, lean_y = rng.normal(0, 0.25, 2)
        x = away * np.cos(where) + lean_x * (p.z - p.z.mean())
        y = away * np.sin(where) + lean_y * (p.z - p.z.mean())
        distance, r = np.hypot(p.x - x, p.y - y), radius * rng.uniform(0.04, 0.09)
        hollow = rng.uniform() < 0.3
        body[(distance < r) & (distance > r * 0.5 * hollow)] = rng.uniform(0.7, 1.2)
    return np.asarray(body * (np.hypot(p.x, p.y) < radius), np.float32)


def bone(p: Points, radius: float, rng: np.random.Generator) -> Volume:
    """Trabeculae inside a cortex that is open on one side, with marrow between them."""
    inside = outline(p, radius, rng)
    depth = ndimage.distance_transform_edt(inside, sampling=(1.0, VOXEL, VOXEL))
    opened = np.cos(np.arctan2(p.y, p.x) - rng.uniform(0, 2 * np.pi)) > rng.uniform(0.4, 0.8)
    cortex = inside & (depth < 0.09 * radius) & ~opened
    trabeculae = inside & (np.abs(texture(p, 0.06 * radius, rng)) < 0.35)
    return np.asarray(0.12 * inside + 0.88 * (cortex | trabeculae), np.float32)


def insect(p: Points, radius: float, rng: np.random.Generator) -> Volume:
    """A thin shell with a gut and muscles inside and legs outside."""
    turn, narrow = rng.uniform(0, np.pi), rng.uniform(0.6, 0.85)
    u, v = p.x * np.cos(turn) + p.y * np.sin(turn), p.y * np.cos(turn) - p.x * np.sin(turn)
    power = rng.uniform(2, 3.5)
    swell = 1 + 0.08 * np.sin(p.z / 6 + rng.uniform(0, 6))
    size = 0.72 * radius * swell
    distance = (np.abs(u / size) ** power + np.abs(v / (narrow * size)) ** power) ** (1 / power)
    body = 0.12 * (distance < 1) + 0.9 * ((distance < 1) & (distance > 1 - rng.uniform(0.06, 0.12)))
    body = np.where((distance < 0.9) & (texture(p, 0.09 * radius, rng) > 0.7), 0.45, body)
    body = np.where(np.hypot(u - 0.2 * radius, v + 0.1 * radius) < 0.15 * radius, 0.02, body)
    for _ in range(4):
        where, lean = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.3, 2)
        x = 0.86 * radius * np.cos(where) + lean[0] * (p.z - p.z.mean())
        y = 0.86 * radius * np.sin(where) + lean[1] * (p.z - p.z.mean())
        body = np.where(np.hypot(p.x - x, p.y - y) < 0.06 * radius, 0.8, body)
    return np.asarray(body * (np.hypot(p.x, p.y) < radius), np.float32)


def fossil(p: Points, radius: float, rng: np.random.Generator) -> Volume:
    """Wavy layers of sediment with hard bodies in them and a crack through them."""
    turn = rng.uniform(0, np.pi)
    u, v = p.x * np.cos(turn) + p.y * np.sin(turn), p.y * np.cos(turn) - p.x * np.sin(turn)
    height = u + 0.06 * radius * np.sin(3 * v / radius + 0.1 * p.z) + rng.uniform(0.1, 0.4) * p.z
    edges = np.sort(rng.uniform(-1.2 * radius, 1.2 * radius, 14))
    layers = rng.uniform(0.35, 0.8, 15)[np.searchsorted(edges, height)]
    layers[spheres(p, radius, 12, (0.06 * radius, 0.18 * radius), rng)] = 1.2
    crack = np.abs(v + 0.3 * u + rng.uniform(-0.3, 0.3) * radius + 2 * texture(p, 0.1 * radius, rng)) < 0.9
    layers[crack & (u > rng.uniform(-0.6, 0.2) * radius)] = 0.0
    return np.asarray(layers * outline(p, radius, rng), np.float32)


def rock(p: Points, radius: float, rng: np.random.Generator) -> Volume:
    """Grains of three minerals (nearest seed) with pores between them."""
    count = int(rng.integers(150, 350))
    low, high = float(p.z.min()), float(p.z.max())
    seeds = rng.uniform((-radius, -radius, low), (radius, radius, high), (count, 3))
    z, y, x = np.broadcast_arrays(p.z, p.y, p.x)
    inside = outline(p, radius, rng)
    where = np.stack([x[inside], y[inside], z[inside]], axis=-1)
    nearest, grain = cKDTree(seeds).query(where, k=2)
    values = rng.choice([0.55, 0.75, 1.0], count)[grain[:, 0]]
    values[nearest[:, 1] - nearest[:, 0] < 0.02 * radius] = 0.1
    body = np.zeros(p.shape, np.float32)
    body[inside] = values
    body[texture(p, 0.05 * radius, rng) > 1.4] = 0.0
    return body


def rod(p: Points, radius: float, rng: np.random.Generator) -> Volume:
    """A round rod with a chipped side, drilled, with dense grains in it."""
    turn = rng.uniform(0, 2 * np.pi)
    u = p.x * np.cos(turn) + p.y * np.sin(turn)
    solid = (np.hypot(p.x, p.y) < 0.92 * radius) & (u < radius * rng.uniform(0.55, 0.75))
    body = np.where(solid, 0.5, 0.0) * np.ones(p.shape)
    v = p.y * np.cos(turn) - p.x * np.sin(turn)
    body[np.hypot(u + 0.35 * radius, v - 0.25 * radius + 0.1 * p.z) < 0.12 * radius] = 0.0
    body[spheres(p, 0.85 * radius, 25, (0.03 * radius, 0.09 * radius), rng) & solid] = 1.4
    return np.asarray(body, np.float32)


def battery(p: Points, radius: float, rng: np.random.Generator) -> Volume:
    """A wound cell: a spiral of foil in a can with a tab, uneven along the axis."""
    distance, direction = np.hypot(p.x, p.y), np.arctan2(p.y, p.x)
    pitch = radius * rng.uniform(0.1, 0.16)
    dent = pitch * (0.3 * np.cos(2 * direction + 0.15 * p.z) + rng.uniform(0, 1))
    phase = np.mod(distance + dent + pitch * direction / (2 * np.pi), pitch) / pitch
    body = np.where(phase < 0.3, 0.9, np.where(phase < 0.65, 0.35, 0.12))
    body = np.where(distance < 0.12 * radius, 0.0, body)
    body = np.where(distance > 0.86 * radius, 0.0, body)
    body = np.where((distance > 0.9 * radius) & (distance < 0.97 * radius), 1.0, body)
    turn = rng.uniform(0, 2 * np.pi)
    tab = np.hypot(p.x - 0.5 * radius * np.cos(turn), p.y - 0.5 * radius * np.sin(turn)) < 0.08 * radius
    return np.asarray(np.where(tab & (texture(p, 4.0, rng) > -1), 1.3, body), np.float32)


def wood(p: Points, radius: float, rng: np.random.Generator) -> Volume:
    """Cells with walls, wide in spring and narrow in autumn, and a few vessels."""
    turn, ring = rng.uniform(0, np.pi), radius * rng.uniform(0.4, 0.7)
    u, v = p.x * np.cos(turn) + p.y * np.sin(turn), p.y * np.cos(turn) - p.x * np.sin(turn)
    season = 0.5 + 0.5 * np.cos(2 * np.pi * u / ring)
    cell = radius * 0.13
    walls = np.maximum(np.cos(2 * np.pi * u / cell), np.cos(2 * np.pi * (v + 0.2 * p.z) / cell))
    body = 0.15 + 0.75 * (walls > 0.9 - 0.9 * season)
    for _ in range(int(rng.integers(4, 9))):
        x, y = rng.uniform(-0.6, 0.6, 2) * radius
        body = np.where(np.hypot(p.x - x, p.y - y + 0.15 * p.z) < radius * rng.uniform(0.05, 0.12), 0.0, body)
    return np.asarray(body * outline(p, radius, rng), np.float32)


FAMILIES: dict[str, Callable[[Points, float, np.random.Generator], Volume]] = {
    family.__name__: family for family in (foam, fibres, bone, insect, fossil, rock, rod, battery, wood)
}


def truth(body: Volume, columns: int) -> Volume:
    """The body (z, columns, columns) averaged over pixels, with the axis in the middle, cut or padded to the field."""
    cut = _field(body, columns)
    return np.asarray(cut.reshape(len(body), columns, 2, columns, 2).mean(axis=(2, 4)), np.float32)


def band_limited(body: Volume, columns: int) -> Volume:
    """The same without what is finer than two pixels: means over pixels take some of that for something coarser."""
    wanted = round(columns / VOXEL)
    spectrum = scipy.fft.fft2(_field(body, columns))
    kept = np.r_[0 : (columns + 1) // 2, wanted - columns // 2 : wanted]
    # The first voxel lies beside the middle of the first pixel.
    phase = np.exp(-1j * np.pi * scipy.fft.fftfreq(columns) * (VOXEL - 1)).astype(np.complex64)
    coarse = spectrum[:, kept][:, :, kept] * phase[:, None] * phase
    return np.asarray(scipy.fft.ifft2(coarse).real * VOXEL**2, np.float32)


def _field(body: Volume, columns: int) -> Volume:
    """Voxels (z, n, n) of the field of so many columns, with the axis in the middle."""
    middle, wanted = body.shape[1] // 2, round(columns / VOXEL)
    missing = max(wanted - body.shape[1], 0) // 2 + 1
    padded = np.pad(body, ((0, 0), (missing, missing), (missing, missing)))
    first = middle + missing - wanted // 2
    return padded[:, first : first + wanted, first : first + wanted]
