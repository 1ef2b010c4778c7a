"""The sliding window of live planes: one set of sums per sector of angles, the oldest dropped as a new one begins.

Nothing is ever subtracted and no frame is backprojected twice, so rounding errors do not grow with the scan.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamer.core.shear import Sums
from streamer.frames import BadInput

Image = NDArray[np.float32]

SECTORS = 8
"""Parts of a sliding window; each needs the memory of one set of planes."""


@dataclass
class Sector:
    """Sums of the frames of one range of angles; shapes as in the kernels."""

    vertical: Image
    tails: Image
    tilted: list[tuple[Image, Image]]
    horizontal: list[Sums]  # of the first plane, those of even and odd frames apart
    first: int = 0  # running number of the first frame
    angles: list[float] = field(default_factory=list)


class Window:
    """The sectors whose frames are shown. Without an angle there is one for ever.

    With one there are up to ``sectors`` complete ones and the newest. Angles are counted as they are travelled, by the
    shorter way from frame to frame, so a stage that turns on and on may report its angle modulo 360° or not.
    """

    def __init__(self, new: Callable[[], Sector], window_rad: float | None, sectors: int) -> None:
        if window_rad is not None and not (np.isfinite(window_rad) and window_rad > 0 and sectors >= 1):
            raise BadInput(f"a sliding window needs a positive angle and sectors, not {window_rad} rad in {sectors}")
        self._new = new
        self._complete = sectors
        self._width = None if window_rad is None else window_rad / sectors
        self.clear()

    def clear(self) -> None:
        self.seen = 0
        self._travelled = 0.0  # since the newest sector began
        self._last: float | None = None
        self.sectors: deque[Sector] = deque([self._new()])

    @property
    def newest(self) -> Sector:
        return self.sectors[-1]

    @property
    def count(self) -> int:
        return sum(len(sector.angles) for sector in self.sectors)

    @property
    def angles(self) -> NDArray[np.float64]:
        return np.array([angle for sector in self.sectors for angle in sector.angles], np.float64)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Running number (count,) of each frame shown, from 0."""
        return np.arange(self.sectors[0].first, self.seen)

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
        if self._width is not None and len(self.sectors) == self._complete + 1:
            done = min(1.0, len(self.newest.angles) / max(1, len(self.sectors[0].angles)))
            gains[0], gains[-1] = 1.0 - 0.5 * done**2, 0.5 * done
        return gains

    def enter(self, angles: NDArray[np.float64]) -> int:
        """How many of the next frames belong to the same sector, which becomes the newest one."""
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
                self.sectors.append(self._new())
                self.newest.first = self.seen
                if len(self.sectors) > self._complete + 1:
                    self.sectors.popleft()
            else:
                self._travelled += step
            self._last = float(angle)
        return len(angles)

    def add(self, angles: NDArray[np.float64]) -> None:
        """Count frames that were added to the newest sector."""
        self.newest.angles.extend(angles.tolist())
        self.seen += len(angles)
