"""The newest projections on the device, so that what is made of them there need not cross the bus again.

Raw frames cross it once, for the live planes, and are prepared on the device. Their attenuation stays here until newer
frames take its place, and is gridded from here into the tomogram.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streamer.core.backend.chunks import USABLE
from streamer.core.backend.engine import DeviceOutOfMemory, Engine
from streamer.core.fourier.gpu_grid import Gridding
from streamer.core.fourier.gpu_volume import MOST_ANGLES
from streamer.core.simd.row_vectors import LANES
from streamer.frames import BadInput

SHARE = 0.5
"""Of the memory that the tomogram leaves free, as much may be taken."""


class ResidentFrames:
    """Attenuation of the newest projections (rows, columns) float32 on the device, in ``slots`` places.

    Whoever fills and reads them does so on the engine's queue of kernels, in whose order a place is read before it is
    written again. Projections that came together lie side by side; so do those that came one after the other, but for
    a jump from the last places to the first. Not thread-safe.
    """

    def __init__(self, engine: Engine, rows: int, columns: int, slots: int) -> None:
        """Raises BadInput for sizes below 1, DeviceOutOfMemory from the device."""
        if min(rows, columns, slots) < 1:
            raise BadInput(f"{slots} frames of {rows}×{columns} on the device make no sense")
        self.slots = slots
        self._frames = engine.empty((slots, rows, columns), np.float32)
        self._holds = np.full(slots, -1, np.int64)  # number of the projection in each place
        self._place = 0  # where the next one goes
        self._next = 0

    @property
    def next(self) -> int:
        """Number of the first projection that has not come yet."""
        return self._next

    def slot(self, first: int, count: int) -> Any | None:
        """(count, rows, columns), C-contiguous, to be filled at once with the projections first … first + count - 1.

        None where these are not the next ones, or more than ``slots``; they may then be left out (``skip``).
        """
        if first != self._next or not 1 <= count <= self.slots:
            return None
        begin = self._place if self._place + count <= self.slots else 0
        self._place = begin + count
        self._next += count
        self._holds[begin : self._place] = np.arange(first, self._next)
        return self._frames[begin : self._place]

    def skip(self, count: int) -> None:
        """The next so many projections will not be here; those before them stay. Raises BadInput for less than 0."""
        if count < 0:
            raise BadInput(f"{count} projections cannot be left out")
        self._next += count

    def together(self, first: int, most: int) -> int:
        """How many projections from ``first`` on, at most so many, lie side by side; 0 if it is not here (any more)."""
        place = np.flatnonzero(self._holds == first)
        if not place.size:
            return 0
        side = self._holds[place[0] : place[0] + most]
        other = np.flatnonzero(side != np.arange(first, first + side.size))
        return int(other[0]) if other.size else side.size

    def of(self, first: int, last: int) -> Any | None:
        """The projections first … last - 1 as (last - first, rows, columns), C-contiguous; None if not ``together``.

        To be read on the engine's queue before more is filled in.
        """
        count = last - first
        if count < 1 or self.together(first, count) < count:
            return None
        place = int(np.flatnonzero(self._holds == first)[0])
        return self._frames[place : place + count]


def resident_frames(engine: Engine, rows: int, columns: int, projections: int) -> ResidentFrames | None:
    """Room for the newest of so many projections beside the tomogram that will be made of them; None if there is none.

    Two batches of MOST_ANGLES at least, where the scan has so many: one is gridded while the next is filled. The
    tomogram comes first: if it does not leave so much memory, its projections cross the bus once more. Raises BadInput
    for a detector of which no tomogram can be made.
    """
    plan, batches = Gridding(columns), -(-projections // MOST_ANGLES)
    volume = rows * (plan.row_nbytes() + plan.add_row_nbytes(MOST_ANGLES)) + LANES // 2 * plan.pair_nbytes()
    left = int(SHARE * (USABLE * engine.free_bytes() - volume))
    slots = MOST_ANGLES * min(batches, left // (4 * rows * columns * MOST_ANGLES))
    if slots < MOST_ANGLES * min(batches, 2) or slots < 1:
        return None
    try:
        return ResidentFrames(engine, rows, columns, slots)
    except DeviceOutOfMemory:
        return None
