"""The ROUTER end of a control socket: bounded requests in, one answer each, never an exception out.

A handler takes the request and returns its reply, or a ``DeferredReply`` when the reply is not known yet; the server
polls that until it answers or its deadline passes. Handlers run on the thread of ``run`` only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

import zmq

from streamer.flow import wire
from streamer.flow.wire.control import Busy, Refusal, Reply, Request, read_request, refusal
from streamer.frames import BadInput
from streamer.io.messaging import sockets

log = logging.getLogger(__name__)

POLL_MS = 20
MAX_DEFERRED = 512
MAX_DEFERRED_OF_CLIENT = 8
HIGH_WATER_MARK = 4  # requests of one client that wait in the socket
RECEIVE_BUFFER = 2**17  # bytes that wait in the kernel
HEARTBEAT_MS, SILENCE_MS = 10_000, 30_000  # a client whose machine is gone is disconnected
LOOK_AGAIN_S = 1.0  # whether the clients of deferred replies are still there
MAX_ENVELOPE = 4  # parts before the request: REQ and DEALER send two; more belong to no client of ours


@dataclass(frozen=True)
class _Asker:
    """Who made a request: the client (its key, or its connection where there are no keys), and on which connection."""

    client: str
    envelope: list[bytes]
    descriptor: int
    ends: tuple[int, sockets.Peer] | None

    @classmethod
    def of(cls, frames: list[zmq.Frame], body: zmq.Frame) -> Self:
        envelope, descriptor = [frame.bytes for frame in frames], _descriptor(body)
        with sockets.duplicate(descriptor) as connection:
            ends = sockets.ends_of(connection)
        return cls(_user(body) or envelope[0].hex(), envelope, descriptor, ends)

    def is_gone(self) -> bool:
        """Whether the connection has ended. Only of TCP connections this is known."""
        with sockets.duplicate(self.descriptor) as connection:
            return self.ends is not None and sockets.ends_of(connection) != self.ends


@dataclass(frozen=True)
class DeferredReply:
    """A reply that is not known yet: ``ask(expired)`` returns it, or None for "not yet" (never None once expired)."""

    deadline: float
    ask: Callable[[bool], Reply | None]


Permit = Callable[[str, Request[Any]], None]
"""Raises Forbidden when the client with this public key may not make the request."""

A = TypeVar("A")


def _user(body: zmq.Frame) -> str:
    """The public key of the client, "" on a socket without keys."""
    try:
        return str(body.get("User-Id"))
    except zmq.ZMQError:
        return ""


def _descriptor(body: zmq.Frame) -> int:
    """Of the connection on which a message came; -1 when it came from this process."""
    try:
        return int(body.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


Handler = Callable[[Any], Reply | DeferredReply]


class ControlServer:
    """Binds at once; ``run`` is the body of the control thread. Raises BadInput when the endpoint is taken.

    ``handlers`` has one for each request that the server knows; ``name`` is what the user calls the endpoint.
    ``requests`` counts answers by verb and outcome. With ``permit``, which needs a ``guard``, each request is allowed
    first. ``taken`` is called with the file descriptor of the connection and the bytes of each message. A client has at
    most ``MAX_DEFERRED_OF_CLIENT`` deferred replies, and none when it is gone.
    """

    def __init__(
        self,
        context: sockets.Context,
        endpoint: str,
        handlers: Mapping[type[Request[Any]], Handler],
        clock: Callable[[], float],
        name: str = "control.endpoint",
        guard: sockets.Guard = sockets.open_to_all,
        permit: Permit | None = None,
    ) -> None:
        self._permit = permit
        self._handlers = dict(handlers)
        self._known = {kind.verb: kind for kind in handlers}
        self._clock = clock
        self._deferred: list[tuple[_Asker, str, DeferredReply]] = []
        self._looked_s = clock()
        self.taken: Callable[[int, int], None] = lambda _descriptor, _size: None
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_CONTROL)
        self._socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.RCVBUF, RECEIVE_BUFFER)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
        guard(self._socket)
        self.endpoint = sockets.bind(self._socket, endpoint, name)
        self.requests: dict[tuple[str, str], int] = {}

    def run(self, stopped: Callable[[], bool]) -> None:
        """Serve until ``stopped()``, then close."""
        while not stopped():
            self.serve(POLL_MS)
        self.close()

    def serve(self, wait_ms: int) -> bool:
        """Wait for one request and serve it, then send the deferred replies that are due. False: no request came."""
        if came := bool(self._socket.poll(wait_ms)):
            *envelope, body = self._socket.recv_multipart(copy=False)
            self.taken(_descriptor(body), sum(map(len, envelope[1:])) + len(body))
            if 0 < len(envelope) <= MAX_ENVELOPE:
                self._take(_Asker.of(envelope, body), body.bytes)
        self._answer_deferred()
        return came

    @property
    def waiting(self) -> int:
        """Replies that are deferred."""
        return len(self._deferred)

    def close(self) -> None:
        self._socket.close()

    def _take(self, asker: _Asker, body: bytes) -> None:
        verb = "unknown"
        answer: Reply | DeferredReply | Refusal
        try:
            request = read_request(body, self._known)
        except BadInput as error:
            answer = refusal(error)
        else:
            verb = request.verb
            answer = self._guarded(verb, partial(self._handle, request, asker))
            if isinstance(answer, DeferredReply) and self._is_full(asker):
                answer = refusal(Busy("too many requests are waiting"))
        if isinstance(answer, DeferredReply):
            self._deferred.append((asker, verb, answer))
        else:
            self._answer(asker.envelope, verb, answer)

    def _is_full(self, asker: _Asker) -> bool:
        """Whether no further reply can be deferred, at all or for this client."""
        own = sum(waiting.client == asker.client for waiting, *_ in self._deferred)
        return own >= MAX_DEFERRED_OF_CLIENT or len(self._deferred) >= MAX_DEFERRED

    def _handle(self, request: Request[Any], asker: _Asker) -> Reply | DeferredReply:
        if self._permit is not None:
            self._permit(asker.client, request)
        return self._handlers[type(request)](request)

    def _answer_deferred(self) -> None:
        now, waiting = self._clock(), []
        if now - self._looked_s >= LOOK_AGAIN_S:
            self._looked_s = now
            self._deferred = [entry for entry in self._deferred if not entry[0].is_gone()]
        for asker, verb, deferred in self._deferred:
            answer = self._guarded(verb, partial(deferred.ask, now >= deferred.deadline))
            if answer is None:
                waiting.append((asker, verb, deferred))
            else:
                self._answer(asker.envelope, verb, answer)
        self._deferred = waiting

    @staticmethod
    def _guarded(verb: str, work: Callable[[], A]) -> A | Refusal:
        """What a handler answers, or the refusal that its error means."""
        try:
            return work()
        except BadInput as error:
            return refusal(error)
        except Exception as error:
            # A bug in a handler must not take the control socket away from a running scan.
            log.exception("control request %s failed", verb)
            return refusal(error)

    def _answer(self, envelope: list[bytes], verb: str, answer: Reply | Refusal) -> None:
        key = (verb, answer.code if isinstance(answer, Refusal) else "ok")
        self.requests[key] = self.requests.get(key, 0) + 1
        try:
            self._socket.send_multipart([*envelope, wire.pack(answer)], flags=zmq.DONTWAIT)
        except zmq.Again:
            log.warning("a control client does not read its replies; reply dropped")
