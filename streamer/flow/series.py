"""A run of a detector's numbering, and which frames of the scan it holds. No sockets, no clocks."""

from __future__ import annotations

from dataclasses import dataclass

from streamer.flow.wire import WireError
from streamer.schema import shown


@dataclass
class Series:
    """Frame ``zero`` of it is frame ``base`` of the scan."""

    name: str | None
    base: int
    zero: int | None  # None until the first image, where no message announced the series
    room: int | None  # frames that the scan has left for it; None: any number
    frames: int | None = None  # that were announced
    ordinal: int = 0  # how many series came before it
    next: int = 0  # one more than the highest number seen, counted from ``zero``
    last: int = -1  # number of the image before
    ended: bool = False

    @property
    def end(self) -> int:
        """Index of the first frame after it."""
        return self.base + max(self._announced or 0, self.next)

    @property
    def _announced(self) -> int | None:
        """The announced number of frames. None says nothing, and so does one for which the scan has no room."""
        too_many = self.frames is not None and self.room is not None and self.frames > self.room
        return None if too_many else self.frames or None

    def place(self, number: int | None) -> int:
        """The place in the series of the image with this number; the next one for an image without.

        Raises WireError for a number beyond the series or the scan: it may be damaged, and must not move the frames of
        later series.
        """
        place = self.next
        if number is not None:
            if self.zero is None:
                self.zero = 0 if self.name is not None else number
            place = max(0, number - self.zero)
            most = self.room if self._announced is None else self._announced
            if most is not None and place >= most:
                of = "the scan" if self.name is None else f"series {shown(self.name)}"
                left = f"which has {most} frames at most" if most else "for which the scan has no frames left"
                raise WireError("beyond", f"image {number} of {of}, {left}")
            self.last = number
        self.next = max(self.next, place + 1)
        return place
