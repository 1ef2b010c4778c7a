"""What somebody without the right key tries, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import zmq

from benchmarks.strangers import zmtp
from benchmarks.strangers.house import House
from streamer.client import LinkError, LinkTimeout
from streamer.flow import wire
from streamer.flow.wire.control import Ping, Request
from streamer.flow.wire.daemon import Abort, Arm, FixCenter, GetStatus, GetVerdict, WatchPlanes
from streamer.frames import ScanSpec
from streamer.keys import ClientKey, KeyPair, Role

PATIENCE_S = 1.0
GHOST = ScanSpec("ghost", "ghost", 8, 8, 10)
LOOKING: tuple[Request[Any], ...] = (GetStatus(), GetVerdict("good-1"), WatchPlanes(), FixCenter())
STEERING: tuple[Request[Any], ...] = (Arm(GHOST), Abort("good-1"), WatchPlanes([]), FixCenter(3.0))


@dataclass(frozen=True)
class Attempt:
    """``worked`` is what must never be."""

    who: str
    what: str
    came_of_it: str
    worked: bool


def attempts(house: House) -> Iterator[Attempt]:
    """Everything that is tried, one after the other, on a daemon with keys."""
    for who, key in strangers(house).items():
        for request in (Ping(), *LOOKING, *STEERING):
            yield ask(house, who, key, request)
        yield listen(house, who, key, "events")
        yield listen(house, who, key, "preview")
        yield send(house, who, key)
    for endpoint in ("control", "events", "preview", "source"):
        yield plain(house, endpoint)
    for request in STEERING:
        yield ask(house, "a client that may look", house.keys[Role.LOOK], request)
    yield send(house, "a client that may look", house.keys[Role.LOOK])
    yield send(house, "a client that may steer", house.keys[Role.STEER])
    for request in (*LOOKING, *STEERING):
        yield ask(house, "a client that may send", house.keys[Role.SEND], request)
    yield listen(house, "a client that may send", house.keys[Role.SEND], "events")
    yield listen(house, "a client that may send", house.keys[Role.SEND], "preview")


def strangers(house: House) -> dict[str, ClientKey | None]:
    """Who has no key that the daemon knows, by name."""
    daemon, own, steer = house.key_folder.daemon().public, KeyPair.new(), house.keys[Role.STEER]
    (house.folder / "gone.key").unlink(missing_ok=True)
    house.key_folder.add("gone", list(Role), house.folder / "gone.key")
    gone = ClientKey.read(house.folder / "gone.key")
    house.key_folder.remove("gone")
    return {
        "nobody, without a key": None,
        "a stranger with a key of its own": ClientKey(own.public, own.secret, daemon),
        "a thief with the public key of the plan": ClientKey(steer.public, own.secret, daemon),
        "the plan, at an impostor's public key": ClientKey(steer.public, steer.secret, own.public),
        "a client that was removed": gone,
    }


def ask(house: House, who: str, key: ClientKey | None, request: Request[Any], timeout_s: float = PATIENCE_S) -> Attempt:
    """Make a request."""
    changes = " with a value" if isinstance(request, (WatchPlanes, FixCenter)) and request in STEERING else ""
    with house.link(key, timeout_s) as link:
        try:
            answer, worked = str(link.ask(request))[:80], True
        except LinkTimeout:
            answer, worked = "no answer", False
        except LinkError as error:
            answer, worked = str(error), error.code != "forbidden"
    return Attempt(who, request.verb + changes, answer, worked)


def listen(house: House, who: str, key: ClientKey | None, socket: str) -> Attempt:
    """Listen while an honest scan runs."""
    with house.context.socket(zmq.SUB) as subscriber:
        subscriber.setsockopt(zmq.LINGER, 0)
        if key is not None:
            key.apply(subscriber)
        subscriber.subscribe(b"")
        subscriber.connect(house.endpoints[socket])
        scan = house.good_scan()
        heard = subscriber.poll(0)
    return Attempt(
        who, f"subscribe to {socket}", f"heard nothing of a scan ({scan})" if not heard else "heard", bool(heard)
    )


def send(house: House, who: str, key: ClientKey | None) -> Attempt:
    """Announce a scan; it would then be known to the daemon."""
    with house.context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        if key is not None:
            key.apply(socket)
        socket.connect(house.endpoints["source"])
        taken = bool(socket.poll(int(1000 * PATIENCE_S), zmq.POLLOUT))
        if taken:
            socket.send_multipart(wire.encode(wire.Start(GHOST)))
    with house.link(house.keys[Role.STEER]) as link:
        known = link.ask(GetStatus("ghost")).scan is not None
    return Attempt(who, "send frames", "no connection" if not taken else f"taken, scan known: {known}", taken or known)


def plain(house: House, socket: str) -> Attempt:
    """ZMTP without a mechanism, by hand."""
    kind = {"control": "DEALER", "source": "PUSH"}.get(socket, "SUB")
    try:
        with zmtp.greet(house.endpoints[socket], kind) as peer:
            peer.sendall(zmtp.frame(b"", zmtp.MORE) + zmtp.frame(wire.pack({"v": 1, "verb": "ping"})))
            peer.settimeout(PATIENCE_S)
            left = peer.recv(4096)
    except OSError as error:
        return Attempt("ZMTP by hand, without a key", f"handshake with {socket}", type(error).__name__, False)
    return Attempt(
        "ZMTP by hand, without a key", f"handshake with {socket}", "ended" if not left else "answered", bool(left)
    )
