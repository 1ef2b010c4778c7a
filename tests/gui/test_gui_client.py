"""The viewer's sockets against a stand-in daemon on real sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest

from streamer.client import LinkError
from streamer.flow.wire import pack
from streamer.flow.wire.control import Reply
from streamer.flow.wire.daemon import GetStatus
from streamer.frames import Decision, Verdict
from streamer.gui.asking import ANSWER_WITHIN_S, Asking
from streamer.gui.client import ViewerClient
from streamer.gui.state.model import ViewModel
from streamer.gui.state.texts import Connection, Texts
from tests.gui.stand_in_daemon import VERSION, StandInDaemon, report_of

Spin = Callable[..., None]
IMAGE = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)


nothing_dropped = pytest.mark.parametrize("server", [10_000], indirect=True)


@pytest.fixture
def model(server: StandInDaemon) -> ViewModel:
    server.report = report_of("s1")
    return ViewModel(server.endpoint)


@pytest.fixture
def client(server: StandInDaemon, model: ViewModel) -> Iterator[ViewerClient]:
    made = ViewerClient(server.endpoint, model)
    yield made
    made.close()


def show(server: StandInDaemon, angles: int) -> None:
    server.plane("xy", IMAGE, angles, 90)


def test_finds_previews_and_events_through_the_control_socket(
    server: StandInDaemon, model: ViewModel, client: ViewerClient, spin: Spin
) -> None:
    spin(lambda: "xy" in model.planes, server.serve, client.poll, lambda: show(server, 7))
    assert model.planes["xy"].angles == 7
    assert model.version == VERSION
    # The subscription to events may come up later than that to previews: tell it until it is heard.
    spin(
        lambda: Texts(model).verdict == "ENOUGH", client.poll, lambda: server.tell(Verdict(Decision.ENOUGH, final=True))
    )


def test_a_centre_that_was_wished_before_the_first_answer_is_not_lost(
    server: StandInDaemon, model: ViewModel, client: ViewerClient, spin: Spin
) -> None:
    client.fix_center(30.0)
    client.fix_center(31.5)  # waits for the answer to the first
    client.poll()  # asks for the status
    spin(lambda: bool(model.version), server.serve, client._status.poll)
    spin(lambda: not client.eager, server.serve, client.poll)
    assert server.centers[-1] == 31.5
    assert model.center_fixed


@nothing_dropped
def test_unreadable_messages_are_counted(
    server: StandInDaemon, model: ViewModel, client: ViewerClient, spin: Spin
) -> None:
    spin(lambda: "xy" in model.planes, server.serve, client.poll, lambda: show(server, 1))
    bad = [
        [b"plane"],
        [b"plane", b"\xff\xff", b""],
        [b"plane", pack({}), b"", b""],
        [b"plane", pack({"plane": "xy"}), b"1"],
    ]
    for parts in bad:
        server.raw_preview(parts)
    spin(lambda: model.broken == len(bad), client.poll)
    assert "xy" in model.planes


def test_a_viewer_that_stood_still_costs_the_server_nothing_and_catches_up(
    server: StandInDaemon, model: ViewModel, client: ViewerClient, spin: Spin
) -> None:
    spin(lambda: "xy" in model.planes, server.serve, client.poll, lambda: show(server, 1))
    big = np.zeros((1024, 1024), np.float32)
    slowest = 0.0
    for _ in range(60):  # 120 MB for somebody who does not read
        began = time.monotonic()
        server.raw_preview([b"plane", pack({"plane": "xy"}), big.tobytes()])
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 10, "a sender that waits for this reader waits for ever"
    spin(lambda: model.planes["xy"].angles == 90, client.poll, lambda: show(server, 90))


@nothing_dropped
def test_only_the_newest_of_each_plane_is_decoded(
    server: StandInDaemon, model: ViewModel, client: ViewerClient, spin: Spin
) -> None:
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
    server: StandInDaemon, model: ViewModel, client: ViewerClient, spin: Spin
) -> None:
    spin(lambda: "xy" in model.planes, server.serve, client.poll, lambda: show(server, 1))
    server.close()
    reborn = StandInDaemon(server.endpoint)
    began = time.monotonic()
    try:
        reborn.report = report_of("s2", "bone")
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
    took = []
    with closing(ViewerClient("tcp://127.0.0.1:1", model)) as client:
        for _ in range(50):
            began = time.monotonic()
            assert not client.poll()
            took.append(time.monotonic() - began)
    assert np.median(took) < 0.1
    assert Texts(model).link(time.monotonic()) is Connection.WAITING


def test_a_mute_daemon_is_asked_again_on_a_new_socket(server: StandInDaemon, spin: Spin) -> None:
    now, refused, answers = [0.0], list[str](), list[Reply]()
    asking = Asking(
        server.endpoint, lambda _, reply: answers.append(reply), lambda _, why: refused.append(why), lambda: now[0]
    )
    with closing(asking):
        asking.want(GetStatus())
        spin(lambda: asking.asking, asking.poll)
        now[0] += ANSWER_WITHIN_S + 0.1
        asking.poll()
        assert refused == ["the daemon does not answer"]
        assert not asking.busy
        asking.want(GetStatus())
        spin(lambda: answers, server.serve, asking.poll)
    assert refused == ["the daemon does not answer"]


@pytest.mark.parametrize("endpoint", ["nonsense", "tcp://", "tcp://host:port", "udp://127.0.0.1:1", ""])
def test_an_unusable_endpoint_is_one_line(endpoint: str) -> None:
    with pytest.raises(LinkError, match=r"tcp://HOST:PORT$"):
        ViewerClient(endpoint, ViewModel(endpoint))
