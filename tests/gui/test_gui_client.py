"""The viewer's sockets against a stand-in daemon on real sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import zmq

from streamer.flow.wire import WireError, pack
from streamer.gui.client import Client, reachable
from streamer.gui.model import Link, ViewModel
from streamer.gui.rehearsal import Rehearsal, report_of

Spin = Callable[..., None]
IMAGE = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)


@pytest.fixture
def model(server: Rehearsal) -> ViewModel:
    server.report = report_of("s1", "foam", "acquiring", 0, 90)
    return ViewModel(server.endpoint)


@pytest.fixture
def client(server: Rehearsal, model: ViewModel) -> Iterator[Client]:
    made = Client(server.endpoint, model)
    yield made
    made.close()


def nothing_is_dropped(server: Rehearsal) -> None:
    """Let previews queue up, for tests that count them. Before anybody subscribes."""
    server._preview.setsockopt(zmq.SNDHWM, 10_000)


def show(server: Rehearsal, angles: int) -> None:
    server.plane("xy", IMAGE, angles, 90)


def test_finds_previews_and_events_through_the_control_socket(
    server: Rehearsal, model: ViewModel, client: Client, spin: Spin
) -> None:
    spin(lambda: "xy" in model.planes, server.serve, client.poll, lambda: show(server, 7))
    assert model.planes["xy"].angles == 7
    assert model.version == "rehearsal"
    # The subscription to events may come up later than that to previews: tell it until it is heard.
    spin(lambda: model.verdict_text == "ENOUGH", client.poll, lambda: server.tell(verdict="ENOUGH", final=True))


def test_unreadable_messages_are_counted(server: Rehearsal, model: ViewModel, client: Client, spin: Spin) -> None:
    nothing_is_dropped(server)
    spin(lambda: "xy" in model.planes, server.serve, client.poll, lambda: show(server, 1))
    bad = [
        [b"plane"],
        [b"plane", b"\xff\xff", b""],
        [b"plane", pack({}), b"", b""],
        [b"plane", pack({"plane": "xy"}), b"1"],
    ]
    for parts in bad:
        server.raw(parts)
    spin(lambda: model.broken == len(bad), client.poll)
    assert "xy" in model.planes


def test_a_viewer_that_stood_still_costs_the_server_nothing_and_catches_up(
    server: Rehearsal, model: ViewModel, client: Client, spin: Spin
) -> None:
    spin(lambda: "xy" in model.planes, server.serve, client.poll, lambda: show(server, 1))
    big = np.zeros((1024, 1024), np.float32)
    slowest = 0.0
    for _ in range(60):  # 120 MB for somebody who does not read
        began = time.monotonic()
        server.raw([b"plane", pack({"plane": "xy"}), big.tobytes()])
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 10, "a sender that waits for this reader waits for ever"
    spin(lambda: model.planes["xy"].angles == 90, client.poll, lambda: show(server, 90))


def test_only_the_newest_of_each_plane_is_decoded(
    server: Rehearsal, model: ViewModel, client: Client, spin: Spin
) -> None:
    nothing_is_dropped(server)
    spin(lambda: "xy" in model.planes, server.serve, client.poll, lambda: show(server, 1))
    show(server, 2)
    spin(lambda: model.planes["xy"].angles == 2, client.poll)
    # How many of a burst have arrived when the client looks is the machine's business: wait longer each time.
    for number in range(8):
        revision, last = model.revisions["xy"], 5 + 3 * number
        for angles in (last - 2, last - 1, last):
            show(server, angles)
        time.sleep(0.02 * 2**number)
        spin(lambda wanted=last: model.planes["xy"].angles == wanted, client.poll)
        if model.revisions["xy"] == revision + 1:
            return
    pytest.fail("each of three previews was decoded, however long they waited together")


def test_follows_a_daemon_that_restarts_elsewhere(
    server: Rehearsal, model: ViewModel, client: Client, spin: Spin
) -> None:
    spin(lambda: "xy" in model.planes, server.serve, client.poll, lambda: show(server, 1))
    server.close()
    reborn = Rehearsal(server.endpoint)
    began = time.monotonic()
    try:
        reborn.report = report_of("s2", "bone", "acquiring", 0, 90)
        spin(
            lambda: "xy" in model.planes and model.scan.sample == "bone",
            reborn.serve,
            client.poll,
            lambda: show(reborn, 5),
        )
        assert reborn.asked < 8 + time.monotonic() - began, "one question a second, no heap of old ones"
    finally:
        reborn.close()


def test_never_waits_for_a_daemon_that_is_not_there() -> None:
    model = ViewModel("tcp://127.0.0.1:1")
    client = Client("tcp://127.0.0.1:1", model)
    took = []
    for _ in range(50):
        began = time.monotonic()
        assert not client.poll()
        took.append(time.monotonic() - began)
    client.close()
    assert np.median(took) < 0.1
    assert model.link(time.monotonic()) is Link.WAITING


def test_a_mute_daemon_is_asked_again_on_a_new_socket(server: Rehearsal, spin: Spin) -> None:
    now = [0.0]
    model = ViewModel(server.endpoint)
    client = Client(server.endpoint, model, clock=lambda: now[0])

    def later() -> None:
        now[0] += 0.01

    def mute() -> bool:
        return client._asked_s is not None

    spin(mute, client.poll, later)
    now[0] += 3.0
    client.poll()
    assert not mute()
    spin(lambda: model.version == "rehearsal", server.serve, client.poll, later)
    client.close()


@pytest.mark.parametrize("endpoint", ["nonsense", "tcp://", "tcp://host:port", "udp://127.0.0.1:1", ""])
def test_an_unusable_endpoint_is_one_line(endpoint: str) -> None:
    with pytest.raises(WireError, match=r"tcp://HOST:PORT$"):
        Client(endpoint, ViewModel(endpoint))


@pytest.mark.parametrize(
    ("named", "control", "used"),
    [
        ("tcp://0.0.0.0:5583", "tcp://beam:5581", "tcp://beam:5583"),
        ("tcp://*:5583", "tcp://10.0.0.7:5581", "tcp://10.0.0.7:5583"),
        ("tcp://[::]:5583", "tcp://[fe80::1]:5581", "tcp://[fe80::1]:5583"),
        ("tcp://other:5583", "tcp://beam:5581", "tcp://other:5583"),
        ("ipc:///tmp/x", "tcp://beam:5581", "ipc:///tmp/x"),
        (None, "tcp://beam:5581", None),
        ("rubbish", "tcp://beam:5581", None),
    ],
)
def test_endpoints_seen_from_here(named: object, control: str, used: str | None) -> None:
    assert reachable(named, control) == used
