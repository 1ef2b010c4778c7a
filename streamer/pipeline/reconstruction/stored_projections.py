"""Stored projections as the reconstruction sees them: what is known late is applied when they are read again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.fourier.resident_frames import ResidentFrames
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.store import AttenuationStore


class Ready:
    """A view on the store through the late corrections and the layout; copies only where these change something.

    ``resident`` are the newest projections as they are stored, on a device; None without a device or room on it.
    """

    def __init__(
        self,
        store: AttenuationStore,
        preparation: Preparation,
        layout: Layout,
        threads: int,
        resident: ResidentFrames | None = None,
    ) -> None:
        self._store, self._threads = store, threads
        self.preparation, self.layout, self.resident = preparation, layout, resident

    @property
    def whole(self) -> bool:
        """All detector rows are stored."""
        return self._store.whole

    @property
    def middle(self) -> int:
        """The middle row of the detector; it is stored in any case."""
        return self._store.first_row + self._store.middle

    @property
    def count(self) -> int:
        return self._store.count

    @property
    def angles_rad(self) -> NDArray[np.float64]:
        return self._store.angles_rad

    @property
    def as_stored(self) -> bool:
        """Whether projections are as they are stored: then ``batch`` copies nothing."""
        return not self.preparation.late and not self.layout.changes

    def laid(self, attenuation: Image, number: int) -> Image:
        """A prepared projection (rows, columns), the ``number``-th, as (rows, width)."""
        if self.preparation.late:
            attenuation = self.preparation.apply_late(attenuation, number, out=np.empty_like(attenuation))
        return self.layout.place(attenuation, threads=self._threads)

    def one(self, number: int) -> Image:
        """(rows, width) of one stored projection."""
        return self.laid(self._store.all[number], number)

    def batch(self, first: int, last: int) -> Image:
        """(projections, rows, width) of the projections first … last-1."""
        if self.as_stored:
            return self._store.all[first:last]
        return np.stack([self.one(number) for number in range(first, last)])

    @property
    def on_device(self) -> bool:
        """Whether the newest projections are kept on a device, as they are wanted."""
        return self.resident is not None and self.as_stored and self.whole

    def together(self, first: int, most: int) -> int:
        """How many projections from ``first`` on, at most so many, one ``resident_batch`` can give."""
        return self.resident.together(first, most) if self.resident is not None and self.on_device else 0

    def resident_batch(self, first: int, last: int) -> Any | None:
        """What ``batch`` gives, on the device; None where it is not there."""
        return self.resident.of(first, last) if self.resident is not None and self.on_device else None

    def pick(self, numbers: NDArray[np.intp]) -> Image:
        """(projections, rows, width) of these projections."""
        return np.stack([self.one(int(number)) for number in numbers])

    def block(self, first: int, last: int) -> Image:
        """(projections, last - first, width) of all projections; detector rows first … last-1, which are stored."""
        store, layout = self._store, self.layout
        top, bottom = layout.source_rows(first, last)
        top, bottom = max(store.first_row, top), min(store.last_row, bottom)
        rows = store.all[:, top - store.first_row : bottom - store.first_row]
        return self.finished(rows, np.arange(self.count), self.angles_rad, top)[:, first - top : last - top]

    def finished(
        self, attenuation: Image, numbers: NDArray[np.intp], angle_rad: NDArray[np.float64], top: int
    ) -> Image:
        """Prepared detector rows from ``top`` on of projections (projections, rows, columns) as (…, width)."""
        preparation = self.preparation
        if preparation.late or preparation.options.stripes == "full":
            late = np.empty(attenuation.shape, np.float32)
            rows = slice(top, top + attenuation.shape[1])
            attenuation = preparation.apply_late(attenuation, numbers, rows, late)
            preparation.finish_block(attenuation, angle_rad)
        return self.layout.place(attenuation, first_row=top, threads=self._threads)
