"""The client side of the control, event and preview sockets, for the plans, the command line and the viewer.

Requests have a timeout, and after one the socket is thrown away: a REQ socket that waits for a lost reply cannot send
again. Sockets reconnect by themselves. Events and previews may be lost: use them to react quickly, never as the only
source of a fact. A daemon with keys answers only to a client with one (``streamer.keys``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlsplit

import zmq

from streamer.flow.wire import WireError
from streamer.flow.wire.control import R, Refusal, Reply, Request, pack_request, read_reply
from streamer.flow.wire.daemon import GetStatus, Report
from streamer.flow.wire.events import Event, read_event
from streamer.frames import BadInput
from streamer.keys import ClientKey

log = logging.getLogger(__name__)

Context = zmq.Context[zmq.Socket[bytes]]

POLL_S = 0.2
RECONNECT_MS, SLOWEST_RECONNECT_MS = 100, 2000
MAX_MESSAGE = 512 * 2**20
HIGH_WATER_MARK = 1000
ANYWHERE = {"*", "0.0.0.0", "::", "[::]"}


class LinkTimeout(BadInput):
    """The server did not answer in time: it is dead, hung or unreachable."""


class LinkError(BadInput):
    """The server refused a request, or its answer cannot be read. ``code`` is that of the refusal."""

    def __init__(self, text: str, code: str = "failed") -> None:
        super().__init__(text)
        self.code = code


class LinkClosed(LinkError):
    """The link was closed before it was asked: its owner needs no answers any more."""


class Link:
    """Requests to one server, one at a time. ``name`` is the server's name in errors.

    ``ask`` waits for the reply and may be called from any thread. ``post`` and ``answer`` never wait, for a caller that
    has only one thread. The socket is opened when it is needed; ``close``, or the end of a ``with`` block, closes it
    for good: a thread that still asks then gets LinkClosed, and opens no socket that nobody would close.
    """

    def __init__(
        self,
        endpoint: str,
        name: str,
        timeout_s: float = 4.0,
        context: Context | None = None,
        key: ClientKey | None = None,
    ) -> None:
        self.endpoint, self.name, self.timeout_s = endpoint, name, timeout_s
        self._context, self._key = context, key
        self._socket: zmq.Socket[bytes] | None = None
        self._posted: Request[Any] | None = None
        self._closed = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: Request[R], timeout_s: float | None = None) -> R:
        """The reply. Raises LinkTimeout or LinkError."""
        limit = self.timeout_s if timeout_s is None else timeout_s
        with self._lock:
            data = self._exchange(pack_request(request), limit)
        if data is None:
            doubt = "does it want a key" if self._key is None else "does it know this key"
            what = f"did not answer {request.verb!r} within {limit:g} s; is it running, and {doubt}?"
            raise LinkTimeout(f"{self.name} at {self.endpoint} {what}")
        return self._checked(request, data)

    def post(self, request: Request[Any]) -> bool:
        """Send a request without waiting. False when no server is connected. Raises LinkError like ``open``."""
        socket = self.open()
        try:
            socket.send(pack_request(request), zmq.NOBLOCK)
        except zmq.Again:
            return False
        self._posted = request
        return True

    def answer(self) -> Reply | None:
        """The reply to the posted request, None when it has not arrived. Raises LinkError for any other answer."""
        if self._posted is None or (parts := _receive(self._socket)) is None:
            return None
        posted, self._posted = self._posted, None
        reply: Reply = self._checked(posted, parts[-1])
        return reply

    def open(self) -> zmq.Socket[bytes]:
        """The socket, connected. Raises LinkClosed after ``close``, LinkError when the endpoint makes no sense."""
        if self._closed:
            raise LinkClosed(f"{self.name} at {self.endpoint} was asked after the link to it was closed", "closed")
        if self._socket is None:
            socket = (self._context or zmq.Context.instance()).socket(zmq.REQ)
            socket.setsockopt(zmq.LINGER, 0)
            # Without a peer nothing is queued: a server that starts late must not meet a heap of old requests.
            socket.setsockopt(zmq.IMMEDIATE, 1)
            _connect(socket, self.endpoint, self.name, self._key)
            self._socket = socket
        return self._socket

    def reset(self) -> None:
        """Close the socket and forget the posted request. The next request opens a new socket."""
        with self._lock:
            self._drop()

    def close(self) -> None:
        """Close the socket for good."""
        self._closed = True  # before the lock is free: of those who wait for it nobody is answered
        self.reset()

    def _exchange(self, request: bytes, timeout_s: float) -> bytes | None:
        end = time.monotonic() + timeout_s
        reply = None
        try:
            socket = self.open()
            if socket.poll(_milliseconds(timeout_s), zmq.POLLOUT):
                socket.send(request)
                if socket.poll(_milliseconds(end - time.monotonic())):
                    reply = socket.recv()
        finally:
            if reply is None:  # also after a KeyboardInterrupt: the socket could not send again
                self._drop()
        return reply

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close(0)
        self._socket = self._posted = None

    def _checked(self, request: Request[R], data: bytes) -> R:
        try:
            reply = read_reply(data, request)
        except BadInput as error:
            raise LinkError(f"{self.name} answered {request.verb!r} with something unreadable: {error}") from error
        if isinstance(reply, Refusal):
            raise LinkError(f"{self.name} refused {request.verb!r}: {reply.error}", reply.code)
        return reply


def final_report(link: Link, scan_id: str) -> Report:
    """The report of a scan of this daemon, once the scan is over.

    Raises LinkTimeout when the daemon does not answer, LinkError when it does not know the scan.
    """
    while True:
        report = link.ask(GetStatus(scan_id)).scan
        if report is None:
            raise LinkError(f"{link.name} at {link.endpoint} does not know scan {scan_id}", "bad_input")
        if report.state.final:
            return report
        time.sleep(POLL_S)


class Subscriber:
    """A SUB socket that can move to another endpoint. For one thread only."""

    def __init__(
        self, high_water_mark: int = HIGH_WATER_MARK, context: Context | None = None, key: ClientKey | None = None
    ) -> None:
        self.endpoint: str | None = None
        self._high_water_mark, self._context, self._key = high_water_mark, context, key
        self._socket: zmq.Socket[bytes] | None = None

    def follow(self, endpoint: str | None) -> None:
        """Listen at this endpoint from now on; None is ignored. Raises LinkError when the endpoint makes no sense."""
        if endpoint is None or endpoint == self.endpoint:
            return
        socket = (self._context or zmq.Context.instance()).socket(zmq.SUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, self._high_water_mark)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        _connect(socket, endpoint, "publisher", self._key)
        self.close()
        self._socket, self.endpoint = socket, endpoint

    def receive(self, wait_s: float = 0.0) -> list[bytes] | None:
        """The parts of the next message, None when there is none within ``wait_s``."""
        if self._socket is None or (wait_s and not self._socket.poll(_milliseconds(wait_s))):
            return None
        return _receive(self._socket)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(0)
        self._socket = self.endpoint = None


class Events:
    """Calls ``receive`` with every event of a daemon, on a thread of its own."""

    def __init__(self, endpoint: str, receive: Callable[[Event], None], key: ClientKey | None = None) -> None:
        self.endpoint = endpoint
        self._key = key
        self._receive = receive
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"events {endpoint}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening. After the return ``receive`` is not called again, unless this call was made within it."""
        self._ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)

    def _listen(self) -> None:
        subscriber = Subscriber(key=self._key)
        try:
            subscriber.follow(self.endpoint)
            while not self._ended.is_set():
                if (parts := subscriber.receive(POLL_S)) is not None:
                    self._hand_over(parts)
        except (LinkError, zmq.ZMQError) as error:
            log.warning("no more events: %s", error)
        finally:
            subscriber.close()

    def _hand_over(self, parts: list[bytes]) -> None:
        try:
            self._receive(read_event(parts))
        except WireError as error:
            log.warning("skipped an event of %s: %s", self.endpoint, error)
        except Exception:  # of the receiver: the next event may be used all the same
            log.exception("an event of %s could not be used", self.endpoint)


def reachable(endpoint: str | None, control: str) -> str | None:
    """The address of an endpoint that a server names: one bound to all addresses has the host of its control socket."""
    if endpoint is None or "://" not in endpoint:
        return None
    scheme, _, address = endpoint.partition("://")
    host, colon, port = address.rpartition(":")
    if scheme == "tcp" and colon and host in ANYWHERE:
        there = urlsplit(control).hostname or "127.0.0.1"
        return f"tcp://{f'[{there}]' if ':' in there else there}:{port}"
    return endpoint


def _connect(socket: zmq.Socket[bytes], endpoint: str, name: str, key: ClientKey | None) -> None:
    if key is not None:
        key.apply(socket)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, SLOWEST_RECONNECT_MS)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(0)
        text = f"endpoint {endpoint!r} of {name}: {error.strerror}; it should look like tcp://HOST:PORT"
        raise LinkError(text, "bad_input") from error


def _milliseconds(seconds: float) -> int:
    return max(0, round(1e3 * seconds))


def _receive(socket: zmq.Socket[bytes] | None) -> list[bytes] | None:
    try:
        return None if socket is None else socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None
