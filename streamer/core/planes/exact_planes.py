"""Live planes by filtered backprojection whose angles have their exact weights after every frame.

The quality setting. Weights are those of ``angular_weights``. When a new angle comes, it takes from the weights of its
neighbours: so their projections are fetched and added again, times the difference, which is negative. In a scan from
end to end that is nobody, in an interlaced or golden-ratio scan two projections per frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import RampFilter, angular_weights
from streamer.core.planes.plane import Plane, PlaneSums, check_projection, finite_center
from streamer.core.planes.sliding_window import NEGLIGIBLE, ExactWeights

PER_FRAME = 2
"""Projections that are added again with each new one, at most."""

SMALL = 0.01
"""Difference of a weight, in mean weights, that waits for ``images``: more such differences may come and be merged."""


class ExactPlanes:
    """Reconstructions of a few planes from the frames so far, equal to filtered backprojection of these frames.

    The tomogram's grid is (rows, columns, columns). Attenuation per pixel. Only rows that a plane sees are filtered.
    """

    def __init__(
        self,
        backend: Backend,
        planes: Sequence[Plane],
        rows: int,
        columns: int,
        center: float,
        *,
        stored: Callable[[int], Image],
        window: str = "ramp",
        extend: bool = False,
        period: float = np.pi,
    ) -> None:
        """``stored`` returns attenuation (rows, columns) float32 of the i-th projection added since the last reset.

        ``window`` and ``extend`` are those of RampFilter, ``period`` that of angular_weights. Raises BadInput.
        """
        self._backend, self._stored = backend, stored
        self._sums = PlaneSums(backend, planes, rows, columns)
        self.planes = self._sums.planes
        self.rows, self.columns = rows, columns
        self._ramp = RampFilter(columns, window, extend)
        self._seen = _rows_seen(planes, rows)
        self._filtered = np.zeros((rows, columns), np.float32)
        self._period = period
        self._weights = ExactWeights(period)
        self.reset(center)

    def reset(self, center: float | None = None) -> None:
        """Forget all frames; with ``center`` (columns), use that axis from now on. Raises BadInput if not finite."""
        if center is not None:
            self.center = finite_center(center)
        self._sums.clear()
        self._weights.clear()

    @property
    def count(self) -> int:
        """Frames in the planes."""
        return len(self._weights.angles)

    def add(self, attenuation: NDArray[np.float32], angle_rad: float, weight: float | None = None) -> None:
        """Fold in one projection, attenuation (rows, columns) float32, seen at ``angle_rad``.

        ``weight`` is what the frame will weigh in the end when that is known, as when a whole scan is added again; then
        no other frame is touched. Raises BadInput on another shape or an angle that is not finite.
        """
        check_projection(attenuation, (self.rows, self.columns), angle_rad)
        number = self.count
        self._fold(attenuation, float(angle_rad), self._weights.enter(float(angle_rad), weight), number)
        if weight is None:
            self._settle(PER_FRAME, SMALL)

    def work(self) -> bool:
        """Add one projection again whose weight has changed by a percent or more. False when there is none."""
        return self._settle(1, SMALL) > 0

    def images(self, names: Collection[str] | None = None) -> dict[str, Image]:
        """Every plane, or those named, as the reconstruction from the frames so far."""
        self._settle()
        return self._sums.images(1.0, names)

    def half_images(self) -> tuple[Image, Image] | None:
        """The first horizontal plane from the even and from the odd frames alone; None without plane or frames.

        The weights are those of all frames here, too, for each half brought to the angle that it covers.
        """
        if self.count < 2:
            return None
        self._settle()
        angles, given = np.array(self._weights.angles), self._weights.given
        even, odd = (float(angular_weights(angles[h::2], self._period).sum() / given[h::2].sum()) for h in (0, 1))
        return self._sums.halves((even, odd))

    def _settle(self, limit: int | None = None, share: float = NEGLIGIBLE) -> int:
        due = self._weights.due(limit, share)
        for number, weight in due:
            self._fold(self._stored(number), self._weights.angles[number], weight, number)
        return len(due)

    def _fold(self, attenuation: NDArray[Any], angle: float, weight: float, number: int) -> None:
        if len(self._seen) == self.rows:
            self._ramp.apply(attenuation, self._backend.threads, self._filtered)
        else:
            self._filtered[self._seen] = self._ramp.apply(attenuation[self._seen], self._backend.threads)
        self._sums.add(self._filtered, angle, self.center, weight, number)


def _rows_seen(planes: Sequence[Plane], rows: int) -> NDArray[np.int64]:
    """Detector rows that any of the planes sees, in order."""
    seen = np.zeros(rows, np.bool_)
    for plane in planes:
        height, width = plane.shape
        corners = [plane.origin[2] + i * plane.v[2] + j * plane.u[2] for i in (0, height - 1) for j in (0, width - 1)]
        first, last = np.clip((np.floor(min(corners)), np.ceil(max(corners))), 0, rows - 1).astype(int)
        seen[first : last + 1] = True
    return np.flatnonzero(seen)
