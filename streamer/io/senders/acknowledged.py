"""The producer's end of the acknowledged transport: a spool, and a thread that owns the DEALER socket."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from streamer.flow import wire
from streamer.flow.acknowledged import SenderWindow
from streamer.flow.spool import MessageStore
from streamer.flow.wire.acknowledged import decode_credit, encode_number
from streamer.frames import BadInput, StreamerError
from streamer.io.messaging import sockets

log = logging.getLogger(__name__)

POLL_MS = 100
MESSAGES_AT_ONCE = 8
SILENCE_S = 1.0  # after which the producer says hello again


class SpoolFullError(StreamerError):
    """The spool is full, and the daemon acknowledges nothing."""


def new_run() -> int:
    """A number that no other producer's life has."""
    return int.from_bytes(os.urandom(7), "little") + 1


class AcknowledgedSender:
    """Sends messages that are kept until the daemon has acknowledged them. Any thread may call.

    ``alarm`` is called with one line, on the caller's thread, whenever ``send`` finds the spool full.
    Raises BadInput when the endpoint makes no sense or is taken.
    """

    def __init__(
        self,
        context: sockets.Context,
        endpoint: str,
        bind: bool,
        messages: MessageStore,
        source: str,
        alarm: Callable[[str], None],
        name: str = "endpoint",
        clock: Callable[[], float] = time.monotonic,
        guard: sockets.Guard = sockets.open_to_all,
    ) -> None:
        """``name`` is what errors call the endpoint."""
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # what was queued for a daemon that is gone is not for the next one
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        sockets.notice_silence(self._socket)
        guard(self._socket)
        self.endpoint = (sockets.bind if bind else sockets.connect)(self._socket, endpoint, name)
        self._spool = messages
        self._window = SenderWindow(self._spool.run, self._spool.first, source)
        self._alarm, self._clock = alarm, clock
        self._changed = threading.Condition()
        self._wake_read, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._heard_s = self._willing_s = -math.inf  # when the last credit came, and the last without a hold
        self._full = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="acknowledged sender", daemon=True)
        self._thread.start()

    def send(self, parts: Sequence[Any], timeout_s: float | None = None) -> int:
        """Put a message into the spool and return its number; waits while the spool is full.

        Raises SpoolFullError after ``timeout_s`` (None: never), BadInput for a message larger than the spool.
        """
        number = self._append(parts)
        if number is None:
            if not self._full:
                self._full = True
                self._alarm(self.complaint())
            number = self._append_within(parts, timeout_s)
            if number is None:
                raise SpoolFullError(self.complaint())
        self._full = False
        return number

    def _append(self, parts: Sequence[Any]) -> int | None:
        with self._changed:
            number = self._spool.append(parts)
            # With messages before it, or without credit, the thread comes to it by itself.
            if number == self._window.next and self._window.may_send(self._spool.end):
                self._wake_up()
        return number

    def _append_within(self, parts: Sequence[Any], timeout_s: float | None) -> int | None:
        number: int | None = None

        def appended() -> bool:
            nonlocal number
            number = self._append(parts)
            return number is not None

        with self._changed:
            self._changed.wait_for(appended, timeout_s)
        return number

    def _wake_up(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes the thread, too
            os.write(self._wake, b"\0")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until everything is acknowledged. Returns False when the daemon took no messages for ``timeout_s``.

        A daemon that answers, and is not held up, may take as long as it needs: it reconstructs after the end.
        """
        began = self._clock()
        with self._changed:
            while self._window.first < self._spool.end:
                left = None if timeout_s is None else max(began, self._willing_s) + timeout_s - self._clock()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def complaint(self) -> str:
        """One line on what the daemon has not acknowledged, and why if that is known."""
        with self._changed:
            count, megabytes = self._spool.end - self._window.first, self._spool.capacity / 2**20
            text = f"{count} messages are not acknowledged by {self.endpoint}; the spool holds {megabytes:.0f} MiB"
            if self._window.held:
                return f"{text}; the daemon says: {self._window.held}"
            return text if self._clock() - self._heard_s < 2 * SILENCE_S else f"{text}; nobody answers there"

    @property
    def held(self) -> str:
        """Why the daemon takes no messages; empty when it does."""
        return self._window.held

    @property
    def unacknowledged(self) -> int:
        """Messages in the spool."""
        return self._spool.end - self._window.first

    @property
    def resent(self) -> int:
        """Messages that were sent again."""
        return self._window.resent

    def last_header(self) -> bytes | None:
        """First part of the newest message that was ever put into the spool, also by an earlier process."""
        with self._changed:
            parts = self._spool.last()
            return None if parts is None else bytes(parts[0])

    def close(self) -> None:
        """Stop at once. What is not acknowledged stays in the spool."""
        self._stopping = True
        self._wake_up()
        self._thread.join()
        os.close(self._wake)
        os.close(self._wake_read)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._wake_read, zmq.POLLIN)
        said_s = -math.inf
        while not self._stopping:
            now = self._clock()
            # Credit of a daemon that is silent is not used: it would be spent on the next one, which does not know us.
            blocked = now - self._heard_s < SILENCE_S and self._send_waiting()
            if now - max(self._heard_s, said_s) >= SILENCE_S:
                if self._say_hello():
                    said_s = now
                else:
                    blocked = True
            poller.register(self._socket, zmq.POLLIN | (zmq.POLLOUT if blocked else 0))
            ready = dict(poller.poll(POLL_MS))
            if self._wake_read in ready:
                os.read(self._wake_read, 65536)
            if ready.get(self._socket, 0) & zmq.POLLIN:
                self._listen()
        self._socket.close()

    def _send_waiting(self) -> bool:
        """Send what there is credit for. Returns True when the socket takes no more now."""
        while messages := self._next_messages():
            for parts in messages:
                try:
                    self._socket.send_multipart(parts, zmq.DONTWAIT, copy=False)
                except zmq.Again:
                    return True
                self._window.sent()
        return False

    def _next_messages(self) -> list[list[Any]]:
        """Some messages for which there is credit; they stay in the spool until this thread hears of them."""
        with self._changed:
            first, end = self._window.next, min(self._window.limit, self._spool.end)
            numbers = range(first, min(end, first + MESSAGES_AT_ONCE))
            return [[encode_number(number), *self._spool.parts(number)] for number in numbers]

    def _listen(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                self._hear(self._socket.recv(zmq.DONTWAIT))

    def _hear(self, part: bytes) -> None:
        try:
            credit = decode_credit(part)
        except BadInput as error:
            log.warning("%s: %s", self.endpoint, error)
            return
        with self._changed:
            known = self._window.take(credit, self._spool.end)
            self._spool.release(self._window.first)
            if known:
                self._heard_s = self._clock()
                self._willing_s = self._willing_s if credit.held else self._heard_s
            self._changed.notify_all()
        if not known:
            self._say_hello()

    def _say_hello(self) -> bool:
        with contextlib.suppress(zmq.Again):
            self._socket.send_multipart([b"", wire.pack(self._window.hello())], zmq.DONTWAIT)
            return True
        return False
