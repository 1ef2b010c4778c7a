"""Horizontal planes from single filtered rows, by shear tables: every line of the image is a sum of contiguous rows.

Pixel (i, j) of a horizontal plane lies at column t = t0 + j·tj + i·ti. Where |tj| ≥ |ti| that is tj·(j + b(i)), with
b(i) = (t0 + i·ti)/tj: line i sees the row resampled at steps of tj, shifted by b(i). So the row is resampled once per
frame at ``SHIFT_PHASES`` shifts within a step (cubic), and each line adds the table of the nearest shift, without any
gather. Frames that run along the other axis are added to a transposed sum.

A single row is filtered as the ramp is defined, as a sum over its odd lags: up to 2048 columns that is faster than
Fourier transforms, and the threads can share a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import prange

from streamer.core.arrays import Array, Image
from streamer.core.backend.selection import Backend
from streamer.core.fbp.kernels import EDGE_PX
from streamer.core.fbp.ramp_filter import ramp_kernel
from streamer.core.jit import as_input, kernel
from streamer.core.planes.plane import Plane
from streamer.core.simd.row_vectors import LANES, rows_to_points

Sums = tuple[Image, Image]

SHIFT_PHASES = 8
"""Shifts within one voxel; the nearest one is at most 1/16 voxel off."""

CUBIC_PAD = 2  # values before and behind a row that repeat its ends, for the cubic

ROWS_PER_FOLD = 8
"""Frames that share one read and write of the sums."""

TRANSPOSE_TILE = 64  # pixels; a multiple of LANES

_ZERO, _HALF, _QUARTER = np.float32(0.0), np.float32(0.5), np.float32(0.25)
_TWO, _THREE, _FOUR, _FIVE = np.float32(2.0), np.float32(3.0), np.float32(4.0), np.float32(5.0)


@kernel(inline=True)
def _cubic(row: Array, t: Any, top: Any) -> Any:
    """Row at t, float32, by Catmull-Rom (Keys 1981, a = -1/2); the row's value at t is row[t + CUBIC_PAD]."""
    i = np.uint32(min(max(t, _ZERO), top))
    f = t - np.float32(i)
    a, b, c, d = row[i + np.uint32(1)], row[i + np.uint32(2)], row[i + np.uint32(3)], row[i + np.uint32(4)]
    return b + _HALF * f * (c - a + f * (_TWO * a - _FIVE * b + _FOUR * c - d + f * (_THREE * (b - c) + d - a)))


@kernel()
def _ramp(line: Array, at: int, lags: Array, begin: int, end: int, out: Array) -> None:
    """Rows begin … end of a row filtered with the ramp; out[c] belongs to line[at + c].

    lags (4·n,) float32: factors of the odd lags 1, 3, 5, …, zeros behind the last; ``line`` is long enough for all.
    """
    for c in range(begin, end):
        out[c] = _QUARTER * line[at + c]
    for k in range(0, lags.size, 4):
        # Four lags share one read and write of the sums.
        h0, h1, h2, h3 = lags[k], lags[k + 1], lags[k + 2], lags[k + 3]
        j = 2 * k + 1
        below, above = line[at + begin - j - 6 : at + end - j], line[at + begin + j : at + end + j + 6]
        target = out[begin:end]
        for c in range(end - begin):
            target[c] += (
                h0 * (below[c + 6] + above[c]) + h1 * (below[c + 4] + above[c + 2])
                + h2 * (below[c + 2] + above[c + 4]) + h3 * (below[c] + above[c + 6])
            )  # fmt: skip


@kernel()
def _fill_table(row: Array, geometry: Array, first: int, every: int, table: Array) -> None:
    """table[k, j] = row at column t0 + step·(lowest + j + k/phases), cubic, 0 outside of it, for k = first, + every, …

    row (cols + 2·CUBIC_PAD,) float32; geometry (5,) float64 as ``_place`` makes it; table (phases, …) float32.
    """
    phases = table.shape[0]
    last = row.size - 2 * CUBIC_PAD - 1
    step, length = geometry[1], int(geometry[4])
    for k in range(first, phases, every):
        line = table[k]
        start = geometry[0] + step * (geometry[3] + k / phases)
        a, b = (-EDGE_PX - start) / step, (last + EDGE_PX - start) / step
        if a > b:
            a, b = b, a
        begin = int(min(float(length), max(0.0, np.ceil(a))))
        end = int(max(float(begin), min(float(length), np.floor(b) + 1.0)))
        line[:begin] = _ZERO
        line[end:length] = _ZERO
        s0, ds, top = np.float32(start), np.float32(step), np.float32(max(last - 1, 0))
        for x in range(begin, end):
            line[x] = _cubic(row, s0 + np.float32(x) * ds, top)


