"""The true attenuation on the grid of a tomogram: every pixel is the mean of µ over its area."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.sim.jit import compiled
from streamer.sim.scene.phantom import Quadrics

Floats = NDArray[np.float64]
Slices = NDArray[np.float32]

LINES_PER_PIXEL = 4
"""Sub-lines per pixel along y and along z; along x the cover of every pixel is exact."""


@compiled
def _interval(center: Floats, form: Floats, normal: Floats, half: float, y: float, z: float) -> tuple[float, float]:
    """Where the line (·, y, z) lies in the body: low and high x, empty when low ≥ high."""
    dy, dz = y - center[1], z - center[2]
    a = form[0, 0]
    b = form[0, 1] * dy + form[0, 2] * dz
    c = form[1, 1] * dy * dy + 2.0 * form[1, 2] * dy * dz + form[2, 2] * dz * dz - 1.0
    low, high = -1e12, 1e12
    if a > 1e-12:
        root = b * b - a * c
        if root <= 0.0:
            return 1.0, 0.0
        root = np.sqrt(root)
        low, high = (-b - root) / a, (-b + root) / a
    elif c >= 0.0:
        return 1.0, 0.0
    if np.isfinite(half):
        offset, slope = normal[1] * dy + normal[2] * dz, normal[0]
        if abs(slope) < 1e-12:
            if abs(offset) > half:
                return 1.0, 0.0
        else:
            near, far = (-half - offset) / slope, (half - offset) / slope
            low, high = max(low, min(near, far)), min(high, max(near, far))
    return low + center[0], high + center[0]


@compiled
def _fill(line: Slices, low: float, high: float, value: float) -> None:
    """Add ``value`` × cover of [low, high] (pixel edges at half-integers) to a line of pixels."""
    low, high = max(low, -0.5), min(high, len(line) - 0.5)
    if high <= low:
        return
    first, last = int(np.floor(low + 0.5)), int(np.ceil(high - 0.5))
    if first >= last:
        line[min(first, len(line) - 1)] += value * (high - low)
        return
    line[first] += value * (first + 0.5 - low)
    for k in range(first + 1, last):
        line[k] += value
    line[last] += value * (high - last + 0.5)


@compiled
def _add_slices(
    out: Slices,
    z_of: Floats,
    centers: Floats,
    forms: Floats,
    normals: Floats,
    halves: Floats,
    values: Floats,
    pixel: float,
    lines: int,
) -> None:
    """Add the mean of µ over each pixel to ``out`` (z, y, x); the bodies are given by the fields of Quadrics."""
    rows, size = out.shape[0], out.shape[1]
    middle = (size - 1) / 2.0
    for row in range(rows):
        for body in range(len(values)):
            for sub_z in range(lines):
                z = z_of[row] + ((sub_z + 0.5) / lines - 0.5) * pixel
                for k in range(size * lines):
                    y = ((k + 0.5) / lines - 0.5 - middle) * pixel
                    low, high = _interval(centers[body], forms[body], normals[body], halves[body], y, z)
                    if low < high:
                        value = values[body] / (lines * lines)
                        _fill(out[row, k // lines], low / pixel + middle, high / pixel + middle, value)


def attenuation_volume(
    quadrics: Quadrics,
    z_mm: NDArray[np.float64],
    size: int,
    pixel_mm: float,
    weights: tuple[float, ...] = (1.0,),
) -> NDArray[np.float32]:
    """Pixel-averaged µ, (len(z_mm), size, size) float32 in 1/cm, (z, y, x), centred on the rotation axis.

    Slices lie at the heights ``z_mm`` and are one pixel thick. With several energies µ is their mean by ``weights``,
    which is what a tomogram of thin matter would show.
    """
    out = np.zeros((len(z_mm), size, size), np.float32)
    values = quadrics.mu @ np.asarray(weights)
    _add_slices(
        out,
        np.asarray(z_mm, np.float64),
        quadrics.centers,
        quadrics.forms,
        quadrics.normals,
        quadrics.halves,
        values,
        pixel_mm,
        LINES_PER_PIXEL,
    )
    return out
