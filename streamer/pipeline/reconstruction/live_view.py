"""The watched planes of a running scan, moved to a better centre of rotation without stopping the scan.

When a new centre arrives, a second set of planes is built from the stored projections, a few per frame and in idle
moments, while the first set goes on being shown; then they change places. So a re-centring never costs the camera a
frame, nor the scientist the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.planes.live_planes import LivePlanes
from streamer.core.planes.plane import Plane
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.pipeline.reconstruction.stored_projections import Ready

NewPlanes = Callable[[Sequence[Plane], float, Ready], LivePlanes]

REPLAY_BATCH = 4
"""Stored projections that are folded in in one idle moment, and besides as many as came, whenever some came.

So planes that are being built catch up in any case, and the more frames wait the less they are held up by it.
"""


class LiveView:
    """Folds projections into the planes; see the module's text for ``recenter``.

    ``new`` makes empty planes about a column of the laid-out projections; ``center`` is a column of the detector.
    """

    def __init__(self, new: NewPlanes, planes: Sequence[Plane], ready: Ready, center: float) -> None:
        self._new, self._ready = new, ready
        self.planes = tuple(planes)
        self.center = center
        self._shown = self._make(center)
        self._next: LivePlanes | None = None
        self._next_center = center
        self._replayed = 0
        self._outdated = False  # the shown planes have another layout than the projections that come

    @property
    def target_center(self) -> float:
        """The centre that the planes have, or are being moved to."""
        return self.center if self._next is None else self._next_center

    @property
    def count(self) -> int:
        """Projections in the planes that are shown."""
        return self._shown.count

    @property
    def fused(self) -> bool:
        """True when raw frames may be given to ``add_raw``."""
        return not self._outdated and not self._ready.layout.changes

    def add_raw(
        self,
        raw: NDArray[Any],
        correction: FlatFieldCorrection,
        angle_rad: NDArray[np.float64],
        attenuation: Image,
        moments: NDArray[np.float64],
    ) -> None:
        """Fold in raw projections and fill in their attenuation and moments; see LivePlanes."""
        self._shown.add_raw(raw, correction, angle_rad, attenuation, moments)

    def add(self, projection: Image, angle_rad: float) -> None:
        """Fold in a laid-out projection (rows, width). Planes of another layout stay as they are until replaced."""
        if not self._outdated:
            self._shown.add(projection, angle_rad)

    def images(self) -> dict[str, Image]:
        return self._shown.images()

    def half_images(self) -> tuple[Image, Image] | None:
        """The horizontal plane from every second projection, and from the others."""
        return self._shown.half_images()

    def set_planes(self, planes: Sequence[Plane]) -> None:
        """Watch other planes; they fill with what has come so far."""
        self.planes = tuple(planes)
        self._begin(self.target_center)

    def recenter(self, center: float) -> None:
        self._begin(center)

    def lay_out(self, ready: Ready, planes: Sequence[Plane], center: float) -> None:
        """Go on with another layout, planes and centre."""
        self._outdated = self._outdated or ready.layout.width != self._ready.layout.width
        self._ready, self.planes = ready, tuple(planes)
        self._begin(center)

    def replay(self, new: int = 0) -> bool:
        """Fold some stored projections into the planes being built. False when there are none.

        Call it after ``new`` projections were added to the store, and in idle moments.
        """
        if self._next is None:
            return False
        first, last = self._replayed, min(self._replayed + new + REPLAY_BATCH, self._ready.count)
        angles = self._ready.angles_rad
        # What a projection weighs among all that came is known by now, so that none needs to be added twice.
        weights = self._ready.layout.weights(angles)[first:last]
        projections = self._ready.batch(first, last)
        self._next.add(projections, angles[first:last], weights)
        self._replayed = last
        if last == self._ready.count:
            self._show(self._next, self._next_center)
        return True

    def work(self) -> bool:
        """Use an idle moment. False when there is nothing to do."""
        return self.replay() or self._shown.work()

    def _begin(self, center: float) -> None:
        fresh = self._make(center)
        if self._ready.whole and self._ready.count:
            self._next, self._next_center, self._replayed = fresh, center, 0
        else:  # nothing to replay from: the planes start again, and say so by their "N of M angles"
            self._show(fresh, center)

    def _show(self, planes: LivePlanes, center: float) -> None:
        self._shown, self._next, self.center, self._outdated = planes, None, center, False

    def _make(self, center: float) -> LivePlanes:
        return self._new(self.planes, self._ready.layout.center(center), self._ready)
