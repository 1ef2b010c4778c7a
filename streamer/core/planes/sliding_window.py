"""Which frames live planes show, and with what weights: a sliding window, or all frames with exact weights.

A window keeps one set of sums per sector of angles and drops the oldest when a new one begins. Nothing is subtracted
and no frame is backprojected twice, so rounding errors do not grow with the scan.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.fbp.ramp_filter import angular_weights
from streamer.frames import BadInput

NewSet = Callable[[], Any]

SECTORS = 8
"""Sectors of a sliding window; each needs the memory of one set of planes."""


@dataclass
class Sector:
    """The frames of one range of angles."""

    sums: Any  # of a PlaneAccumulator
    angles: list[float] = field(default_factory=list)


class SlidingWindow:
    """The sectors whose frames are shown: a single one without an angle, else SECTORS complete ones and the newest.

    Angles are counted as they are travelled, by the shorter way from frame to frame, so a stage that turns on and on
    may report its angle modulo 360° or not.
    """

    def __init__(self, window_rad: float | None) -> None:
        """``window_rad`` is the angle shown, None for all frames. Raises BadInput. ``begin`` makes the first sector."""
        if window_rad is not None and not (np.isfinite(window_rad) and window_rad > 0):
            raise BadInput(f"a sliding window needs a positive angle, not {window_rad} rad")
        self._width = None if window_rad is None else window_rad / SECTORS
        self.most = 1 if window_rad is None else SECTORS + 1  # sectors at once
        self.sectors: deque[Sector] = deque()
        self._travelled = 0.0  # since the newest sector began
        self._last: float | None = None

    def begin(self, sums: Any) -> None:
        """Begin the first sector with these empty sums."""
        self.sectors.append(Sector(sums))

    @property
    def newest(self) -> Sector:
        """The sector that frames are added to."""
        return self.sectors[-1]

    @property
    def count(self) -> int:
        """Frames shown."""
        return sum(len(sector.angles) for sector in self.sectors)

    @property
    def angles(self) -> NDArray[np.float64]:
        """Angles (count,) of the frames shown, radian, in order of arrival."""
        return np.array([angle for sector in self.sectors for angle in sector.angles], np.float64)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight (count,) of each frame shown."""
        return np.repeat(self.gains(), [len(sector.angles) for sector in self.sectors])

    def gains(self) -> NDArray[np.float64]:
        """Weight of each sector. The newest one sees the angles of the oldest anew, and takes its place gradually.

        With a share f of it done, and weight f/2 for the newest, all angles are most even with 1 - f²/2 for the oldest:
        the least squares of f·(a + f/2 - 1)² + (1 - f)·(a - 1)². So the image changes smoothly when the oldest goes.
        """
        gains = np.ones(len(self.sectors))
        if self._width is not None and len(self.sectors) == self.most:
            done = min(1.0, len(self.newest.angles) / max(1, len(self.sectors[0].angles)))
            gains[0], gains[-1] = 1.0 - 0.5 * done**2, 0.5 * done
        return gains

    def enter(self, angles: NDArray[np.float64], new_set: NewSet) -> int:
        """How many of the next frames belong to the same sector, which becomes the newest one.

        ``new_set`` makes empty sums for a sector that begins.
        """
        if self._width is None:
            return len(angles)
        for k, angle in enumerate(angles):
            step = 0.0 if self._last is None else abs(float(np.angle(np.exp(1j * (angle - self._last)))))
            if self._travelled + step >= self._width * (1 - 1e-9):
                if k > 0:
                    return k
                # A step wider than a sector begins one, too; the rest of a smaller one is kept, so that sectors stay
                # where they are however many turns are made.
                self._travelled = min(self._travelled + step - self._width, 0.5 * self._width)
                if len(self.sectors) == self.most:
                    self.sectors.popleft()
                self.sectors.append(Sector(new_set()))
            else:
                self._travelled += step
            self._last = float(angle)
        return len(angles)

    def add(self, angles: NDArray[np.float64]) -> None:
        """Count frames that were added to the newest sector."""
        self.newest.angles.extend(angles.tolist())


INVISIBLE_ERROR = 0.03
"""Error of a frame's weight, in mean weights, that nobody sees: it raises the error of Shepp and Logan's head by 0.1 %
and that of smooth objects of height 1 by less than 2e-4. Correcting smaller ones would add every frame twice for an
encoder that is off by 2 % of a step."""


LOOK_EVERY = 4
"""Frames that come between two looks in idle moments for weights that have changed: all angles are looked at."""


class ExactWeights:
    """The weights with which frames lie in the sums, and what they lack to those that they should have.

    They should have the ``angular_weights`` of the angles so far. A new angle takes from its neighbours, seldom from
    others: a frame enters with nearly its weight, and then about two others are to be added again, times a difference.
    """

    def __init__(self, period: float) -> None:
        """``period`` (radian) is that of angular_weights."""
        self._period = period
        self.angles: list[float] = []
        self._given = np.zeros(64)
        self._sorted: list[float] = []
        self._exact: NDArray[np.float64] | None = None
        self._mean = self._period
        self._looked = 0  # frames at the latest look

    @property
    def given(self) -> NDArray[np.float64]:
        """Weights (count,) with which the frames are in the sums."""
        return self._given[: len(self.angles)]

    def enter(self, angle: float, weight: float | None = None) -> float:
        """Count a frame; returns the weight to add it with, which is ``weight`` when that is known."""
        place = angle % self._period
        if weight is None:
            weight = self._expected(place)
        self._sorted.insert(bisect_left(self._sorted, place), place)
        if len(self.angles) == len(self._given):
            self._given = np.concatenate([self._given, np.zeros(len(self._given))])
        self.angles.append(angle)
        count = len(self.angles)
        self._given[count - 1] = weight
        self._exact = None
        if count & (count - 1) == 0:  # a power of two: often enough to know how wide a gap may be
            self._mean = float(angular_weights(np.array(self.angles), self._period).mean())
        return weight

    def due(self, limit: int | None = None) -> list[tuple[int, float]]:
        """Frames to add again, each with the difference of its weight, which from now on counts as added.

        At most ``limit`` of them, the largest first, and none whose difference is below INVISIBLE_ERROR mean weights.
        With a limit none, either, until LOOK_EVERY frames came since the latest look.
        """
        if not self.angles:
            return []
        if self._exact is None:
            if limit is not None and len(self.angles) - self._looked < LOOK_EVERY:
                return []
            self._looked = len(self.angles)
            self._exact = angular_weights(np.array(self.angles), self._period)
            self._mean = float(self._exact.mean())
        given = self.given
        missing = self._exact - given
        chosen = np.flatnonzero(np.abs(missing) > INVISIBLE_ERROR * self._mean)
        if limit is not None and len(chosen) > limit:
            chosen = chosen[np.argsort(-np.abs(missing[chosen]), kind="stable")[:limit]]
        given[chosen] = self._exact[chosen]
        return [(int(k), float(missing[k])) for k in chosen]

    def _expected(self, place: float) -> float:
        """Half of the gaps to the neighbours; one that is too wide to have been measured counts as a mean weight."""
        if not self._sorted:
            return self._period
        k, count = bisect_left(self._sorted, place), len(self._sorted)
        before = (place - self._sorted[k - 1]) % self._period
        after = (self._sorted[k % count] - place) % self._period
        widest = (5.0 + log(count)) * self._mean
        return 0.5 * sum(gap if gap <= widest or count < 3 else self._mean for gap in (before, after))
