"""The tomogram that grows while the scan runs: a Fourier volume that follows the stored projections in idle moments.

Each projection is gridded with the weight and about the centre that are expected at that moment. At the end the few
whose weight turned out otherwise are added once more with the difference, which is exact. If most of them did, or the
centre did, the volume is gridded again, which takes as long as it would have taken after the scan. Where that is a
moment, the least difference is reason enough: the tomogram then does not depend on when its frames came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streamer.core.arrays import Image, Values
from streamer.core.backend.selection import Backend
from streamer.core.backend.staging import lock_pages
from streamer.core.fbp.backprojection import plan_row_blocks
from streamer.core.fourier.factory import TomogramVolume, fourier_volume
from streamer.core.fourier.gpu_volume import fits_on_device
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import PROJECTIONS_PER_BATCH, fourier_nbytes
from streamer.core.jit import at_most
from streamer.core.memory import Memory
from streamer.core.simd.row_vectors import LANES
from streamer.frames import ScanSpec
from streamer.pipeline.reconstruction.stored_projections import StoredProjections
from streamer.pipeline.store import store_nbytes

WEIGHT_TOLERANCE = 0.01
"""Error of a projection's weight, in mean weights, that is left in a large scan: it is one of thousands, and they
average out."""

SMALL = 512**3
"""Samples (projections × rows × columns) that are gridded again in about half a second on two cores."""

SMALL_TOLERANCE = 1e-6
"""Errors of weight (in mean weights) and centre (pixels) that are left in a scan of so few samples."""

CENTER_TOLERANCE_PX = 0.02
"""Error of the centre without a measurable error of the tomogram, where it cannot be moved after the fact."""

GROWS, FROM_MEMORY = "grows with the scan", "after the scan, from memory"
"""Ways of a ``TomogramPlan``."""

MAX_MOVE_PX, MAX_MOVE_EXTENDED_PX = 0.3, 0.1
"""How far a phase may move the axis of a gridded volume for a look at it. The error of a sample that is cut off is four
times that."""

MAX_FINAL_MOVE_PX, MAX_FINAL_MOVE_EXTENDED_PX = 0.05, 0.015
"""The same for the tomogram itself: 0.1 % of its maximum at the worst voxel of a slice of 512² or more."""


@dataclass(frozen=True)
class TomogramPlan:
    """How the tomogram will be made (``way``), and the memory that this takes."""

    way: str
    nbytes: int

    def to_dict(self) -> dict[str, str | float]:
        """The plan as reports show it."""
        return {"tomogram": self.way, "memory_mb": round(self.nbytes / 2**20, 1)}


def plan_tomogram(spec: ScanSpec, memory_bytes: int, backend: Backend, on_device: bool) -> TomogramPlan:
    """How much of a scan fits into memory, before its first frame, or beside its projections ``on_device``, where they
    have their memory already. Raises BadInput when not even one row does.
    """
    stored = store_nbytes(spec.rows, spec.projections, spec.columns)
    volume = fourier_nbytes(spec.rows, spec.columns, threads=backend.threads)
    if fits_on_device(backend, spec.rows, spec.columns) if on_device else stored + volume <= memory_bytes:
        return TomogramPlan(GROWS, stored + volume)
    if on_device or stored <= memory_bytes:
        return TomogramPlan(FROM_MEMORY, stored)
    plan_row_blocks(spec.rows, spec.projections, spec.columns, memory_bytes)
    return TomogramPlan("after the scan, from the raw file in blocks of rows", memory_bytes)


class GrowingTomogram:
    """The Fourier volume of one scan. Not thread-safe."""

    def __init__(
        self,
        backend: Backend,
        spec: ScanSpec,
        stored: StoredProjections,
        center: float,
        window: str,
        memory: Memory,
        part_of: int | None = None,
    ) -> None:
        """An empty volume about ``center`` (detector column); ``window`` is that of the ramp filter.

        ``part_of``: the rows are some of a detector of so many, and their slices are those that all of them would give.
        """
        self._backend, self._spec, self._stored, self._window = backend, spec, stored, window
        self._memory, self._rows = memory, part_of or spec.rows
        self._used = np.zeros(spec.projections)
        self._begin(center)

    @staticmethod
    def fits(stored: StoredProjections, memory_bytes: int, backend: Backend) -> bool:
        """Whether a tomogram can grow from ``stored``: all of them in memory, with a volume whatever its centre.

        Of projections on a device, if the volume finds memory beside them there. Stripes that are corrected by whole
        sinograms let it be made after the scan only.
        """
        if not (stored.whole and stored.count) or stored.preparation.options.stripes == "full":
            return False
        layout = stored.layout
        sizes = layout.rows, layout.width, 0.25 * (layout.width - 1), layout.extend
        if stored.on_device:
            return fits_on_device(backend, *sizes)
        volume = fourier_nbytes(*sizes, backend.threads)
        return stored.nbytes + volume <= memory_bytes

    def _begin(self, center: float) -> None:
        layout = self._stored.layout
        self._volume: TomogramVolume = fourier_volume(
            self._backend, self._spec.rows, layout.width, layout.center(center), self._window, layout.extend,
            self._memory,
        )  # fmt: skip
        self._first = self._last = 0  # the batch of projections that is being gridded
        self._block = self._volume.blocks  # up to which block of rows it is done

    def reaches(self, center: float) -> bool:
        """Whether slices about ``center`` (detector column), to look at, can be had from what was gridded."""
        farthest = MAX_MOVE_EXTENDED_PX if self._stored.layout.extend else MAX_MOVE_PX
        return self._reaches(center, CENTER_TOLERANCE_PX, farthest)

    def _serves(self, center: float) -> bool:
        """Whether the tomogram about ``center`` (detector column) can be made of what was gridded."""
        if self._small or not self._last:  # an empty volume costs nothing to begin again
            return self._reaches(center, SMALL_TOLERANCE, SMALL_TOLERANCE)
        farthest = MAX_FINAL_MOVE_EXTENDED_PX if self._stored.layout.extend else MAX_FINAL_MOVE_PX
        return self._reaches(center, CENTER_TOLERANCE_PX, farthest)

    def _reaches(self, center: float, unmoved_px: float, moved_px: float) -> bool:
        moved = abs(self._stored.layout.center(center) - self._volume.center)
        return moved <= unmoved_px or (moved <= moved_px and self._movable)

    @property
    def _small(self) -> bool:
        return self._stored.count * self._rows * self._stored.layout.width <= SMALL

    @property
    def _movable(self) -> bool:
        """Whether the axis of what was gridded can be moved: no view was taken from both sides."""
        # Projections that wait to be gridded count as well: with them, the scan may be longer than half a turn.
        span = float(np.ptp(self._stored.angles_rad)) if self._stored.count else 0.0
        return span <= np.pi and self._volume.within_half_turn

    def _moved_to(self, center: float) -> float | None:
        """Column in the volume of an axis that is within reach; None where it stays where it is.

        It is moved by whatever it is off, so that slices do not depend on what was known when the volume was begun.
        """
        return self._stored.layout.center(center) if self._movable else None

    @property
    def _end_of_batch(self) -> int:
        return self._last + self._stored.batch_size(self._last)

    @property
    def has_work(self) -> bool:
        """Whether ``work`` would do anything."""
        # The newest projection waits: its neighbour determines its weight.
        return self._block < self._volume.blocks or self._stored.count > self._end_of_batch

    def work(self) -> bool:
        """Grid a little of what has come. False when there is nothing to do."""
        if not self.has_work:
            return False
        if self._block >= self._volume.blocks:
            last = self._end_of_batch
            angles, period = self._stored.angles_rad, self._stored.layout.period
            self._take(last, expected_weights(angles, self._last, last, self._spec, period))
        self._grid(min(self._block + self._volume.blocks_at_once, self._volume.blocks))
        return True

    @property
    def count(self) -> int:
        """Projections that are in all of its rows."""
        return self._last if self._block >= self._volume.blocks else self._first

    def rows_so_far(self, block: int, center: float) -> Image:
        """Slices (rows, width, width) of the block of LANES rows with this number, attenuation per pixel.

        They are made of the projections that were gridded until now, about ``center`` (detector column), which must be
        within reach. Raises BadInput.
        """
        return self._volume.rows_of(block, block + 1, None, self._moved_to(center))

    def _take(self, last: int, weights: Values) -> None:
        """Begin with the next batch; its projections are read once for all blocks, as they may have to be laid out."""
        self._first, self._last, self._block = self._last, last, 0
        self._used[self._first : last] = weights
        self._batch: ProjectionBatch = self._stored.batch(self._first, last, weights)

    def _grid(self, block: int) -> None:
        with at_most(self._backend.threads):
            self._volume.add(self._batch, blocks=(self._block, block))
        self._block = block

    def finish(self, center: float) -> Iterator[tuple[int, Image]]:
        """(first row, slices (rows, width, width)), attenuation per pixel, one block of rows after the other.

        With the exact weights of all projections, about ``center`` (detector column). Slices are overwritten when those
        after the next are asked for.
        """
        self._complete(center)
        moved_to = self._moved_to(center)
        # New memory for each block would take longer to find than to fill.
        width, rows = self._stored.layout.width, self._spec.rows
        turns, _ = self._memory.floats(2, min(LANES, rows), width, width)
        unlock = lock_pages(self._backend.kernels.engine, turns, "slices") if self._backend.on_device else None
        try:
            for block in range(self._volume.blocks):
                first, last = block * LANES, min((block + 1) * LANES, rows)
                out = turns[block % 2, : last - first]
                with at_most(self._backend.threads):
                    slices = self._volume.rows_of(block, block + 1, out, moved_to)
                yield first, slices
        finally:
            if unlock is not None:
                unlock()

    def _complete(self, center: float) -> None:
        """Grid the rest with its exact weights, and correct the weights of what was gridded before."""
        stored, blocks = self._stored, self._volume.blocks
        weights, count = stored.layout.weights(stored.angles_rad), stored.count
        if self._block < blocks:
            self._grid(blocks)
        tolerance = SMALL_TOLERANCE if self._small else WEIGHT_TOLERANCE
        wrong = np.abs(weights - self._used[:count])[: self._last] > tolerance * weights.mean()
        if np.count_nonzero(wrong) > self._last / 2 or not self._serves(center):
            del self._volume  # a device may not have the memory for both
            self._begin(center)
        else:
            again = np.flatnonzero(wrong)
            for first in range(0, again.size, PROJECTIONS_PER_BATCH):
                some = again[first : first + PROJECTIONS_PER_BATCH]
                self._volume.add(stored.picked(some, weights[some] - self._used[some]))
            self._used[again] = weights[again]
        while self._last < count:
            last = min(self._end_of_batch, count)
            self._take(last, weights[self._last : last])
            self._grid(blocks)


def expected_weights(angle_rad: Values, first: int, last: int, spec: ScanSpec, period: float) -> Values:
    """Angular weights (last - first,), radian, that the projections first … last-1 will probably have in the end.

    ``angle_rad`` are the angles so far. In a scan that goes one way the weights follow from the neighbours, whatever
    the steps; else the announced number of projections counts as evenly spread. Where the announced range covers a
    direction several times, its weight is shared.
    """
    wanted = np.deg2rad(spec.range_deg)
    near = angle_rad[max(0, first - 1) : last + 1]
    step = np.diff(near)
    if step.size and ((step > 0).all() or (step < 0).all()):
        before, after = np.concatenate(([step[0]], step)), np.concatenate((step, [step[-1]]))
        gap = np.abs(0.5 * (before + after))[first - max(0, first - 1) :][: last - first]
    else:
        gap = np.full(last - first, abs(wanted) / spec.projections)
    place = np.mod((angle_rad[first:last] - np.deg2rad(spec.start_deg)) * np.sign(wanted), period)
    turns, rest = divmod(abs(wanted) * (1 + 1e-9), period)
    return np.asarray(gap / np.maximum(1.0, turns + (place < rest - 1e-6)))
