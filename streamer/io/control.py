"""The ROUTER end of the control protocol: bounded requests in, one reply each, never an exception out.

A handler returns the reply's map, or a ``Later`` when the answer is still to come; the server asks the Later on every
turn until it answers or its time is up. Handlers run on the control thread only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import zmq

from streamer.flow import wire
from streamer.frames import BadInput
from streamer.io import sockets

log = logging.getLogger(__name__)

POLL_MS = 20
MAX_PARKED = 256


class Busy(BadInput):
    """The request is fine, but not now."""


@dataclass(frozen=True)
class Later:
    """A reply that is not known yet: ``ask(expired)`` gives it, or None for "not yet" (never None once expired)."""

    deadline: float
    ask: Callable[[bool], dict[str, Any] | None]


Handler = Callable[[Mapping[str, Any]], dict[str, Any] | Later]


class ControlServer:
    """Binds at once (raises BadInput when the endpoint is taken); ``run`` is the body of the control thread."""

    def __init__(
        self,
        context: sockets.Context,
        endpoint: str,
        handlers: Mapping[str, Handler],
        clock: Callable[[], float],
    ) -> None:
        self._handlers = dict(handlers)
        self._clock = clock
        self._parked: list[tuple[list[bytes], str, Later]] = []
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_CONTROL)
        self.endpoint = sockets.bind(self._socket, endpoint, "control.endpoint")
        self.requests: dict[tuple[str, str], int] = {}

    def run(self, stopped: Callable[[], bool]) -> None:
        while not stopped():
            if self._socket.poll(POLL_MS):
                *envelope, body = self._socket.recv_multipart()
                self._serve(envelope, body)
            self._answer_parked()
        self.close()

    def close(self) -> None:
        self._socket.close()

    def _serve(self, envelope: list[bytes], body: bytes) -> None:
        verb, reply = self._handle(body)
        if isinstance(reply, Later):
            if len(self._parked) < MAX_PARKED:
                self._parked.append((envelope, verb, reply))
                return
            reply = failure("too many requests are waiting", "busy")
        self._count(verb, reply)
        self._send(envelope, reply)

    def _handle(self, body: bytes) -> tuple[str, dict[str, Any] | Later]:
        try:
            request = wire.unpack(body)
        except BadInput as error:
            return "unknown", failure(str(error), "bad_input")
        verb, args = str(request.get("verb")), request.get("args") or {}
        if request.get("v") != wire.VERSION:
            text = f"request of version {request.get('v')!r}, this daemon speaks {wire.VERSION}"
            return "unknown", failure(text, "bad_input")
        handler = self._handlers.get(verb)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            return "unknown", failure(f"unknown verb {verb!r}; known: {known}", "unknown_verb")
        if not isinstance(args, dict):
            return verb, failure("args is not a map", "bad_input")
        reply = self._guarded(verb, lambda: handler(args))
        assert reply is not None
        return verb, reply

    @staticmethod
    def _guarded(verb: str, work: Callable[[], dict[str, Any] | Later | None]) -> dict[str, Any] | Later | None:
        """The reply of a handler, with its errors turned into replies; None and Later pass through."""
        try:
            reply = work()
        except Busy as error:
            return failure(str(error), "busy")
        except BadInput as error:
            return failure(str(error), "bad_input")
        except Exception as error:
            # A bug in a handler must not take the control socket away from a running scan.
            log.exception("control request %s failed", verb)
            return failure(f"{type(error).__name__}: {error}", "failed")
        return success(reply) if isinstance(reply, dict) else reply

    def _answer_parked(self) -> None:
        waiting = []
        now = self._clock()
        for envelope, verb, later in self._parked:
            reply = self._guarded(verb, partial(later.ask, now >= later.deadline))
            if isinstance(reply, dict):
                self._count(verb, reply)
                self._send(envelope, reply)
            else:
                waiting.append((envelope, verb, later))
        self._parked = waiting

    def _send(self, envelope: list[bytes], reply: Mapping[str, Any]) -> None:
        try:
            self._socket.send_multipart([*envelope, wire.pack(reply)], flags=zmq.DONTWAIT)
        except zmq.Again:
            log.warning("a control client does not read its replies; reply dropped")

    def _count(self, verb: str, reply: Mapping[str, Any]) -> None:
        key = (verb, "ok" if reply["ok"] else str(reply["code"]))
        self.requests[key] = self.requests.get(key, 0) + 1


def success(reply: Mapping[str, Any]) -> dict[str, Any]:
    return {"v": wire.VERSION, "ok": True, **reply}


def failure(text: str, code: str) -> dict[str, Any]:
    return {"v": wire.VERSION, "ok": False, "error": text, "code": code}


def request(
    context: sockets.Context, endpoint: str, verb: str, args: Mapping[str, Any], timeout_s: float
) -> dict[str, Any]:
    """One request from a command line: the reply's map. Raises BadInput with one line when there is no good reply."""
    with context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        sockets.connect(socket, endpoint, "daemon")
        socket.send(wire.pack({"v": wire.VERSION, "verb": verb, "args": dict(args)}))
        if not socket.poll(int(timeout_s * 1000)):
            raise BadInput(f"no answer from {endpoint} within {timeout_s:g} s; is the daemon running?")
        reply = wire.unpack(socket.recv(), limit=16 * wire.MAX_CONTROL)
    if not reply.get("ok"):
        raise BadInput(f"{endpoint}: {reply.get('error', 'refused')}")
    return reply
