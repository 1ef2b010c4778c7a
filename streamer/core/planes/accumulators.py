"""Accumulators of live planes: their interface, the geometry that they need, and the one of the CPU.

``LivePlanes`` decides which frames are added with what weights, and makes images of the sums. A ``PlaneAccumulator``
makes the sums: the one of the CPU is here, the one of a device in ``gpu_accumulator``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.on_device import OnDevice
from streamer.core.backend.selection import Backend
from streamer.core.fbp.kernels import EDGE_PX
from streamer.core.fbp.ramp_filter import edge_taper
from streamer.core.jit import as_input
from streamer.core.planes.hilbert import LineGrid, bin_edges, line_grid, to_blocks
from streamer.core.planes.kernels import DERIVATIVE_REACH, fold_frames, fold_tilted
from streamer.core.planes.plane import Plane
from streamer.core.planes.shear import ShearPlane, Sums
from streamer.core.preprocessing.dead_pixels import DeadPixels
from streamer.core.preprocessing.flat_field import CorrectionTables
from streamer.core.preprocessing.kernels import ATTENUATION, moment_margin
from streamer.core.simd.row_vectors import LANES

NO_ROWS = np.empty((0, 0, 0), np.float32)


@dataclass(frozen=True)
class FrameBatch:
    """Frames that are folded in together.

    ``frames`` (frames, rows, cols) are of a ``kind`` of PIXEL_KINDS and prepared by ``tables``, or are ATTENUATION,
    which may lie on the device. ``angles`` (radian) and ``gains`` (weights) are float64 (frames,), ``center`` is the
    column of the axis. ``place`` is the first frame's number in a store of attenuation on the device, None without one.
    ``attenuation`` (frames, rows, cols) float32 and ``moments`` (frames, rows, 4) float64 on the host are filled in
    unless they have no frames.
    """

    frames: Array | OnDevice
    kind: int
    tables: CorrectionTables
    angles: Values
    gains: Values
    center: float
    attenuation: Image
    moments: Values
    place: int | None = None

    def part(self, first: int, last: int) -> FrameBatch:
        """Frames first … last-1; their gains are a copy."""
        part, place = slice(first, last), None if self.place is None else self.place + first
        return FrameBatch(
            self.frames[part], self.kind, self.tables, self.angles[part], self.gains[part].copy(), self.center,
            self.attenuation[part], self.moments[part], place,
        )  # fmt: skip


def no_correction(rows: int) -> CorrectionTables:
    """Tables for frames that are attenuation already."""
    nothing, zero = as_input(np.zeros((0, 0), np.float32)), np.float32(0.0)
    return CorrectionTables(nothing, nothing, zero, zero, DeadPixels.none(rows))


class PlaneAccumulator(Protocol):
    """Makes sums of planes from frames, and from sums what an image needs. ``zeros`` makes a set of sums."""

    def zeros(self) -> Any:
        """A new, empty set of sums."""

    def add(self, sums: Any, batch: FrameBatch) -> None:
        """Add frames to a set. An error leaves the set as it was."""

    def lines(self, sets: Sequence[Any], name: str, gains: Values) -> tuple[float, Image, Image]:
        """Σ gains[k]·sets[k] of a plane that is not horizontal, on the host, as a factor and what it multiplies.

        The latter are the sums (blocks, samples, 16), see HilbertLines.apply, and the tails (lines, bins), both
        float32.
        """

    def horizontal(self, sets: Sequence[Any], k: int, gains: Values) -> Image:
        """The k-th horizontal plane (height, width), on the host: Σ gains[s]·sets[s]."""


class PlaneGeometry:
    """What an accumulator needs of the planes: their lines or detector rows, and how projections continue outside."""

    def __init__(self, planes: Sequence[Plane], rows: int, columns: int, extend: bool) -> None:
        self.rows, self.columns = rows, columns
        fade = edge_taper(columns, extend)
        self.fade = fade.size
        taper = np.zeros(self.fade + 2 * DERIVATIVE_REACH - 1, np.float32)
        taper[: self.fade] = fade
        self.taper = as_input(taper)
        self.grids: dict[str, LineGrid] = {p.name: line_grid(p, rows, columns) for p in planes if not p.horizontal}
        self.samples = next(iter(self.grids.values())).samples if self.grids else 1
        self.edges = as_input(bin_edges(self.samples))
        self.horizontal = [p for p in planes if p.horizontal and -EDGE_PX <= p.origin[2] <= rows - 1 + EDGE_PX]
        self.mixed = [_rows_of(plane, rows) for plane in self.horizontal]

    @property
    def bins(self) -> int:
        """Bins outside of a line, and the line itself."""
        return len(self.edges) - 1

    def among_derivatives(self, center: float) -> float:
        """The column ``center`` as a place in the rows of derivatives, see ``kernels.ray_through_plane``."""
        return center + len(self.taper) - (DERIVATIVE_REACH - 0.5)


def _rows_of(plane: Plane, rows: int) -> tuple[int, int, float]:
    """The detector rows above and below a horizontal plane, and the share of the lower one."""
    z = min(max(plane.origin[2], 0.0), rows - 1.0)
    upper = int(z)
    return upper, min(upper + 1, rows - 1), z - upper


@dataclass
class CpuPlaneSums:
    """One set of sums in the memory of the host; shapes as in the kernels."""

    vertical: Image  # (planes, blocks, samples, 16)
    tails: Image  # (planes, blocks, 16, bins)
    tilted: list[tuple[Image, Image]]  # (lines, samples) and (lines, bins)
    horizontal: list[Sums]


class CpuPlaneAccumulator:
    """A PlaneAccumulator by the kernels of numba."""

    def __init__(self, backend: Backend, geometry: PlaneGeometry) -> None:
        self._backend, self._geometry = backend, geometry
        grids = geometry.grids
        self._vertical = [name for name, grid in grids.items() if grid.vertical]
        self._tilted = [name for name, grid in grids.items() if not grid.vertical]
        self._courses = as_input(np.array([grids[n].course for n in self._vertical], np.float64).reshape(-1, 4))
        taper = geometry.taper[: geometry.fade]
        self._shear = [ShearPlane(backend, plane, geometry.columns, taper) for plane in geometry.horizontal]
        seen = sorted({row for upper, lower, _ in geometry.mixed for row in (upper, lower)})
        slot = np.full(geometry.rows, -1, np.int64)
        slot[seen] = np.arange(len(seen))
        self._slot = as_input(slot)
        self._mixed = [(int(slot[upper]), int(slot[lower]), mix) for upper, lower, mix in geometry.mixed]
        self._picked = np.empty((0, len(seen), geometry.columns), np.float32)

    def zeros(self) -> CpuPlaneSums:
        g, planes, blocks = self._geometry, len(self._vertical), -(-self._geometry.rows // LANES)
        heights = [g.grids[name].lines for name in self._tilted]
        return CpuPlaneSums(
            np.zeros((planes, blocks, g.samples, LANES), np.float32),
            np.zeros((planes, blocks, LANES, g.bins), np.float32),
            [(np.zeros((n, g.samples), np.float32), np.zeros((n, g.bins), np.float32)) for n in heights],
            [shear.zeros() for shear in self._shear],
        )

    def add(self, sums: CpuPlaneSums, batch: FrameBatch) -> None:
        g, p, parts, count = self._geometry, batch.tables, self._backend.threads, len(batch.frames)
        whole = batch.attenuation
        if self._tilted and batch.kind != ATTENUATION and not len(whole):
            whole = np.empty(batch.frames.shape, np.float32)
        source, angles, gains = as_input(batch.frames), as_input(batch.angles), as_input(batch.gains)
        if self._shear and len(self._picked) < count:
            self._picked = np.empty((count, *self._picked.shape[1:]), np.float32)
        picked, center = self._picked[:count], g.among_derivatives(batch.center)
        fold_frames(
            source.view(np.uint8), batch.kind, p.dark, p.log_flat, p.low, p.high,
            p.dead.first, p.dead.places, p.dead.share, g.taper, self._courses, angles, gains, center, g.edges,
            self._slot, moment_margin(g.columns), parts, sums.vertical, sums.tails, picked, whole, batch.moments,
        )  # fmt: skip
        ready = source if batch.kind == ATTENUATION else as_input(whole)
        for name, (lines, tails) in zip(self._tilted, sums.tilted, strict=True):
            grid = g.grids[name]
            line, height = as_input(np.array(grid.course)), as_input(np.array(grid.height))
            fold_tilted(ready, g.taper, line, angles, gains, center, height, g.edges, parts, lines, tails)
        for shear, mixed, level in zip(self._shear, self._mixed, sums.horizontal, strict=True):
            shear.add(picked, mixed, angles, gains, batch.center, level)

    def lines(self, sets: Sequence[CpuPlaneSums], name: str, gains: Values) -> tuple[float, Image, Image]:
        if self._geometry.grids[name].vertical:
            k = self._vertical.index(name)
            scale, (sums, tails) = _total([(s.vertical[k], s.tails[k]) for s in sets], gains)
            return scale, sums, tails.reshape(-1, tails.shape[-1])[: self._geometry.rows]
        k = self._tilted.index(name)
        scale, (sums, tails) = _total([s.tilted[k] for s in sets], gains)
        return scale, to_blocks(sums), tails

    def horizontal(self, sets: Sequence[CpuPlaneSums], k: int, gains: Values) -> Image:
        return self._shear[k].image([s.horizontal[k] for s in sets], gains)

    def filled(self, lines: dict[str, tuple[Image, Image]], levels: Sequence[Image]) -> CpuPlaneSums:
        """A set from sums that were made elsewhere.

        ``lines`` holds sums (lines, samples) and tails (lines, bins) of each plane that is not horizontal; ``levels``
        an image (height, width) of each horizontal plane.
        """
        sums = self.zeros()
        for k, name in enumerate(self._vertical):
            samples, tails = lines[name]
            sums.vertical[k] = to_blocks(samples)
            sums.tails[k].reshape(-1, self._geometry.bins)[: len(tails)] = tails
        sums.tilted = [lines[name] for name in self._tilted]
        for (straight, _), image in zip(sums.horizontal, levels, strict=True):
            straight[...] = image
        return sums


def _total(parts: Sequence[tuple[Image, ...]], gains: Values) -> tuple[float, tuple[Image, ...]]:
    """Σ gains[k]·parts[k], member by member, as a factor and what it multiplies: a single part is not copied."""
    if len(parts) == 1:
        return float(gains[0]), parts[0]
    totals = tuple(member * np.float32(gains[0]) for member in parts[0])
    for part, gain in zip(parts[1:], gains[1:], strict=True):
        for total, member in zip(totals, part, strict=True):
            total += member * np.float32(gain)
    return 1.0, totals
