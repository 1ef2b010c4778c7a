"""The producer's end of the acknowledged transport: a spool, and a thread that owns the socket."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from streamer.flow.spool import MessageStore
from streamer.frames import StreamerError
from streamer.io.messaging import sockets
from streamer.io.senders.acknowledged_link import SILENCE_S, AcknowledgedLink

POLL_MS = 100


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
        self._link = AcknowledgedLink(context, endpoint, bind, messages, source, name, clock, guard)
        self.endpoint, self._changed = self._link.endpoint, self._link.changed
        self._spool, self._window = messages, self._link.window
        self._alarm, self._clock = alarm, clock
        self._wake_read, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
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
        if self._wake >= 0:
            with contextlib.suppress(BlockingIOError):  # a full pipe wakes the thread, too
                os.write(self._wake, b"\0")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until everything is acknowledged. Returns False when the daemon took no messages for ``timeout_s``.

        A daemon that answers, and is not held up, may take as long as it needs: it reconstructs after the end.
        """
        began = self._clock()
        with self._changed:
            while self._window.first < self._spool.end:
                left = None if timeout_s is None else max(began, self._link.willing_s) + timeout_s - self._clock()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def complaint(self) -> str:
        """One line on what the daemon has not acknowledged, and why if that is known."""
        with self._changed:
            count, megabytes = self._link.unacknowledged, self._spool.capacity / 2**20
            text = f"{count} messages are not acknowledged by {self.endpoint}; the spool holds {megabytes:.0f} MiB"
            if self._window.held:
                return f"{text}; the daemon says: {self._window.held}"
            return text if self._clock() - self._link.heard_s < 2 * SILENCE_S else f"{text}; nobody answers there"

    @property
    def held(self) -> str:
        """Why the daemon takes no messages; empty when it does."""
        return self._window.held

    @property
    def unacknowledged(self) -> int:
        """Messages in the spool."""
        return self._link.unacknowledged

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
        """Stop at once. What is not acknowledged stays in the spool. It may be called again."""
        with self._changed:
            if self._stopping:
                return
            self._stopping = True
            self._wake_up()
        self._thread.join()
        with self._changed:
            os.close(self._wake)
            os.close(self._wake_read)
            self._wake = self._wake_read = -1  # the numbers may be those of other files now

    def _run(self) -> None:
        poller, socket = zmq.Poller(), self._link.socket
        poller.register(self._wake_read, zmq.POLLIN)
        while not self._stopping:
            blocked = self._link.turn()
            poller.register(socket, zmq.POLLIN | (zmq.POLLOUT if blocked else 0))
            ready = dict(poller.poll(POLL_MS))
            if self._wake_read in ready:
                os.read(self._wake_read, 65536)
            if ready.get(socket, 0) & zmq.POLLIN:
                self._link.hear()
        self._link.close()
