"""Listens to a detector whose socket is not known: which kind of socket it has, and what it sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import zmq
from zmq.utils.monitor import parse_monitor_message

from streamer.flow.dialects.message import SocketKind
from streamer.io.messaging import sockets
from streamer.io.sources.dialect import REQUEST

SOCKETS: Mapping[SocketKind, int] = {"sub": zmq.SUB, "pull": zmq.PULL, "req": zmq.REQ}
PEERS: Mapping[SocketKind, str] = {"sub": "PUB", "pull": "PUSH", "req": "REP"}
"""What a detector has at the other end."""

EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
MOST_MESSAGES = 50
MOST_BYTES = 2**28
POLL_MS = 50


@dataclass
class Heard:
    """``kind`` is the socket that suits the detector; None: nobody is there."""

    kind: SocketKind | None = None
    messages: list[list[memoryview]] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    bytes: int = 0

    @property
    def enough(self) -> bool:
        return len(self.messages) >= MOST_MESSAGES or self.bytes >= MOST_BYTES


class Probe:
    """One socket of each kind, until one of them gets on with the detector. Raises BadInput for a wrong endpoint."""

    def __init__(self, context: sockets.Context, endpoint: str, bind: SocketKind | None) -> None:
        """With ``bind`` the detector connects, to a socket of this kind; else all kinds connect to it."""
        self._sockets: dict[SocketKind, sockets.Socket] = {}
        self._monitors: dict[SocketKind, sockets.Socket] = {}
        for kind in SOCKETS if bind is None else (bind,):
            socket = self._sockets[kind] = context.socket(SOCKETS[kind])
            socket.setsockopt(zmq.LINGER, 0)
            if kind == "sub":
                socket.setsockopt(zmq.SUBSCRIBE, b"")
            self._monitors[kind] = socket.get_monitor_socket(EVENTS)
            attach = sockets.connect if bind is None else sockets.bind
            self.endpoint = attach(socket, endpoint, "endpoint")

    def listen(self, seconds: float, clock: Callable[[], float]) -> Heard:
        """Take messages for some time, at most 50 of them or 256 MiB."""
        heard, began = Heard(), clock()
        while clock() - began < seconds and not heard.enough:
            if heard.kind is None:
                heard.kind = self._suits()
            else:
                self._receive(heard.kind, heard, clock)
        return heard

    def _suits(self) -> SocketKind | None:
        """The kind of socket whose connection was accepted; the others are closed then."""
        poller = zmq.Poller()
        for monitor in self._monitors.values():
            poller.register(monitor, zmq.POLLIN)
        ready = dict(poller.poll(POLL_MS))
        for kind, monitor in self._monitors.items():
            if monitor in ready:
                event = parse_monitor_message(monitor.recv_multipart())["event"]
                if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    self._keep(kind)
                    return kind
        return None

    def _keep(self, kind: SocketKind) -> None:
        for other in [other for other in self._sockets if other != kind]:
            self._sockets.pop(other).close()
        if kind == "req":
            self._sockets[kind].send(REQUEST)

    def _receive(self, kind: SocketKind, heard: Heard, clock: Callable[[], float]) -> None:
        socket = self._sockets[kind]
        if not socket.poll(POLL_MS):
            return
        parts = [frame.buffer for frame in socket.recv_multipart(copy=False)]
        heard.messages.append(parts)
        heard.times_s.append(clock())
        heard.bytes += sum(part.nbytes for part in parts)
        if kind == "req":
            with suppress(zmq.Again):
                socket.send(REQUEST, zmq.DONTWAIT)
