"""Attenuation of every projection of one scan, kept so that a late centre and late weights can be exact."""

from __future__ import annotations

import copy

import numpy as np

from streamer.core.arrays import Image, Values
from streamer.core.memory import Memory
from streamer.core.pages import Pages

QUALITY_ROWS = 8
"""Detector rows that are kept whatever the memory: they feed the resolution estimate."""


FRAMES_PER_BATCH = 8
"""Projections that are taken at once."""


def store_nbytes(rows: int, projections: int, columns: int) -> int:
    """Memory for all detector rows of all projections."""
    return 4 * rows * projections * columns


def kept_rows(rows: int, projections: int, columns: int, memory_bytes: int) -> tuple[int, int]:
    """Which detector rows fit into memory: all of them, or a few around the middle."""
    if store_nbytes(rows, projections, columns) <= memory_bytes:
        return 0, rows
    first = max(0, rows // 2 - QUALITY_ROWS // 2)
    return first, min(rows, first + QUALITY_ROWS)


class AttenuationStore:
    """(projection, row, column) float32 of every projection that came, in order of arrival.

    ``whole`` says whether all detector rows are here; otherwise the tomogram is made by reading the raw file again.
    Projections are made in the array that ``next`` gives, and count once ``add`` was called.
    """

    def __init__(
        self, rows: int, columns: int, projections: int, memory_bytes: int, memory: Memory | None = None
    ) -> None:
        self.first_row, self.last_row = kept_rows(rows, projections, columns, memory_bytes)
        self.whole = self.last_row - self.first_row == rows
        self.middle = min(rows // 2, rows - 1) - self.first_row
        # Pages of new memory cost nothing until a projection is written into them.
        self._data, new = (memory or Memory()).floats(projections, self.last_row - self.first_row, columns)
        self._frames = np.empty((0 if self.whole else FRAMES_PER_BATCH, rows, columns), np.float32)
        self._angles = np.empty(projections, np.float64)
        self._pages = Pages(self._data if new else self._data[:0])
        self.count = self._last = 0  # projections in all, and of the last batch

    def next(self, count: int = 1) -> Image:
        """Array (count, rows, columns) float32 into which the next projections are written.

        Not more than FRAMES_PER_BATCH at once, nor than were announced.
        """
        return self._data[self.count : self.count + count] if self.whole else self._frames[:count]

    def add(self, angle_rad: Values) -> None:
        """Keep the projections written into ``next()``, one for each angle (radian)."""
        new = slice(self.count, self.count + len(angle_rad))
        if not self.whole:
            self._data[new] = self._frames[: len(angle_rad), self.first_row : self.last_row]
        self._angles[new] = angle_rad
        self.count, self._last = new.stop, len(angle_rad)

    def so_far(self) -> AttenuationStore:
        """The projections of this moment; a view, which does not grow."""
        return copy.copy(self)

    def find_memory(self, ahead: int) -> bool:
        """Let the system find some of the memory for the next ``ahead`` projections. False when it is all there."""
        frame = self._data[:1].nbytes
        return self._pages.find(self.count * frame, (self.count + ahead) * frame)

    @property
    def angles_rad(self) -> Values:
        return self._angles[: self.count]

    @property
    def newest(self) -> Image:
        """(rows, columns) of the projection that came last, with all its rows; there must be one."""
        newest: Image = self._data[self.count - 1] if self.whole else self._frames[self._last - 1]
        return newest

    def sinogram(self, row: int | None = None) -> tuple[int, Image]:
        """The nearest detector row to ``row`` (None: to the middle) that is kept, and what it shows (projections,
        columns) float32, in order of the angles.
        """
        wanted = self.first_row + self.middle if row is None else row
        kept = min(max(wanted, self.first_row), self.last_row - 1)
        return kept, self.all[np.argsort(self.angles_rad, kind="stable"), kept - self.first_row]

    @property
    def all(self) -> Image:
        """(projection, row, column) of the stored rows; a view."""
        return self._data[: self.count]

    @property
    def nbytes(self) -> int:
        """Memory when the scan is complete."""
        return self._data.nbytes
