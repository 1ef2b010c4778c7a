"""Which frame each projection of a scan is: projections are numbered as they come, frames as they were taken."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class ProjectionOrder:
    """``first`` and ``last`` are the lowest and the highest frame index of the projections that came."""

    def __init__(self, projections: int, frames: int) -> None:
        self._index = np.full(projections, -1, np.int64)
        self.first, self.last = frames, 0

    def note(self, number: int, index: int) -> None:
        """Projection ``number`` is the frame ``index``."""
        self._index[number] = index
        self.first, self.last = min(self.first, index), max(self.last, index)

    def index(self, number: int) -> int:
        """The frame of a projection; -1 where it did not come."""
        return int(self._index[number])

    def numbers(self, index: NDArray[np.int64]) -> NDArray[np.intp]:
        """Numbers of the projections with these frame indices, which differ; -1 for those that did not come."""
        came = np.flatnonzero(self._index >= 0)
        order = came[np.argsort(self._index[came])]
        place = np.minimum(np.searchsorted(self._index[order], index), max(0, order.size - 1))
        found = order[place] if order.size else np.zeros(len(index), np.intp)
        return np.where(self._index[found] == index, found, -1)
