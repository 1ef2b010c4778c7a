"""The projector: transmissions of bodies in a given view. No noise, no state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.sim.jit import compiled
from streamer.sim.scene.motion import Motion
from streamer.sim.scene.phantom import Quadrics, shadows, view_basis

Transmission = NDArray[np.uint16]
Paths = NDArray[np.float32]
Floats = NDArray[np.float64]
FULL_TRANSMISSION = 65535
"""The uint16 that means a transmission of 1."""

STEPS_PER_UNIT = 256
_EXP = np.exp(-np.arange(24 * STEPS_PER_UNIT + 1) / STEPS_PER_UNIT).astype(np.float32)


@compiled
def _span(shadow: Floats, qv: float, pixel: float, axis_column: float, columns: int) -> tuple[int, int]:
    """First and past-last column of one row of a body's shadow (a quadratic inequality in the column)."""
    low, high = shadow[0] - shadow[12], shadow[0] + shadow[12]
    if shadow[2] * shadow[12] * shadow[12] > 1e-9:
        half_b = shadow[3] * qv
        root = half_b * half_b - shadow[2] * (shadow[4] * qv * qv - 1.0)
        if root <= 0.0:
            return 0, 0
        root = np.sqrt(root)
        low = max(low, shadow[0] + (-half_b - root) / shadow[2])
        high = min(high, shadow[0] + (-half_b + root) / shadow[2])
    first = max(0, int(np.ceil(low / pixel + axis_column)))
    last = min(columns, int(np.floor(high / pixel + axis_column)) + 1)
    return first, last


@compiled
def _chord(shadow: Floats, qu: float, qv: float) -> float:
    """Length in mm of the ray at (qu, qv) from the centre of a body that is cut by a slab."""
    square = 1.0 - (shadow[2] * qu + 2.0 * shadow[3] * qv) * qu - shadow[4] * qv * qv
    if square <= 0.0:
        return 0.0
    low, high = -1e12, 1e12
    if shadow[5] > 0.0:
        middle = shadow[6] * qu + shadow[7] * qv
        half = np.sqrt(square / shadow[5])
        low, high = middle - half, middle + half
    offset = shadow[8] * qu + shadow[9] * qv
    slope = shadow[10]
    if abs(slope) < 1e-12:
        return high - low if abs(offset) <= shadow[11] else 0.0
    near, far = (-shadow[11] - offset) / slope, (shadow[11] - offset) / slope
    length: float = min(high, max(near, far)) - max(low, min(near, far))
    return max(0.0, length)


@compiled
def _uncut(shadow: Floats, qv: float) -> bool:
    """Whether the slab certainly cuts no ray of this row."""
    if not np.isfinite(shadow[11]):
        return True
    if shadow[5] <= 0.0:
        return False
    middle = abs(shadow[6]) * shadow[12] + abs(shadow[7] * qv)
    reach = abs(shadow[8]) * shadow[12] + abs(shadow[9] * qv) + abs(shadow[10]) * (middle + 1.0 / np.sqrt(shadow[5]))
    spared: bool = reach <= shadow[11]
    return spared


@compiled
def _add_body(out: Paths, shadow: Floats, mu: Floats, pixel: float, axis_column: float, middle_row: float) -> None:
    """Add µ·(path length) of one body to ``out`` (energies, rows, columns); ``shadow`` is a row of ``shadows``."""
    energies, rows, columns = out.shape
    first_row = max(0, int(np.ceil((shadow[1] - shadow[13]) / pixel + middle_row)))
    last_row = min(rows, int(np.floor((shadow[1] + shadow[13]) / pixel + middle_row)) + 1)
    start = shadow[0] / pixel + axis_column
    for row in range(first_row, last_row):
        qv = (row - middle_row) * pixel - shadow[1]
        first, last = _span(shadow, qv, pixel, axis_column, columns)
        plain = _uncut(shadow, qv)
        for energy in range(energies):
            line = out[energy, row]
            factor = 0.1 * mu[energy]
            if plain:
                b, c = 2.0 * shadow[3] * qv, 1.0 - shadow[4] * qv * qv
                chord_factor = 2.0 * factor / np.sqrt(shadow[5])
                for column in range(first, last):
                    qu = (column - start) * pixel
                    line[column] += chord_factor * np.sqrt(max(0.0, c - (shadow[2] * qu + b) * qu))
            else:
                for column in range(first, last):
                    line[column] += factor * _chord(shadow, (column - start) * pixel, qv)


@compiled
def _add_bodies(
    out: Paths, all_shadows: Floats, mu: Floats, pixel: float, axis_column: float, middle_row: float
) -> None:
    """Add µ·(path length) of every body to ``out`` (energies, rows, columns) float32; no unit."""
    for body in range(len(all_shadows)):
        _add_body(out, all_shadows[body], mu[body], pixel, axis_column, middle_row)


