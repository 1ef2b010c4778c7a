"""Clients that hold connections or memory without end, on real sockets; who keeps the rules is left alone."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import zmq

from benchmarks.strangers import zmtp
from streamer.daemon.connections import LOOK_S, MAX_CONNECTIONS, Budget, Connections
from streamer.io.messaging.sockets import duplicate, port_of

PATIENCE_S = 60.0
PATIENCE_MS = 60_000


class Door:
    """A ROUTER socket under watch, with a clock that stands still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.router.bind("tcp://127.0.0.1:*")
        self.endpoint = self.router.last_endpoint.decode()
        port = port_of(self.endpoint)
        assert port is not None
        self.port = port
        self.connections = Connections({port: ("control", Budget(10_000, 100.0))}, lambda: self.now)

    def sweep_until_cut(self, number: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.connections.cut["control"] < number:
            self.connections.sweep()
            assert time.monotonic() < deadline

    def receive(self) -> bytes:
        assert self.router.poll(PATIENCE_MS)
        *_, body = self.router.recv_multipart(copy=False)
        self.connections.taken(body.get(zmq.SRCFD), len(body))
        return body.bytes


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.connections.close()
    door.context.destroy(linger=0)


def is_ended(peer: socket.socket) -> bool:
    """Whether the other side ended the connection."""
    try:
        while peer.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def test_a_message_without_end_is_cut_and_a_long_talk_is_not(door: Door) -> None:
    with door.context.socket(zmq.DEALER) as honest:
        honest.setsockopt(zmq.LINGER, 0)
        honest.connect(door.endpoint)
        for number in range(100):
            honest.send(bytes(1000) + bytes([number]))
            assert door.receive()[-1] == number
            door.connections.sweep()
        assert not door.connections.cut
        with zmtp.greet(door.endpoint, "DEALER") as stranger:
            assert zmtp.unfinished(stranger, bytes(1000), 100_000) > 0
            door.sweep_until_cut(1)
            assert is_ended(stranger)
        honest.send(b"still here")
        assert door.receive() == b"still here"
    assert door.connections.cut == {"control": 1}


def test_short_messages_for_ever_are_no_debt(door: Door) -> None:
    """What ZMTP adds to each message must not add up."""
    with door.context.socket(zmq.DEALER) as honest:
        honest.setsockopt(zmq.LINGER, 0)
        honest.connect(door.endpoint)
        for number in range(5000):
            honest.send_multipart([b"", b"?"])
            door.receive()
            if number % 50 == 0:
                door.connections.sweep()
    assert not door.connections.cut


def test_a_second_descriptor_of_a_connection_is_no_second_connection(door: Door) -> None:
    """Descriptors are duplicated to look at a connection, just when a sweep may list them."""
    with door.context.socket(zmq.DEALER) as honest:
        honest.setsockopt(zmq.LINGER, 0)
        honest.connect(door.endpoint)
        for _ in range(40):
            honest.send(bytes(1000))
            assert door.router.poll(PATIENCE_MS)
            *_, body = door.router.recv_multipart(copy=False)
            door.connections.sweep()
            door.connections.taken(body.get(zmq.SRCFD), len(body))
        with duplicate(body.get(zmq.SRCFD)) as second, duplicate(body.get(zmq.SRCFD)) as third:
            assert second is not None
            assert third is not None
            door.connections.sweep()
            honest.send(b"still here")
            assert door.receive() == b"still here"
    assert not door.connections.cut


def test_good_conduct_is_not_saved_up(door: Door) -> None:
    with zmtp.greet(door.endpoint, "DEALER") as peer:
        for _ in range(100):
            peer.sendall(zmtp.frame(b"."))
            door.receive()
        door.now += 1e6
        door.connections.sweep()
        peer.sendall(zmtp.frame(bytes(20_000), zmtp.MORE) + zmtp.frame(b"."))
        assert door.router.poll(PATIENCE_MS)
        door.connections.sweep()
    assert door.connections.cut == {"control": 1}


@pytest.mark.parametrize("age_s", [0.0, 1000.0])
def test_a_connection_is_forgiven_with_time(door: Door, age_s: float) -> None:
    with zmtp.greet(door.endpoint, "DEALER") as peer:
        door.connections.sweep()
        door.now += age_s
        peer.sendall(zmtp.frame(bytes(50_000), zmtp.MORE) + zmtp.frame(b"."))
        assert door.router.poll(PATIENCE_MS), "it has arrived, and nobody takes it"
        door.connections.sweep()
    assert sum(door.connections.cut.values()) == (0 if age_s else 1)


def test_of_too_many_connections_the_silent_ones_go(door: Door) -> None:
    with door.context.socket(zmq.DEALER) as honest:
        honest.setsockopt(zmq.LINGER, 0)
        honest.setsockopt(zmq.RECONNECT_IVL, -1)  # cut once, it would stay away
        honest.connect(door.endpoint)
        honest.send(b"hello")
        assert door.receive() == b"hello"
        idle = [zmtp.connect(door.endpoint) for _ in range(MAX_CONNECTIONS + 19)]
        door.sweep_until_cut(20)
        honest.send(b"still here")
        assert door.receive() == b"still here"
        for peer in idle:
            peer.close()
    assert door.connections.cut == {"control": 20}


def test_connections_to_other_sockets_are_not_looked_at(door: Door) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ends = []
        for _ in range(MAX_CONNECTIONS + 5):
            ends.append(socket.create_connection(server.getsockname()))
            ends[-1].sendall(bytes(20_000))
            ends.append(server.accept()[0])
        door.connections.sweep()
        for end in ends:
            end.close()
    assert not door.connections.cut


def test_a_connection_is_cut_although_no_descriptor_is_left(door: Door) -> None:
    limits, taken = resource.getrlimit(resource.RLIMIT_NOFILE), list[int]()
    with zmtp.greet(door.endpoint, "DEALER") as stranger:
        assert zmtp.unfinished(stranger, bytes(1000), 100_000) > 0
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            door.sweep_until_cut(1)
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert is_ended(stranger)


def test_whether_an_endpoint_has_a_connection_is_looked_at_now_and_then(door: Door) -> None:
    assert door.connections.leads_to(door.endpoint) is False
    with socket.create_connection(("127.0.0.1", door.port)):
        assert door.connections.leads_to(door.endpoint) is False, "clients ask tens of times a second"
        door.now += LOOK_S
        assert door.connections.leads_to(door.endpoint) is True
