"""Processes that wait for a shard to die: there are always as many as are asked for, if they can be started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing

import pytest

from streamer.cluster.engines.engine import Helper
from streamer.cluster.engines.processes import Processes
from streamer.cluster.messages import Setup
from streamer.cluster.spares import RETRY_S, Spares
from streamer.frames import BadInput
from tests.cluster.cluster_rig import eventually, is_alive
from tests.cluster.engines.told_program import SILENT

PROGRAM = "tests.cluster.engines.told_program"


class Starter:
    """Starts processes, as long as the test lets it."""

    def __init__(self, engine: Processes) -> None:
        self._engine = engine
        self.started: list[Helper] = []
        self.text, self.refuses = "told", False
        self.now = 0.0

    def __call__(self) -> Helper:
        if self.refuses:
            raise OSError(11, "Resource temporarily unavailable")
        self.started.append(self._engine.start(PROGRAM, Setup(self.text, "127.0.0.1", threads=1)))
        return self.started[-1]

    def clock(self) -> float:
        return self.now

    def kill(self, number: int) -> None:
        helper = self.started[number]
        eventually(lambda: helper.pid, "it runs")
        os.kill(helper.pid, signal.SIGKILL)
        eventually(lambda: not helper.alive, "its death is seen")


@pytest.fixture
def starter() -> Iterator[Starter]:
    with closing(Processes()) as engine:
        made = Starter(engine)
        yield made
        for helper in made.started:
            helper.end(0.0)


def test_one_that_is_taken_has_a_successor_and_lives_on(starter: Starter) -> None:
    spares = Spares(1, starter, starter.clock)
    spares.await_ready()
    taken = spares.take()
    assert taken is starter.started[0]
    assert spares.take() is None
    spares.keep()
    spares.keep()
    assert len(starter.started) == 2
    spares.await_ready()
    spares.close()
    eventually(lambda: not is_alive(starter.started[1].pid), "the spare is gone")
    assert taken.alive


def test_one_that_died_is_not_taken_and_is_replaced_at_once(starter: Starter, caplog: pytest.LogCaptureFixture) -> None:
    spares = Spares(2, starter, starter.clock)
    spares.await_ready()
    starter.kill(0)
    spares.keep()
    assert f"a spare shard (process {starter.started[0].pid}) is gone" in caplog.text
    assert len(starter.started) == 3
    assert [spares.take(), spares.take(), spares.take()] == [*starter.started[1:], None]


def test_after_one_that_could_not_start_the_next_one_waits(starter: Starter) -> None:
    starter.text = SILENT
    spares = Spares(1, starter, starter.clock)
    starter.kill(0)
    with pytest.raises(BadInput, match="ended as it started"):
        spares.await_ready()
    spares.keep()
    starter.now = 0.9 * RETRY_S
    spares.keep()
    assert len(starter.started) == 1
    starter.now = RETRY_S
    spares.keep()
    assert len(starter.started) == 2


def test_a_system_that_starts_none_is_asked_again_later(starter: Starter, caplog: pytest.LogCaptureFixture) -> None:
    spares = Spares(1, starter, starter.clock)
    spares.take()
    starter.refuses = True
    for _ in range(3):
        spares.keep()
    assert caplog.text.count("no spare shard can be started: [Errno 11]") == 1
    starter.refuses, starter.now = False, RETRY_S
    spares.keep()
    assert len(starter.started) == 2


def test_without_any_nothing_is_started(starter: Starter) -> None:
    spares = Spares(0, starter, starter.clock)
    spares.await_ready()
    spares.keep()
    assert spares.take() is None
    assert starter.started == []
