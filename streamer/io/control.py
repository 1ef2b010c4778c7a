"""The ROUTER end of a control socket: bounded requests in, one answer each, never an exception out.

A handler takes the request and returns its reply, or a ``DeferredReply`` when the reply is not known yet; the server
polls that until it answers or its deadline passes. Handlers run on the thread of ``run`` only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import zmq

from streamer.flow import wire
from streamer.flow.wire.control import Busy, Refusal, Reply, Request, read_request, refusal
from streamer.frames import BadInput
from streamer.io import sockets

log = logging.getLogger(__name__)

POLL_MS = 20
MAX_DEFERRED = 256
MAX_ENVELOPE = 4  # parts before the request: REQ and DEALER send two; more belong to no client of ours


@dataclass(frozen=True)
class DeferredReply:
    """A reply that is not known yet: ``ask(expired)`` returns it, or None for "not yet" (never None once expired)."""

    deadline: float
    ask: Callable[[bool], Reply | None]


Permit = Callable[[str, Request[Any]], None]
"""Raises Forbidden when the client with this public key may not make the request."""

A = TypeVar("A")
Handler = Callable[[Any], Reply | DeferredReply]


class ControlServer:
    """Binds at once; ``run`` is the body of the control thread. Raises BadInput when the endpoint is taken.

    ``handlers`` has one for each request that the server knows; ``name`` is what the user calls the endpoint.
    ``requests`` counts answers by verb and outcome. With ``permit``, which needs a ``guard``, each request is allowed
    first.
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
        self._deferred: list[tuple[list[bytes], str, DeferredReply]] = []
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_CONTROL)
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
            if len(envelope) <= MAX_ENVELOPE:
                self._take(envelope, body)
        self._answer_deferred()
        return came

    def close(self) -> None:
        self._socket.close()

    def _take(self, frames: list[zmq.Frame], body: zmq.Frame) -> None:
        verb, envelope = "unknown", [frame.bytes for frame in frames]
        answer: Reply | DeferredReply | Refusal
        try:
            request = read_request(body.bytes, self._known)
        except BadInput as error:
            answer = refusal(error)
        else:
            verb = request.verb
            answer = self._guarded(verb, partial(self._handle, request, body))
            if isinstance(answer, DeferredReply) and len(self._deferred) >= MAX_DEFERRED:
                answer = refusal(Busy("too many requests are waiting"))
        if isinstance(answer, DeferredReply):
            self._deferred.append((envelope, verb, answer))
        else:
            self._answer(envelope, verb, answer)

    def _handle(self, request: Request[Any], body: zmq.Frame) -> Reply | DeferredReply:
        if self._permit is not None:
            self._permit(str(body.get("User-Id")), request)
        return self._handlers[type(request)](request)

    def _answer_deferred(self) -> None:
        now, waiting = self._clock(), []
        for envelope, verb, deferred in self._deferred:
            answer = self._guarded(verb, partial(deferred.ask, now >= deferred.deadline))
            if answer is None:
                waiting.append((envelope, verb, deferred))
            else:
                self._answer(envelope, verb, answer)
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
