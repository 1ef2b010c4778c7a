"""PUB sockets: events of the scan, and previews. A subscriber that does not read costs nothing but its own messages."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from streamer.flow import wire
from streamer.io import sockets

EVENT_HIGH_WATER_MARK = 1000
PREVIEW_HIGH_WATER_MARK = 6  # two rounds of three planes: a stalled viewer never holds more than that in memory


class Publisher:
    """One PUB socket that several threads may use. ``sent`` counts messages handed to the socket."""

    def __init__(self, context: sockets.Context, endpoint: str, high_water_mark: int, name: str) -> None:
        self._lock = threading.Lock()
        self._socket = context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, high_water_mark)
        self._socket.setsockopt(zmq.LINGER, 200)
        self.endpoint = sockets.bind(self._socket, endpoint, name)
        self.sent = 0

    def event(self, topic: str, entries: Mapping[str, Any]) -> None:
        with self._lock:
            self._socket.send_multipart([topic.encode(), wire.pack(entries)])
            self.sent += 1

    def plane(self, entries: Mapping[str, Any], pixels: NDArray[np.uint16]) -> None:
        """One preview plane (rows, columns), quantised; ``entries`` say how to read it."""
        payload = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
        with self._lock:
            self._socket.send_multipart([b"plane", wire.pack(entries), payload])
            self.sent += 1

    def close(self) -> None:
        with self._lock:
            self._socket.close()
