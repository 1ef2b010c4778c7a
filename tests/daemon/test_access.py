"""Who gets in: real sockets with keys, and strangers of every kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from streamer.client import Link, LinkError, Subscriber
from streamer.daemon.access import NEEDED, Access
from streamer.daemon.handlers import check_role, needed_role
from streamer.flow.wire.control import Done, Forbidden, Ping, Pong, Request
from streamer.flow.wire.daemon import (
    DAEMON_REQUESTS,
    Abort,
    Disarm,
    FixCenter,
    GetStatus,
    GetVerdict,
    PlaneSpec,
    WatchPlanes,
)
from streamer.flow.wire.looks import GetBrick
from streamer.frames import BadInput, FrameKind, ScanSpec
from streamer.io.messaging.control import ControlServer
from streamer.io.sources.acknowledged import AcknowledgingReceiver
from streamer.keys import ClientKey, KeyFolder, KeyPair, Role
from streamer.producer import Producer
from tests.io.sources.receiving_daemon import MAX_FRAME, Disk, Sink

PATIENCE_MS = 60_000
OUTCOMES = {
    zmq.EVENT_HANDSHAKE_SUCCEEDED: True,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: False,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: False,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: False,
    zmq.EVENT_DISCONNECTED: False,
}


class House:
    """A daemon's key folder with three clients, and its access thread."""

    def __init__(self, folder: Path) -> None:
        self.files, self.folder = folder, KeyFolder(folder / "keys")
        self.folder.make()
        for role in Role:
            self.folder.add(f"the-{role}er", [role], folder / role)
        self.sockets: list[zmq.Socket[bytes]] = []  # those nobody holds would be closed
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.access = Access(self.context, self.folder, lambda: 0.0)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.access.run, args=(self.ended.is_set,))
        self.thread.start()
        self.outside: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def key(self, role: Role) -> ClientKey:
        return ClientKey.read(self.files / role)

    def bound(self, kind: int, domain: str) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        self.access.guard(domain)(socket)
        socket.bind("tcp://127.0.0.1:*")
        self.sockets.append(socket)
        return socket

    def gets_in(self, endpoint: str, apply: Callable[[zmq.Socket[bytes]], None]) -> bool:
        """Whether the first connection of a client gets past the handshake."""
        with self.outside.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RECONNECT_IVL, -1)
            apply(socket)
            with socket.get_monitor_socket(sum(OUTCOMES)) as monitor:
                socket.connect(endpoint)
                assert monitor.poll(PATIENCE_MS)
                outcome = OUTCOMES[recv_monitor_message(monitor)["event"]]
                socket.disable_monitor()
        return outcome

    def close(self) -> None:
        self.ended.set()
        self.thread.join()
        self.access.close()
        self.outside.destroy(linger=0)
        self.context.destroy(linger=0)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


@pytest.mark.parametrize("domain", list(NEEDED))
def test_a_socket_admits_the_roles_that_it_needs(house: House, domain: str) -> None:
    endpoint = house.bound(zmq.ROUTER, domain).last_endpoint.decode()
    for role in Role:
        allowed = {
            "control": True,
            "events": role is not Role.SEND,
            "preview": role is not Role.SEND,
            "source": role is Role.SEND,
        }
        assert house.gets_in(endpoint, house.key(role).apply) == allowed[domain], role


def plain(socket: zmq.Socket[bytes]) -> None:
    socket.plain_username, socket.plain_password = b"admin", b"admin"


def stranger(house: House) -> ClientKey:
    """A client that knows the public key of the daemon, which is no secret."""
    pair = KeyPair.new()
    return ClientKey(pair.public, pair.secret, house.folder.daemon().public)


def thief(house: House) -> ClientKey:
    """A client that also knows the public key of somebody who may send, but not its secret."""
    return ClientKey(house.key(Role.SEND).public, KeyPair.new().secret, house.folder.daemon().public)


def impostor(house: House) -> ClientKey:
    """The right pair, for another daemon."""
    key = house.key(Role.SEND)
    return ClientKey(key.public, key.secret, KeyPair.new().public)


@pytest.mark.parametrize("domain", [*NEEDED, "no such domain"])
def test_nobody_else_gets_in(house: House, domain: str) -> None:
    endpoint = house.bound(zmq.ROUTER, domain).last_endpoint.decode()
    for name, apply in {
        "without a key": lambda _socket: None,
        "with a password": plain,
        "with a key of its own": stranger(house).apply,
        "with half a key": thief(house).apply,
        "of another daemon": impostor(house).apply,
    }.items():
        assert not house.gets_in(endpoint, apply), name


def test_a_source_with_a_key_may_bind(house: House) -> None:
    """The daemon asks for the key whether it binds or connects."""
    with house.outside.socket(zmq.PUSH) as push, house.context.socket(zmq.PULL) as pull:
        push.setsockopt(zmq.LINGER, 0)
        house.key(Role.SEND).apply(push)
        push.bind("tcp://127.0.0.1:*")
        house.access.guard("source")(pull)
        pull.connect(push.last_endpoint.decode())
        push.send(b"a frame")
        assert pull.poll(PATIENCE_MS)
        assert pull.recv() == b"a frame"


