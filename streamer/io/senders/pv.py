"""Images as updates of a PV over PVAccess, as areaDetector's NDPluginPva serves them. Needs p4p, the extra ``pva``.

A monitor drops what does not fit into its queue, and no server of p4p says how far a monitor is. So the sender goes by
what the daemon says of the scan, and is never more than some images ahead of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from streamer.flow.dialects.message import Image, SeriesEnd, SeriesStart
from streamer.frames import BadInput
from streamer.io.foreign.pva import MISSING, SCHEME

AHEAD = 4
"""Images that the daemon has not counted yet: half of its queue (``source.high_water_mark``) as it is by default."""

ASK_S = 0.001
REPEAT_S = 2.0
"""After which the first image is sent again: one that comes as the daemon connects is refused."""


class PvMessages:
    """A PV has images, and nothing before or after them."""

    def encode_start(self, _start: SeriesStart) -> list[Any]:
        return []

    def encode_image(self, image: Image) -> list[Any]:
        return [image]

    def encode_end(self, _end: SeriesEnd) -> list[Any]:
        return []


class PvOutlet:
    """A PV that holds one image after the other; an outlet for the images of one scan.

    Raises BadInput without p4p.
    """

    def __init__(self, endpoint: str, taken: Callable[[], int]) -> None:
        """``endpoint`` is ``pva://NAME``; ``taken`` asks the daemon how many images of the scan it has."""
        try:
            from p4p.nt import NTNDArray
            from p4p.server import Server
            from p4p.server.raw import SharedPV
        except ImportError as error:
            raise BadInput(f"--dialect: pva {MISSING}") from error
        self.endpoint, self._taken, self._wrap = endpoint, taken, NTNDArray().wrap
        self._sent, self._posted_s = 0, -math.inf
        held = self._wrap(np.zeros((1, 1), "<u2"))
        held["uniqueId"] = -1
        self._pv = SharedPV(initial=held)
        self._server = Server(providers=[{endpoint.removeprefix(SCHEME): self._pv}])

    def offer(self, parts: Sequence[Any], timeout_s: float) -> bool:
        (image,) = parts
        if self._sent == 0:
            return self._first(image, timeout_s)
        if not self._counted(self._sent - AHEAD + 1, timeout_s):
            return False
        self._post(image)
        self._sent += 1
        return True

    def close(self, linger_s: float) -> bool:
        everything = self._counted(self._sent, linger_s)
        self._server.stop()
        self._pv.close()
        return everything

    def _first(self, image: Image, timeout_s: float) -> bool:
        """Send the first image, now and then again, until the daemon has it: whether it is connected is not known."""
        deadline = time.monotonic() + timeout_s
        while self._taken() < 1:
            now = time.monotonic()
            if now - self._posted_s >= REPEAT_S:
                self._post(image)
                self._posted_s = now
            if now >= deadline:
                return False
            time.sleep(ASK_S)
        self._sent = 1
        return True

    def _counted(self, count: int, timeout_s: float) -> bool:
        """Whether the daemon has so many images, before ``timeout_s`` have passed in which none came."""
        deadline, before = time.monotonic() + timeout_s, 0
        while count > 0 and (taken := self._taken()) < count:
            if taken > before:
                deadline, before = time.monotonic() + timeout_s, taken
            if time.monotonic() >= deadline:
                return False
            time.sleep(ASK_S)
        return True

    def _post(self, image: Image) -> None:
        pixels = np.frombuffer(image.data, image.dtype).reshape(image.shape)
        value = self._wrap(pixels, attrib=dict(image.attributes))
        value["uniqueId"] = image.number
        self._pv.post(value)
