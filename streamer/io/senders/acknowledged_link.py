"""The producer's socket of the acknowledged transport, without a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from streamer.flow import wire
from streamer.flow.acknowledged import SenderWindow
from streamer.flow.spool import MessageStore
from streamer.flow.wire.acknowledged import decode_credit, encode_number
from streamer.frames import BadInput
from streamer.io.messaging import sockets

log = logging.getLogger(__name__)

MESSAGES_AT_ONCE = 8
SILENCE_S = 1.0  # after which the producer says hello again


class AcknowledgedLink:
    """A DEALER socket, the messages that are kept for it, and how far the daemon is.

    One thread calls ``turn``, ``hear`` and ``close``. Others may use ``messages`` and ``window`` too, if all who do
    hold ``changed``. Raises BadInput when the endpoint makes no sense or is taken.
    """

    def __init__(
        self,
        context: sockets.Context,
        endpoint: str,
        bind: bool,
        messages: MessageStore,
        source: str,
        name: str = "endpoint",
        clock: Callable[[], float] = time.monotonic,
        guard: sockets.Guard = sockets.open_to_all,
    ) -> None:
        """``name`` is what errors call the endpoint."""
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)  # what was queued for a daemon that is gone is not for the next one
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        sockets.notice_silence(self.socket)
        guard(self.socket)
        self.endpoint = (sockets.bind if bind else sockets.connect)(self.socket, endpoint, name)
        self.messages = messages
        self.window = SenderWindow(messages.run, messages.first, source)
        self.changed = threading.Condition()
        self.heard_s = self.willing_s = -math.inf  # when the last credit came, and the last without a hold
        self._said_s = -math.inf
        self._clock = clock

    @property
    def unacknowledged(self) -> int:
        """Messages that are kept."""
        return self.messages.end - self.window.first

    def turn(self) -> bool:
        """Send what there is credit for, and greet who is silent. True when the socket takes no more now.

        To be called when there is a new message, after ``hear``, and some times in a second.
        """
        now = self._clock()
        # Credit of a daemon that is silent is not used: it would be spent on the next one, which does not know us.
        blocked = now - self.heard_s < SILENCE_S and self._send_waiting()
        if now - max(self.heard_s, self._said_s) >= SILENCE_S:
            if self._say_hello():
                self._said_s = now
            else:
                blocked = True
        return blocked

    def _send_waiting(self) -> bool:
        while messages := self._next_messages():
            for parts in messages:
                try:
                    self.socket.send_multipart(parts, zmq.DONTWAIT, copy=False)
                except zmq.Again:
                    return True
                self.window.sent()
        return False

    def _next_messages(self) -> list[list[Any]]:
        """Some messages for which there is credit; they are kept until this thread hears of them."""
        with self.changed:
            first, end = self.window.next, min(self.window.limit, self.messages.end)
            numbers = range(first, min(end, first + MESSAGES_AT_ONCE))
            return [[encode_number(number), *self.messages.parts(number)] for number in numbers]

    def hear(self) -> None:
        """Take in what the daemon has said."""
        with contextlib.suppress(zmq.Again):
            while True:
                self._take(self.socket.recv(zmq.DONTWAIT))

    def _take(self, part: bytes) -> None:
        try:
            credit = decode_credit(part)
        except BadInput as error:
            log.warning("%s: %s", self.endpoint, error)
            return
        with self.changed:
            known = self.window.take(credit, self.messages.end)
            self.messages.release(self.window.first)
            if known:
                self.heard_s = self._clock()
                self.willing_s = self.willing_s if credit.held else self.heard_s
            self.changed.notify_all()
        if not known:
            self._say_hello()

    def _say_hello(self) -> bool:
        with contextlib.suppress(zmq.Again):
            self.socket.send_multipart([b"", wire.pack(self.window.hello())], zmq.DONTWAIT)
            return True
        return False

    def append(self, parts: Sequence[Any]) -> int | None:
        """Keep a message and give its number; None when there is no room now. Raises BadInput as ``MessageStore``."""
        with self.changed:
            return self.messages.append(parts)

    def close(self) -> None:
        """What is not acknowledged is kept."""
        self.socket.close()
