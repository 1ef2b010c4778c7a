"""Live planes: reconstructions of a few planes that follow the scan, without filtering the whole detector.

Vertical and tilted planes are made by differentiated backprojection (``hilbert``), horizontal planes from the single
row that they see (``shear``); one kernel (``kernels``) takes each frame from counts to sums. Per angle this equals
filtered backprojection, so the planes are right for any prefix of the scan and any order of the angles; only the
interpolation is sharper.

A sliding window keeps one set of sums per sector of angles and drops the oldest. Nothing is ever subtracted, so
rounding errors cannot grow.

On a device the sums are made and kept there (``gpu_accumulator``). If its memory runs out, they move to the CPU for
good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, TypeVar

import numpy as np

from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.engine import DeviceOutOfMemory
from streamer.core.backend.on_device import OnDevice, Projections
from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.planes.accumulators import (
    NO_ROWS,
    CpuPlaneAccumulator,
    FrameBatch,
    PlaneAccumulator,
    PlaneGeometry,
    no_correction,
)
from streamer.core.planes.gpu_accumulator import GpuPlaneAccumulator, RecentStore
from streamer.core.planes.hilbert import hilbert_lines, to_pixels
from streamer.core.planes.plane import Plane, check_planes
from streamer.core.planes.sliding_window import ExactWeights, SlidingWindow
from streamer.core.preprocessing.flat_field import NO_MOMENTS, CorrectionTables, FlatFieldCorrection
from streamer.core.preprocessing.kernels import ATTENUATION, PIXEL_KINDS
from streamer.frames import DTYPES, BadInput

Angles = Sequence[float] | Array
Result = TypeVar("Result")

FRAMES_PER_FOLD = 8
"""Frames that one call of the kernels folds in; a longer queue is cut into such pieces."""


class LivePlanes:
    """Reconstructions of a few planes from the frames so far, at the rate of a fast camera. Not thread-safe.

    The tomogram's grid is (rows, columns, columns). Frames enter raw (``add_raw``) or as attenuation (``add``). Images
    are attenuation per pixel.

    Without ``stored`` all frames weigh the same: the angle that they cover, divided by their number. With it the
    weights are exact: frames whose neighbours came later are fetched and added again, times the difference of their
    weights, about two for each new frame.
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
        extend: bool = False,
        stored: Callable[[int], Projections] | None = None,
        period: float = np.pi,
        recent: RecentStore | None = None,
        weighted: bool = False,
    ) -> None:
        """Empty planes of a detector of ``rows`` × ``columns`` whose axis is at column ``center``.

        ``window_rad`` is the sliding window in angle travelled (None: all frames). ``extend`` carries the edges of a
        sample wider than the detector on, see RampFilter. ``stored`` returns attenuation (rows, columns) float32 of the
        i-th frame added, on the device or the host; the exact weights that it allows are those of angular_weights for
        ``period``, and are not for windows. On a device, raw frames are prepared into ``recent``, as projections
        ``recent.next`` and following. ``weighted``: without ``stored``, every frame comes with its weight, which is not
        corrected.
        Raises BadInput.
        """
        check_planes(planes)
        if stored is not None and window_rad is not None:
            raise BadInput("frames in a sliding window cannot have exact weights")
        if not np.isfinite(center):
            raise BadInput(f"the centre of rotation must be a finite column, not {center}")
        self.planes = tuple(planes)
        self.rows, self.columns, self.center = rows, columns, float(center)
        self._backend, self._recent = backend, recent
        self._geometry = PlaneGeometry(planes, rows, columns, extend)
        self._lines = hilbert_lines(self._geometry.samples) if self._geometry.grids else None
        self._plain = no_correction(rows)
        self._prepared: tuple[FlatFieldCorrection, np.dtype[Any], CorrectionTables] | None = None
        self._stored, self._period = stored, period
        self._exact = ExactWeights(period)
        self._told: list[float] | None = [] if weighted else None  # weights that came with the frames, and stay
        self._window = SlidingWindow(window_rad)
        self._sums = self._choose(self._window.most)
        self._window.begin(self._new_set())

    @property
    def count(self) -> int:
        """Frames in the planes: all, or those of the window."""
        return self._window.count

    @property
    def angles(self) -> Values:
        """Angles (count,) of the frames in the planes, radian, in order of arrival."""
        return self._window.angles

    @property
    def weights(self) -> Values:
        """Weight (count,) of each of these frames in the images: exact, else 1 or what SlidingWindow.gains says."""
        if self._stored is not None:
            return self._exact.given.copy()
        return self._window.weights if self._told is None else np.array(self._told)

    def add_raw(
        self,
        raw: Array,
        correction: FlatFieldCorrection,
        angle_rad: float | Angles,
        attenuation: Image | None = None,
        moments: Values | None = None,
    ) -> None:
        """Fold in raw projections: one (rows, columns) of dtype u1, u2, u4 or f4, or several (frames, rows, columns).

        ``angle_rad`` is one angle per frame. ``attenuation`` (like ``raw``, float32) and ``moments`` (…, rows, 4)
        float64, the sums that MomentTrack takes (``moment_margin``), are filled in if given. Raises BadInput on another
        shape or dtype, and on angles that are not finite.
        """
        frames, angles = self._checked(raw, angle_rad)
        kind = PIXEL_KINDS.get(raw.dtype.newbyteorder("<").str)
        if kind is None:
            raise BadInput(f"projections of dtype {raw.dtype} cannot be read; use one of {', '.join(DTYPES)}")
        if len(frames) == 0:
            return
        known = self._prepared
        if known is None or known[0] is not correction or known[1] != raw.dtype:
            known = self._prepared = (correction, raw.dtype, correction.tables(frames[0]))
        whole = NO_ROWS if attenuation is None else attenuation.reshape(frames.shape)
        sums = NO_MOMENTS if moments is None else moments.reshape(len(frames), self.rows, 4)
        place = None if self._recent is None else self._recent.next
        self._enter(FrameBatch(frames, kind, known[2], angles, np.ones(len(frames)), self.center, whole, sums, place))

    def add(self, attenuation: Projections, angle_rad: float | Angles, weight: float | Angles | None = None) -> None:
        """Fold in attenuation (rows, columns) or (frames, rows, columns) float32. Raises BadInput as ``add_raw``.

        It may lie on the device, and is read there.
        ``weight`` is what is known of the exact weights (radian) beforehand, as when a whole scan is added again.
        """
        frames, angles = self._checked(_floats(attenuation), angle_rad)
        weights = None if weight is None else np.broadcast_to(np.asarray(weight, np.float64), angles.shape)
        self._enter(self._ready(frames, angles, np.ones(len(frames))), weights)

    def work(self) -> bool:
        """Add one frame again whose exact weight has changed visibly. False if none is known, see ExactWeights.due."""
        return self._settle(1) > 0

    def images(self) -> dict[str, Image]:
        """Every plane by name, (height, width) float32, as the reconstruction from the frames so far."""
        return self.snapshot()()

    def snapshot(self) -> Callable[[], dict[str, Image]]:
        """``images`` of this moment, of which most of the work is left to do: another thread may, as frames come."""
        self._settle()
        gains = self._window.gains() * _scale(self.angles, self.weights, self._period)
        shapes = {plane.name: plane.shape for plane in self.planes}
        images = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        for k, plane in enumerate(self._geometry.horizontal):
            images[plane.name] = self._horizontal(k, gains)
        taken = {name: self._take(name, gains) for name in self._geometry.grids}

        def finish() -> dict[str, Image]:
            for name, sums in taken.items():
                images[name] = self._from_lines(name, sums, shapes[name])
            return images

        return finish

    def _horizontal(self, k: int, gains: Values) -> Image:
        """The k-th horizontal plane from all sectors, gains (sectors,)."""
        return self._attempt(lambda: self._sums.horizontal([s.sums for s in self._window.sectors], k, gains))

    def _take(self, name: str, gains: Values) -> tuple[float, Image, Image]:
        """The weighted sums of the sectors for a plane that is not horizontal, in memory of their own."""
        scale, sums, tails = self._attempt(
            lambda: self._sums.lines([s.sums for s in self._window.sectors], name, gains)
        )
        return scale, sums.copy(), tails.copy()

    def _from_lines(self, name: str, taken: tuple[float, Image, Image], shape: tuple[int, int]) -> Image:
        """A plane that is not horizontal: its sums, transformed and resampled to pixels."""
        assert self._lines is not None
        scale, sums, tails = taken
        lines = self._lines.apply(sums, tails, scale, self._backend.threads)
        return to_pixels(self._geometry.grids[name], lines, shape)

    def _checked(self, frames: Any, angle_rad: float | Angles) -> tuple[Any, Values]:
        """Frames as (frames, rows, columns), and one angle for each. Raises BadInput."""
        stack = frames[None] if frames.ndim == 2 else frames
        angles = np.asarray(angle_rad, np.float64)
        angles = angles if angles.ndim else angles[None]
        if stack.ndim != 3 or stack.shape[1:] != (self.rows, self.columns):
            raise BadInput(f"projections are {frames.shape}, the planes expect {(self.rows, self.columns)}")
        if angles.shape != (len(stack),) or not all(map(isfinite, angles.tolist())):
            raise BadInput(f"{len(stack)} projections with the angles {angles}: one finite angle for each is needed")
        return stack, angles

    def _ready(self, frames: Projections, angles: Values, gains: Values) -> FrameBatch:
        """Attenuation as a batch that needs no preparation."""
        return FrameBatch(frames, ATTENUATION, self._plain, angles, gains, self.center, NO_ROWS, NO_MOMENTS)

    def _enter(self, batch: FrameBatch, weights: Values | None = None) -> None:
        """Fold new frames in, at most FRAMES_PER_FOLD at once and all of one sector."""
        first, angles = 0, batch.angles
        while first < len(batch.frames):
            last = first + self._window.enter(angles[first : first + FRAMES_PER_FOLD], self._new_set)
            part = batch.part(first, last)
            if self._stored is not None:
                known = [None] * (last - first) if weights is None else weights[first:last].tolist()
                part.gains[:] = [self._exact.enter(a, w) for a, w in zip(part.angles.tolist(), known, strict=True)]
            elif self._told is not None and weights is not None:
                part.gains[:] = weights[first:last]
                self._told += weights[first:last].tolist()
            self._add(part)
            self._window.add(part.angles)
            first = last

    def _settle(self, limit: int | None = None) -> int:
        """Add frames again whose weight has changed visibly, see ExactWeights.due; returns how many."""
        if self._stored is None:
            return 0
        due = self._exact.due(limit)
        for k, weight in due:
            frame = _floats(self._stored(k))[None]
            self._add(self._ready(frame, np.array([self._exact.angles[k]]), np.array([weight])))
        return len(due)

    def _add(self, batch: FrameBatch) -> None:
        """Add frames to the newest sector."""
        self._attempt(lambda: self._sums.add(self._window.newest.sums, batch))

    def _new_set(self) -> Any:
        return self._attempt(lambda: self._sums.zeros())

    def _choose(self, sets: int) -> PlaneAccumulator:
        """Sums on the device if there is one with memory for ``sets`` sets."""
        if self._backend.on_device:
            try:
                return GpuPlaneAccumulator(self._backend, self._geometry, sets, self._recent)
            except DeviceOutOfMemory as error:
                why = str(error)
            self._backend.kernels.engine.release()
            self._backend.fallbacks.fall_back("does_not_fit", "planes", f"on the CPU: {why}")
        return CpuPlaneAccumulator(self._backend, self._geometry)

    def _attempt(self, work: Callable[[], Result]) -> Result:
        """Do something with the sums; if the device's memory runs out, repeat it with the same sums on the CPU."""
        try:
            return work()
        except DeviceOutOfMemory as error:
            why = str(error)
        # The memory of what the error interrupted is free only now that the error is gone.
        device, host = self._sums, CpuPlaneAccumulator(self._backend, self._geometry)
        assert isinstance(device, GpuPlaneAccumulator)
        for sector in self._window.sectors:
            sector.sums = device.to_host(sector.sums, host)
        self._sums = host
        self._backend.kernels.engine.release()
        self._backend.fallbacks.fall_back("out_of_memory", "planes", f"from now on on the CPU: {why}")
        return work()


def _floats(frames: Projections) -> Projections:
    return frames if isinstance(frames, OnDevice) else np.asarray(frames, np.float32)


def _scale(angles: Values, weights: Values, period: float) -> float:
    """The angle that is covered, over the sum of the weights."""
    total = float(weights.sum())
    return float(angular_weights(angles, period).sum()) / total if total else 0.0
