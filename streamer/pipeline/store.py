"""Attenuation of every projection of one scan, kept so that a late centre and late weights can be exact."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image, Values
from streamer.core.backend.on_device import Projections
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


class ProjectionStore(ABC):
    """(projection, row, column) float32 of every projection that came, in order of arrival, wherever they lie.

    ``whole`` says whether all detector rows are here; otherwise the tomogram is made by reading the raw file again.
    Projections are made in the array that ``next`` gives, and count once ``add`` was called.
    """

    def __init__(self, rows: int, projections: int, kept: tuple[int, int]) -> None:
        """``kept`` are the first and the last + 1 of the detector rows that are kept."""
        self.first_row, self.last_row = kept
        self.whole = self.last_row - self.first_row == rows
        self.middle = min(rows // 2, rows - 1) - self.first_row
        self._angles = np.empty(projections, np.float64)
        self.count = self._last = 0  # projections in all, and of the last batch

    @property
    @abstractmethod
    def all(self) -> Projections:
        """(projection, row, column) of the stored rows; a view."""

    @abstractmethod
    def next(self, count: int = 1) -> Projections:
        """Array (count, rows, columns) float32 into which the next projections are written.

        Not more than FRAMES_PER_BATCH at once, nor than were announced.
        """

    @abstractmethod
    def few(self, numbers: NDArray[np.intp], rows: NDArray[np.intp]) -> Image:
        """(numbers, rows, columns) on the host: of these projections these stored rows, counted from ``first_row``."""

    @abstractmethod
    def block(self, first: int, last: int, some: NDArray[np.intp] | None = None) -> Projections:
        """(projections, last - first, columns) of all projections, or of those with the numbers ``some``; detector rows
        first … last-1, which are stored. Where they lie.
        """

    @property
    @abstractmethod
    def newest(self) -> Image:
        """(rows, columns) of the projection that came last, with all its rows; there must be one."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory of the host when the scan is complete."""

    def find_memory(self, ahead: int) -> bool:
        """Let the system find some of the memory for the next ``ahead`` projections. False when it is all there."""
        return False

    def add(self, angle_rad: Values) -> None:
        """Keep the projections written into ``next()``, one for each angle (radian)."""
        new = slice(self.count, self.count + len(angle_rad))
        self._angles[new] = angle_rad
        self.count, self._last = new.stop, len(angle_rad)

    def so_far(self) -> Self:
        """The projections of this moment; a view, which does not grow."""
        return copy.copy(self)

    @property
    def angles_rad(self) -> Values:
        return self._angles[: self.count]

    def sinogram(self, row: int | None = None) -> tuple[int, Image]:
        """The nearest detector row to ``row`` (None: to the middle) that is kept, and what it shows (projections,
        columns) float32, in order of the angles.
        """
        wanted = self.first_row + self.middle if row is None else row
        kept = min(max(wanted, self.first_row), self.last_row - 1)
        order = np.argsort(self.angles_rad, kind="stable")
        return kept, self.few(order, np.array([kept - self.first_row]))[:, 0]


class AttenuationStore(ProjectionStore):
    """Projections in the memory of the host: all their rows, or as many as ``memory_bytes`` hold."""

    def __init__(
        self, rows: int, columns: int, projections: int, memory_bytes: int, memory: Memory | None = None
    ) -> None:
        super().__init__(rows, projections, kept_rows(rows, projections, columns, memory_bytes))
        # Pages of new memory cost nothing until a projection is written into them.
        self._data, new = (memory or Memory()).floats(projections, self.last_row - self.first_row, columns)
        self._frames = np.empty((0 if self.whole else FRAMES_PER_BATCH, rows, columns), np.float32)
        self._pages = Pages(self._data if new else self._data[:0])

    def next(self, count: int = 1) -> Image:
        return self._data[self.count : self.count + count] if self.whole else self._frames[:count]

    def add(self, angle_rad: Values) -> None:
        if not self.whole:
            new = slice(self.count, self.count + len(angle_rad))
            self._data[new] = self._frames[: len(angle_rad), self.first_row : self.last_row]
        super().add(angle_rad)

    def find_memory(self, ahead: int) -> bool:
        frame = self._data[:1].nbytes
        return self._pages.find(self.count * frame, (self.count + ahead) * frame)

    @property
    def newest(self) -> Image:
        newest: Image = self._data[self.count - 1] if self.whole else self._frames[self._last - 1]
        return newest

    @property
    def all(self) -> Image:
        return self._data[: self.count]

    def few(self, numbers: NDArray[np.intp], rows: NDArray[np.intp]) -> Image:
        return np.asarray(self.all[numbers[:, None], rows])

    def block(self, first: int, last: int, some: NDArray[np.intp] | None = None) -> Image:
        rows = self.all[:, first - self.first_row : last - self.first_row]
        return rows if some is None else np.asarray(rows[some])

    @property
    def nbytes(self) -> int:
        return self._data.nbytes
