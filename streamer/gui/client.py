"""The viewer's sockets: asks the daemon where its previews and events are, then listens. Never blocks.

One DEALER asks for ``status`` once a second; the answer names the endpoints of the two SUB sockets. A question that is
not answered costs its socket, so that no answer of a dead daemon is waited for; SUB sockets are built anew only when
the daemon has moved. What is not done: nothing is ever asked that changes the daemon.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

import zmq

from streamer.flow.wire import WireError, pack, unpack
from streamer.gui.model import ViewModel

ASK_EVERY_S = 1.0
ANSWER_WITHIN_S = 2.5
POLL_S = 0.015
"""Longest time that one poll may take to empty one socket."""

PREVIEW_HWM = 8
EVENTS_HWM = 1000
MAX_MESSAGE = 512 * 1024 * 1024
ANYWHERE = {"*", "0.0.0.0", "::", "[::]"}

Clock = Callable[[], float]


class Client:
    """Feeds a ViewModel from a daemon. Call ``poll`` often, ``close`` once."""

    def __init__(
        self,
        endpoint: str,
        model: ViewModel,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.model = model
        self._own = context is None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context() if context is None else context
        self._clock = clock
        self._control: zmq.Socket[bytes] | None = None
        self._asked_s: float | None = None
        self._ask_again_s = clock()
        self._preview = _Subscription(self._context, PREVIEW_HWM)
        self._events = _Subscription(self._context, EVENTS_HWM)
        try:
            self._open_control()
        except zmq.ZMQError as error:
            self.close()
            text = f"endpoint {endpoint!r}: {error}; it should look like tcp://HOST:PORT"
            raise WireError("endpoint", text) from error

    def poll(self) -> bool:
        """Take what has arrived, without waiting; whether anything had."""
        heard = self._take_events(self._clock() + POLL_S)
        heard = self._take_previews(self._clock() + POLL_S) or heard
        heard = self._take_answer() or heard
        self._ask()
        return heard

    def close(self) -> None:
        self._preview.close()
        self._events.close()
        if self._control is not None:
            self._control.close(0)
            self._control = None
        if self._own:
            self._context.term()

    def _open_control(self) -> None:
        if self._control is not None:
            self._control.close(0)
        self._control = self._context.socket(zmq.DEALER)
        self._control.setsockopt(zmq.LINGER, 0)
        # Without a peer nothing is queued: a daemon that comes up late must not meet a heap of old questions.
        self._control.setsockopt(zmq.IMMEDIATE, 1)
        self._control.setsockopt(zmq.RECONNECT_IVL, 200)
        self._control.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        self._control.connect(self.endpoint)
        self._asked_s = None

    def _ask(self) -> None:
        now = self._clock()
        if self._asked_s is not None:
            if now - self._asked_s > ANSWER_WITHIN_S:
                self._open_control()
            return
        if now < self._ask_again_s or self._control is None:
            return
        try:
            # The empty part makes a DEALER look like a REQ.
            self._control.send_multipart([b"", pack({"v": 1, "verb": "status", "args": {}})], zmq.NOBLOCK)
        except zmq.Again:
            return
        self._asked_s = now
        self._ask_again_s = now + ASK_EVERY_S

    def _take_answer(self) -> bool:
        if self._control is None or (parts := _receive(self._control)) is None:
            return False
        self._asked_s = None
        try:
            reply = unpack(parts[-1])
        except WireError:
            self.model.broken += 1
            return True
        if reply.get("ok") is True and self.model.status(reply, self._clock()):
            endpoints = reply.get("endpoints")
            if isinstance(endpoints, dict):
                self._preview.follow(reachable(endpoints.get("preview"), self.endpoint))
                self._events.follow(reachable(endpoints.get("events"), self.endpoint))
        return True

    def _take_events(self, deadline: float) -> bool:
        heard = False
        while self._clock() < deadline and (parts := self._events.receive()) is not None:
            heard = True
            try:
                topic, body = parts
                self.model.event(topic.decode(), unpack(body), self._clock())
            except (ValueError, WireError):
                self.model.broken += 1
        return heard

    def _take_previews(self, deadline: float) -> bool:
        """Empty the socket, then decode the newest message of each plane only."""
        newest: dict[object, tuple[dict[str, object], bytes]] = {}
        while self._clock() < deadline and (parts := self._preview.receive()) is not None:
            try:
                _topic, header, payload = parts
                entries = unpack(header)
            except (ValueError, WireError):
                self.model.broken += 1
                continue
            newest[str(entries.get("plane"))] = (entries, payload)
        for entries, payload in newest.values():
            self.model.plane(entries, payload, self._clock())
        return bool(newest)


class _Subscription:
    """A SUB socket that can be sent to another endpoint."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], hwm: int) -> None:
        self._context, self._hwm = context, hwm
        self._endpoint: str | None = None
        self._socket: zmq.Socket[bytes] | None = None

    def follow(self, endpoint: str | None) -> None:
        """Listen there; nothing happens when that is where it listens, or when the endpoint is unusable."""
        if endpoint is None or endpoint == self._endpoint:
            return
        socket: zmq.Socket[bytes] = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, self._hwm)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        socket.setsockopt(zmq.RECONNECT_IVL, 200)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            socket.connect(endpoint)
        except zmq.ZMQError:
            socket.close(0)
            return
        self.close()
        self._socket, self._endpoint = socket, endpoint

    def receive(self) -> list[bytes] | None:
        return None if self._socket is None else _receive(self._socket)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(0)
        self._socket, self._endpoint = None, None


def _receive(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None


def reachable(endpoint: object, control: str) -> str | None:
    """An endpoint as the daemon names it, seen from here: one bound to all addresses is where its control socket is."""
    if not isinstance(endpoint, str) or "://" not in endpoint:
        return None
    scheme, _, address = endpoint.partition("://")
    host, colon, port = address.rpartition(":")
    if scheme == "tcp" and colon and host in ANYWHERE:
        there = urlsplit(control).hostname or "127.0.0.1"
        return f"tcp://{f'[{there}]' if ':' in there else there}:{port}"
    return endpoint
