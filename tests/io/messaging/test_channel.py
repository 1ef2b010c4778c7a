from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Iterator

import pytest

from streamer.io.messaging.channel import Channel, await_ready
from tests.io.helpers import wait_until


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = (Channel(sock) for sock in socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def test_messages_arrive_whole_and_in_order(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    for number in range(50):
        ours.send({"n": number, "data": bytes(number)})
    assert [(m["n"], len(m["data"])) for m in theirs.receive()] == [(n, n) for n in range(50)]
    assert theirs.receive() == []
    assert not theirs.eof


def test_more_than_the_socket_holds_waits_and_does_not_block(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    big = bytes(range(256)) * 20_000
    ours.send({"big": big})
    ours.send({"small": 1})
    assert ours.backlog
    received = []

    def exchange() -> bool:
        ours.push()
        received.extend(theirs.receive())
        return len(received) == 2

    wait_until(exchange, "both messages")
    assert not ours.backlog
    assert received == [{"big": big}, {"small": 1}]


def test_the_other_side_gone_is_seen_from_both_directions(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    theirs.send({"last": 1})
    theirs.close()
    assert ours.receive() == [{"last": 1}]
    assert ours.eof
    ours.eof = False
    ours.send({"too": "late"})
    assert ours.eof
    assert not ours.backlog


def test_a_thread_that_reads_gets_everything(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    seen: list[int] = []

    def read() -> None:
        wait_until(lambda: bool(seen.extend(m["n"] for m in theirs.receive())) or len(seen) == 2000, "all messages")

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(2000):
        ours.send({"n": number})
    wait_until(lambda: ours.push() or not ours.backlog, "an empty backlog")
    thread.join()
    assert seen == list(range(2000))


def test_descriptors_beyond_1023_are_waited_for() -> None:
    """A daemon with many connections must still be able to start a raw writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1100) if hard < 0 else min(hard, max(soft, 1100)), hard))
    ours, theirs = socket.socketpair()
    high = os.dup2(ours.fileno(), 1050)
    try:
        assert await_ready([high], [], 0.0) == set()
        assert await_ready([high], [high], 10.0) == set(), "writable, but there is nothing to read"
        theirs.send(b"!")
        assert await_ready([high], [high], 10.0) == {high}
        theirs.close()
        assert await_ready([high], [], 10.0) == {high}, "closed counts as ready"
    finally:
        os.close(high)
        ours.close()
        theirs.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
