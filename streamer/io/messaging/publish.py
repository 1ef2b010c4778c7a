"""PUB sockets for events and previews. A subscriber that does not read loses messages and delays nobody."""

from __future__ import annotations

import threading

import numpy as np
import zmq
from numpy.typing import NDArray

from streamer.flow import wire
from streamer.flow.wire.daemon import PreviewHeader
from streamer.flow.wire.events import Event
from streamer.io.messaging import sockets

EVENT_HIGH_WATER_MARK = 1000
MAX_SUBSCRIPTION = 1024  # bytes that a subscriber may send in one message; the handshake needs 350
PREVIEW_HIGH_WATER_MARK = 6  # two rounds of three planes: a stalled viewer never holds more than that in memory


class Publisher:
    """One PUB socket that several threads may use. ``sent`` counts the messages."""

    def __init__(
        self,
        context: sockets.Context,
        endpoint: str,
        high_water_mark: int,
        name: str,
        guard: sockets.Guard = sockets.open_to_all,
    ) -> None:
        self._lock = threading.Lock()
        self._socket = context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, high_water_mark)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_SUBSCRIPTION)
        guard(self._socket)
        self.endpoint = sockets.bind(self._socket, endpoint, name)
        self.sent = 0

    def event(self, event: Event) -> None:
        self.send([event.topic.encode(), wire.pack(event)])

    def plane(self, preview: PreviewHeader, pixels: NDArray[np.uint16]) -> bytes:
        """The picture of one plane (rows, columns), quantised as ``preview`` says; gives the payload."""
        payload = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
        self.send([b"plane", wire.pack(preview), payload])
        return payload

    def send(self, parts: list[bytes]) -> None:
        """Send the parts of one message to all subscribers."""
        with self._lock:
            self._socket.send_multipart(parts)
            self.sent += 1

    def close(self) -> None:
        with self._lock:
            self._socket.close()
