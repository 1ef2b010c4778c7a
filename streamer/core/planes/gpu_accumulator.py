"""The sums of live planes on a device: raw frames cross the bus as they are, and only finished sums come back.

Frames go through a queue of two batches, so that one is copied while kernels read the other. Sums lie on the device,
one set per sector. For an image the sectors are added up there and downloaded, and the CPU takes the Hilbert transform:
images are made some ten times a second, frames arrive a thousand times a second.

The lines of all planes that are not horizontal form one list (``gpu_launches``). Horizontal planes take filtered rows
at the exact places of their pixels, by the cubic that ``shear`` uses at the nearest of its shifts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.chunks import USABLE_SHARE
from streamer.core.backend.engine import DeviceOutOfMemory, Engine
from streamer.core.backend.on_device import OnDevice
from streamer.core.backend.selection import Backend
from streamer.core.jit import as_input
from streamer.core.planes.accumulators import CpuPlaneAccumulator, CpuPlaneSums, FrameBatch, PlaneGeometry
from streamer.core.planes.gpu_launches import MAX_FRAMES, Lines, add_scaled, filter_rows, fold_level, fold_lines
from streamer.core.planes.hilbert import to_blocks
from streamer.core.planes.kernels import ray_through_plane
from streamer.core.planes.shear import CUBIC_PAD, pixel_grid, ramp_lags
from streamer.core.preprocessing.gpu_preparation import GpuPreparation
from streamer.core.preprocessing.kernels import ATTENUATION


class RecentStore(Protocol):
    """A store of attenuation on the device, into which raw frames are prepared for the tomogram to read them there."""

    @property
    def next(self) -> int:
        """Number of the next projection."""

    def slot(self, first: int, count: int, /) -> Any | None:
        """C-contiguous float32 (count, rows, columns) to fill with projections first …; None if they are not kept."""


@dataclass
class GpuPlaneSums:
    """One set of sums, arrays on the device."""

    lines: Any  # (lines of all planes, samples)
    tails: Any  # (lines of all planes, bins)
    levels: list[Any]  # (height, width) of each horizontal plane


class GpuPlaneAccumulator:
    """A PlaneAccumulator on the device of ``backend``. It allocates before it changes any sum."""

    def __init__(self, backend: Backend, geometry: PlaneGeometry, sets: int, recent: RecentStore | None = None) -> None:
        """``sets`` is how many sets of sums there will be. Raises DeviceOutOfMemory if they do not fit."""
        self._kernels, self._geometry, self._recent = backend.kernels, geometry, recent
        self._engine: Engine = backend.kernels.engine
        grids = geometry.grids.values()
        ends = np.cumsum([0, *(grid.lines for grid in grids)]).tolist()
        self._ranges = dict(zip(geometry.grids, pairwise(ends), strict=True))
        self._count = ends[-1]
        self._check_memory(sets)
        self._courses = as_input(np.array([grid.course for grid in grids], np.float64).reshape(-1, 4))
        upload = self._engine.upload
        number = np.concatenate([np.zeros(0), *(np.arange(grid.lines) for grid in grids)])
        height = np.concatenate([np.zeros(0), *(_heights(grid.height, grid.lines, geometry.rows) for grid in grids)])
        owner = np.repeat(np.arange(len(self._ranges)), [grid.lines for grid in grids])
        self._lines = Lines(
            upload(owner.astype(np.int32)), upload(number.astype(np.int32)), upload(height), upload(geometry.edges)
        )
        self._taper = upload(geometry.taper)
        self._grids = np.array([pixel_grid(plane, geometry.columns) for plane in geometry.horizontal]).reshape(-1, 6)
        self._lag = upload(ramp_lags(geometry.columns + geometry.fade))
        self._level_rows = upload(np.array([upper + share for upper, _, share in geometry.mixed], np.float64))
        self._preparation = GpuPreparation(backend.kernels, geometry.rows, geometry.columns)
        self._plain: Any = None
        self._rows: tuple[Any, Any] | None = None

    def _check_memory(self, sets: int) -> None:
        """Raises DeviceOutOfMemory without room for sums, attenuation, and queues of counts and of attenuation."""
        g = self._geometry
        levels = sum(plane.shape[0] * plane.shape[1] for plane in g.horizontal)
        each = 4 * (self._count * (g.samples + g.bins) + levels)
        need, free = sets * each + 16 * MAX_FRAMES * g.rows * g.columns, int(USABLE_SHARE * self._engine.free_bytes())
        if need > free:
            raise DeviceOutOfMemory(f"{need / 2**20:.1f} MiB are needed, {free / 2**20:.1f} MiB are free")

    def zeros(self) -> GpuPlaneSums:
        g, zeros = self._geometry, self._engine.zeros
        return GpuPlaneSums(
            zeros((self._count, g.samples), np.float32),
            zeros((self._count, g.bins), np.float32),
            [zeros(plane.shape, np.float32) for plane in g.horizontal],
        )

    def add(self, sums: GpuPlaneSums, batch: FrameBatch) -> None:
        rows, tables = self._row_room(len(batch.frames)), self._tables(batch)
        if isinstance(batch.frames, OnDevice):
            self._fold(sums, batch.frames.array, tables, rows)
        else:
            self._add_from_host(sums, batch, batch.frames, tables, rows)

    def _add_from_host(
        self, sums: GpuPlaneSums, batch: FrameBatch, frames: Array, tables: Any, rows: tuple[Any, Any] | None
    ) -> None:
        engine, preparation, count = self._engine, self._preparation, len(frames)
        source, raw = as_input(frames), batch.kind != ATTENUATION
        queue = preparation.queue(source.dtype, count)
        moments = preparation.moments_room(count) if len(batch.moments) else None
        if raw:
            preparation.use(batch.tables)
            image = self._image_room(batch.place, count)  # the last to take memory: it is filled for certain
        pinned = engine.pinned(source)
        queue.put(source, pinned)
        taken = queue.take()
        if raw:
            preparation.prepare(taken, image)
            queue.done()
        else:
            image = taken
        # What the host waits for comes first, so that it need not wait for the sums.
        if moments is not None:
            preparation.moments(image, moments, batch.moments)
        if len(batch.attenuation):
            engine.download(image, batch.attenuation)
        self._fold(sums, image, tables, rows)
        if not raw:
            queue.done()
        if pinned:
            queue.drain()  # the caller may write to its frames from now on

    def _fold(self, sums: GpuPlaneSums, image: Any, tables: Any, rows: tuple[Any, Any] | None) -> None:
        """Attenuation (frames, rows, cols) on the device into the sums."""
        engine, planes = self._engine, len(self._courses)
        if planes:
            fold_lines(engine, image, self._taper, tables[:planes], self._lines, sums.lines, sums.tails)
        if rows is not None:
            room, filtered = rows
            filter_rows(engine, image, self._level_rows, self._taper, self._lag, room, filtered)
            for k, level in enumerate(sums.levels):
                geometry = tables[planes + k : planes + k + 1]
                fold_level(engine, filtered[k : k + 1], geometry, level)

    def _tables(self, batch: FrameBatch) -> Any:
        """How frames run through the planes, on the device: first the lines' courses, then the horizontal planes."""
        planes, count = len(self._courses), len(batch.frames)
        tables = np.empty((planes + len(self._grids), count, 4))
        center = self._geometry.among_derivatives(batch.center)
        for line, rays in zip(self._courses, tables[:planes], strict=True):
            for angle, gain, ray in zip(batch.angles, batch.gains, rays, strict=True):
                ray_through_plane(line, angle, gain, center, ray)
        cos, sin = np.cos(batch.angles), np.sin(batch.angles)
        for (x, y, along_x, along_y, across_x, across_y), table in zip(self._grids, tables[planes:], strict=True):
            table[:, 0] = batch.center + x * cos + y * sin
            table[:, 1], table[:, 2] = along_x * cos + along_y * sin, across_x * cos + across_y * sin
            table[:, 3] = batch.gains
        return self._engine.upload(tables)

    def _row_room(self, count: int) -> tuple[Any, Any] | None:
        """Scratch for the rows that horizontal planes see, plain and filtered; None without such planes."""
        planes, cols = len(self._grids), self._geometry.columns
        if planes and (self._rows is None or self._rows[0].shape[1] != count):
            empty, self._rows = self._engine.empty, None
            room = empty((planes, count, cols + 4 * self._lag.size), np.float32)
            self._rows = room, empty((planes, count, cols + 2 * CUBIC_PAD), np.float32)
        return self._rows

    def _image_room(self, place: int | None, count: int) -> Any:
        """Where frames are prepared to: the recent projections if they belong there, else scratch memory."""
        if self._recent is not None and place is not None:
            slot = self._recent.slot(place, count)
            if slot is not None:
                return slot
        if self._plain is None or self._plain.shape[0] < count:
            self._plain = None
            self._plain = self._engine.empty((count, self._geometry.rows, self._geometry.columns), np.float32)
        return self._plain[:count]

    def lines(self, sets: Sequence[GpuPlaneSums], name: str, gains: Values) -> tuple[float, Image, Image]:
        first, last = self._ranges[name]
        scale, sums = self._total([s.lines[first:last] for s in sets], gains)
        _, tails = self._total([s.tails[first:last] for s in sets], gains)
        return scale, to_blocks(sums), tails

    def horizontal(self, sets: Sequence[GpuPlaneSums], k: int, gains: Values) -> Image:
        scale, image = self._total([s.levels[k] for s in sets], gains)
        image *= np.float32(scale)
        return image

    def _total(self, parts: Sequence[Any], gains: Values) -> tuple[float, Image]:
        """Σ gains[k]·parts[k] on the host, as a factor and what it multiplies: a single part is only downloaded."""
        scale, total = float(gains[0]), parts[0]
        if len(parts) > 1:
            scale, total = 1.0, self._engine.zeros(parts[0].shape, np.float32)
            for part, gain in zip(parts, gains, strict=True):
                add_scaled(self._engine, part, float(gain), total)
        return scale, self._down(total)

    def _down(self, array: Any) -> Image:
        out = np.empty(array.shape, np.float32)
        self._engine.download(array, out)
        return out

    def to_host(self, sums: GpuPlaneSums, fold: CpuPlaneAccumulator) -> CpuPlaneSums:
        """The same sums for the CPU to go on with; takes no memory of the device."""
        lines, tails = self._down(sums.lines), self._down(sums.tails)
        parts = {name: (lines[a:b].copy(), tails[a:b].copy()) for name, (a, b) in self._ranges.items()}
        return fold.filled(parts, [self._down(level) for level in sums.levels])


def _heights(height: tuple[float, float], lines: int, rows: int) -> Values:
    """Detector row of each line of a plane, -1 where it lies outside; as ``kernels.fold_tilted`` has it."""
    z = height[0] + height[1] * np.arange(lines)
    return np.where((z < -1e-3) | (z > rows - 1 + 1e-3), -1.0, np.clip(z, 0.0, rows - 1.0))
