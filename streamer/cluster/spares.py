"""Shards without rows, which wait for one with rows to die."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from streamer.cluster.engines.engine import Helper

log = logging.getLogger(__name__)

RETRY_S = 10.0
"""Until another spare is started, after one that could not start."""


class Spares:
    """``count`` of them, as far as they can be started. One thread at a time may call."""

    def __init__(self, count: int, start: Callable[[], Helper], clock: Callable[[], float] = time.monotonic) -> None:
        """Starts them with ``start`` and does not wait for them. Raises OSError."""
        self._count, self._start, self._clock = count, start, clock
        self._waiting = [start() for _ in range(count)]  # some may still be starting
        self._none_until = 0.0

    def await_ready(self) -> None:
        """Returns when all can work. Raises BadInput when one cannot."""
        for helper in self._waiting:
            helper.ready()

    def take(self) -> Helper | None:
        """One that lives, which is no spare any more."""
        spare = next((helper for helper in self._waiting if helper.alive), None)
        if spare is not None:
            self._waiting.remove(spare)
        return spare

    def keep(self) -> None:
        """Start others for those that were taken, or have died."""
        for helper in [helper for helper in self._waiting if not helper.alive]:
            log.warning("a spare shard (process %d) is gone; another one is started", helper.pid)
            if not helper.is_ready:  # the next one will hardly fare better
                self._none_until = self._clock() + RETRY_S
            helper.end(0.0)
            self._waiting.remove(helper)
        while len(self._waiting) < self._count and self._clock() >= self._none_until:
            try:
                self._waiting.append(self._start())
            except OSError as error:
                log.error("no spare shard can be started: %s", error)
                self._none_until = self._clock() + RETRY_S

    def close(self) -> None:
        for helper in self._waiting:
            helper.end(0.0)
