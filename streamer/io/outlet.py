"""Where a detector's messages leave: a PUSH socket, or the acknowledged transport. One owner thread."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import zmq

from streamer.flow.wire.acknowledged import Transport
from streamer.io import sockets
from streamer.io.acknowledged_sender import AcknowledgedSender, SpoolFullError
from streamer.io.shared import SharedBuffer

log = logging.getLogger(__name__)

HIGH_WATER_MARK = 8


class Outlet(Protocol):
    """Sends messages in order. ``endpoint`` is where it is bound or connected."""

    endpoint: str

    def offer(self, parts: Sequence[Any], timeout_s: float) -> bool:
        """Send a message. Returns False when it was not taken within ``timeout_s``."""

    def close(self, linger_s: float) -> bool:
        """Close when everything has left; wait ``linger_s`` for a daemon that takes nothing.

        Returns False when something is known to be left behind.
        """


class PushOutlet:
    """A PUSH socket: it takes a few messages ahead of the daemon, and no more."""

    def __init__(
        self, context: sockets.Context, endpoint: str, bind: bool, name: str, guard: sockets.Guard = sockets.open_to_all
    ) -> None:
        """``name`` is what errors call the endpoint. Raises BadInput when it cannot be bound or connected."""
        self._socket = context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.set_hwm(HIGH_WATER_MARK)
        guard(self._socket)
        self.endpoint = (sockets.bind if bind else sockets.connect)(self._socket, endpoint, name)

    def offer(self, parts: Sequence[Any], timeout_s: float) -> bool:
        if self._socket.poll(int(1000 * timeout_s), zmq.POLLOUT):
            with suppress(zmq.Again):  # the receiver may have died since the poll
                self._socket.send_multipart(parts, zmq.DONTWAIT, copy=False)
                return True
        return False

    def close(self, linger_s: float) -> bool:
        self._socket.close(int(1000 * linger_s))
        return True


class AcknowledgedOutlet:
    """The acknowledged transport: as many messages ahead as the spool holds."""

    def __init__(
        self,
        context: sockets.Context,
        endpoint: str,
        bind: bool,
        name: str,
        source: str,
        spool_bytes: int,
        guard: sockets.Guard = sockets.open_to_all,
    ) -> None:
        self._spool = SharedBuffer.create(spool_bytes)
        try:
            self._sender = AcknowledgedSender(context, endpoint, bind, self._spool, source, log.info, name, guard=guard)
        except BaseException:
            self._spool.close()
            raise
        self.endpoint = self._sender.endpoint

    def offer(self, parts: Sequence[Any], timeout_s: float) -> bool:
        try:
            self._sender.send(parts, timeout_s)
        except SpoolFullError:
            return False
        return True

    def close(self, linger_s: float) -> bool:
        everything = self._sender.wait(linger_s)
        self._sender.close()
        self._spool.close()
        return everything


def open_outlet(
    transport: Transport,
    context: sockets.Context,
    endpoint: str,
    bind: bool,
    name: str,
    source: str,
    spool_bytes: int,
    guard: sockets.Guard = sockets.open_to_all,
) -> Outlet:
    """``spool_bytes`` is for the acknowledged transport. Raises BadInput when the endpoint cannot be used."""
    if transport == "push":
        return PushOutlet(context, endpoint, bind, name, guard)
    return AcknowledgedOutlet(context, endpoint, bind, name, source, spool_bytes, guard)
