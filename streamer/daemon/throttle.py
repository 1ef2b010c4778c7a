"""Warnings about what others send, which may be any number of them."""

from __future__ import annotations

import logging
from collections.abc import Callable

BURST = 10
PERIOD_S = 10.0


class ThrottledLog:
    """Logs at most ``BURST`` warnings of each kind in ``PERIOD_S``. The kinds must be few: each is remembered."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float]) -> None:
        self._log, self._clock = log, clock
        self._logged: dict[str, tuple[float, int]] = {}  # kind → begin of its period, warnings in it

    def warning(self, kind: str, text: str) -> None:
        now = self._clock()
        began, count = self._logged.get(kind, (now, 0))
        if now - began >= PERIOD_S:
            began, count = now, 0
        self._logged[kind] = (began, count + 1)
        if count < BURST:
            self._log.warning("%s", text)
        elif count == BURST:
            self._log.warning("more of this kind (%s) in the next %g s are counted only", kind, PERIOD_S)
