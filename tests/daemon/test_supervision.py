"""Threads that fail: begun anew, counted, and after too many errors given up for good."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from streamer.daemon.supervision import MOST_ERRORS, PERIOD_S, ErrorBudget, Supervisor
from tests.daemon.rig import Clock

PATIENCE_S = 100.0


def test_a_few_errors_are_survived_and_one_too_many_is_not() -> None:
    budget = ErrorBudget(most=2, period_s=10.0)
    assert [budget.survives(now) for now in (0.0, 1.0, 2.0)] == [True, True, False]


def test_old_errors_are_forgotten() -> None:
    budget = ErrorBudget(most=2, period_s=10.0)
    assert all(budget.survives(now) for now in range(0, 100, 6))


class Watched:
    """A supervisor with a thread whose work is the test's; its faults."""

    def __init__(self, work: Callable[[int], None]) -> None:
        self.faults: list[tuple[str, str, bool]] = []
        self.stopped, self.calls, self.clock = threading.Event(), 0, Clock()
        self.supervisor = Supervisor(self.stopped, lambda *fault: self.faults.append(fault), self.clock)

        def body(stopped: Callable[[], bool]) -> None:
            self.calls += 1
            work(self.calls)

        self.supervisor.add("receive", body)

    def run(self) -> None:
        self.supervisor.start()
        self.supervisor.join()


def test_work_that_fails_is_done_again() -> None:
    def work(call: int) -> None:
        if call == 1:
            raise OSError("no more files")
        watched.stopped.set()

    watched = Watched(work)
    watched.run()
    assert watched.faults == [("receive", "OSError: no more files", False)]
    assert watched.supervisor.restarts == {"receive": 1}


@pytest.mark.parametrize("error", [OSError("shut"), SystemExit(3), None])
def test_work_that_fails_again_and_again_is_given_up(error: BaseException | None) -> None:
    def work(_call: int) -> None:
        if error is not None:
            raise error

    watched = Watched(work)
    watched.run()
    words = "it ended too early" if error is None else f"{type(error).__name__}: {error}"
    assert watched.faults == [("receive", words, False)] * MOST_ERRORS + [("receive", words, True)]
    assert watched.supervisor.threads == {"receive": False}
    assert not watched.stopped.is_set(), "that is for the daemon to do"


def test_rare_errors_never_end_the_daemon() -> None:
    def work(call: int) -> None:
        watched.clock.now += PERIOD_S
        if call == 20:
            watched.stopped.set()
        raise OSError("now and then")

    watched = Watched(work)
    watched.run()
    assert watched.supervisor.restarts == {"receive": 19}
    assert not any(fatal for *_, fatal in watched.faults)


def test_an_error_while_the_daemon_stops_is_no_fault() -> None:
    def work(_call: int) -> None:
        watched.stopped.set()
        raise OSError("its socket is closed")

    watched = Watched(work)
    watched.run()
    assert watched.faults == []


def test_a_thread_that_hangs_is_named_once_until_it_goes_on() -> None:
    goes_on, looked, stopped, clock = threading.Event(), threading.Event(), threading.Event(), Clock()
    excused = False
    supervisor = Supervisor(stopped, lambda *_: None, clock)

    def body(ends: Callable[[], bool]) -> None:
        while not ends():
            looked.set()
            assert goes_on.wait(PATIENCE_S)

    supervisor.add("receive", body, quiet_s=60.0, excused=lambda: excused)
    supervisor.start()
    assert looked.wait(PATIENCE_S)
    clock.now += 60.0
    assert (supervisor.hanging(), supervisor.threads) == ({}, {"receive": True})
    clock.now += 1.0
    assert (supervisor.hanging(), supervisor.threads) == ({"receive": 61.0}, {"receive": False})
    assert supervisor.hanging() == {}
    excused = True
    assert (supervisor.hanging(), supervisor.threads) == ({}, {"receive": True})
    excused = False
    clock.now += 61.0
    assert supervisor.hanging() == {"receive": 61.0}
    looked.clear()
    goes_on.set()
    assert looked.wait(PATIENCE_S)
    assert (supervisor.hanging(), supervisor.threads) == ({}, {"receive": True})
    stopped.set()
    supervisor.join()
