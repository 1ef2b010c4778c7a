"""The newest projections in the memory of a device, so that the tomogram need not fetch them over the bus again.

Raw frames cross the bus once, for the live planes, and are prepared on the device. Their attenuation stays here until
newer frames take its place, and is gridded from here into the tomogram. Without a device there is no place for any, and
projections are read from the host.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streamer.core.backend.chunks import USABLE_SHARE
from streamer.core.backend.engine import DeviceOutOfMemory
from streamer.core.backend.selection import Backend
from streamer.core.fourier.gpu_grid import Gridding
from streamer.core.fourier.gpu_volume import MAX_PROJECTIONS
from streamer.core.fourier.volume import PROJECTIONS_PER_BATCH
from streamer.core.simd.row_vectors import LANES

SHARE_OF_FREE = 0.5
"""Of the memory that the tomogram leaves free, at most this share is taken."""


class RecentProjections:
    """Attenuation of the newest projections (rows, columns) float32 on the device; none without ``slots``.

    Whoever fills and reads them does so on the engine's queue of kernels, in whose order a slot is read before it is
    written again. Projections that came together lie side by side; so do those that came one after the other, but for
    a jump from the last slots to the first. Not thread-safe.
    """

    def __init__(self, slots: Any | None = None) -> None:
        """``slots`` (projections, rows, columns) float32, C-contiguous, is memory of the device."""
        self._slots = slots
        self._holds = np.full(0 if slots is None else slots.shape[0], -1, np.int64)  # projection in each slot
        self._place = 0  # slot of the next one
        self._next = 0

    @property
    def next(self) -> int:
        """Number of the next projection."""
        return self._next

    @property
    def capacity(self) -> int:
        """Slots."""
        return len(self._holds)

    def slot(self, first: int, count: int) -> Any | None:
        """(count, rows, columns), C-contiguous, to fill at once with the projections first … first + count - 1.

        None unless these are the next ones, and no more than there are slots; they may then be left out.
        """
        if first != self._next or not 1 <= count <= self.capacity:
            return None
        assert self._slots is not None
        begin = self._place if self._place + count <= self.capacity else 0
        self._place = begin + count
        self._next += count
        self._holds[begin : self._place] = np.arange(first, self._next)
        return self._slots[begin : self._place]

    def arrived(self, count: int) -> None:
        """Of the projections 0 … count - 1, those that were given no slot will not be here."""
        self._next = max(self._next, count)

    def contiguous_count(self, first: int, most: int) -> int:
        """How many projections from ``first`` on lie side by side, at most ``most``; 0 if ``first`` is not here."""
        place = np.flatnonzero(self._holds == first)
        if not place.size:
            return 0
        side = self._holds[place[0] : place[0] + most]
        other = np.flatnonzero(side != np.arange(first, first + side.size))
        return int(other[0]) if other.size else side.size

    def get(self, first: int, last: int) -> Any | None:
        """The projections first … last-1 as (last - first, rows, columns), C-contiguous; None if not side by side.

        To be read on the engine's queue before more slots are filled.
        """
        count = last - first
        if count < 1 or self.contiguous_count(first, count) < count:
            return None
        assert self._slots is not None
        place = int(np.flatnonzero(self._holds == first)[0])
        return self._slots[place : place + count]

    def batch_size(self, first: int) -> int:
        """How many projections from ``first`` on are best added to the tomogram at once.

        A device reads and writes its whole grid once per batch, which takes longer than anything else but the bus. A
        large batch that has to cross the bus would only hold up the frames: without slots it is a small one.
        """
        if not self.capacity:
            return PROJECTIONS_PER_BATCH
        return self.contiguous_count(first, MAX_PROJECTIONS) or MAX_PROJECTIONS


def recent_projections(backend: Backend, rows: int, columns: int, projections: int) -> RecentProjections:
    """Room for the newest of ``projections`` projections beside the tomogram that will be made of them.

    No room without a device, and unless two batches of MAX_PROJECTIONS fit (or all projections): one is gridded while
    the next is filled. The tomogram comes first. Raises BadInput for a detector of which no tomogram can be made.
    """
    if not backend.on_device or not projections:
        return RecentProjections()
    engine, plan, batches = backend.kernels.engine, Gridding(columns), -(-projections // MAX_PROJECTIONS)
    volume = rows * (plan.row_nbytes() + plan.add_row_nbytes(MAX_PROJECTIONS)) + LANES // 2 * plan.pair_nbytes()
    left = int(SHARE_OF_FREE * (USABLE_SHARE * engine.free_bytes() - volume))
    count = MAX_PROJECTIONS * min(batches, left // (4 * rows * columns * MAX_PROJECTIONS))
    if count < MAX_PROJECTIONS * min(batches, 2):
        return RecentProjections()
    try:
        return RecentProjections(engine.empty((count, rows, columns), np.float32))
    except DeviceOutOfMemory:
        return RecentProjections()
