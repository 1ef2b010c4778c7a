"""Which frames of a scan came, and whether in an order that lets each projection be prepared at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from streamer.frames import FrameKind, FrameMeta

FIELDS = (FrameKind.DARK, FrameKind.FLAT)


class Arrivals:
    """Takes note of every frame of one scan. Not thread-safe.

    ``seen`` frames came. ``late_fields`` darks and flats were taken before the projections and came after one: it was
    prepared without them. ``first`` and ``last`` are the lowest and the highest index of a projection so far.
    """

    def __init__(self, frames: int) -> None:
        self._has = np.zeros(frames, bool)
        self.seen = self.late_fields = 0
        self.first, self.last = frames, -1

    def has(self, index: int) -> bool:
        """Whether the frame of this index came."""
        return bool(self._has[index])

    def note(self, index: int) -> bool:
        """A frame comes. False when it did before."""
        if self._has[index]:
            return False
        self._has[index] = True
        self.seen += 1
        return True

    def field(self, meta: FrameMeta) -> None:
        """A dark, a flat, or a frame of no use is to be taken in."""
        self.late_fields += meta.kind in FIELDS and meta.index < self.first < len(self._has)

    def projections(self, indices: Iterable[int]) -> None:
        """Projections are to be folded in."""
        self.first, self.last = min((self.first, *indices)), max((self.last, *indices))

    @property
    def complete(self) -> bool:
        """Whether every announced frame came, and each projection after the darks and flats that it needs."""
        return self.seen == len(self._has) and not self.late_fields
