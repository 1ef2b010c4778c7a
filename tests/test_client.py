"""Requests with a timeout, subscriptions, events: against a server that misbehaves on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from streamer.client import Events, Link, LinkClosed, LinkError, LinkTimeout, Subscriber, reachable
from streamer.flow.wire import pack, unpack
from streamer.flow.wire.control import Ping, Pong, Request
from streamer.flow.wire.events import Event, VerdictEvent

PATIENCE_S = 60.0


def reply(version: str) -> bytes:
    return pack({"v": 1, "ok": True, "version": version, "new": "of a later version"})


class Echo:
    """Answers ``abort`` with its reason, or with what the reason asks for."""

    def __init__(self, endpoint: str = "tcp://127.0.0.1:*") -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        end = time.monotonic() + PATIENCE_S
        while True:  # a port that was just given back may be busy for a moment
            try:
                self._socket.bind(endpoint)
                break
            except zmq.ZMQError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.endpoint = self._socket.last_endpoint.decode()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            if not self._socket.poll(20):
                continue
            client, _, data = self._socket.recv_multipart()
            word = unpack(data)["args"]["word"]
            replies = {
                "no": pack({"v": 1, "ok": False, "error": "not today", "code": "busy"}),
                "rubbish": b"\xc1rubbish",
                "future": pack({"v": 2, "ok": True}),
                "true": pack({"v": True, "ok": True}),
                "half": pack({"v": 1, "ok": True}),
            }
            if word != "silent":
                self._socket.send_multipart([client, b"", replies.get(word) or reply(word)])
        self._socket.close(0)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


def until(condition: Callable[[], Any]) -> Any:
    """The first value of the condition that is true."""
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.005)
    return value


class Say(Request[Pong], frozen=True):
    verb = "say"
    reply = Pong
    word: str


@pytest.fixture
def server() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def link(server: Echo) -> Iterator[Link]:
    with Link(server.endpoint, "the echo", timeout_s=PATIENCE_S) as link:
        yield link


def test_a_reply_has_the_type_of_its_request(link: Link) -> None:
    assert link.ask(Say("hello")) == Pong("hello")


def test_a_request_works_again_after_a_timeout(link: Link) -> None:
    with pytest.raises(LinkTimeout, match=r"the echo at tcp://127.0.0.1:\d+ did not answer 'say' within 0.1 s"):
        link.ask(Say("silent"), timeout_s=0.1)
    assert link.ask(Say("hello")).version == "hello"


def test_nobody_is_a_timeout_too() -> None:
    began = time.monotonic()
    with pytest.raises(LinkTimeout, match="is it running"):
        Link("tcp://127.0.0.1:1", "nobody", timeout_s=0.2).ask(Ping())
    assert time.monotonic() - began < 20


def test_a_refusal_carries_the_servers_own_line(link: Link) -> None:
    with pytest.raises(LinkError, match="the echo refused 'say': not today") as caught:
        link.ask(Say("no"))
    assert caught.value.code == "busy"


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("rubbish", "not msgpack"),
        ("future", "reply of version 2, this client speaks 1"),
        ("true", "reply of version True"),
        ("half", "version is missing"),
    ],
)
def test_an_answer_that_is_none_is_an_error_of_one_line(link: Link, word: str, complaint: str) -> None:
    with pytest.raises(LinkError, match=complaint) as caught:
        link.ask(Say(word))
    assert "\n" not in str(caught.value)
    assert link.ask(Say("hello")).version == "hello"


@pytest.mark.parametrize("endpoint", ["nonsense", "tcp://", "tcp://host:port", "udp://127.0.0.1:1", ""])
def test_an_endpoint_that_is_none_is_an_error(endpoint: str) -> None:
    with pytest.raises(LinkError, match=r"it should look like tcp://HOST:PORT$"):
        Link(endpoint, "the echo").ask(Ping())
    with pytest.raises(LinkError, match=r"it should look like tcp://HOST:PORT$"):
        Subscriber().follow(endpoint)


def test_many_threads_get_their_own_answers(link: Link) -> None:
    wrong = []

    def ask(number: int) -> None:
        said = [link.ask(Say(f"v{number}")).version for _ in range(50)]
        wrong.extend(answer for answer in said if answer != f"v{number}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_restarted_server_is_found_again(link: Link, server: Echo) -> None:
    assert link.ask(Say("one")).version == "one"
    server.close()
    # A request that leaves before the old connection is given up dies with it.
    until(lambda: not link.open().poll(0, zmq.POLLOUT))
    again = Echo(server.endpoint)
    try:
        assert link.ask(Say("two")).version == "two"
    finally:
        again.close()


def test_a_posted_request_is_answered_without_waiting(link: Link) -> None:
    assert link.answer() is None
    until(lambda: link.post(Say("hello")))
    assert until(link.answer) == Pong("hello")
    assert link.answer() is None
    until(lambda: link.post(Say("no")))
    with pytest.raises(LinkError, match="not today"):
        until(link.answer)


def test_nothing_is_posted_to_nobody() -> None:
    with Link("tcp://127.0.0.1:1", "nobody") as link:
        assert not any(link.post(Ping()) for _ in range(50))


def test_a_post_that_was_given_up_is_forgotten(link: Link) -> None:
    until(lambda: link.post(Say("silent")))
    link.reset()
    assert link.answer() is None
    until(lambda: link.post(Say("hello")))
    assert until(link.answer) == Pong("hello")


def test_a_closed_link_opens_no_socket(link: Link) -> None:
    """A thread that goes on asking after its owner has gone would leave one behind."""
    assert link.ask(Say("hello")).version == "hello"
    link.close()
    for request in (link.ask, link.post):
        with pytest.raises(LinkClosed, match=r"the echo at tcp://127\.0\.0\.1:\d+ was asked after .* closed"):
            request(Say("hello"))
    assert link.answer() is None
    link.close()


def test_a_subscriber_can_be_sent_elsewhere() -> None:
    publishers = [zmq.Context.instance().socket(zmq.PUB) for _ in range(2)]
    subscriber = Subscriber(high_water_mark=10)
    assert subscriber.receive() is None
    for number, publisher in enumerate(publishers):
        publisher.bind("tcp://127.0.0.1:*")
        subscriber.follow(publisher.last_endpoint.decode())
        subscriber.follow(None)

        def heard(publisher: zmq.Socket[bytes] = publisher, number: int = number) -> bool:
            publisher.send_multipart([b"a", bytes([number])])
            return subscriber.receive(0.05) == [b"a", bytes([number])]

        until(heard)
    subscriber.close()
    assert subscriber.receive(0.0) is None
    for publisher in publishers:
        publisher.close(0)


def test_events_survive_rubbish_and_failing_receivers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "streamer")
    publisher = zmq.Context.instance().socket(zmq.PUB)
    publisher.bind("tcp://127.0.0.1:*")
    heard = []

    def receive(event: Event) -> None:
        assert isinstance(event, VerdictEvent)
        heard.append(event.scan_id)
        if event.scan_id == "n0":
            raise RuntimeError("on purpose")

    events = Events(publisher.last_endpoint.decode(), receive)
    end = time.monotonic() + PATIENCE_S
    number = 0
    # The first messages may precede the subscription: go on until the whole round was heard.
    while not {"n0", "n3"} <= set(heard) and time.monotonic() < end:
        publisher.send_multipart([b"one part only"])
        publisher.send_multipart([b"verdict", b"\xc1"])
        publisher.send_multipart([b"weather", pack({"scan_id": "s"})])
        verdict = VerdictEvent(scan_id=f"n{number % 4}", verdict="ENOUGH", reasons=(), final=False)
        publisher.send_multipart([b"verdict", pack(verdict)])
        number += 1
        time.sleep(0.02)
    events.close()
    publisher.close(0)
    assert {"n0", "n3"} <= set(heard)


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
def test_endpoints_seen_from_here(named: str | None, control: str, used: str | None) -> None:
    assert reachable(named, control) == used
