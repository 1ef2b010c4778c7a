"""The daemon's threads under watch: one that ends with an error begins anew, and too many errors end the daemon."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable

log = logging.getLogger(__name__)

Work = Callable[[Callable[[], bool]], None]
"""The body of a thread. It returns when the function that it is given says so, and not before."""

MOST_ERRORS = 3
PERIOD_S = 60.0


class ErrorBudget:
    """Errors that may be survived: at most ``most`` of them in any ``period_s`` seconds."""

    def __init__(self, most: int = MOST_ERRORS, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._errors: deque[float] = deque(maxlen=most + 1)

    def survives(self, now: float) -> bool:
        """Enter an error at ``now`` (s). False when it is one too many."""
        self._errors.append(now)
        return len(self._errors) < (self._errors.maxlen or 0) or now - self._errors[0] > self._period_s


class Supervisor:
    """Runs the work of each thread until the daemon stops.

    Work that ends with an error, or returns too early, is done again by the same thread: what it needs (sockets, ring,
    session) belongs to objects that outlive the error. ``fault(name, text, fatal)`` is called for each error, on that
    thread. After a fatal one the thread is down.
    """

    def __init__(
        self, stopped: threading.Event, fault: Callable[[str, str, bool], None], clock: Callable[[], float]
    ) -> None:
        self._stopped, self._fault, self._clock = stopped, fault, clock
        self._threads: dict[str, threading.Thread] = {}
        self.restarts: Counter[str] = Counter()

    def add(self, name: str, work: Work) -> None:
        self.restarts[name] = 0
        self._threads[name] = threading.Thread(target=self._run, args=(name, work, ErrorBudget()), name=name)

    def start(self) -> None:
        for thread in self._threads.values():
            thread.start()

    def join(self) -> None:
        for thread in self._threads.values():
            thread.join()

    def up(self, name: str) -> bool:
        """Whether the thread works."""
        return self._threads[name].is_alive()

    @property
    def threads(self) -> dict[str, bool]:
        """Whether each thread works, by name."""
        return {name: thread.is_alive() for name, thread in self._threads.items()}

    def _run(self, name: str, work: Work, budget: ErrorBudget) -> None:
        while not self._stopped.is_set():
            try:
                work(self._stopped.is_set)
                problem = "it ended too early"
            except BaseException as error:  # SystemExit would end the thread without a word
                log.exception("the thread %s failed", name)
                problem = f"{type(error).__name__}: {error}"
            if self._stopped.is_set():
                return
            survives = budget.survives(self._clock())
            self._fault(name, problem, not survives)
            if not survives:
                return
            self.restarts[name] += 1
