"""From "ask until it is true" to the Status that Bluesky waits for.

A plan must never block: whatever takes time runs on a thread here, and the plan waits for the Status.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ophyd.status import Status
from ophyd.utils.errors import InvalidState

log = logging.getLogger(__name__)

PERIOD_S = 0.02


@dataclass(frozen=True)
class Progress:
    """How far something is: from ``initial`` over ``current`` to ``target``, in ``unit``."""

    initial: float
    current: float
    target: float
    unit: str

    @property
    def fraction(self) -> float:
        """Share that is done, 0 … 1."""
        way = self.target - self.initial
        return min(1.0, max(0.0, (self.current - self.initial) / way)) if way else 1.0


class WatchedStatus(Status):
    """A Status that tells how far it is, as those of ophyd's positioners do: to progress bars of the RunEngine."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._name, self._clock, self._began_s = name, clock, clock()
        self._watchers: list[Callable[..., Any]] = []
        self._last: Progress | None = None

    def watch(self, func: Callable[..., Any]) -> None:
        """Call ``func`` with name, initial, current, target, unit, fraction and times, now and at every change."""
        self._watchers.append(func)
        if self._last is not None:
            self._call(func, self._last)

    def tell(self, progress: Progress) -> None:
        """It has come so far. A watcher that raises is not called again."""
        if progress == self._last:
            return
        self._last = progress
        for func in list(self._watchers):
            try:
                self._call(func, progress)
            except Exception:
                log.exception("%s: a watcher of the progress", self._name)
                self._watchers.remove(func)

    def _call(self, func: Callable[..., Any], progress: Progress) -> None:
        elapsed, fraction = self._clock() - self._began_s, progress.fraction
        func(
            name=self._name,
            current=progress.current,
            initial=progress.initial,
            target=progress.target,
            unit=progress.unit,
            precision=3,
            fraction=1.0 - fraction,  # what is left, as ophyd's MoveStatus has it
            time_elapsed=elapsed,
            time_remaining=elapsed * (1.0 - fraction) / fraction if fraction else None,
        )


def settle(status: Status, error: Exception | None = None) -> None:
    """Finish a Status, as failed when there is an ``error``. A Status that is finished already stays as it is."""
    try:
        if error is None:
            status.set_finished()
        else:
            status.set_exception(error)
    except InvalidState:
        log.debug("status had been settled before: %s", error)


def done() -> Status:
    """A Status for what took no time."""
    status = Status()
    status.set_finished()
    return status


def in_thread(work: Callable[[], object]) -> Status:
    """Run ``work`` on a thread; the Status ends with it, or fails with what it raised."""
    status = Status()

    def run() -> None:
        try:
            work()
        except Exception as error:
            settle(status, error)
        else:
            settle(status)

    threading.Thread(target=run, name="device work", daemon=True).start()
    return status


def watch(
    check: Callable[[], bool],
    timeout_s: float,
    what: str,
    period_s: float = PERIOD_S,
    progress: Callable[[], Progress] | None = None,
) -> WatchedStatus:
    """A Status that ends when ``check()`` is true, and fails when it raises or when ``timeout_s`` is over.

    ``what`` completes the sentence "… not within 5 s", for example "shutter: opening". ``progress`` tells how far it
    is after each ``check``.
    """
    status = WatchedStatus(what)

    def run() -> None:
        end = time.monotonic() + timeout_s
        try:
            while not status.done:
                over = check()
                if progress is not None:
                    status.tell(progress())
                if over:
                    settle(status)
                elif time.monotonic() > end:
                    settle(status, TimeoutError(f"{what} was not done within {timeout_s:.3g} s"))
                else:
                    time.sleep(period_s)
        except Exception as error:
            settle(status, error)

    threading.Thread(target=run, name=f"watch {what}", daemon=True).start()
    return status


class Patience:
    """Notices that numbers which should change have not changed for too long."""

    def __init__(self, limit_s: float, first_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """``limit_s`` seconds may pass without a change, ``first_s`` more before the first one."""
        self.limit_s, self._clock = limit_s, clock
        self._seen: object = None
        self._since = clock() + first_s

    def lost(self, *numbers: object) -> bool:
        if numbers != self._seen:
            if self._seen is not None:
                self._since = self._clock()
            self._seen = numbers
        return self._clock() - self._since > self.limit_s
