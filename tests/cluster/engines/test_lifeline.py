"""The connection that both ends close by dying; over real sockets, without processes."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from streamer.cluster.engines.lifeline import Lifeline, ScoutGone, ToScout, keep_alive
from streamer.cluster.messages import Ready, Setup
from streamer.frames import BadInput
from tests.cluster.cluster_rig import eventually

SETUP = Setup("a configuration", "127.0.0.1", threads=2)


class Pair:
    """Both ends."""

    def __init__(self) -> None:
        self.killed: list[int] = []
        self.line = Lifeline("the shard", SETUP, self.killed.append)
        self.ours, self.theirs = socket.socketpair()
        self.process = ToScout(self.theirs)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.ours.close()
    made.theirs.close()


def test_what_to_be_goes_one_way_and_ready_the_other(pair: Pair) -> None:
    pair.line.attach(pair.ours)
    assert pair.process.setup() == SETUP
    assert not pair.line.is_ready
    pair.process.say_ready(Ready("calls", "frames"))
    assert pair.line.ready() == Ready("calls", "frames", pid=os.getpid())
    assert pair.line.pid == os.getpid()
    assert pair.line.alive
    assert not pair.process.gone


def test_where_it_listens_is_where_it_was_reached(pair: Pair) -> None:
    pair.line.attach(pair.ours, host="10.1.2.3")
    assert pair.process.setup() == msgspec.structs.replace(SETUP, host="10.1.2.3")


def test_a_configuration_may_be_longer_than_what_a_socket_takes_at_once(pair: Pair) -> None:
    long = msgspec.structs.replace(SETUP, config="x" * 2_000_000)
    line = Lifeline("the shard", long, pair.killed.append)
    sending = threading.Thread(target=line.attach, args=(pair.ours,))
    sending.start()
    assert pair.process.setup() == long
    sending.join()


def test_readiness_may_come_in_pieces(pair: Pair) -> None:
    pair.line.attach(pair.ours)
    said = msgspec.json.encode(Ready("calls", "frames", pid=9)) + b"\n"
    for byte in said[:-1]:
        pair.theirs.sendall(bytes([byte]))
        assert not pair.line.is_ready
    pair.theirs.sendall(said[-1:])
    assert pair.line.is_ready
    assert pair.line.pid == 9


def test_a_process_that_is_gone_is_not_alive(pair: Pair) -> None:
    pair.line.attach(pair.ours)
    pair.process.setup()
    pair.process.say_ready(Ready("calls"))
    assert pair.line.alive
    pair.theirs.close()
    assert not pair.line.alive
    assert pair.line.ready().calls == "calls"  # what it has said stays


def test_one_that_is_gone_before_it_was_ready_never_is(pair: Pair) -> None:
    pair.line.attach(pair.ours)
    pair.theirs.sendall(b'{"calls": "half a li')
    pair.theirs.close()
    with pytest.raises(BadInput, match="the shard ended as it started"):
        pair.line.ready()


def test_one_that_was_gone_when_it_was_attached_is_not_alive(pair: Pair) -> None:
    pair.theirs.close()
    pair.line.attach(pair.ours)
    assert not pair.line.alive


def test_one_that_is_not_attached_yet_may_still_come_or_fail(pair: Pair) -> None:
    assert pair.line.alive
    assert not pair.line.is_ready
    assert not pair.line.connected
    threading.Timer(0.1, pair.line.fail, ("was not started by Ray: no room",)).start()
    with pytest.raises(BadInput, match="the shard was not started by Ray: no room"):
        pair.line.ready()
    assert not pair.line.alive


def test_the_process_sees_that_the_scout_is_gone(pair: Pair) -> None:
    pair.line.attach(pair.ours)
    pair.process.setup()
    assert not pair.process.gone
    pair.ours.close()
    assert pair.process.gone
    pair.process.say_ready(Ready("calls"))  # nobody hears it, and nothing is raised


def test_a_scout_that_is_gone_at_once_is_bad_input_there(pair: Pair) -> None:
    pair.ours.sendall(b'{"config": "ha')
    pair.ours.close()
    with pytest.raises(ScoutGone, match="the scout was gone before it said what to do"):
        pair.process.setup()


def test_one_that_is_left_hears_it_and_may_still_answer(pair: Pair) -> None:
    pair.line.attach(pair.ours)
    pair.process.setup()
    pair.line.leave()
    assert pair.process.gone
    pair.process.say_ready(Ready("", text="done anyway"))
    assert pair.line.ready().text == "done anyway"
    assert pair.line.alive
    pair.theirs.close()
    pair.line.end(1.0)
    assert pair.killed == []


def test_one_that_does_not_end_in_time_is_killed_once(pair: Pair) -> None:
    pair.line.attach(pair.ours)
    pair.process.setup()
    pair.process.say_ready(Ready("calls"))
    pair.line.ready()
    began = time.monotonic()
    pair.line.end(0.1)
    assert 0.05 < time.monotonic() - began < 5.0
    assert pair.killed == [os.getpid()]
    pair.line.end(0.1)
    assert pair.killed == [os.getpid()]


def test_nobody_is_killed_whose_process_is_not_known(pair: Pair) -> None:
    """Process 0 would be all of this group."""
    pair.line.end(0.0)
    assert pair.killed == []


def test_many_threads_may_ask(pair: Pair) -> None:
    pair.line.attach(pair.ours)
    pair.process.setup()
    found: list[Ready] = []
    threads = [threading.Thread(target=lambda: found.append(pair.line.ready())) for _ in range(8)]
    for thread in threads:
        thread.start()
    pair.process.say_ready(Ready("calls"))
    for thread in threads:
        thread.join()
    assert [ready.calls for ready in found] == ["calls"] * 8


def test_a_machine_that_is_gone_is_noticed_within_seconds() -> None:
    """The system's own probes do it, which a test without a second machine can only see to be set."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as end:
        keep_alive(end)
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, interval, probes = (
            end.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + interval * probes <= 5


def test_the_death_of_a_process_closes_it() -> None:
    line = Lifeline("the shard", SETUP, lambda _pid: None)
    ours, theirs = socket.socketpair()
    line.attach(ours)
    child = os.fork()
    if child == 0:
        os._exit(0)
    theirs.close()
    os.waitpid(child, 0)
    eventually(lambda: not line.alive, "its end is seen")
    line.end(0.0)
