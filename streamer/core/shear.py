"""Horizontal planes from single filtered rows, by shear tables: every line of the image is a sum of contiguous rows.

Pixel (i, j) of a horizontal plane lies at column t = t0 + j·tj + i·ti. Where |tj| ≥ |ti| that is tj·(j + b(i)), with
b(i) = (t0 + i·ti)/tj: line i sees the row resampled at steps of tj, shifted by b(i). So the row is resampled once per
frame at PHASES shifts within a step (cubic), and each line adds the table of the nearest shift, without any gather.
Frames that run along the other axis go into a transposed sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from streamer.core.backend import Backend
from streamer.core.jit import as_input, kernel
from streamer.core.kernels_cpu import EDGE
from streamer.core.planes import Plane

Array = NDArray[Any]
Image = NDArray[np.float32]
Sums = tuple[Image, Image]

PHASES = 8
"""Shifts within one voxel; the nearest of them is at most 1/16 voxel off."""

PAD = 2  # values before and behind a row that repeat its ends, for the cubic

_ZERO, _HALF = np.float32(0.0), np.float32(0.5)
_TWO, _THREE, _FOUR, _FIVE = np.float32(2.0), np.float32(3.0), np.float32(4.0), np.float32(5.0)


@kernel(inline=True)
def _cubic(row: Array, t: Any, top: Any) -> Any:
    """Row at t, float32, by Catmull-Rom (Keys 1981, a = -1/2); the row's value at t is row[t + PAD]."""
    i = np.uint32(min(max(t, _ZERO), top))
    f = t - np.float32(i)
    a, b, c, d = row[i + np.uint32(1)], row[i + np.uint32(2)], row[i + np.uint32(3)], row[i + np.uint32(4)]
    return b + _HALF * f * (c - a + f * (_TWO * a - _FIVE * b + _FOUR * c - d + f * (_THREE * (b - c) + d - a)))


@kernel(inline=True)
def _lowest(geometry: Array, f: int, height: int) -> Any:
    """First entry of a frame's table: one step before the smallest shift of any line."""
    return np.floor(min(0.0, (height - 1) * geometry[f, 2] / geometry[f, 1])) - 1.0


@kernel()
def fill_tables(rows: Array, geometry: Array, lengths: Array, table: Array) -> None:
    """table[f, k, j] = rows[f] at column t0 + step·(lowest + j + k/phases), cubic, 0 outside of the row.

    rows (frames, cols + 2·PAD) float32, see ``PAD``; geometry (frames, 4) float64: t0 = column of pixel (0, 0), step
    from sample to sample of a line, step from line to line, lowest shift of a line in samples, a whole number. table
    (frames, phases, …) float32 is filled up to lengths[f].
    """
    frames, phases = rows.shape[0], table.shape[1]
    last = rows.shape[1] - 2 * PAD - 1
    for f in range(frames):
        step, length = geometry[f, 1], lengths[f]
        for k in range(phases):
            line = table[f, k]
            start = geometry[f, 0] + step * (geometry[f, 3] + k / phases)
            a, b = (-EDGE - start) / step, (last + EDGE - start) / step
            if a > b:
                a, b = b, a
            begin = int(min(float(length), max(0.0, np.ceil(a))))
            end = int(max(float(begin), min(float(length), np.floor(b) + 1.0)))
            line[:begin] = _ZERO
            line[end:length] = _ZERO
            s0, ds, top = np.float32(start), np.float32(step), np.float32(max(last - 1, 0))
            for x in range(begin, end):
                line[x] = _cubic(rows[f], s0 + np.float32(x) * ds, top)


@kernel(parallel=True)
def add_tables(
    table: Array, geometry: Array, last: int, turned: Array, half: Array, parts: int, straight: Array, across: Array
) -> None:
    """Add the tables of ``fill_tables`` to the sums of one plane; rows end at column ``last``.

    A frame's lines are the image's rows, straight[half[f]] (height, width), or, where turned[f] is 1, its columns,
    across[half[f]] (width, height). turned, half (frames,) int64.
    """
    frames, phases = table.shape[0], table.shape[1]
    for part in prange(parts):
        for side in range(2):
            sums = across if side else straight
            height, width = sums.shape[1], sums.shape[2]
            # Lines are dealt out in turn: those in the corners see fewer rays.
            for y in range(part, height, parts):
                for f in range(frames):
                    if turned[f] != side:
                        continue
                    step = geometry[f, 1]
                    shift = int(np.floor((y * geometry[f, 2] / step - geometry[f, 3]) * phases + 0.5))
                    start = geometry[f, 0] + y * geometry[f, 2]
                    a, b = -start / step, (last - start) / step
                    if a > b:
                        a, b = b, a
                    begin = int(min(float(width), max(0.0, np.floor(a))))
                    end = int(max(float(begin), min(float(width), np.floor(b) + 2.0)))
                    source = table[f, shift % phases, begin + shift // phases : end + shift // phases]
                    target = sums[half[f], y, begin:end]
                    for x in range(end - begin):
                        target[x] += source[x]


class ShearPlane:
    """Geometry and scratch memory of one horizontal plane; the sums belong to the caller."""

    def __init__(self, backend: Backend, plane: Plane, columns: int) -> None:
        self._backend = backend
        self._shape = plane.shape
        middle = (columns - 1) / 2
        self._origin = (plane.origin[0] - middle, plane.origin[1] - middle)
        self._u, self._v = plane.u[:2], plane.v[:2]
        largest = max(float(np.hypot(*self._u)), float(np.hypot(*self._v)))
        self._phases = PHASES * max(1, int(np.ceil(largest - 1e-9)))
        self._table = np.empty((0, 0, 0), np.float32)

    def zeros(self, halves: int) -> Sums:
        """Empty sums of so many sets of frames: those along the image's rows, and, transposed, along its columns."""
        return np.zeros((halves, *self._shape), np.float32), np.zeros((halves, *self._shape[::-1]), np.float32)

    def add(self, filtered: Image, cos: Array, sin: Array, center: float, half: Array, sums: Sums) -> None:
        """Add filtered rows (frames, columns), at the angles of cos and sin, to the sets ``half``, all (frames,)."""
        rows = np.pad(filtered, ((0, 0), (PAD, PAD)), mode="edge")
        t0 = center + self._origin[0] * cos + self._origin[1] * sin
        along, across = self._u[0] * cos + self._u[1] * sin, self._v[0] * cos + self._v[1] * sin
        turned = np.abs(along) < np.abs(across)
        step, other = np.where(turned, across, along), np.where(turned, along, across)
        height, width = np.where(turned, self._shape[1], self._shape[0]), np.where(turned, *self._shape)
        span = (height - 1) * other / step
        lowest = np.floor(np.minimum(0.0, span)) - 1.0
        lengths = width + np.ceil(np.abs(span)) + 3
        geometry = as_input(np.stack([t0, step, other, lowest], axis=1))
        if len(self._table) < len(rows):
            self._table = np.empty((len(rows), self._phases, sum(self._shape) + 3), np.float32)
        table = self._table[: len(rows)]
        fill_tables(as_input(rows), geometry, as_input(lengths, np.int64), table)
        side, last = as_input(turned, np.int64), filtered.shape[1] - 1
        add_tables(table, geometry, last, side, as_input(half, np.int64), self._backend.threads, *sums)


def sheared_image(sums: Sums, half: int) -> Image:
    """Sum (height, width) of one set of frames."""
    image: Image = sums[0][half] + sums[1][half].T
    return image
