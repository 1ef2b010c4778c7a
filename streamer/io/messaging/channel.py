"""Messages between two of our processes over a stream socket. Never blocks, so neither side can delay the other."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterable
from typing import Any

from streamer.flow import wire

MAX_MESSAGE = 2**28
_LENGTH = struct.Struct("<I")


def await_ready(readable: Iterable[int], writable: Iterable[int], timeout_s: float) -> set[int]:
    """Wait until a file descriptor is ready, and return those of ``readable`` that are. A closed peer counts as ready.

    Unlike select it takes descriptors beyond 1023. Raises ValueError for a negative one.
    """
    wanted = dict.fromkeys(readable, select.POLLIN)
    for descriptor in writable:
        wanted[descriptor] = wanted.get(descriptor, 0) | select.POLLOUT
    poll = select.poll()
    for descriptor, events in wanted.items():
        poll.register(descriptor, events)
    ready = poll.poll(1000 * timeout_s)
    return {descriptor for descriptor, events in ready if events & ~select.POLLOUT}


class Channel:
    """Maps over a stream socket, each preceded by its length. Never blocks: bytes that cannot be sent are buffered."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._in = bytearray()
        self._out = bytearray()
        self.eof = False  # the other side is gone

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def backlog(self) -> bool:
        """Whether bytes are waiting to be sent."""
        return bool(self._out)

    def send(self, message: dict[str, Any]) -> None:
        body = wire.pack(message)
        self._out += _LENGTH.pack(len(body)) + body
        self.push()

    def push(self) -> None:
        """Send as many bytes as the socket takes now."""
        try:
            while self._out:
                del self._out[: self._sock.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:
            self.eof = True
            self._out.clear()

    def receive(self) -> list[dict[str, Any]]:
        """Messages that have arrived. Raises WireError when the bytes are no messages."""
        try:
            while data := self._sock.recv(1 << 16):
                self._in += data
            self.eof = True
        except BlockingIOError:
            pass
        except OSError:
            self.eof = True
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> dict[str, Any] | None:
        if len(self._in) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._in)
        stop = _LENGTH.size + length
        if len(self._in) < stop:
            return None
        message = wire.unpack(bytes(self._in[_LENGTH.size : stop]), MAX_MESSAGE)
        del self._in[:stop]
        return message

    def close(self) -> None:
        self._sock.close()