def test_acknowledged_frames_are_taken_of_a_key_that_may_send_only(house: House) -> None:
    sink, ended = Sink(Disk()), threading.Event()
    guard = house.access.guard("source")
    receiver = AcknowledgingReceiver(
        house.context, "tcp://127.0.0.1:*", True, 8, MAX_FRAME, daemon=1, clock=time.monotonic, guard=guard
    )
    thread = threading.Thread(target=receiver.run, args=(sink, ended.is_set))
    thread.start()
    spec, pixels = ScanSpec("scan-1", "noise", 4, 8, 4), np.ones((4, 8), "<u2")
    looker = Producer(receiver.endpoint, spec, spool_mb=1, key_file=house.files / Role.LOOK)
    try:
        looker.send(0, FrameKind.PROJECTION, 0.0, pixels)
        with Producer(receiver.endpoint, spec, spool_mb=1, key_file=house.files / Role.SEND) as sender:
            sender.send(1, FrameKind.PROJECTION, 1.0, pixels)
            sender.finish(timeout_s=PATIENCE_MS / 1000)
    finally:
        looker.close()
        ended.set()
        thread.join()
    assert (set(sink.disk.frames), sink.disk.ended) == ({1}, 1)


def test_a_new_client_is_let_in_at_once_and_a_removed_one_is_not(house: House) -> None:
    endpoint = house.bound(zmq.ROUTER, "control").last_endpoint.decode()
    house.folder.add("late", [Role.LOOK], house.files / "late")
    late = ClientKey.read(house.files / "late")
    assert house.gets_in(endpoint, late.apply)
    house.folder.remove("late")
    assert not house.gets_in(endpoint, late.apply)
    assert house.access.refused["control"] == 1


def test_a_folder_that_is_spoiled_lets_nobody_in(house: House, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = house.bound(zmq.ROUTER, "control").last_endpoint.decode()
    (house.folder.path / "clients" / "the-looker.toml").write_text("roles = ")
    assert not house.gets_in(endpoint, house.key(Role.STEER).apply)
    assert "nobody is let in: " in caplog.text


def test_events_are_heard_with_a_key(house: House) -> None:
    publisher = house.bound(zmq.PUB, "events")
    subscriber = Subscriber(context=house.outside, key=house.key(Role.LOOK))
    subscriber.follow(publisher.last_endpoint.decode())
    while (parts := subscriber.receive(0.01)) is None:
        publisher.send_multipart([b"scan", b"secret"])
    assert parts == [b"scan", b"secret"]
    subscriber.close()


def test_requests_are_allowed_one_by_one(house: House) -> None:
    handlers = {Ping: lambda _: Pong("1"), Abort: lambda _: Done()}
    server = ControlServer(
        house.context,
        "tcp://127.0.0.1:*",
        handlers,
        lambda: 0.0,
        guard=house.access.guard("control"),
        permit=lambda public, request: check_role(house.access.client, public, request),
    )
    serving = threading.Thread(target=server.run, args=(house.ended.is_set,))
    serving.start()
    try:
        with Link(server.endpoint, "the server", 60.0, house.outside, house.key(Role.LOOK)) as link:
            assert link.ask(Ping()).version == "1"
            with pytest.raises(LinkError, match="abort needs the role steer, and the client the-looker has look") as no:
                link.ask(Abort("scan-1"))
            assert no.value.code == "forbidden"
            house.folder.remove("the-looker")
            with pytest.raises(LinkError, match="this key is not known any more"):
                link.ask(Ping())
        with Link(server.endpoint, "the server", 60.0, house.outside, house.key(Role.STEER)) as link:
            assert link.ask(Abort("scan-1")).ok
        assert server.requests[("abort", "forbidden")] == 1
    finally:
        house.ended.set()
        serving.join()


def test_a_daemon_needs_a_key_of_its_own(tmp_path: Path) -> None:
    with zmq.Context() as context, pytest.raises(BadInput, match="there is no key of a daemon"):
        Access(context, KeyFolder(tmp_path), lambda: 0.0)


PLANE = PlaneSpec("p", (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (8, 8))


@pytest.mark.parametrize(
    ("wanted", "role"),
    [
        (Ping(), None),
        (GetStatus(), Role.LOOK),
        (GetVerdict("scan-1"), Role.LOOK),
        (WatchPlanes(), Role.LOOK),
        (FixCenter(), Role.LOOK),
        (GetBrick(), Role.LOOK),
        (WatchPlanes([]), Role.STEER),
        (WatchPlanes([PLANE]), Role.STEER),
        (FixCenter(None), Role.STEER),
        (FixCenter(3.0), Role.STEER),
        (Abort("scan-1"), Role.STEER),
        (Disarm("scan-1"), Role.STEER),
    ],
)
def test_what_changes_something_needs_to_steer(wanted: Request[Pong], role: Role | None) -> None:
    assert needed_role(wanted) == role


def test_a_verb_that_is_new_needs_to_steer_until_somebody_says_otherwise() -> None:
    class New(Request[Done], frozen=True):
        verb = "new"
        reply = Done

    assert needed_role(New()) is Role.STEER
    assert {kind.verb for kind in DAEMON_REQUESTS} >= {"ping", "status", "verdict", "planes", "center"}


def test_an_unknown_key_may_nothing() -> None:
    with pytest.raises(Forbidden, match="not known"):
        check_role(lambda _public: None, "x", Ping())
