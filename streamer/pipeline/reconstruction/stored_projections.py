"""Stored projections as the reconstruction reads them: corrected by what became known late, and laid out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image, Values
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.recent_projections import RecentProjections
from streamer.core.fourier.volume import PROJECTIONS_PER_BATCH
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.store import AttenuationStore

Numbers = NDArray[np.intp]

MIDDLE_ROWS, MIDDLE_PIXELS = 8, 2**20
"""Rows of whose slices the resolution is measured, at most, and pixels of these: wide ones have rings enough by
themselves."""


class StoredProjections:
    """A view on the store through the deferred corrections and a layout; it copies only where these change something.

    ``recent`` holds the newest projections, as they are stored, where the backend has a memory of its own.
    """

    def __init__(
        self,
        store: AttenuationStore,
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
    def attenuation(self) -> Image | None:
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
    def nbytes(self) -> int:
        """Memory of the store when the scan is complete."""
        return self._store.nbytes

    @property
    def angles_rad(self) -> Values:
        """Angles (count,) in order of arrival."""
        return self._store.angles_rad

    @property
    def as_stored(self) -> bool:
        """Whether projections are read as they are stored, without a copy."""
        return not self.preparation.late and not self.layout.changes

    def laid_out(self, attenuation: Image, numbers: Numbers) -> Image:
        """Prepared projections (projections, rows, columns) with these numbers, as (projections, rows, width)."""
        if self.preparation.late:
            attenuation = self.preparation.apply_late(attenuation, numbers, out=np.empty_like(attenuation))
        return self.layout.place(attenuation, threads=self._threads)

    def one(self, number: int) -> Image:
        """(rows, width) of one projection."""
        projection: Image = self.span(number, number + 1)[0]
        return projection

    def span(self, first: int, last: int) -> Image:
        """(last - first, rows, width) of the projections first … last-1."""
        return self.laid_out(self._store.all[first:last], np.arange(first, last))

    def batch(self, first: int, last: int, weights: Values) -> ProjectionBatch:
        """The projections first … last-1 with their ``weights``, for the tomogram."""
        device = self.recent.get(first, last) if self.as_stored and self.whole else None
        return ProjectionBatch(self.span(first, last), self.angles_rad[first:last], weights, device)

    def picked(self, numbers: Numbers, weights: Values) -> ProjectionBatch:
        """The projections with these numbers, with their ``weights``, for the tomogram."""
        attenuation = self.laid_out(self._store.all[numbers], numbers)
        return ProjectionBatch(attenuation, self.angles_rad[numbers], weights)

    def batch_size(self, first: int) -> int:
        """How many projections from ``first`` on are best added to the tomogram at once."""
        return self.recent.batch_size(first) if self.as_stored and self.whole else PROJECTIONS_PER_BATCH

    def block(self, first: int, last: int, some: Numbers | None = None) -> Image:
        """(projections, last - first, width) of all projections, or of those with the numbers ``some``; detector rows
        first … last-1, which are stored.
        """
        store, layout = self._store, self.layout
        top, bottom = layout.source_rows(first, last)
        top, bottom = max(store.first_row, top), min(store.last_row, bottom)
        rows = store.all[:, top - store.first_row : bottom - store.first_row]
        numbers, angles = np.arange(self.count), self.angles_rad
        if some is not None:
            rows, numbers, angles = rows[some], some, angles[some]
        return self.finished(rows, numbers, angles, top)[:, first - top : last - top]

    def finished(self, attenuation: Image, numbers: Numbers, angle_rad: Values, top: int) -> Image:
        """Prepared detector rows from ``top`` on of projections (projections, rows, columns) as (…, width)."""
        preparation = self.preparation
        if preparation.late or preparation.options.stripes == "full":
            late = np.empty(attenuation.shape, np.float32)
            rows = slice(top, top + attenuation.shape[1])
            attenuation = preparation.apply_late(attenuation, numbers, rows, late)
            preparation.finish_block(attenuation, angle_rad)
        return self.layout.place(attenuation, first_row=top, threads=self._threads)
