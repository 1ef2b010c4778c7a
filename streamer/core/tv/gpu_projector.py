"""Launches of ``iterative.cu``: the matched pair of projectors and the steps of the prior, on a device.

Volumes are (ny, nx, rows) and projections (angles, columns + 2·PAD, rows), float32, as in ``tv.kernels``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Values
from streamer.core.backend.gpu_kernels import Kernels

PLACES_PER_COLUMN = 2.0**32
"""Places are integers in units of 1/PLACES_PER_COLUMN columns."""

FARTHEST_COLUMNS = 2.0**24
"""Columns from the detector beyond which it makes no difference how far the axis is."""

ROWS_PER_THREAD = 4
"""Detector rows per thread of the kernels for many."""

BLOCK_THREADS = 256

SUMMING_BLOCKS = 2048
"""Blocks that add up, at least: enough to keep a device busy, few enough for one block to add up their sums."""


class IterativeKernels(Kernels):
    """The kernels of one engine with those of the iterative reconstruction. Arrays are on the device if not said so."""

    def project(self, volume: Any, angles: Any, table: Any, columns: int, measured: Any | None, out: Any) -> None:
        """out = projections of volume, less ``measured`` unless None. Any of these may lie on the host.

        ``angles`` (angles, PER_ANGLE) int64 of ``places``, ``table`` (angles, PHASES + 1, 3) of footprints.
        """
        ny, nx, rows = volume.shape
        wide, high, many = _block(rows)
        grid = (-(-out.shape[1] // high), -(-rows // (wide * many)), out.shape[0])
        name = "project_strips" if many == 1 else "project_strips_many"
        known = None if measured is None else self._in(measured)
        with self._out(out) as target:
            ends = angles, table, np.int32(columns), known, target
            self._launch(name, grid, (wide, high, 1), self._in(volume), *map(np.int32, (ny, nx, rows)), *ends)

    def backproject(
        self, projections: Any, angles: Any, table: Any, columns: int, scale: float, base: Any, out: Any
    ) -> None:
        """out = base + scale · transpose of ``project``. Projections, base and out may lie on the host."""
        ny, nx, rows = out.shape
        wide, pixels, many = _block(rows)
        tile = 1 << (pixels.bit_length() // 2)
        grid = (-(-nx // tile), -(-ny // (pixels // tile)), -(-rows // (wide * many)))
        name = "backproject_strips" if many == 1 else "backproject_strips_many"
        sizes = map(np.int32, (ny, nx, tile))
        starts = self._in(projections), np.int32(projections.shape[0]), np.int32(columns), np.int32(rows)
        with self._out(out) as target:
            ends = np.float32(scale), *sizes, self._in(base), target
            self._launch(name, grid, (wide, pixels, 1), *starts, angles, table, *ends)

    def tv_step(
        self,
        noisy: Any,
        weight: float,
        low: float,
        step: float,
        momentum: float,
        fields: tuple[Any, Any, Any],
    ) -> None:
        """``fields`` are (before, now, next): next = what ``tv_primal`` and ``tv_dual`` make of the two, with the
        momentum after the step before.
        """
        ny, nx, rows = noisy.shape
        numbers = map(np.float32, (weight, low, step, momentum))
        grid = (-(-nx * rows // BLOCK_THREADS), ny, 1)
        self._launch("tv_step", grid, (BLOCK_THREADS, 1, 1), noisy, *map(np.int32, noisy.shape), *numbers, *fields)

    def tv_image(
        self, noisy: Any, weight: float, low: float, field: Any | None, ahead: Any, before: Any, now: Any
    ) -> Values:
        """now = ``tv_primal`` of noisy and the field; None for max(low, noisy). Returns the sums of ``StepNorms``."""
        ny, nx, rows = noisy.shape
        along = -(-nx * rows // BLOCK_THREADS)
        grid = (along, min(ny, -(-SUMMING_BLOCKS // along)), 1)
        partial, total = self.engine.empty((grid[0] * grid[1], 3), np.float64), self.engine.empty((3,), np.float64)
        arrays = field, ahead, before, now, partial
        numbers = *map(np.int32, noisy.shape), np.float32(weight), np.float32(low)
        self._launch("tv_image", grid, (BLOCK_THREADS, 1, 1), noisy, *numbers, *arrays)
        self._launch("total_sums", (1, 1, 1), (BLOCK_THREADS, 1, 1), partial, np.int32(partial.shape[0]), total)
        sums = np.empty(3)
        self.engine.download(total, sums)
        return sums

    def look_ahead(self, now: Any, before: Any, factor: float, ahead: Any) -> None:
        """ahead = now + factor · (now - before)."""
        count = int(np.prod(now.shape))
        ends = np.float32(factor), np.int64(count), ahead
        self._launch("look_ahead", (-(-count // BLOCK_THREADS), 1, 1), (BLOCK_THREADS, 1, 1), now, before, *ends)


@dataclass(frozen=True)
class DeviceStripProjector:
    """``projector.StripProjector`` on a device, where the tables lie."""

    kernels: IterativeKernels
    angles: Any
    table: Any
    columns: int

    @classmethod
    def of(
        cls,
        kernels: IterativeKernels,
        cos: Values,
        sin: Values,
        table: NDArray[np.float32],
        center: float,
        columns: int,
        shape: tuple[int, int],
    ) -> DeviceStripProjector:
        """From what ``projector.HostStripProjector`` has, for slices of ``shape``. Raises DeviceOutOfMemory."""
        upload = kernels.engine.upload
        return cls(kernels, upload(places(cos, sin, center, shape)), upload(table), columns)

    def project(self, volume: Any, measured: Any | None, out: Any) -> None:
        self.kernels.project(volume, self.angles, self.table, self.columns, measured, out)

    def backproject(self, projections: Any, scale: float, base: Any, out: Any) -> None:
        self.kernels.backproject(projections, self.angles, self.table, self.columns, scale, base, out)

    def subset(self, angles: slice) -> DeviceStripProjector:
        return DeviceStripProjector(self.kernels, self.angles[angles], self.table[angles], self.columns)


def places(cos: Values, sin: Values, center: float, shape: tuple[int, int]) -> NDArray[np.int64]:
    """(angles, PER_ANGLE) what ``iterative.cu`` says is known of an angle, for slices of ``shape`` (ny, nx).

    A pixel's share ends where the detector column, half a column wide, and its shadow of |cos| + |sin| columns part;
    1/256 more, because the table knows places no better than to half of that.
    """
    upright = np.abs(cos) >= np.abs(sin)
    by_pixel, by_line = np.where(upright, cos, sin), np.where(upright, sin, cos)
    origin = np.clip(center - (shape[0] - 1) / 2 * sin - (shape[1] - 1) / 2 * cos, -FARTHEST_COLUMNS, FARTHEST_COLUMNS)
    reach = (0.5 + (np.abs(cos) + np.abs(sin)) / 2 + 1 / 256) / np.abs(by_pixel)
    lengths = np.stack([origin, sin, cos, -origin / by_pixel, 1 / by_pixel, -by_line / by_pixel, reach], axis=1)
    return np.hstack([np.rint(lengths * PLACES_PER_COLUMN), upright[:, None]]).astype(np.int64)


def _block(rows: int) -> tuple[int, int, int]:
    """Threads of a block along the rows and along columns or pixels, and rows per thread."""
    wide = min(32, 1 << (rows - 1).bit_length())
    return wide, BLOCK_THREADS // wide, ROWS_PER_THREAD if rows > wide else 1
