"""Questions of a viewer to the daemon, on a real socket: refused, overtaken, too late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamer.flow.wire.control import Reply, Request
from streamer.flow.wire.daemon import CenterReply, DaemonStatus, FixCenter, GetStatus
from streamer.flow.wire.looks import GetBrick, Look, Looked
from streamer.gui.asking import ANSWER_WITHIN_S, Asking
from tests.gui.stand_in_daemon import StandInDaemon, report_of

Spin = Callable[..., None]


class Asker:
    """An Asking with a clock that stands still, and what it was told."""

    def __init__(self, endpoint: str) -> None:
        self.now = 0.0
        self.answers: list[tuple[Request[Any], Reply]] = []
        self.refusals: list[tuple[Request[Any], str]] = []
        self.asking = Asking(
            endpoint,
            lambda request, reply: self.answers.append((request, reply)),
            lambda request, why: self.refusals.append((request, why)),
            lambda: self.now,
        )


@pytest.fixture
def asker(server: StandInDaemon) -> Iterator[Asker]:
    made = Asker(server.endpoint)
    yield made
    made.asking.close()


def test_a_refusal_is_told_in_the_words_of_the_daemon(asker: Asker, server: StandInDaemon, spin: Spin) -> None:
    asker.asking.want(Look("raw"))
    spin(lambda: asker.refusals, server.serve, asker.asking.poll)
    request, why = asker.refusals[0]
    assert request == Look("raw")
    assert why.endswith("no scan has come yet")
    assert not asker.asking.busy
    server.report = report_of()
    asker.asking.want(Look("projection"))
    spin(lambda: asker.answers, server.serve, asker.asking.poll)
    assert isinstance(asker.answers[0][1], Looked)
    assert len(asker.refusals) == 1


def test_what_an_older_daemon_cannot_be_asked_is_passed_over(asker: Asker, server: StandInDaemon, spin: Spin) -> None:
    asker.asking.want(GetBrick())  # of which the stand-in knows nothing
    asker.asking.want(GetStatus())
    spin(lambda: asker.answers, server.serve, asker.asking.poll)
    assert [request for request, _ in asker.answers] == [GetStatus()]
    assert not asker.refusals


def test_while_the_hand_moves_only_the_newest_wish_is_sent(asker: Asker, server: StandInDaemon, spin: Spin) -> None:
    asker.asking.want(FixCenter(1.0))
    spin(lambda: asker.asking.asking, asker.asking.poll)
    for column in (2.0, 3.0, 4.0):
        asker.asking.want(FixCenter(column))
    spin(lambda: not asker.asking.busy, server.serve, asker.asking.poll)
    assert server.centers == [1.0, 4.0]
    assert [reply for _, reply in asker.answers] == [CenterReply(1.0, 0.9, True), CenterReply(4.0, 0.9, True)]


def test_a_wish_of_one_kind_does_not_displace_another(asker: Asker, server: StandInDaemon, spin: Spin) -> None:
    server.report = report_of()
    asker.asking.want(GetStatus())
    spin(lambda: asker.asking.asking, asker.asking.poll)
    for row in (1, 2, 3):
        asker.asking.want(Look("sinogram", row), "sinogram")
        asker.asking.want(Look("raw"), "raw")
    spin(lambda: not asker.asking.busy, server.serve, asker.asking.poll)
    assert server.looked == [Look("sinogram", 3), Look("raw")], "in the order in which they were first wanted"


def test_an_answer_that_comes_too_late_is_not_taken_for_that_to_the_next_question(
    asker: Asker, server: StandInDaemon, spin: Spin
) -> None:
    asker.asking.want(FixCenter(7.0))
    spin(lambda: asker.asking.asking, asker.asking.poll)
    asker.now += ANSWER_WITHIN_S + 0.1
    asker.asking.want(GetStatus())
    assert asker.refusals == [(FixCenter(7.0), "the daemon does not answer")]
    spin(lambda: asker.answers, server.serve, asker.asking.poll)
    spin(lambda: server.centers == [7.0], server.serve, asker.asking.poll)
    assert [type(reply) for _, reply in asker.answers] == [DaemonStatus]
    assert not asker.asking.busy


def test_an_answer_at_the_last_moment_counts(asker: Asker, server: StandInDaemon, spin: Spin) -> None:
    asker.asking.want(GetStatus())
    spin(lambda: asker.asking.asking, asker.asking.poll)
    spin(lambda: server.asked == 1, server.serve)
    asker.now += ANSWER_WITHIN_S
    spin(lambda: asker.answers, asker.asking.poll)
    assert not asker.refusals


def test_nothing_is_lost_while_no_daemon_is_there(spin: Spin) -> None:
    first = StandInDaemon()
    endpoint = first.endpoint
    first.close()
    asker = Asker(endpoint)
    for column in (1.0, 2.0):
        asker.asking.want(FixCenter(column))
    for _ in range(3):
        asker.now += 10 * ANSWER_WITHIN_S
        assert not asker.asking.poll()
    assert (asker.asking.busy, asker.asking.asking, asker.refusals) == (True, False, [])
    late = StandInDaemon(endpoint)
    try:
        spin(lambda: asker.answers, late.serve, asker.asking.poll)
        assert late.centers == [2.0], "no heap of old wishes"
    finally:
        asker.asking.close()
        late.close()
