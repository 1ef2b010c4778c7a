"""Launches of the CUDA kernels for preparation, backprojection and gridding.

``Kernels`` holds what Python has to do for a launch: shapes, strides, grids and argument types. It works on any
``Engine``; ``cupy_engine`` has the real one, and the tests have one that runs the same sources on the CPU.

Arrays are on the device, but those of the backprojection, which takes long enough, may be on the host as well: they are
copied over and results back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from streamer.core.backend.engine import Engine, Shape, contiguous

Array = Any  # NumPy's or the engine's

ROWS_PER_PACK = 8  # detector rows that a thread of the gridding and backprojection kernels carries
GROUPS_PER_BLOCK = 8  # groups of packs for which a tile's list of angles is made once
_SUFFIX = {"|u1": "u8", "<u2": "u16", "<u4": "u32", "<f4": "f32"}
_MOST_BLOCKS = 65_535  # blocks along y or z of a grid


class Kernels:
    """The kernels of one engine; where a CPU kernel has the same name, shapes and meanings are the same."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def to_z_contiguous(self, filtered: Array, out: Array) -> None:
        """out[col, row] = filtered[row, col]; also (frames, rows, cols) → (frames, cols, rows)."""
        rows, cols = filtered.shape[-2:]
        frames = filtered.shape[0] if filtered.ndim == 3 else 1
        if not out.size:
            return
        with self._out(out) as target:
            grid = (_blocks(cols, 32), _within(_blocks(rows, 32), "rows"), _within(frames, "frames"))
            self._launch("turn", grid, (32, 8, 1), self._in(filtered), np.int32(rows), np.int32(cols), target)

    def backproject_rows(
        self, p: Array, cos: Array, sin: Array, weight: Array, center: float, threads: int, out: Array
    ) -> None:
        """out[z, y, x] = Σ_a weight[a] · p[a, column(a, x, y), z]; p (angles, cols, nz), out (nz, ny, nx)."""
        angles, cols, depth = p.shape
        _, ny, nx = out.shape
        if not out.size:
            return
        with self._out(out) as target:
            name = "backproject_rows_any" if depth % 4 else "backproject_rows_packed"
            strides = np.int64(cols * depth), np.int64(depth), np.int64(ROWS_PER_PACK)
            tables = (self._in(table) for table in (cos, sin, weight))
            sizes = np.int32(angles), np.int32(cols), np.int32(depth)
            grid = (_blocks(nx, 16), _blocks(ny, 16), _within(_blocks(depth, ROWS_PER_PACK), "packs"))
            ends = np.float32(center), np.int32(ny), np.int32(nx), target
            self._launch(name, grid, (16, 16, 1), self._in(p), *strides, *tables, *sizes, *ends)

    def prepare(
        self,
        raw: Array,
        dark: Array,
        log_flat: Array,
        low: np.float32,
        high: np.float32,
        dead: tuple[Array, Array, Array] | None,
        out: Array,
    ) -> None:
        """Raw frames (frames, rows, cols) → their attenuation, float32; as ``preprocessing.kernels.prepare_frames``.

        ``dead`` are the arrays of ``DeadPixels``, None without any. All arrays are on the device.
        """
        frames, rows, cols = raw.shape
        lists, count = (None, None, None) if dead is None else dead, 0 if dead is None else dead[2].size
        grid = (_blocks(cols, 4 * 256), _within(rows, "rows"), _within(frames, "frames"))
        tables = dark, log_flat, low, high, np.int32(cols), *lists, np.int64(count)
        self._launch(f"prepare_{_SUFFIX[np.dtype(raw.dtype).str]}", grid, (256, 1, 1), raw, *tables, out)

    def row_moments(self, image: Array, margin: int, out: Array) -> None:
        """Moments (frames, rows, 4) float64 of the rows of attenuation (frames, rows, cols), both on the device.

        As ``preprocessing.kernels.row_moments``.
        """
        frames, rows, cols = image.shape
        self._launch("row_moments", (frames * rows, 1, 1), (128, 1, 1), image, np.int32(cols), np.int32(margin), out)

    def pack_lines(
        self, attenuation: Array, taper: Array | None, out: Array, first: int = 0, last: int | None = None
    ) -> None:
        """Attenuation (angles, rows, cols) → complex64 (angles, packs, length), two rows in one. On the device.

        Of rows ``first`` … ``last`` - 1, by default all. Zero-padded; with ``taper`` (side,) the outermost values fade
        beyond both edges, as in ``RampFilter``.
        """
        angles, pitch, cols = attenuation.shape
        _, packs, length = out.shape
        side = 0 if taper is None else taper.size
        grid = (_blocks(length, 256), _within(packs, "packs"), _within(angles, "angles"))
        rows = (pitch if last is None else last) - first
        sizes = map(np.int32, (pitch, first, rows, cols))
        ends = taper, np.int32(side), np.int32(length), out
        self._launch("pack_lines", grid, (256, 1, 1), attenuation, *sizes, *ends)

    def weigh_samples(self, spectrum: Array, ramp: Array, shift: Array, weight: Array, out: Array) -> None:
        """Spectrum (angles, packs, length) → out (angles, length, packs) times ramp · weight · phase. On the device."""
        angles, packs, length = spectrum.shape
        grid = (_blocks(length, 32), _within(_blocks(packs, 32), "packs"), _within(angles, "angles"))
        sizes = np.int32(packs), np.int32(length)
        self._launch("weigh_samples", grid, (32, 8, 1), spectrum, *sizes, ramp, shift, weight, out)

    def grid_samples(self, samples: Array, direction: Array, coefficient: Array, radii: int, grid: Array) -> None:
        """Spread samples (angles, length, packs) over grid (packs, size, size), complex64. On the device.

        direction (2, angles) float32, cosine and sine times the radial step in grid points; ``coefficient`` of the
        interpolation kernel as a polynomial in the squared distance; samples less than ``radii`` from the middle count.
        """
        angles, length, packs = samples.shape
        size = grid.shape[1]
        groups = packs // (ROWS_PER_PACK // 2)
        blocks = (_blocks(size, 8) ** 2, _blocks(groups, GROUPS_PER_BLOCK), 1)
        sizes = map(np.int32, (angles, length, radii, packs, min(groups, GROUPS_PER_BLOCK)))
        ends = coefficient, np.int32(size), grid
        self._launch("grid_samples", blocks, (64, 1, 1), samples, direction, *sizes, *ends)

    def shift_planes(self, planes: Array, distance: float, seam_rad: float, out: Array) -> None:
        """Grid planes (packs, size, size) complex64 → out, the axis moved by ``distance`` columns. On the device.

        ``seam_rad`` is the direction in which the last angles meet the first ones; see "Late centre" in
        ``fourier.volume``.
        """
        packs, size, _ = planes.shape
        grid = (_blocks(size, 32), _blocks(size, 8), _within(packs, "packs"))
        turn = np.float32(2 * distance / size), np.float32(np.cos(seam_rad)), np.float32(np.sin(seam_rad))
        self._launch("shift_planes", grid, (32, 8, 1), planes, np.int32(size), *turn, out)

    def unpack_slices(self, planes: Array, correction: Array, out: Array) -> None:
        """The middle of planes (packs, size, size) complex64 → out (rows, side, side) float32. On the device."""
        rows, side, _ = out.shape
        grid = (_blocks(side, 32), _blocks(side, 8), _within(_blocks(rows, 2), "rows"))
        sizes = correction, np.int32(rows), np.int32(side)
        self._launch("unpack_slices", grid, (32, 8, 1), planes, np.int32(planes.shape[1]), *sizes, out)

    def _launch(self, kernel: str, grid: Shape, block: Shape, *arguments: Any) -> None:
        self.engine.launch(kernel, grid, block, arguments)

    def _in(self, array: Array) -> Array:
        return array if self.engine.resident(array) else self.engine.upload(contiguous(array))

    @contextmanager
    def _out(self, array: Array) -> Iterator[Array]:
        """Where a kernel writes: the array itself, or one on the device that is copied back."""
        if self.engine.resident(array):
            yield array
            return
        target = self.engine.empty(array.shape, array.dtype)
        yield target
        self.engine.download(target, array)


def _blocks(items: int, size: int) -> int:
    return -(-items // size)


def _within(count: int, what: str) -> int:
    """A grid's second and third extent are limited; raises ValueError beyond, where the caller has to cut."""
    if count > _MOST_BLOCKS:
        raise ValueError(f"{count} {what} in one launch; at most {_MOST_BLOCKS} are possible")
    return count
