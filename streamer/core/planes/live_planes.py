"""Live planes from raw frames without filtering the detector: what LivePlanes shows, many times faster.

Vertical and tilted planes are made by differentiated backprojection (``hilbert``), horizontal ones from the single row
that they see (``shear``); one kernel (``kernels_live``) takes each frame from counts to sums. Per angle the mathematics
is that of filtered backprojection, so any prefix and any order of the angles give what LivePlanes gives from the same
frames (or, with exact weights, ExactPlanes); they differ by the sharpness of their interpolation.

A sliding window keeps one set of sums per sector of angles and drops the oldest, so that nothing is ever subtracted and
no rounding error can grow.

With a device the sums are made and kept there (``gpu_sums``). They move to the CPU when its memory runs out, and stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.backend.engine import DeviceOutOfMemory
from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.jit import as_input
from streamer.core.planes.accumulators import NO_ROWS, NO_SUMS, Batch, Fold, HostFold, PlaneGeometry
from streamer.core.planes.gpu_accumulator import DeviceFold, Resident
from streamer.core.planes.hilbert import HilbertLines, to_pixels
from streamer.core.planes.kernels import ATTENUATION, KINDS
from streamer.core.planes.plane import Plane, check_planes, finite_center
from streamer.core.planes.sliding_window import SECTORS, UNSEEN, ExactWeights, Window
from streamer.core.preprocessing.flat_field import CorrectionTables, FlatFieldCorrection
from streamer.frames import DTYPES, BadInput

Angles = Sequence[float] | NDArray[Any]
Result = TypeVar("Result")

BATCH = 8
"""Frames folded in by one call of the kernels; a longer queue is cut into such pieces."""


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
        resident: Resident | None = None,
    ) -> None:
        """``window_rad`` is the sliding window in angle travelled (None: all frames for ever), cut into ``sectors``.

        ``extend`` is for samples wider than the detector, see RampFilter. ``stored`` makes the weights exact, see
        angular_weights for ``period``: it returns attenuation (rows, columns) of the i-th frame added, and is not for
        windows. On a device, raw frames are prepared into ``resident``, as projections ``resident.next`` and following.
        Raises BadInput.
        """
        check_planes(planes)
        if stored is not None and window_rad is not None:
            raise BadInput("frames in a sliding window cannot have exact weights")
        self._backend = backend
        self.planes = tuple(planes)
        self.rows, self.columns = rows, columns
        self._geometry = PlaneGeometry(planes, rows, columns, extend)
        self._lines = HilbertLines(self._geometry.samples) if self._geometry.grids else None
        self._plain = _nothing_to_prepare(rows)
        self._prepared: tuple[FlatFieldCorrection, np.dtype[Any], CorrectionTables] | None = None
        self._window = Window(window_rad, sectors)
        self._stored, self._period = stored, period
        self._exact = ExactWeights(period)
        self._resident = resident
        self._fold = self._choose()
        self.reset(center)

    def reset(self, center: float | None = None) -> None:
        """Forget all frames; with ``center`` (columns), use that axis from now on. Raises BadInput if not finite.

        Stored attenuation given to ``add`` afterwards brings the planes to the new axis without new frames.
        """
        if center is not None:
            self.center = finite_center(center)
        self._window.clear(self._new_sums)
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
        correction: FlatFieldCorrection,
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
        place = None if self._resident is None else self._resident.next
        self._enter(Batch(frames, kind, known[2], angles, np.ones(len(frames)), self.center, 0, whole, sums, place))

    def add(
        self, attenuation: NDArray[np.float32], angle_rad: float | Angles, weight: float | Angles | None = None
    ) -> None:
        """Fold in attenuation (rows, cols) or (frames, rows, cols) float32. Raises BadInput as ``add_raw``.

        With exact weights, ``weight`` is what is known of them beforehand, as when a whole scan is added again.
        """
        frames, angles = self._checked(np.asarray(attenuation, np.float32), angle_rad)
        weights = None if weight is None else np.broadcast_to(np.asarray(weight, np.float64), angles.shape)
        gains = np.ones(len(frames))
        batch = Batch(frames, ATTENUATION, self._plain, angles, gains, self.center, 0, NO_ROWS, NO_SUMS)
        self._enter(batch, weights)

    def work(self) -> bool:
        """Add one frame again whose weight has changed visibly, when the weights are to be exact. False if none has."""
        return self._stored is not None and self._settle(1) > 0

    def images(self, names: Collection[str] | None = None) -> dict[str, Image]:
        """Every plane, or those named, as the reconstruction from the frames so far."""
        self._settle()
        gains = self._window.gains() * _scale(self.angles, self.weights, self._period)
        images = {p.name: np.zeros(p.shape, np.float32) for p in self.planes if names is None or p.name in names}
        for k, plane in enumerate(self._geometry.horizontal):
            if plane.name in images:
                images[plane.name] = self._level(k, gains[:, None] * np.ones(1 if k else 2))
        shapes = {p.name: p.shape for p in self.planes}
        for name in self._geometry.grids:
            if name in images:
                images[name] = self._show(name, gains, shapes[name])
        return images

    def half_images(self) -> tuple[Image, Image] | None:
        """The first horizontal plane from the even and from the odd frames alone; None without plane or frames.

        Exact weights are those of all frames here, too, for each half brought to the angle that it covers.
        """
        if not self._geometry.horizontal or self.count < 2:
            return None
        self._settle()
        gains, angles, weights, parity = self._window.gains(), self.angles, self.weights, self._window.numbers % 2
        scale = np.diag([_scale(angles[parity == h], weights[parity == h], self._period) for h in (0, 1)])
        even, odd = (self._level(0, gains[:, None] * scale[h]) for h in (0, 1))
        return even, odd

    def _level(self, k: int, gains: NDArray[np.float64]) -> Image:
        """The k-th horizontal plane from all sectors, gains (sectors, 1 or 2)."""
        return self._attempt(lambda: self._fold.level([s.sums for s in self._window.sectors], k, gains))

    def _show(self, name: str, gains: NDArray[np.float64], shape: tuple[int, int]) -> Image:
        """A plane that is not horizontal: the sectors' sums, each with its weight, transformed and put in place."""
        assert self._lines is not None
        scale, sums, tails = self._attempt(
            lambda: self._fold.lines([s.sums for s in self._window.sectors], name, gains)
        )
        lines = self._lines.apply(sums, tails, scale, self._backend.threads)
        return to_pixels(self._geometry.grids[name], lines, shape)

    def _checked(self, frames: NDArray[Any], angle_rad: float | Angles) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Frames as (frames, rows, cols) and as many angles."""
        stack = frames[None] if frames.ndim == 2 else frames
        angles = np.atleast_1d(np.asarray(angle_rad, np.float64))
        if stack.ndim != 3 or stack.shape[1:] != (self.rows, self.columns):
            raise BadInput(f"projections are {frames.shape}, the planes expect {(self.rows, self.columns)}")
        if angles.shape != (len(stack),) or not np.isfinite(angles).all():
            raise BadInput(f"{len(stack)} projections with the angles {angles}: one finite angle for each is needed")
        return stack, angles

    def _enter(self, batch: Batch, weights: NDArray[np.float64] | None = None) -> None:
        """Fold new frames in, at most BATCH at once and all of one sector."""
        first, angles = 0, batch.angles
        while first < len(batch.frames):
            last = first + self._window.enter(angles[first : first + BATCH], self._new_sums)
            part = batch.part(first, last, self._window.seen)
            if self._stored is not None:
                known = [None] * (last - first) if weights is None else weights[first:last].tolist()
                part.gains[:] = [self._exact.enter(a, w) for a, w in zip(part.angles.tolist(), known, strict=True)]
            self._add(part)
            self._window.add(part.angles)
            first = last

    def _settle(self, limit: int | None = None) -> int:
        """Add frames again whose weight has changed visibly, see ExactWeights.due; returns how many."""
        if self._stored is None:
            return 0
        due = self._exact.due(limit, UNSEEN)
        for k, weight in due:
            frame, angle = np.asarray(self._stored(k), np.float32)[None], np.array([self._exact.angles[k]])
            gain = np.array([weight])
            self._add(Batch(frame, ATTENUATION, self._plain, angle, gain, self.center, k, NO_ROWS, NO_SUMS))
        return len(due)

    def _add(self, batch: Batch) -> None:
        """Add frames to the newest sector."""
        self._attempt(lambda: self._fold.add(self._window.newest.sums, batch))

    def _new_sums(self) -> Any:
        return self._attempt(lambda: self._fold.zeros())

    def _choose(self) -> Fold:
        """Sums on the device if there is one that has the memory for them."""
        if self._backend.on_device:
            try:
                return DeviceFold(self._backend, self._geometry, self._window.most, self._resident)
            except DeviceOutOfMemory as error:
                why = str(error)
            self._backend.kernels.engine.release()
            self._backend.fallbacks.fall_back("does_not_fit", "planes", f"on the CPU: {why}")
        return HostFold(self._backend, self._geometry)

    def _attempt(self, work: Callable[[], Result]) -> Result:
        """Do something with the sums, and if the device's memory runs out, once more with the same sums on the CPU."""
        try:
            return work()
        except DeviceOutOfMemory as error:
            why = str(error)
        # Only now that the error is gone, the memory of what it had interrupted is free.
        device, host = self._fold, HostFold(self._backend, self._geometry)
        assert isinstance(device, DeviceFold)
        for sector in self._window.sectors:
            sector.sums = device.to_host(sector.sums, host)
        self._fold = host
        self._backend.kernels.engine.release()
        self._backend.fallbacks.fall_back("out_of_memory", "planes", f"from now on on the CPU: {why}")
        return work()


def _scale(angles: NDArray[np.float64], weights: NDArray[np.float64], period: float) -> float:
    """Angle that is covered, over the sum of the weights."""
    total = float(weights.sum())
    return float(angular_weights(angles, period).sum()) / total if total else 0.0


def _nothing_to_prepare(rows: int) -> CorrectionTables:
    """For frames that are attenuation already."""
    nothing, share = as_input(np.zeros((0, 0), np.float32)), as_input(np.zeros(0, np.float32))
    return CorrectionTables(
        nothing, nothing, 0.0, 0.0, as_input(np.zeros(rows + 1, np.int64)), as_input(np.zeros((3, 0), np.int64)), share
    )
