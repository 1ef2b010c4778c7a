"""Stored projections as the reconstruction reads them: corrected by what became known late, and laid out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Values
from streamer.core.backend.engine import DeviceOutOfMemory
from streamer.core.backend.on_device import OnDevice, Projections
from streamer.core.fourier.gpu_volume import MAX_PROJECTIONS
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.recent_projections import RecentProjections
from streamer.core.fourier.volume import PROJECTIONS_PER_BATCH
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.store import ProjectionStore

Numbers = NDArray[np.intp]

MIDDLE_ROWS, MIDDLE_PIXELS = 8, 2**20
"""Rows of whose slices the resolution is measured, at most, and pixels of these: wide ones have rings enough by
themselves."""


class StoredProjections:
    """A view on the store through the deferred corrections and a layout; it copies only where these change something.

    Projections on a device are corrected and laid out there. ``recent`` holds the newest ones, as they are stored,
    where the backend has a memory of its own and the store is on the host.
    """

    def __init__(
        self,
        store: ProjectionStore,
        preparation: Preparation,
        layout: Layout,
        threads: int,
        recent: RecentProjections,
    ) -> None:
        self._store, self._threads = store, threads
        self.preparation, self.layout, self.recent = preparation, layout, recent

    def with_layout(self, layout: Layout) -> StoredProjections:
        """The same projections, laid out in another way."""
        return StoredProjections(self._store, self.preparation, layout, self._threads, self.recent)

    def so_far(self) -> StoredProjections:
        """The projections of this moment; a view, which does not grow."""
        return StoredProjections(self._store.so_far(), self.preparation, self.layout, self._threads, self.recent)

    @property
    def whole(self) -> bool:
        """Whether all detector rows are stored."""
        return self._store.whole

    @property
    def attenuation(self) -> Projections | None:
        """All projections (count, rows, columns) as they are stored; None where not all rows are."""
        return self._store.all if self._store.whole else None

    @property
    def middle_rows(self) -> tuple[int, int]:
        """First and last + 1 of the rows about the middle of the detector that are stored in any case."""
        store, columns = self._store, self.layout.width
        count = min(MIDDLE_ROWS, max(1, MIDDLE_PIXELS // columns**2))
        first = max(store.first_row, store.first_row + store.middle - count // 2)
        return first, min(store.last_row, first + count)

    @property
    def count(self) -> int:
        """Projections so far."""
        return self._store.count

    @property
    def on_device(self) -> bool:
        """Whether the store lies on the device of the backend."""
        return isinstance(self._store.all, OnDevice)

    @property
    def nbytes(self) -> int:
        """Memory of the host that the store takes when the scan is complete."""
        return self._store.nbytes

    @property
    def angles_rad(self) -> Values:
        """Angles (count,) in order of arrival."""
        return self._store.angles_rad

    @property
    def as_stored(self) -> bool:
        """Whether projections are read as they are stored, without a copy."""
        return not self.preparation.late and not self.layout.changes

    def laid_out(self, attenuation: Projections, numbers: Numbers) -> Projections:
        """Prepared projections (projections, rows, columns) with these numbers, as (projections, rows, width)."""
        if self.preparation.late:
            attenuation = self._corrected(attenuation, numbers)
        return self._placed(attenuation)

    def _corrected(self, attenuation: Projections, numbers: Numbers, rows: slice = slice(None)) -> Projections:
        preparation = self.preparation
        if isinstance(attenuation, OnDevice):
            return preparation.apply_late_there(attenuation, numbers, rows)
        return preparation.apply_late(attenuation, numbers, rows, out=np.empty_like(attenuation))

    def _placed(self, attenuation: Projections, first_row: int = 0) -> Projections:
        if isinstance(attenuation, OnDevice):
            try:
                return self.layout.place_there(attenuation, first_row)
            except DeviceOutOfMemory:
                pass
        return self.layout.place(np.asarray(attenuation), first_row=first_row, threads=self._threads)

    def one(self, number: int) -> Projections:
        """(rows, width) of one projection."""
        projection: Projections = self.span(number, number + 1)[0]
        return projection

    def span(self, first: int, last: int) -> Projections:
        """(last - first, rows, width) of the projections first … last-1."""
        return self.laid_out(self._store.all[first:last], np.arange(first, last))

    def some(self, numbers: Numbers, rows: slice) -> Projections:
        """(numbers, rows, width), a copy: these rows of the projections with these numbers."""
        if self.on_device:
            return self.block(rows.start, rows.stop, numbers)
        return np.concatenate([np.asarray(self.span(n, n + 1))[:, rows] for n in numbers.tolist()])

    def batch(self, first: int, last: int, weights: Values) -> ProjectionBatch:
        """The projections first … last-1 with their ``weights``, for the tomogram."""
        span, angles = self.span(first, last), self.angles_rad[first:last]
        recent = self.recent.get(first, last) if self.as_stored and self.whole else None
        if recent is None:
            return ProjectionBatch.of(span, angles, weights)
        return ProjectionBatch(span, angles, weights, recent)

    def picked(self, numbers: Numbers, weights: Values) -> ProjectionBatch:
        """The projections with these numbers, with their ``weights``, for the tomogram."""
        store = self._store
        attenuation = self.laid_out(store.block(store.first_row, store.last_row, numbers), numbers)
        return ProjectionBatch.of(attenuation, self.angles_rad[numbers], weights)

    def batch_size(self, first: int) -> int:
        """How many projections from ``first`` on are best added to the tomogram at once."""
        if self.on_device:
            return min(MAX_PROJECTIONS, max(PROJECTIONS_PER_BATCH, self.count - 1 - first))
        return self.recent.batch_size(first) if self.as_stored and self.whole else PROJECTIONS_PER_BATCH

    def block(self, first: int, last: int, some: Numbers | None = None) -> Projections:
        """(projections, last - first, width) of all projections, or of those with the numbers ``some``; detector rows
        first … last-1, which are stored.
        """
        store, layout = self._store, self.layout
        top, bottom = layout.source_rows(first, last)
        top, bottom = max(store.first_row, top), min(store.last_row, bottom)
        numbers = np.arange(self.count) if some is None else some
        rows = store.block(top, bottom, some)
        finished = self.finished(rows, numbers, self.angles_rad[numbers], top)
        if isinstance(finished, OnDevice):
            within = np.arange(first - top, last - top)
            return finished if len(within) == bottom - top else finished.lines(np.arange(len(numbers)), within)
        return finished[:, first - top : last - top]

    def finished(self, attenuation: Projections, numbers: Numbers, angle_rad: Values, top: int) -> Projections:
        """Prepared detector rows from ``top`` on of projections (projections, rows, columns) as (…, width)."""
        preparation = self.preparation
        if isinstance(attenuation, OnDevice):
            if preparation.late:
                attenuation = self._corrected(attenuation, numbers, slice(top, top + attenuation.shape[1]))
            return self._placed(attenuation, top)
        if preparation.late or preparation.options.stripes == "full":
            late = np.empty(attenuation.shape, np.float32)
            rows = slice(top, top + attenuation.shape[1])
            attenuation = preparation.apply_late(attenuation, numbers, rows, late)
            preparation.finish_block(attenuation, angle_rad)
        return self.layout.place(attenuation, first_row=top, threads=self._threads)
