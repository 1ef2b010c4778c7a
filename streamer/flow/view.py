"""The watched planes of a running scan, moved to a better centre of rotation without stopping the scan.

When a new centre arrives, a second set of planes is built from the stored projections, a few per frame and in idle
moments, while the first set goes on being shown; then they change places. So a re-centring never costs the camera a
frame, nor the scientist the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend import Backend
from streamer.core.planes import LivePlanes, Plane
from streamer.flow.store import FilteredStore

REPLAY_PER_FRAME = 2


class LiveView:
    """Folds projections into the planes; see the module's text for ``recenter``."""

    def __init__(
        self, backend: Backend, planes: Sequence[Plane], rows: int, columns: int, center: float, store: FilteredStore
    ) -> None:
        self._backend, self._rows, self._columns, self._store = backend, rows, columns, store
        self.planes = tuple(planes)
        self.center = center
        self._shown = self._new(center)
        self._next: LivePlanes | None = None
        self._next_center = center
        self._replayed = 0

    @property
    def target_center(self) -> float:
        """The centre that the planes have, or are being moved to."""
        return self.center if self._next is None else self._next_center

    @property
    def count(self) -> int:
        """Projections in the planes that are shown."""
        return self._shown.count

    def add(self, filtered: NDArray[np.float32], angle_rad: float) -> None:
        """Call after the projection was added to the store."""
        self._shown.add(filtered, angle_rad)
        for _ in range(REPLAY_PER_FRAME):
            self.replay()

    def images(self) -> dict[str, NDArray[np.float32]]:
        return self._shown.images()

    def half_images(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """The horizontal plane from every second projection, and from the others."""
        return self._shown.half_images()

    def set_planes(self, planes: Sequence[Plane]) -> None:
        """Watch other planes; they fill with what has come so far."""
        self.planes = tuple(planes)
        self._begin(self.target_center)

    def recenter(self, center: float) -> None:
        self._begin(center)

    def replay(self) -> bool:
        """Fold one stored projection into the planes being built. False when there is nothing to do."""
        if self._next is None:
            return False
        self._next.add(*self._store.projection(self._replayed))
        self._replayed += 1
        if self._replayed == self._store.count:
            self._shown, self._next, self.center = self._next, None, self._next_center
        return True

    def _begin(self, center: float) -> None:
        fresh = self._new(center)
        if self._store.whole and self._store.count:
            self._next, self._next_center, self._replayed = fresh, center, 0
        else:  # nothing to replay from: the planes start again, and say so by their "N of M angles"
            self._shown, self._next, self.center = fresh, None, center

    def _new(self, center: float) -> LivePlanes:
        return LivePlanes(self._backend, self.planes, self._rows, self._columns, center)
