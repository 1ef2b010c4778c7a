"""Positions as MAX IV streams them: JSON messages of a PUB socket."""

from __future__ import annotations

from collections.abc import Callable

import zmq

from streamer.flow.positions.positions import PositionEvent, Positions
from streamer.flow.positions.rows import MAX_BLOCK, Rows, StreamedCapture
from streamer.flow.wire import WireError
from streamer.io.messaging import sockets


class StreamOfPositions:
    """Where the stream is, and what is wanted from it. Raises BadInput for an endpoint that is none."""

    def __init__(self, options: Positions, shutter: str | None) -> None:
        self._context: sockets.Context = zmq.Context.instance()
        self._endpoint = sockets.check_endpoint(self._context, options.endpoint or "", "positions.endpoint")
        self._options, self._shutter = options, shutter

    def connect(self, remark: Callable[[str], None]) -> _Stream:
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, 0)  # positions are small, and none of them may be lost
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_BLOCK)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        sockets.connect(socket, self._endpoint, "positions.endpoint")
        return _Stream(socket, StreamedCapture(Rows(self._options, self._shutter), remark), remark)


class _Stream:
    def __init__(self, socket: sockets.Socket, capture: StreamedCapture, remark: Callable[[str], None]) -> None:
        self._socket, self._capture, self._remark = socket, capture, remark

    def events(self, wait_s: float) -> list[PositionEvent]:
        if not self._socket.poll(round(1e3 * wait_s)):
            return []
        try:
            return self._capture.message(self._socket.recv_multipart()[0])
        except WireError as error:  # the next message may be better
            self._remark(str(error))
            return []

    def close(self) -> None:
        self._socket.close()
