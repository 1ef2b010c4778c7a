"""Bricks of the tomogram that grows: the daemon makes them, and all pages share what is young."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from streamer.client import Link
from streamer.flow.wire.looks import MOST_BRICK, GetBrick
from streamer.frames import BadInput
from streamer.web.messages import brick_header, with_picture
from streamer.web.query import read_box, read_most

FRESH_S = 1.0
MOST_KEPT = 4


class GrowingBricks:
    """One question at a time goes to the daemon. Any thread may ask."""

    def __init__(self, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self._link, self._clock = link, clock
        self._lock = threading.Lock()
        self._made: dict[GetBrick, tuple[float, bytes]] = {}

    def brick(self, scan_id: str, query: Mapping[str, str], whole: tuple[int, int, int] | None) -> bytes:
        """A box of the tomogram of the running scan as a message, like ``Archive.brick``; ``whole`` is its shape.

        Raises BadInput when the daemon has none, or that of another scan.
        """
        most = min(read_most(query), MOST_BRICK)
        wanted = GetBrick(None if whole is None else read_box(query, whole), most)
        with self._lock:
            made = self._made.get(wanted)
            if made is None or self._clock() - made[0] > FRESH_S:
                brick = self._link.ask(wanted)
                if brick.scan_id != scan_id:
                    raise BadInput(f"scan {scan_id} does not run any more")
                made = self._clock(), with_picture(brick_header(brick), brick.voxels)
                self._made.pop(wanted, None)
                self._made[wanted] = made
                while len(self._made) > MOST_KEPT:
                    self._made.pop(next(iter(self._made)))
            return made[1]

    def close(self) -> None:
        self._link.close()
