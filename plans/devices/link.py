"""The two kinds of talk with a server: a request with its reply, and events that arrive when they want.

Every request has a timeout, and after a timeout the socket is thrown away: a REQ socket that waits for a lost reply
cannot send again. Both classes may be used from any thread.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

import zmq

from streamer.flow.wire import WireError, pack, unpack
from streamer.frames import StreamerError

log = logging.getLogger(__name__)

PROTOCOL = 1
POLL_MS = 200


class LinkTimeout(StreamerError):
    """The server did not answer in time: it is dead, hung or unreachable."""


class LinkError(StreamerError):
    """The server answered "no". ``str(error)`` ends with the server's own line; ``code`` is its error code."""

    def __init__(self, text: str, code: str = "failed") -> None:
        super().__init__(text)
        self.code = code


class Link:
    """Requests to one server, one at a time.

    ``name`` is what people call the server; it stands in every error.
    """

    def __init__(self, endpoint: str, name: str, timeout_s: float = 4.0) -> None:
        self.endpoint = endpoint
        self.name = name
        self.timeout_s = timeout_s
        self._socket: zmq.Socket[bytes] | None = None
        self._lock = threading.Lock()

    def request(self, verb: str, args: dict[str, Any] | None = None, timeout_s: float | None = None) -> dict[str, Any]:
        """The reply's map. Raises LinkTimeout or LinkError."""
        limit = self.timeout_s if timeout_s is None else timeout_s
        with self._lock:
            data = self._exchange(pack({"v": PROTOCOL, "verb": verb, "args": args or {}}), limit)
        if data is None:
            raise LinkTimeout(f"{self.name} at {self.endpoint} did not answer {verb!r} within {limit:g} s")
        return self._checked(verb, data)

    def close(self) -> None:
        """Give the socket back. The next request opens a new one."""
        with self._lock:
            self._drop()

    def _exchange(self, request: bytes, timeout_s: float) -> bytes | None:
        try:
            if self._socket is None:
                self._socket = zmq.Context.instance().socket(zmq.REQ)
                self._socket.connect(self.endpoint)
            self._socket.send(request)
            if self._socket.poll(round(timeout_s * 1000)):
                return self._socket.recv()
        except zmq.ZMQError as error:
            self._drop()
            raise LinkError(f"{self.name} at {self.endpoint}: {error}", "bad_input") from error
        except BaseException:  # a KeyboardInterrupt between send and receive would leave the socket stuck
            self._drop()
            raise
        self._drop()
        return None

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close(0)
            self._socket = None

    def _checked(self, verb: str, data: bytes) -> dict[str, Any]:
        try:
            reply = unpack(data)
        except WireError as error:
            raise LinkError(f"{self.name} answered {verb!r} with something unreadable: {error}") from error
        if reply.get("v") != PROTOCOL:
            raise LinkError(f"{self.name} speaks protocol version {reply.get('v')!r}, these plans speak {PROTOCOL}")
        if not reply.get("ok"):
            raise LinkError(f"{self.name} refused {verb!r}: {reply.get('error')}", str(reply.get("code", "failed")))
        return reply


class Events:
    """Hands every event of one PUB socket, ``(topic, map)``, to ``receive`` on a thread of its own.

    Events may be lost (PUB is lossy by nature): use them to be quick, never as the only source of a fact.
    """

    def __init__(self, endpoint: str, receive: Callable[[str, dict[str, Any]], None]) -> None:
        self.endpoint = endpoint
        self._receive = receive
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"events {endpoint}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No further event is handed over once this returns, unless called from within ``receive``."""
        self._ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)

    def _listen(self) -> None:
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        try:
            socket.subscribe(b"")
            socket.connect(self.endpoint)
            while not self._ended.is_set():
                if socket.poll(POLL_MS):
                    self._hand_over(socket.recv_multipart())
        except zmq.ZMQError as error:
            log.warning("events of %s end: %s", self.endpoint, error)
        finally:
            socket.close(0)

    def _hand_over(self, parts: list[bytes]) -> None:
        try:
            topic, data = parts
            self._receive(topic.decode(), unpack(data))
        except (ValueError, WireError) as error:
            log.warning("skipped an event of %s: %s", self.endpoint, error)
        except Exception:
            log.exception("an event of %s could not be used", self.endpoint)
