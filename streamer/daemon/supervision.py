"""The daemon's threads under watch: one that ends with an error begins anew, and too many errors end the daemon.

One that hangs cannot be replaced, because what it holds cannot be taken from it; it is named until it goes on.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

Work = Callable[[Callable[[], bool]], None]
"""The body of a thread. It returns when the function that it is given says so, and not before.

It asks that function again and again, which shows that it does not hang.
"""

MOST_ERRORS = 3
PERIOD_S = 60.0
QUIET_S = 60.0


def show_name(name: str) -> None:
    """Give this thread its name in the system as well, where ``top -H`` shows it."""
    with suppress(OSError):
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name, encoding="utf-8")


class ErrorBudget:
    """Errors that may be survived: at most ``most`` of them in any ``period_s`` seconds."""

    def __init__(self, most: int = MOST_ERRORS, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._errors: deque[float] = deque(maxlen=most + 1)

    def survives(self, now: float) -> bool:
        """Enter an error at ``now`` (s). False when it is one too many."""
        self._errors.append(now)
        return len(self._errors) < (self._errors.maxlen or 0) or now - self._errors[0] > self._period_s


@dataclass
class _Watched:
    """A thread, when it last showed that it does not hang, and for how long it need not."""

    thread: threading.Thread
    quiet_s: float
    excused: Callable[[], bool]
    seen_s: float
    hangs: bool = False


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
        self._watched: dict[str, _Watched] = {}
        self.restarts: Counter[str] = Counter()

    def add(self, name: str, work: Work, quiet_s: float = QUIET_S, excused: Callable[[], bool] = lambda: False) -> None:
        """The thread hangs if it does nothing for ``quiet_s`` seconds and is not ``excused`` at that moment."""
        self.restarts[name] = 0
        thread = threading.Thread(target=self._run, args=(name, work, ErrorBudget()), name=name)
        self._watched[name] = _Watched(thread, quiet_s, excused, self._clock())

    def start(self) -> None:
        for watched in self._watched.values():
            watched.seen_s = self._clock()
            watched.thread.start()

    def join(self) -> None:
        for watched in self._watched.values():
            watched.thread.join()

    def up(self, name: str) -> bool:
        """Whether the thread is there, even if it hangs."""
        return self._watched[name].thread.is_alive()

    @property
    def threads(self) -> dict[str, bool]:
        """Whether each thread works, by name."""
        return {name: one.thread.is_alive() and not one.hangs for name, one in self._watched.items()}

    def hanging(self) -> dict[str, float]:
        """Threads that began to hang since the last call, by name, and for how many seconds they have done nothing."""
        began: dict[str, float] = {}
        for name, one in self._watched.items():
            if one.excused():
                one.seen_s = self._clock()
            quiet_s = self._clock() - one.seen_s
            hung, one.hangs = one.hangs, one.thread.is_alive() and quiet_s > one.quiet_s
            if one.hangs and not hung:
                began[name] = quiet_s
        return began

    def _run(self, name: str, work: Work, budget: ErrorBudget) -> None:
        watched = self._watched[name]
        show_name(name)

        def stopped() -> bool:
            watched.seen_s = self._clock()
            return self._stopped.is_set()

        while not self._stopped.is_set():
            try:
                work(stopped)
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
