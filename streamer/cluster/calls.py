"""Requests between the scout and its helpers: a struct there; a struct, and arrays where there are any, back."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import zmq

from streamer.cluster.messages import Answer, Refused, Request
from streamer.flow.wire.control import Busy
from streamer.frames import BadInput, StreamerError
from streamer.io.messaging import sockets

LOOK_MS = 20
"""How often a caller looks whether the other one still lives."""

A = TypeVar("A")

_encoder = msgspec.msgpack.Encoder(enc_hook=lambda value: value.item())  # NumPy scalars
_requests = msgspec.msgpack.Decoder(Request)
_answers = msgspec.msgpack.Decoder(Answer)

Payload = Sequence[Any]
Handler = Callable[[Any], "Answer | tuple[Answer, Payload]"]


class HelperLost(StreamerError):
    """The process that was asked is gone."""


class Wake:
    """Ends the wait of one thread for requests; from any thread, and at no cost while nobody waits."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wanted = False

    def want(self) -> None:
        """From now on ``call`` is heard, once. What was there before has to be looked for after this."""
        self._wanted = True

    def call(self) -> None:
        if self._wanted:
            self._wanted = False
            os.eventfd_write(self.fd, 1)

    def heard(self) -> None:
        """Nobody waits any more."""
        self._wanted = False
        with suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        """When nobody calls any more."""
        os.close(self.fd)


class CallServer:
    """The end of a helper; one thread. Raises BadInput when the endpoint cannot be bound."""

    def __init__(self, context: sockets.Context, endpoint: str, wake: Wake | None = None) -> None:
        """``wake`` ends a wait for requests."""
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 200)
        self.endpoint = sockets.bind(self.socket, endpoint, "the helper's socket")
        self._wake, self._poller = wake, zmq.Poller()
        self._poller.register(self.socket, zmq.POLLIN)
        if wake is not None:
            self._poller.register(wake.fd, zmq.POLLIN)

    def serve(self, handle: Handler, wait_ms: int) -> bool:
        """Answer one request that comes within ``wait_ms``. False when none came.

        An error of ``handle`` is the answer; only those of the socket leave this.
        """
        if not self._asked(wait_ms):
            return False
        payload: Payload = ()
        try:
            answer = handle(_requests.decode(self.socket.recv()))
            if isinstance(answer, tuple):
                answer, payload = answer
        except zmq.ZMQError:
            raise
        except Exception as error:
            text = str(error) if isinstance(error, StreamerError) else f"{type(error).__name__}: {error}"
            answer = Refused(" ".join(text.split()), isinstance(error, Busy))
        self.socket.send_multipart([_encoder.encode(answer), *payload], copy=False)
        return True

    def _asked(self, wait_ms: int) -> bool:
        if not wait_ms:
            return bool(self.socket.poll(0))
        ready = dict(self._poller.poll(wait_ms))
        if self._wake is not None and self._wake.fd in ready:
            self._wake.heard()
        return self.socket in ready

    def close(self) -> None:
        self.socket.close()


class Caller:
    """The end of the scout: one request at a time, from any thread."""

    def __init__(self, context: sockets.Context, endpoint: str, name: str, alive: Callable[[], bool]) -> None:
        """``name`` is what errors call the helper; ``alive`` says whether its process is there."""
        self._context, self._endpoint, self._name, self._alive = context, endpoint, name, alive
        self._lock = threading.Lock()
        self._socket: sockets.Socket | None = None

    def ask(self, request: Request, kind: type[A], timeout_s: float) -> tuple[A, list[memoryview]]:
        """The answer and what comes with it. Raises HelperLost, Busy after ``timeout_s``, BadInput when refused."""
        began = time.monotonic()
        if not self._lock.acquire(timeout=timeout_s):
            raise Busy(f"{self._name} is still at work on something else after {timeout_s:g} s")
        try:
            answer, payload = self._exchange(request, began + timeout_s, timeout_s)
        finally:
            self._lock.release()
        if isinstance(answer, Refused):
            raise Busy(answer.text) if answer.busy else BadInput(answer.text)
        if not isinstance(answer, kind):
            raise BadInput(f"{self._name} answered with {type(answer).__name__}")
        return answer, payload

    def _exchange(self, request: Request, deadline: float, timeout_s: float) -> tuple[Any, list[memoryview]]:
        socket = self._open()
        try:
            socket.send(_encoder.encode(request))
            while not socket.poll(LOOK_MS):
                if not self._alive() and not socket.poll(LOOK_MS):  # its last answer may be on the way
                    raise HelperLost(f"{self._name} is gone")
                if time.monotonic() > deadline:
                    raise Busy(f"{self._name} did not answer within {timeout_s:g} s")
            head, *payload = socket.recv_multipart(copy=False)
        except BaseException:  # a REQ socket that waits for an answer cannot ask again
            socket.close(0)
            self._socket = None
            raise
        return _answers.decode(head.buffer), [part.buffer for part in payload]

    def _open(self) -> sockets.Socket:
        if self._socket is None:
            self._socket = self._context.socket(zmq.REQ)
            self._socket.setsockopt(zmq.LINGER, 0)
            sockets.connect(self._socket, self._endpoint, self._name)
        return self._socket

    def close(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close(0)
                self._socket = None
