"""Where a detector's messages leave: a plain socket, or the acknowledged transport. One owner thread."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import zmq

from streamer.flow.dialects.message import SocketKind
from streamer.flow.spool import HeldMessages
from streamer.flow.wire.acknowledged import Transport
from streamer.io.messaging import sockets
from streamer.io.senders.acknowledged import AcknowledgedSender, SpoolFullError, new_run

log = logging.getLogger(__name__)

HIGH_WATER_MARK = 8


class Outlet(Protocol):
    """Sends messages in order. ``endpoint`` is where it is bound or connected."""

    endpoint: str

    def offer(self, parts: Sequence[Any], timeout_s: float) -> bool:
        """Send a message, without a copy: its memory is to stay as it is for as long as the parts refer to it.

        Returns False when it was not taken within ``timeout_s``.
        """

    def close(self, linger_s: float) -> bool:
        """Close when everything has left; wait ``linger_s`` for a daemon that takes nothing.

        Returns False when something is known to be left behind.
        """


class PlainOutlet:
    """A PUSH socket, which takes a few messages ahead of the daemon and no more; or a PUB or REP socket.

    What is published waits for the first subscriber and for slow ones, as no detector would: nothing is lost here.
    """

    def __init__(
        self,
        context: sockets.Context,
        endpoint: str,
        bind: bool,
        name: str,
        guard: sockets.Guard = sockets.open_to_all,
        peer: SocketKind = "pull",
    ) -> None:
        """``name`` is what errors call the endpoint; ``peer`` is the daemon's socket.

        Raises BadInput when the endpoint cannot be bound or connected.
        """
        self._peer = peer
        self._awaits_subscriber = peer == "sub"
        self._socket = context.socket({"pull": zmq.PUSH, "sub": zmq.XPUB, "req": zmq.REP}[peer])
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.set_hwm(HIGH_WATER_MARK)
        if peer == "sub":
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        guard(self._socket)
        self.endpoint = (sockets.bind if bind else sockets.connect)(self._socket, endpoint, name)

    def offer(self, parts: Sequence[Any], timeout_s: float) -> bool:
        milliseconds = int(1000 * timeout_s)
        if self._awaits_subscriber or self._peer == "req":
            if not self._socket.poll(milliseconds, zmq.POLLIN):
                return False
            self._socket.recv()
            self._awaits_subscriber = False
        if self._peer == "pull" and not self._socket.poll(milliseconds, zmq.POLLOUT):
            return False
        self._socket.setsockopt(zmq.SNDTIMEO, milliseconds if self._peer == "sub" else 0)  # XPUB is always POLLOUT
        with suppress(zmq.Again):  # the receiver may have died since the poll
            self._socket.send_multipart(parts, copy=False)
            return True
        return False

    def close(self, linger_s: float) -> bool:
        self._socket.close(int(1000 * linger_s))
        return True


class AcknowledgedOutlet:
    """The acknowledged transport: messages ahead of the daemon, up to ``spool_bytes`` of them together."""

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
        messages = HeldMessages(spool_bytes, new_run())
        self._sender = AcknowledgedSender(context, endpoint, bind, messages, source, log.info, name, guard=guard)
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
        return PlainOutlet(context, endpoint, bind, name, guard)
    return AcknowledgedOutlet(context, endpoint, bind, name, source, spool_bytes, guard)
