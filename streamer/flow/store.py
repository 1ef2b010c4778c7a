"""Filtered projections of one scan, kept so that a late centre and late weights can be exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend import Backend

QUALITY_ROWS = 8
"""Detector rows that are kept whatever the memory: they feed the resolution estimate and the refined centre."""


def kept_rows(rows: int, projections: int, columns: int, memory_bytes: int) -> tuple[int, int]:
    """Which detector rows fit into memory: all of them, or a few around the middle."""
    if 4 * rows * projections * columns <= memory_bytes:
        return 0, rows
    first = max(0, rows // 2 - QUALITY_ROWS // 2)
    return first, min(rows, first + QUALITY_ROWS)


class FilteredStore:
    """Filtered rows of every projection that came, as (projection, column, row) float32.

    ``whole`` says whether all detector rows are here; otherwise the tomogram is made by reading the raw file again.
    """

    def __init__(self, backend: Backend, rows: int, columns: int, projections: int, memory_bytes: int) -> None:
        self.first_row, self.last_row = kept_rows(rows, projections, columns, memory_bytes)
        self.whole = self.last_row - self.first_row == rows
        self.middle = min(rows // 2, rows - 1) - self.first_row
        self._backend = backend
        # Pages of an empty array cost nothing until a projection is written into them.
        self._data: NDArray[np.float32] = np.empty((projections, columns, self.last_row - self.first_row), np.float32)
        self._angles = np.empty(projections, np.float64)
        self.count = 0

    def add(self, filtered: NDArray[np.float32], angle_rad: float) -> None:
        """``filtered`` is (rows, columns) of the whole detector."""
        self._backend.kernels.to_z_contiguous(filtered[self.first_row : self.last_row], self._data[self.count])
        self._angles[self.count] = angle_rad
        self.count += 1

    @property
    def angles_rad(self) -> NDArray[np.float64]:
        return self._angles[: self.count]

    def block(self, first: int, last: int) -> NDArray[np.float32]:
        """(projection, column, row) of the stored rows first … last-1."""
        return self._data[: self.count, :, first:last]

    def projection(self, i: int) -> tuple[NDArray[np.float32], float]:
        """Projection ``i`` as (rows, columns) and its angle; all rows only when ``whole``."""
        return np.ascontiguousarray(self._data[i].T), float(self._angles[i])
