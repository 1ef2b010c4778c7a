"""A connection from which positions are read, on a thread of its own; it is made anew whenever it breaks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from streamer.flow.positions.positions import PositionEvent, Remark
from streamer.frames import StreamerError

POLL_S = 0.05
RETRY_S = 0.5
MOST_WAITING = 1_000_000
"""Events that are kept for a receiver that does not ask."""


class Connection(Protocol):
    """An open connection. Errors of its methods, OSError or WireError, end it."""

    def events(self, wait_s: float) -> list[PositionEvent]:
        """What comes within this time, as soon as something comes."""

    def close(self) -> None: ...


class Arrivals:
    """Events that wait to be drained. Any thread may add some."""

    def __init__(self) -> None:
        self._came: deque[PositionEvent] = deque(maxlen=MOST_WAITING)
        self._news = threading.Event()

    def add(self, events: Iterable[PositionEvent]) -> None:
        self._came.extend(events)
        self._news.set()

    def remark(self, text: str) -> None:
        self.add([Remark(text)])

    @property
    def pending(self) -> int:
        """Events that wait."""
        return len(self._came)

    def drain(self) -> list[PositionEvent]:
        self._news.clear()
        return [self._came.popleft() for _ in range(len(self._came))]

    def wait(self, seconds: float) -> None:
        self._news.wait(seconds)


class PositionReader(Arrivals):
    """Implements ``PositionSource``. It remarks when the connection breaks, and when it is back."""

    def __init__(self, connect: Callable[[Callable[[str], None]], Connection], name: str) -> None:
        """``connect`` is given what receives remarks. ``name`` is for people."""
        super().__init__()
        self._connect, self._name = connect, name
        self._stopped = threading.Event()
        self._why = ""  # the connection is broken; "" while it is not
        self._thread = threading.Thread(target=self._run, name="positions", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow(self._connect(self.remark))
            except (OSError, StreamerError) as error:
                self._broken(str(error))
            self._stopped.wait(RETRY_S)

    def _follow(self, connection: Connection) -> None:
        try:
            while not self._stopped.is_set():
                if events := connection.events(POLL_S):
                    if self._why:
                        self._why = ""
                        self.remark(f"{self._name} sends again")
                    self.add(events)
        finally:
            connection.close()

    def _broken(self, why: str) -> None:
        """Say it once, not at every try."""
        if why != self._why:
            self._why = why
            self.remark(f"{self._name}: {why}")
