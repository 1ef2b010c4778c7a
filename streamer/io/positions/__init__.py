"""Where positions of an encoder come in: one thin edge for each source, and what is common to them."""

from __future__ import annotations

from typing import Protocol

from streamer.flow.positions.positions import PositionEvent, Positions


class PositionSource(Protocol):
    """What a receiver asks for positions."""

    def drain(self) -> list[PositionEvent]:
        """What has come since the last call, in order. Never waits."""

    def wait(self, seconds: float) -> None:
        """Return when something has come, or after this time."""

    def close(self) -> None: ...


def open_source(options: Positions, shutter: str | None) -> PositionSource | None:
    """The source that the options name; None when no positions come beside the frames.

    ``shutter`` names the value that is 0 while the shutter is closed. Raises BadInput for an endpoint that makes no
    sense, and for a library that lacks.
    """
    match options.source:
        case "pandabox":
            from streamer.io.positions.pandabox import PandaBox
            from streamer.io.positions.reader import PositionReader

            return PositionReader(PandaBox(options, shutter).connect, f"PandABox {options.endpoint}")
        case "stins":
            from streamer.io.positions.reader import PositionReader
            from streamer.io.positions.stins import StreamOfPositions

            stream = StreamOfPositions(options, shutter)
            return PositionReader(stream.connect, f"stream of positions {options.endpoint}")
        case "table":
            from streamer.io.positions.table import PositionTable

            return PositionTable()
        case "pv":
            from streamer.io.positions.pv import PvPositions

            return PvPositions(options, shutter)
    return None