@kernel()
def _place(grid: Array, angle: float, center: float, height: int, width: int, geometry: Array) -> bool:
    """How a frame runs through an image (height, width); True when its lines are the image's columns.

    grid (6,) float64: x, y of pixel (0, 0) from the axis, steps of x, y from column to column and from row to row.
    geometry (5,): column of pixel (0, 0), step from sample to sample of a line, step from line to line, lowest shift of
    a line in samples, a whole number, and the number of samples that all shifts together take.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    along, across = grid[2] * cos + grid[3] * sin, grid[4] * cos + grid[5] * sin
    turned: bool = abs(along) < abs(across)
    samples, lines = width, height
    if turned:
        along, across = across, along
        samples, lines = height, width
    span = (lines - 1) * across / along
    geometry[0], geometry[1], geometry[2] = center + grid[0] * cos + grid[1] * sin, along, across
    geometry[3], geometry[4] = np.floor(min(0.0, span)) - 1.0, samples + np.ceil(abs(span)) + 3.0
    return turned


@kernel(parallel=True)
def fold_rows(
    rows: Array, upper: int, lower: int, mix: Any, taper: Array, lags: Array, grid: Array, angles: Array, gains: Array,
    center: float, threads: int, table: Array, straight: Array, across: Array,
) -> None:  # fmt: skip
    """Add the rows that a horizontal plane sees, of attenuation, to its sums.

    rows (frames, slots, cols) float32; the plane takes (1 - mix)·rows[:, upper] + mix·rows[:, lower], continued beyond
    both ends by ``taper``. lags: see ``_ramp``; grid, center: see ``_place``; angles and gains (weights) float64
    (frames,). table (frames, phases, …) is scratch. A frame's lines are the image's rows, ``straight`` (height, width),
    or its columns, ``across`` (width, height).
    """
    frames, cols = rows.shape[0], rows.shape[2]
    phases, side, reach = table.shape[1], taper.size, 2 * lags.size
    height, width = straight.shape
    at = reach
    filtered = np.empty((frames, cols + 2 * CUBIC_PAD), np.float32)
    geometry, turned = np.empty((frames, 5), np.float64), np.empty(frames, np.int64)
    for f in range(frames):
        turned[f] = 1 if _place(grid, angles[f], center, height, width, geometry[f]) else 0
    for thread in prange(threads):
        line = np.zeros(cols + 2 * reach, np.float32)
        # Shares of whole vectors, so that a value does not depend on the number of threads.
        begin = cols * thread // threads // 64 * 64
        end = cols if thread == threads - 1 else cols * (thread + 1) // threads // 64 * 64
        for f in range(frames):
            gain = np.float32(gains[f])
            for c in range(cols):
                a = rows[f, upper, c]
                line[at + c] = gain * (a + mix * (rows[f, lower, c] - a))
            for c in range(side):
                line[at - 1 - c] = line[at] * taper[c]
                line[at + cols + c] = line[at + cols - 1] * taper[c]
            _ramp(line, at, lags, begin, end, filtered[f, CUBIC_PAD:])
    for f in range(frames):
        filtered[f, :CUBIC_PAD] = filtered[f, CUBIC_PAD]
        filtered[f, CUBIC_PAD + cols :] = filtered[f, CUBIC_PAD + cols - 1]
    for thread in prange(threads):
        for f in range(frames):
            _fill_table(filtered[f], geometry[f], thread, threads, table[f])
    last = cols - 1
    for thread in prange(threads):
        for side_on in range(2):
            sums = across if side_on else straight
            # Lines are dealt out in turn: those in the corners see fewer rays.
            for y in range(thread, sums.shape[0], threads):
                for f in range(frames):
                    if turned[f] != side_on:
                        continue
                    step = geometry[f, 1]
                    shift = int(np.floor((y * geometry[f, 2] / step - geometry[f, 3]) * phases + 0.5))
                    start = geometry[f, 0] + y * geometry[f, 2]
                    a, b = -start / step, (last - start) / step
                    if a > b:
                        a, b = b, a
                    begin = int(min(float(sums.shape[1]), max(0.0, np.floor(a))))
                    end = int(max(float(begin), min(float(sums.shape[1]), np.floor(b) + 2.0)))
                    source = table[f, shift % phases, begin + shift // phases : end + shift // phases]
                    target = sums[y, begin:end]
                    for x in range(end - begin):
                        target[x] += source[x]


@kernel(parallel=True)
def add_up(straight: Array, across: Array, gain: Any, threads: int, image: Array) -> None:
    """Add gain·(straight + the transpose of ``across``) to the image (height, width); gain float32."""
    height, width = image.shape
    flat = across.reshape(-1)
    for thread in prange(threads):
        turned = np.empty(LANES * LANES, np.float32)
        for strip in range(thread, (height + TRANSPOSE_TILE - 1) // TRANSPOSE_TILE, threads):
            # Whole tiles, so that both ways through memory run over few pages at a time.
            for tile in range(0, width, TRANSPOSE_TILE):
                for y0 in range(strip * TRANSPOSE_TILE, min((strip + 1) * TRANSPOSE_TILE, height), LANES):
                    rows = min(LANES, height - y0)
                    for x0 in range(tile, min(tile + TRANSPOSE_TILE, width), LANES):
                        cols = min(LANES, width - x0)
                        if rows == LANES and cols == LANES:
                            rows_to_points(flat, x0 * height + y0, height, LANES - 1, turned, 0)
                        else:
                            for y in range(rows):
                                for x in range(cols):
                                    turned[y * LANES + x] = across[x0 + x, y0 + y]
                        for y in range(rows):
                            target, source = image[y0 + y, x0 : x0 + cols], straight[y0 + y, x0 : x0 + cols]
                            other = turned[y * LANES : y * LANES + cols]
                            for x in range(cols):
                                target[x] += gain * (source[x] + other[x])


def pixel_grid(plane: Plane, columns: int) -> Array:
    """Where the pixels of a horizontal plane lie: float64 (6,), see ``_place``."""
    middle = (columns - 1) / 2
    return np.array((plane.origin[0] - middle, plane.origin[1] - middle, *plane.u[:2], *plane.v[:2]), np.float64)


def ramp_lags(farthest: int) -> Image:
    """The ramp filter's factors of the odd lags up to ``farthest`` columns, and zeros to a multiple of four of them."""
    odd = np.arange(1, farthest + 1, 2)
    lags = np.zeros(-(-len(odd) // 4) * 4, np.float32)
    lags[: len(odd)] = ramp_kernel(odd)
    return lags


class ShearPlane:
    """Geometry and scratch memory of one horizontal plane; the sums belong to the caller.

    Rows wait until there are ROWS_PER_FOLD of them, or until the sums are read: so the sums are read and written once
    for several frames, whatever the number in a call. Waiting changes no bit, see ``fold_rows``.
    """

    def __init__(self, backend: Backend, plane: Plane, columns: int, taper: Image) -> None:
        """``taper`` continues rows beyond the detector: the factors of the outermost values there."""
        self._backend = backend
        self._shape = plane.shape
        self._grid = as_input(pixel_grid(plane, columns))
        largest = max(float(np.hypot(*plane.u[:2])), float(np.hypot(*plane.v[:2])))
        phases = SHIFT_PHASES * max(1, int(np.ceil(largest - 1e-9)))
        self._table = np.empty((ROWS_PER_FOLD, phases, sum(self._shape) + 5), np.float32)
        self._taper = as_input(taper, np.float32)
        self._lags = as_input(ramp_lags(columns + len(taper)))
        self._rows = np.empty((ROWS_PER_FOLD, 2, columns), np.float32)
        self._angles, self._gains = np.empty((2, ROWS_PER_FOLD))
        self._waiting = 0
        self._target: tuple[Sums, float, float] | None = None  # of waiting rows: sums, centre, share of the lower slot

    def zeros(self) -> Sums:
        """Empty sums: along the image's rows and, transposed, along its columns."""
        return np.zeros(self._shape, np.float32), np.zeros(self._shape[::-1], np.float32)

    def add(
        self, rows: Image, mixed: tuple[int, int, float], angles: Array, gains: Array, center: float, sums: Sums
    ) -> None:
        """Add rows (frames, slots, columns) of attenuation, seen at ``angles`` with the weights ``gains``.

        ``mixed`` says what the plane sees of the slots: the upper one, the lower one, and the share of the latter.
        """
        upper, lower, mix = mixed
        for k in range(len(rows)):
            target = self._target
            if target is not None and (target[0] is not sums or target[1:] != (center, mix)):
                self._fold()
            n, self._target = self._waiting, (sums, center, mix)
            self._rows[n, 0], self._rows[n, 1] = rows[k, upper], rows[k, lower]
            self._angles[n], self._gains[n] = angles[k], gains[k]
            self._waiting += 1
            if self._waiting == ROWS_PER_FOLD:
                self._fold()

    def _fold(self) -> None:
        """Add the waiting rows to their sums."""
        if self._target is None:
            return
        (sums, center, mix), n = self._target, self._waiting
        angles, gains = as_input(self._angles[:n]), as_input(self._gains[:n])
        fold_rows(
            self._rows[:n], 0, 1, np.float32(mix), self._taper, self._lags, self._grid, angles, gains, center,
            self._backend.threads, self._table[:n], *sums,
        )  # fmt: skip
        self._waiting, self._target = 0, None

    def image(self, sums: Sequence[Sums], gains: Array) -> Image:
        """Total (height, width) of several sums, each with its weight: gains (sums,)."""
        self._fold()
        image = np.zeros(self._shape, np.float32)
        for (straight, across), gain in zip(sums, gains, strict=True):
            add_up(straight, across, np.float32(gain), self._backend.threads, image)
        return image
