"""Positions that a client of the control socket sends."""

from __future__ import annotations

from collections.abc import Sequence

from streamer.flow.positions.positions import Position, RunEnds
from streamer.io.positions.reader import Arrivals


class PositionTable(Arrivals):
    """Implements ``PositionSource``. ``enter`` may be called on any thread."""

    def enter(self, first: int, values: Sequence[float], last: bool) -> None:
        """Positions of the triggers from ``first`` on, in counts or degrees; ``last``: no more of this scan come."""
        self.add(Position(first + at, value) for at, value in enumerate(values))
        if last:
            self.add([RunEnds()])

    def close(self) -> None:
        """Nothing is open."""
