"""Live planes from raw frames without filtering the detector: what LivePlanes shows, many times faster.

Vertical and tilted planes are made by differentiated backprojection (``hilbert``), horizontal ones from the single row
that they see (``shear``); one kernel (``kernels_live``) takes each frame from counts to sums. Per angle the mathematics
is that of filtered backprojection, so any prefix and any order of the angles give what LivePlanes gives from the same
frames; the two differ by the sharpness of their interpolation.

A sliding window keeps one set of sums per sector of angles and drops the oldest, so that nothing is ever subtracted and
no rounding error can grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend import Backend
from streamer.core.filters import RampFilter, angular_weights
from streamer.core.hilbert import HilbertLines, LineGrid, bin_edges, from_blocks, line_grid, rays, to_pixels
from streamer.core.jit import as_input
from streamer.core.kernels_cpu import EDGE
from streamer.core.kernels_live import REACH, fold_frames, fold_tilted, ray_table
from streamer.core.live_lanes import LANES
from streamer.core.live_window import SECTORS, Sector, Window
from streamer.core.planes import Plane, check_planes
from streamer.core.prep import BRIGHTEST, DEEPEST, HALF_COUNT, Correction
from streamer.core.shear import ShearPlane, sheared_image
from streamer.frames import DTYPES, BadInput

Image = NDArray[np.float32]
Angles = Sequence[float] | NDArray[Any]

BATCH = 8
"""Frames folded in by one call of the kernel; a longer queue is cut into such pieces."""

NO_ROWS = np.empty((0, 0, 0), np.float32)
NO_SUMS = np.empty((0, 0, 0), np.float64)


def moment_margin(columns: int) -> int:
    """Columns at either edge whose sums ``add_raw`` gives as moments; the rule of MomentTrack."""
    return max(1, columns // 50)


@dataclass(frozen=True)
class _Preparation:
    """The constants of a Correction as the kernel takes them."""

    dark: NDArray[Any]
    log_flat: NDArray[Any]
    low: np.float32
    high: np.float32
    dead_from: NDArray[Any]
    dead: NDArray[Any]
    share: NDArray[Any]
    is_attenuation: bool = False

    @classmethod
    def of(cls, correction: Correction, raw: NDArray[Any]) -> _Preparation:
        """For raw frames like this one (rows, cols). Raises BadInput when the correction does not fit them."""
        correction.attenuation(raw)  # checks the frame, and without flats takes their place from it
        dark, log_flat = correction._dark, correction._log_flat
        assert dark is not None
        assert log_flat is not None
        bright = correction._bright
        low = HALF_COUNT if raw.dtype.kind == "u" else bright * float(np.exp(-DEEPEST))
        row = np.zeros(0, np.int64)
        dead, share = np.zeros((3, 0), np.int64), np.zeros(0, np.float32)
        if correction._mend:
            row, *columns, share = correction._mend
            dead = np.stack(columns)
        dead_from = np.searchsorted(row, np.arange(len(raw) + 1))
        lists = (as_input(dead_from, np.int64), as_input(dead, np.int64), as_input(share, np.float32))
        return cls(dark, log_flat, np.float32(low), np.float32(bright * BRIGHTEST), *lists)

    @classmethod
    def none(cls, rows: int) -> _Preparation:
        """For frames that are attenuation already."""
        nothing = as_input(np.zeros((0, 0), np.float32))
        lists = (as_input(np.zeros(rows + 1, np.int64)), as_input(np.zeros((3, 0), np.int64)))
        share = as_input(np.zeros(0, np.float32))
        return cls(nothing, nothing, np.float32(0), np.float32(0), *lists, share, True)


class FastPlanes:
    """Reconstructions of a few planes from the frames so far, at the rate of a fast camera.

    The interface is that of LivePlanes, except that frames come in raw (``add_raw``) or as attenuation
    (``add_batch``), not filtered. Attenuation per pixel. All frames weigh the same: sum · covered angle / number.
    """

    def __init__(
        self,
        backend: Backend,
        planes: Sequence[Plane],
        rows: int,
        columns: int,
        center: float,
        window_rad: float | None = None,
        *,
        sectors: int = SECTORS,
        extend: bool = False,
    ) -> None:
        """``window_rad`` is the sliding window in angle travelled (None: all frames for ever), cut into ``sectors``.

        ``extend`` is for samples wider than the detector, see RampFilter. Raises BadInput.
        """
        check_planes(planes)
        self._backend = backend
        self.planes = tuple(planes)
        self.rows, self.columns = rows, columns
        self._ramp = RampFilter(columns, extend=extend)
        fade = (columns + 1) // 2 if extend else 0
        taper = np.zeros(fade + 2 * REACH - 1, np.float32)
        taper[:fade] = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fade + 1) / (fade + 1))
        self._taper = as_input(taper)
        self._grids = {p.name: line_grid(p, rows, columns) for p in planes if not p.horizontal}
        self._vertical = [name for name, grid in self._grids.items() if grid.vertical]
        self._tilted = [name for name, grid in self._grids.items() if not grid.vertical]
        self._horizontal = [p for p in planes if p.horizontal and -EDGE <= p.origin[2] <= rows - 1 + EDGE]
        self._shear = [ShearPlane(backend, p, columns) for p in self._horizontal]
        seen = sorted({r for p in self._horizontal for r in _rows_of(p, rows)[:2]})
        self._slot = np.full(rows, -1, np.int64)
        self._slot[seen] = np.arange(len(seen))
        self._slots = len(seen)
        self._lines = HilbertLines(next(iter(self._grids.values())).samples) if self._grids else None
        self._edges = as_input(bin_edges(self._lines.samples if self._lines else 1))
        self._plain = _Preparation.none(rows)
        self._prepared: tuple[Correction, np.dtype[Any], _Preparation] | None = None
        self._window = Window(self._new_sector, window_rad, sectors)
        self.reset(center)

    def reset(self, center: float | None = None) -> None:
        """Forget all frames; with ``center`` (columns), use that axis from now on. Raises BadInput if not finite.

        Stored attenuation given to ``add_batch`` afterwards brings the planes to the new axis without new frames.
        """
        if center is not None:
            if not np.isfinite(center):
                raise BadInput(f"the centre of rotation must be a finite column, not {center}")
            self.center = float(center)
        self._window.clear()

    @property
    def count(self) -> int:
        """Frames in the planes: all, or those of the window."""
        return self._window.count

    @property
    def angles(self) -> NDArray[np.float64]:
        """Angles (count,) of the frames in the planes, radian, as they came."""
        return self._window.angles

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight (count,) of each of these frames in the images; all 1 without a window, see Window.gains."""
        return self._window.weights

    def add_raw(
        self,
        raw: NDArray[Any],
        correction: Correction,
        angle_rad: float | Angles,
        attenuation: Image | None = None,
        moments: NDArray[np.float64] | None = None,
    ) -> None:
        """Fold in one raw projection (rows, cols), u1, u2, u4 or f4, or several (frames, rows, cols) with their angles.

        On the way ``attenuation`` (like ``raw``, float32) and ``moments`` (…, rows, 4), the sums that MomentTrack takes
        (``moment_margin``), are filled in when given. Raises BadInput on another shape or dtype, and on bad angles.
        """
        frames, angles = self._checked(raw, angle_rad)
        if raw.dtype.newbyteorder("=").str not in DTYPES:
            raise BadInput(f"projections of dtype {raw.dtype} cannot be read; use one of {', '.join(DTYPES)}")
        if len(frames) == 0:
            return
        known = self._prepared
        if known is None or known[0] is not correction or known[1] != raw.dtype:
            known = self._prepared = (correction, raw.dtype, _Preparation.of(correction, frames[0]))
        whole = NO_ROWS if attenuation is None else attenuation.reshape(frames.shape)
        sums = NO_SUMS if moments is None else moments.reshape(len(frames), self.rows, 4)
        self._fold(frames, known[2], angles, whole, sums)

    def add_batch(self, attenuation: NDArray[np.float32], angle_rad: float | Angles) -> None:
        """Fold in attenuation (rows, cols) or (frames, rows, cols) float32. Raises BadInput as ``add_raw``."""
        frames, angles = self._checked(np.asarray(attenuation, np.float32), angle_rad)
        self._fold(frames, self._plain, angles, NO_ROWS, NO_SUMS)

    def images(self) -> dict[str, Image]:
        """Every plane as the reconstruction from the frames so far."""
        window = self._window.sectors
        gains = self._window.gains() * _scale(self.angles, self.weights)
        images = {p.name: np.zeros(p.shape, np.float32) for p in self.planes}
        for k, plane in enumerate(self._horizontal):
            halves = range(1 if k else 2)
            sheared = [sheared_image(s.horizontal[k], half) for s in window for half in halves]
            images[plane.name] = _total(sheared, np.repeat(gains, len(halves)))
        shapes = {p.name: p.shape for p in self.planes}
        for k, name in enumerate(self._vertical):
            sums = from_blocks(_total([s.vertical[k] for s in window], gains), self.rows)
            tails = _total([s.tails[k] for s in window], gains)
            tails = tails.reshape(-1, tails.shape[-1])[: self.rows]
            images[name] = self._show(self._grids[name], sums, tails, shapes[name])
        for k, name in enumerate(self._tilted):
            sums, tails = (_total([s.tilted[k][part] for s in window], gains) for part in (0, 1))
            images[name] = self._show(self._grids[name], sums, tails, shapes[name])
        return images

    def half_images(self) -> tuple[Image, Image] | None:
        """The first horizontal plane from the even and from the odd frames alone; None without plane or frames."""
        if not self._horizontal or self.count < 2:
            return None
        gains, angles, weights, parity = self._window.gains(), self.angles, self.weights, self._window.numbers % 2
        even, odd = (
            _total([sheared_image(s.horizontal[0], half) for s in self._window.sectors], gains)
            * _scale(angles[parity == half], weights[parity == half])
            for half in (0, 1)
        )
        return even, odd

    def _show(self, grid: LineGrid, sums: Image, tails: Image, shape: tuple[int, int]) -> Image:
        assert self._lines is not None
        return to_pixels(grid, self._lines.apply(sums, tails, self._backend.threads), shape)

    def _checked(self, frames: NDArray[Any], angle_rad: float | Angles) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Frames as (frames, rows, cols) and as many angles."""
        stack = frames[None] if frames.ndim == 2 else frames
        angles = np.atleast_1d(np.asarray(angle_rad, np.float64))
        if stack.ndim != 3 or stack.shape[1:] != (self.rows, self.columns):
            raise BadInput(f"projections are {frames.shape}, the planes expect {(self.rows, self.columns)}")
        if angles.shape != (len(stack),) or not np.isfinite(angles).all():
            raise BadInput(f"{len(stack)} projections with the angles {angles}: one finite angle for each is needed")
        return stack, angles

    def _fold(
        self, frames: NDArray[Any], p: _Preparation, angles: NDArray[np.float64], whole: Image, moments: NDArray[Any]
    ) -> None:
        first = 0
        while first < len(frames):
            last = first + self._window.enter(angles[first : first + BATCH])
            self._fold_run(frames[first:last], p, angles[first:last], whole[first:last], moments[first:last])
            first = last

    def _fold_run(
        self, frames: NDArray[Any], p: _Preparation, angles: NDArray[np.float64], whole: Image, moments: NDArray[Any]
    ) -> None:
        """At most BATCH frames, all of the newest sector."""
        sector, count, side, parts = self._window.newest, len(frames), len(self._taper), self._backend.threads
        if self._tilted and not p.is_attenuation and not len(whole):
            whole = np.empty(frames.shape, np.float32)
        picked = np.empty((count, self._slots, self.columns), np.float32) if self._slots else NO_ROWS
        courses = [rays(self._grids[name], angles, self.center, side) for name in self._vertical]
        course = np.stack(courses) if courses else np.zeros((0, count, 4))
        samples = self._lines.samples if self._lines else 1
        index = np.empty((len(course), count, samples), np.int32)
        left, right = np.empty(index.shape, np.float32), np.empty(index.shape, np.float32)
        seen = np.empty((*index.shape[:2], 2), np.int64)
        edge_index = np.empty((*index.shape[:2], len(self._edges)), np.int32)
        edge_share = np.empty(edge_index.shape, np.float32)
        last = self.columns + 2 * side - 2 * REACH
        ray_table(course, last, self._edges, index, left, right, seen, edge_index, edge_share)
        fold_frames(
            as_input(frames), p.dark, p.log_flat, p.low, p.high, p.is_attenuation, p.dead_from, p.dead, p.share,
            self._taper, course, index, left, right, seen, edge_index, edge_share, self._slot,
            moment_margin(self.columns), parts, sector.vertical, sector.tails, picked, whole, moments,
        )  # fmt: skip
        ready = frames if p.is_attenuation else whole
        for name, (sums, tails) in zip(self._tilted, sector.tilted, strict=True):
            grid = self._grids[name]
            tilted = rays(grid, angles, self.center, side)
            fold_tilted(as_input(ready), self._taper, tilted, np.array(grid.height), self._edges, parts, sums, tails)
        if self._horizontal:
            self._fold_horizontal(picked, angles, sector)
        self._window.add(angles)

    def _fold_horizontal(self, picked: Image, angles: NDArray[np.float64], sector: Sector) -> None:
        filtered = self._ramp.apply(picked, 1)
        cos, sin = np.cos(angles), np.sin(angles)
        parity = (self._window.seen + np.arange(len(angles))) % 2
        for plane, shear, sums in zip(self._horizontal, self._shear, sector.horizontal, strict=True):
            upper, lower, mix = _rows_of(plane, self.rows)
            row = filtered[:, self._slot[upper]]
            if mix > 0.0:
                row = row + np.float32(mix) * (filtered[:, self._slot[lower]] - row)
            shear.add(row, cos, sin, self.center, parity % len(sums[0]), sums)

    def _new_sector(self) -> Sector:
        blocks, bins = -(-self.rows // LANES), len(self._edges) - 1
        samples = self._lines.samples if self._lines else 1
        grids = [self._grids[name] for name in self._tilted]
        return Sector(
            np.zeros((len(self._vertical), blocks, samples, LANES), np.float32),
            np.zeros((len(self._vertical), blocks, LANES, bins), np.float32),
            [(np.zeros((g.lines, samples), np.float32), np.zeros((g.lines, bins), np.float32)) for g in grids],
            [shear.zeros(1 if k else 2) for k, shear in enumerate(self._shear)],
        )


def _rows_of(plane: Plane, rows: int) -> tuple[int, int, float]:
    """The detector rows above and below a horizontal plane, and the share of the lower one."""
    z = min(max(plane.origin[2], 0.0), rows - 1.0)
    upper = int(z)
    return upper, min(upper + 1, rows - 1), z - upper


def _scale(angles: NDArray[np.float64], weights: NDArray[np.float64]) -> np.float32:
    """Angle that is covered, over the sum of the weights."""
    total = float(weights.sum())
    return np.float32(angular_weights(angles).sum() / total if total else 0.0)


def _total(parts: Sequence[Image], gains: NDArray[np.float64]) -> Image:
    """Σ gains[k]·parts[k]."""
    total = parts[0] * np.float32(gains[0])
    for part, gain in zip(parts[1:], gains[1:], strict=True):
        total += part * np.float32(gain)
    return total
