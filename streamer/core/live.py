"""Live planes from raw frames without filtering the detector: what LivePlanes shows, many times faster.

Vertical and tilted planes are made by differentiated backprojection (``hilbert``), horizontal ones from the single row
that they see (``shear``); one kernel (``kernels_live``) takes each frame from counts to sums. Per angle the mathematics
is that of filtered backprojection, so any prefix and any order of the angles give what LivePlanes gives from the same
frames (or, with exact weights, ExactPlanes); they differ by the sharpness of their interpolation.

A sliding window keeps one set of sums per sector of angles and drops the oldest, so that nothing is ever subtracted and
no rounding error can grow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend import Backend
from streamer.core.filters import angular_weights
from streamer.core.hilbert import HilbertLines, bin_edges, line_grid, to_blocks, to_pixels
from streamer.core.jit import as_input
from streamer.core.kernels_cpu import EDGE
from streamer.core.kernels_live import ATTENUATION, KINDS, REACH, fold_frames, fold_tilted
from streamer.core.live_lanes import LANES
from streamer.core.live_window import NEGLIGIBLE, SECTORS, ExactWeights, Sector, Window
from streamer.core.planes import Plane, check_planes, finite_center
from streamer.core.prep import Constants, Correction
from streamer.core.shear import ShearPlane
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


class FastPlanes:
    """Reconstructions of a few planes from the frames so far, at the rate of a fast camera.

    Frames come in raw (``add_raw``) or as attenuation (``add``). Attenuation per pixel. All frames weigh the same, sum
    · covered angle / number, unless earlier frames can be fetched (``stored``): then the weights are exact, and frames
    whose neighbours came later are added again, times the difference, about two for each that comes.
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
        stored: Callable[[int], Image] | None = None,
        period: float = np.pi,
    ) -> None:
        """``window_rad`` is the sliding window in angle travelled (None: all frames for ever), cut into ``sectors``.

        ``extend`` is for samples wider than the detector, see RampFilter. ``stored`` makes the weights exact, see
        angular_weights for ``period``: it returns attenuation (rows, columns) of the i-th frame added, and is not for
        windows. Raises BadInput.
        """
        check_planes(planes)
        if stored is not None and window_rad is not None:
            raise BadInput("frames in a sliding window cannot have exact weights")
        self._backend = backend
        self.planes = tuple(planes)
        self.rows, self.columns = rows, columns
        fade = (columns + 1) // 2 if extend else 0
        taper = np.zeros(fade + 2 * REACH - 1, np.float32)
        taper[:fade] = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fade + 1) / (fade + 1))
        self._taper = as_input(taper)
        self._grids = {p.name: line_grid(p, rows, columns) for p in planes if not p.horizontal}
        self._vertical = [name for name, grid in self._grids.items() if grid.vertical]
        self._tilted = [name for name, grid in self._grids.items() if not grid.vertical]
        self._courses = as_input(np.array([self._grids[n].course for n in self._vertical], np.float64).reshape(-1, 4))
        self._horizontal = [p for p in planes if p.horizontal and -EDGE <= p.origin[2] <= rows - 1 + EDGE]
        self._shear = [ShearPlane(backend, p, columns, taper[:fade]) for p in self._horizontal]
        seen = sorted({r for p in self._horizontal for r in _rows_of(p, rows)[:2]})
        slot = np.full(rows, -1, np.int64)
        slot[seen] = np.arange(len(seen))
        self._slot = as_input(slot)
        self._mixed = [(int(slot[u]), int(slot[w]), mix) for u, w, mix in (_rows_of(p, rows) for p in self._horizontal)]
        self._picked = np.empty((BATCH, len(seen), columns), np.float32)
        self._lines = HilbertLines(next(iter(self._grids.values())).samples) if self._grids else None
        self._edges = as_input(bin_edges(self._lines.samples if self._lines else 1))
        self._plain = _nothing_to_prepare(rows)
        self._prepared: tuple[Correction, np.dtype[Any], Constants] | None = None
        self._window = Window(self._new_sector, window_rad, sectors)
        self._stored, self._period = stored, period
        self._exact = ExactWeights(period)
        self.reset(center)

    def reset(self, center: float | None = None) -> None:
        """Forget all frames; with ``center`` (columns), use that axis from now on. Raises BadInput if not finite.

        Stored attenuation given to ``add`` afterwards brings the planes to the new axis without new frames.
        """
        if center is not None:
            self.center = finite_center(center)
        self._window.clear()
        self._exact.clear()

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
        """Weight (count,) of each of these frames in the images: exact ones, else all 1, or see Window.gains."""
        return self._window.weights if self._stored is None else self._exact.given.copy()

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
        kind = KINDS.get(raw.dtype.newbyteorder("<").str)
        if kind is None:
            raise BadInput(f"projections of dtype {raw.dtype} cannot be read; use one of {', '.join(DTYPES)}")
        if len(frames) == 0:
            return
        known = self._prepared
        if known is None or known[0] is not correction or known[1] != raw.dtype:
            known = self._prepared = (correction, raw.dtype, correction.constants(frames[0]))
        whole = NO_ROWS if attenuation is None else attenuation.reshape(frames.shape)
        sums = NO_SUMS if moments is None else moments.reshape(len(frames), self.rows, 4)
        self._enter(frames, kind, known[2], angles, None, whole, sums)

    def add(
        self, attenuation: NDArray[np.float32], angle_rad: float | Angles, weight: float | Angles | None = None
    ) -> None:
        """Fold in attenuation (rows, cols) or (frames, rows, cols) float32. Raises BadInput as ``add_raw``.

        With exact weights, ``weight`` is what is known of them beforehand, as when a whole scan is added again.
        """
        frames, angles = self._checked(np.asarray(attenuation, np.float32), angle_rad)
        weights = None if weight is None else np.broadcast_to(np.asarray(weight, np.float64), angles.shape)
        self._enter(frames, ATTENUATION, self._plain, angles, weights, NO_ROWS, NO_SUMS)

    def work(self) -> bool:
        """Add one frame again whose weight has changed by a percent or more, when the weights are to be exact.

        False when there is none; the small rest waits for ``images``.
        """
        return self._stored is not None and self._settle(1, 0.01) > 0

    def images(self, names: Collection[str] | None = None) -> dict[str, Image]:
        """Every plane, or those named, as the reconstruction from the frames so far."""
        self._settle()
        window = self._window.sectors
        gains = self._window.gains() * _scale(self.angles, self.weights, self._period)
        images = {p.name: np.zeros(p.shape, np.float32) for p in self.planes if names is None or p.name in names}
        for k, plane in enumerate(self._horizontal):
            if plane.name in images:
                sets = [(gain,) if k else (gain, gain) for gain in gains]
                images[plane.name] = self._shear[k].image([s.horizontal[k] for s in window], np.array(sets))
        shapes = {p.name: p.shape for p in self.planes}
        for name in self._grids:
            if name in images:
                images[name] = self._show(name, gains, shapes[name])
        return images

    def half_images(self) -> tuple[Image, Image] | None:
        """The first horizontal plane from the even and from the odd frames alone; None without plane or frames.

        Exact weights are those of all frames here, too, for each half brought to the angle that it covers.
        """
        if not self._horizontal or self.count < 2:
            return None
        self._settle()
        gains, angles, weights, parity = self._window.gains(), self.angles, self.weights, self._window.numbers % 2
        sums = [s.horizontal[0] for s in self._window.sectors]
        scale = np.diag([_scale(angles[parity == h], weights[parity == h], self._period) for h in (0, 1)])
        even, odd = (self._shear[0].image(sums, gains[:, None] * scale[h]) for h in (0, 1))
        return even, odd

    def _show(self, name: str, gains: NDArray[np.float64], shape: tuple[int, int]) -> Image:
        """A plane that is not horizontal: the sectors' sums, each with its weight, transformed and put in place."""
        assert self._lines is not None
        window, grid = self._window.sectors, self._grids[name]
        if grid.vertical:
            k = self._vertical.index(name)
            scale, (sums, tails) = _total([(s.vertical[k], s.tails[k]) for s in window], gains)
            tails = tails.reshape(-1, tails.shape[-1])[: self.rows]
        else:
            k = self._tilted.index(name)
            scale, (sums, tails) = _total([s.tilted[k] for s in window], gains)
            sums = to_blocks(sums)
        return to_pixels(grid, self._lines.apply(sums, tails, scale, self._backend.threads), shape)

    def _checked(self, frames: NDArray[Any], angle_rad: float | Angles) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Frames as (frames, rows, cols) and as many angles."""
        stack = frames[None] if frames.ndim == 2 else frames
        angles = np.atleast_1d(np.asarray(angle_rad, np.float64))
        if stack.ndim != 3 or stack.shape[1:] != (self.rows, self.columns):
            raise BadInput(f"projections are {frames.shape}, the planes expect {(self.rows, self.columns)}")
        if angles.shape != (len(stack),) or not np.isfinite(angles).all():
            raise BadInput(f"{len(stack)} projections with the angles {angles}: one finite angle for each is needed")
        return stack, angles

    def _enter(
        self,
        frames: NDArray[Any],
        kind: int,
        p: Constants,
        angles: NDArray[np.float64],
        weights: NDArray[np.float64] | None,
        whole: Image,
        moments: NDArray[np.float64],
    ) -> None:
        """Fold new frames in, at most BATCH at once and all of one sector."""
        first = 0
        while first < len(frames):
            last = first + self._window.enter(angles[first : first + BATCH])
            part = slice(first, last)
            gains, numbers = np.ones(last - first), self._window.seen + np.arange(last - first)
            if self._stored is not None:
                known = [None] * len(gains) if weights is None else weights[part].tolist()
                gains[:] = [self._exact.enter(a, w) for a, w in zip(angles[part].tolist(), known, strict=True)]
            self._fold(frames[part], kind, p, angles[part], gains, numbers, whole[part], moments[part])
            self._window.add(angles[part])
            first = last

    def _settle(self, limit: int | None = None, share: float = NEGLIGIBLE) -> int:
        """Add frames again whose weight has changed, see ExactWeights.due; returns how many."""
        if self._stored is None:
            return 0
        due = self._exact.due(limit, share)
        for k, weight in due:
            frame, angle = np.asarray(self._stored(k), np.float32)[None], np.array([self._exact.angles[k]])
            self._fold(frame, ATTENUATION, self._plain, angle, np.array([weight]), np.array([k]), NO_ROWS, NO_SUMS)
        return len(due)

    def _fold(
        self,
        frames: NDArray[Any],
        kind: int,
        p: Constants,
        angles: NDArray[np.float64],
        gains: NDArray[np.float64],
        numbers: NDArray[np.int64],
        whole: Image,
        moments: NDArray[np.float64],
    ) -> None:
        """Add at most BATCH frames to the newest sector, with their weights; ``numbers`` are their running numbers."""
        sector, count, parts = self._window.newest, len(frames), self._backend.threads
        if self._tilted and kind != ATTENUATION and not len(whole):
            whole = np.empty(frames.shape, np.float32)
        source, angles, gains = as_input(frames), as_input(angles), as_input(gains)
        picked = self._picked[:count] if self._horizontal else NO_ROWS
        center = self.center + len(self._taper) - (REACH - 0.5)
        fold_frames(
            source.view(np.uint8), kind, p.dark, p.log_flat, np.float32(p.low), np.float32(p.high),
            p.dead_from, p.dead, p.share, self._taper, self._courses, angles, gains, center, self._edges, self._slot,
            moment_margin(self.columns), parts, sector.vertical, sector.tails, picked, whole, moments,
        )  # fmt: skip
        ready = source if kind == ATTENUATION else as_input(whole)
        for name, (sums, tails) in zip(self._tilted, sector.tilted, strict=True):
            grid = self._grids[name]
            line, height = as_input(np.array(grid.course)), as_input(np.array(grid.height))
            fold_tilted(ready, self._taper, line, angles, gains, center, height, self._edges, parts, sums, tails)
        for shear, mixed, halves in zip(self._shear, self._mixed, sector.horizontal, strict=True):
            shear.add(picked, mixed, angles, gains, self.center, as_input(numbers % len(halves[0])), halves)

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


def _scale(angles: NDArray[np.float64], weights: NDArray[np.float64], period: float) -> float:
    """Angle that is covered, over the sum of the weights."""
    total = float(weights.sum())
    return float(angular_weights(angles, period).sum()) / total if total else 0.0


def _total(parts: Sequence[tuple[Image, ...]], gains: NDArray[np.float64]) -> tuple[float, tuple[Image, ...]]:
    """Σ gains[k]·parts[k], member by member, as a factor and what it is for: a single part is not copied."""
    if len(parts) == 1:
        return float(gains[0]), parts[0]
    totals = tuple(member * np.float32(gains[0]) for member in parts[0])
    for part, gain in zip(parts[1:], gains[1:], strict=True):
        for total, member in zip(totals, part, strict=True):
            total += member * np.float32(gain)
    return 1.0, totals


def _nothing_to_prepare(rows: int) -> Constants:
    """For frames that are attenuation already."""
    nothing, share = as_input(np.zeros((0, 0), np.float32)), as_input(np.zeros(0, np.float32))
    return Constants(
        nothing, nothing, 0.0, 0.0, as_input(np.zeros(rows + 1, np.int64)), as_input(np.zeros((3, 0), np.int64)), share
    )
