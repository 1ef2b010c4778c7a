"""Rates of links to processes, here threads of this process: what arrives is counted, and silence is one line."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest
import zmq

from streamer.cli.cluster import bandwidth
from streamer.cli.cluster.bandwidth import Machine, measure
from streamer.cluster.messages import Ready, Setup
from streamer.frames import BadInput

COLUMNS = 3000
BLOCK_BYTES, BLOCK = 2**18, 258_000
"""Bytes of a block, at most and in whole rows of so many pixels."""


class Taker:
    """See ``engine.Helper``: takes rows in a thread, and lists their bytes. One that is ``silent`` never answers."""

    pid, alive, is_ready = 1, True, True

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], machine: Machine, silent: bool) -> None:
        self.blocks: list[int] = []
        self.ended = False
        self._machine, self._silent = machine, silent
        self._socket = context.socket(zmq.DEALER)
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self._endpoint = f"tcp://127.0.0.1:{port}"
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def ready(self) -> Ready:
        return Ready("", self._endpoint, msgspec.json.encode(self._machine).decode())

    def leave(self) -> None:
        self.ended = True

    def end(self, timeout_s: float) -> None:
        self.ended = True
        self._thread.join()

    def _take(self) -> None:
        while not self.ended:
            if self._socket.poll(10):
                size = len(self._socket.recv(copy=False))
                self.blocks.append(size)
                if not size and not self._silent:
                    self._socket.send(b"")
        self._socket.close(0)


class Threads:
    """See ``engine.Engine``: starts a taker for each of its machines, the last one silent if it is to be."""

    gpus = 0

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], machines: list[Machine], silent: bool = False) -> None:
        self._context, self._machines, self._silent = context, machines, silent
        self.takers: list[Taker] = []

    def reserve(self, shards: int, spares: int, threads: int | None) -> None:
        raise AssertionError("measuring asks for no places of its own")

    def start(self, program: str, setup: Setup, gpu: int | None = None, here: bool = False) -> Taker:
        assert program == bandwidth.PROBE
        machine = self._machines[len(self.takers)]
        last = len(self.takers) == len(self._machines) - 1
        self.takers.append(Taker(self._context, machine, self._silent and last))
        return self.takers[-1]

    def close(self) -> None:
        raise AssertionError("it belongs to the caller")


MACHINES = [Machine("one", 2**30, 4), Machine("two", 2**31, 8)]


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    monkeypatch.setattr(bandwidth, "BLOCK_BYTES", BLOCK_BYTES)
    monkeypatch.setattr(bandwidth, "ONE_S", 0.1)
    monkeypatch.setattr(bandwidth, "TOGETHER_S", 0.1)
    with zmq.Context() as made:
        yield made


def test_whole_rows_reach_each_alone_and_then_all_together(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    engine = Threads(context, MACHINES)
    links = measure(engine, 2, COLUMNS)
    assert links.machines == tuple(MACHINES)
    assert len(links.each) == 2
    assert min(*links.each, links.together) > 0
    for taker in engine.takers:
        assert set(taker.blocks) == {BLOCK, 0}
        assert taker.blocks.count(0) == 2  # the last word of each measurement
        assert taker.ended
    # Together, all get as many blocks: none is passed over while another is behind.
    one, two = (taker.blocks[taker.blocks.index(0) + 1 :] for taker in engine.takers)
    assert len(one) == len(two) > 1


def test_a_process_that_does_not_answer_is_named_as_such(
    context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bandwidth, "WAIT_MS", 500)
    engine = Threads(context, MACHINES[:1], silent=True)
    with pytest.raises(BadInput, match="a process does not answer; is there a firewall between the machines"):
        measure(engine, 1, COLUMNS)
    assert engine.takers[0].ended


def test_a_process_that_cannot_be_reached_is_named_as_such(
    context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bandwidth, "WAIT_MS", 50)
    monkeypatch.setattr(bandwidth, "HIGH_WATER", 1)
    monkeypatch.setattr(Taker, "ready", lambda taker: Ready("", "tcp://127.0.0.1:1", "{}"))
    engine = Threads(context, MACHINES[:1])
    with pytest.raises(BadInput, match="a process does not take rows; is there a firewall between the machines"):
        measure(engine, 1, COLUMNS)
    assert engine.takers[0].ended
