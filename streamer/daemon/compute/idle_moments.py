"""Work in the moments between frames: a piece of it begins only where it can end before the next frame comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from streamer.frames import FrameMeta

NEWER = 0.1
"""Share of the newest interval, or piece of work, in the mean of the latest ones."""


class Worker(Protocol):
    """Has pieces of work."""

    def work(self) -> bool:
        """Do one. False when there is none."""


class IdleMoments:
    """Of the compute thread. It expects the next frame after the mean interval of the latest ones.

    Where not even two pieces fit between frames, they are not waited for: the work would never be done.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` is that of the frames' ``received_s``, in seconds."""
        self._clock = clock
        self._last_s = self._interval_s = self._piece_s = 0.0

    def came(self, metas: Sequence[FrameMeta]) -> None:
        """These frames were received, one after the other."""
        if not metas:
            return
        before, self._last_s = self._last_s, metas[-1].received_s
        since = (self._last_s - before) / len(metas)
        if self._interval_s > 0:  # a pause counts little, a slower camera is followed
            self._interval_s = _mean(self._interval_s, min(since, 2 * self._interval_s))
        elif before > 0:
            self._interval_s = since

    def work(self, worker: Worker) -> bool:
        """Do a piece of work. False when there is none, or no time for it now."""
        began = self._clock()
        if not self._is_time(began):
            return False
        worked = worker.work()
        if worked:
            self._piece_s = _mean(self._piece_s, self._clock() - began)
        return worked

    def _is_time(self, now: float) -> bool:
        if 2 * self._piece_s > self._interval_s:
            return True
        due = self._last_s + self._interval_s
        # A frame that is later than a whole interval is not waited for.
        return now + self._piece_s <= due or now > due + self._interval_s


def _mean(before: float, newest: float) -> float:
    return before + NEWER * (newest - before)
