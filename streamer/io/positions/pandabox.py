"""Positions from the data port of a PandABox, over TCP."""

from __future__ import annotations

import socket
from collections.abc import Callable

from streamer.flow.positions.positions import PositionEvent, Positions
from streamer.flow.positions.rows import CAPTURE_REQUEST, PandaCapture, Rows
from streamer.frames import BadInput

PORT = 8889
CONNECT_S = 2.0
CHUNK = 2**18


class PandaBox:
    """Where the data port is, and what is wanted from it. Raises BadInput for an endpoint that is none."""

    def __init__(self, options: Positions, shutter: str | None) -> None:
        place = (options.endpoint or "").removeprefix("tcp://")
        host, colon, port = place.rpartition(":") if ":" in place else (place, ":", str(PORT))
        if not (host and colon and port.isdecimal() and int(port) < 2**16):
            raise BadInput(f"positions.endpoint: give HOST:PORT of the PandABox, not {options.endpoint!r}")
        self._place = host.strip("[]"), int(port)
        self._options, self._shutter = options, shutter

    def connect(self, remark: Callable[[str], None]) -> _DataPort:
        """Raises OSError."""
        capture = PandaCapture(Rows(self._options, self._shutter), remark)
        return _DataPort(socket.create_connection(self._place, CONNECT_S), capture)


class _DataPort:
    def __init__(self, connected: socket.socket, capture: PandaCapture) -> None:
        self._socket, self._capture = connected, capture
        connected.sendall(CAPTURE_REQUEST)

    def events(self, wait_s: float) -> list[PositionEvent]:
        self._socket.settimeout(wait_s)
        try:
            data = self._socket.recv(CHUNK)
        except TimeoutError:
            return []
        if not data:
            raise ConnectionError("it closed the connection")
        return self._capture.feed(data)

    def close(self) -> None:
        self._socket.close()
