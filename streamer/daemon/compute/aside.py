"""Work beside the compute thread, so that frames do not wait for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from streamer.daemon.supervision import show_name

T = TypeVar("T")

Threads = Callable[[str], Executor]


NICE = 5
"""What is added to the niceness of a thread whose work may wait for that of the others."""


def one_thread(name: str) -> Executor:
    """A thread of its own for one kind of work. Where the system lets threads differ, the others go before it."""
    return ThreadPoolExecutor(1, name, partial(_give_way, name))


def _give_way(name: str) -> None:
    show_name(name)
    with suppress(OSError, AttributeError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE)


class Aside(Generic[T]):
    """One piece of work at a time. All but the work itself belongs to the compute thread."""

    def __init__(self, name: str, threads: Threads = one_thread) -> None:
        self._executor = threads(name)
        self._work: Future[T] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing was begun whose result nobody has taken."""
        return self._work is None

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self._work is not None and not self._work.done()

    @property
    def done(self) -> bool:
        """Whether a result can be taken at once."""
        return self._work is not None and self._work.done()

    def begin(self, work: Callable[[], T]) -> None:
        """Have ``work`` done; only when idle."""
        assert self._work is None
        self._work = self._executor.submit(work)

    def take(self) -> T | None:
        """Wait for the result of what was begun; None when nothing was. Raises what went wrong with it."""
        work, self._work = self._work, None
        return None if work is None else work.result()

    def drop(self) -> None:
        """Wait until nothing is being done; its result, or what went wrong, is of no interest any more."""
        if self._work is not None:
            wait([self._work])
            self._work = None
