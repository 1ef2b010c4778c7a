"""Why frames are missing, as far as their order tells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.flow.scan import Outcome

LEAST = 8
"""Frames of which a pattern may be told."""

MOST_RECEIVERS = 8
REGULAR = 0.8
"""Share of the frames that come in turns; a receiver that cannot take one at the moment is passed over."""


class CounterWatch:
    """Notices that a source counts its frames from an earlier index again: a restarted camera, or one armed twice."""

    def __init__(self) -> None:
        self.restart: tuple[int, int] | None = None  # index before, index after
        self._last = -1
        self._highest = -1
        self._run = 0  # known frames that came one after the other, in the order of their index
        self._from = 0

    def frame(self, index: int, outcome: Outcome) -> None:
        follows, self._last = index == self._last + 1, index
        if outcome is Outcome.DUPLICATE and (follows or self._run == 0) and index < self._highest:
            self._from = self._from if self._run else index
            self._run += 1
        else:
            self._run = 0
        if self._run == LEAST and self.restart is None:
            self.restart = self._highest, self._from
        self._highest = max(self._highest, index)


def shared_with(missing: NDArray[np.int64], frames: int) -> int:
    """How many receivers the frames seem to go to in turns: 1 when there is no such pattern.

    ``missing`` are indices in order, of ``frames`` frames. A PUSH socket gives each of n receivers every n-th message.
    """
    if len(missing) < LEAST:
        return 1
    first, last = int(missing[0]), int(missing[-1])
    lacking = np.zeros(frames, np.bool_)
    lacking[missing] = True
    steps = np.diff(np.flatnonzero(~lacking[first : last + 1]))
    if len(steps) < LEAST:
        return 1
    usual = int(np.bincount(steps).argmax())
    regular = np.count_nonzero(steps == usual) >= REGULAR * len(steps)
    return usual if regular and usual <= MOST_RECEIVERS else 1


def cause_of_loss(missing: NDArray[np.int64], frames: int, restart: tuple[int, int] | None) -> str:
    """What the order of the frames says of those that are missing, in words; empty when it says nothing."""
    if not len(missing):
        return ""
    if restart is not None:
        before, after = restart
        return f"the source's frame counter went back from {before} to {after}: was it restarted or armed twice?"
    receivers = shared_with(missing, frames)
    if receivers > 1:
        others = "another receiver" if receivers == 2 else f"{receivers - 1} other receivers"
        return f"only every {_ordinal(receivers)} frame came: the frames also go to {others}"
    return ""


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