@compiled
def _transmit(paths: Paths, weights: Paths, table: Paths, out: Transmission) -> None:
    """Beer and Lambert over the spectrum: out = 65535·Σ w·exp(−path); exp is a table times a short series."""
    energies, rows, columns = paths.shape
    steps, step, top = (
        np.float32(STEPS_PER_UNIT),
        np.float32(1.0 / STEPS_PER_UNIT),
        np.float32((len(table) - 1) / STEPS_PER_UNIT),
    )
    one, half, full = np.float32(1.0), np.float32(0.5), np.float32(65535.0)
    total = np.empty(columns, np.float32)
    for row in range(rows):
        total[:] = half
        for energy in range(energies):
            weight = weights[energy] * full
            line = paths[energy, row]
            for column in range(columns):
                path = min(max(line[column], np.float32(0.0)), top)
                k = np.int32(path * steps)
                rest = path - np.float32(k) * step
                total[column] += weight * table[k] * (one - rest * (one - half * rest))
        pixels = out[row]
        for column in range(columns):
            pixels[column] = np.uint16(np.int32(min(full, total[column])))


@compiled
def _blur(image: Transmission, taps: Paths, scratch: Paths) -> None:
    """Separable symmetric filter of a uint16 image (rows, columns), in place; the edge is repeated."""
    rows, columns = image.shape
    reach = len(taps) - 1
    line = np.empty(columns + 2 * reach, np.float32)
    for row in range(rows):
        line[:reach] = image[row, 0]
        line[reach : reach + columns] = image[row]
        line[reach + columns :] = image[row, columns - 1]
        soft = scratch[row]
        soft[:] = taps[0] * line[reach : reach + columns]
        for k in range(1, reach + 1):
            left, right = line[reach - k : reach - k + columns], line[reach + k : reach + k + columns]
            for column in range(columns):
                soft[column] += taps[k] * (left[column] + right[column])
    total = np.empty(columns, np.float32)
    for row in range(rows):
        total[:] = taps[0] * scratch[row] + np.float32(0.5)
        for k in range(1, reach + 1):
            above, below = scratch[max(0, row - k)], scratch[min(rows - 1, row + k)]
            for column in range(columns):
                total[column] += taps[k] * (above[column] + below[column])
        pixels = image[row]
        for column in range(columns):
            pixels[column] = np.uint16(np.int32(min(np.float32(65535.0), total[column])))


def gaussian_taps(sigma_px: float) -> NDArray[np.float32]:
    """Centre and one side of a normalised Gaussian, cut at 3 σ."""
    reach = max(1, round(3.0 * sigma_px))
    taps = np.exp(-0.5 * (np.arange(reach + 1) / max(sigma_px, 1e-9)) ** 2)
    return np.asarray(taps / (taps[0] + 2.0 * taps[1:].sum()), np.float32)


@dataclass(frozen=True, slots=True)
class View:
    """How the detector looks at the sample. ``axis_column`` is that of the axis at the middle row.

    ``weights`` (one per energy, sum 1) is the detected spectrum; ``blur_px`` σ of the scintillator and lens.
    """

    rows: int
    columns: int
    pixel_mm: float
    axis_column: float
    roll_deg: float = 0.0
    pitch_deg: float = 0.0
    weights: tuple[float, ...] = (1.0,)
    blur_px: float = 0.0

    @property
    def nbytes(self) -> int:
        """Size of one transmission."""
        return 2 * self.rows * self.columns

    def paths(self, quadrics: Quadrics, angle_deg: float) -> NDArray[np.float32]:
        """Line integrals of µ at the pixel centres, (energies, rows, columns), no unit."""
        out = np.zeros((len(self.weights), self.rows, self.columns), np.float32)
        seen = shadows(quadrics, view_basis(angle_deg, self.roll_deg, self.pitch_deg))
        _add_bodies(out, seen, quadrics.mu, self.pixel_mm, self.axis_column, (self.rows - 1) / 2)
        return out

    def transmission(self, quadrics: Quadrics, angle_deg: float) -> Transmission:
        """Transmission (rows, columns), 65535 = 1."""
        out = np.empty((self.rows, self.columns), np.uint16)
        _transmit(self.paths(quadrics, angle_deg), np.asarray(self.weights, np.float32), _EXP, out)
        if self.blur_px > 0:
            _blur(out, gaussian_taps(self.blur_px), np.empty(out.shape, np.float32))
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What stands in the beam: bodies, their motion, and the view. ``key`` is equal for scenes that look equal.

    ``placed_mm`` is where the stages on top of the rotation have brought the origin of the sample.
    """

    name: str
    quadrics: Quadrics
    motion: Motion
    view: View
    placed_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def key(self) -> tuple[str, Motion, View, tuple[float, float, float]]:
        return (self.name, self.motion, self.view, self.placed_mm)

    def transmission(self, angle_deg: float, progress: float) -> Transmission:
        """Transmission (rows, columns) at an angle and a progress of the scan."""
        bodies = self.quadrics.moved(*self.motion.state(progress), self.motion.last)
        return self.view.transmission(bodies.moved(np.asarray(self.placed_mm)), angle_deg)
