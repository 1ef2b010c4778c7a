"""The control server: every request gets one answer, whatever it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from streamer.flow.wire import MAX_CONTROL, pack
from streamer.flow.wire.control import Busy, Ping, Pong, Reply, Request, UnknownVerb, read_request
from streamer.flow.wire.daemon import DAEMON_REQUESTS, Abort, GetVerdict
from streamer.frames import BadInput
from streamer.io.messaging.control import LOOK_AGAIN_S, MAX_DEFERRED_OF_CLIENT, ControlServer, DeferredReply

PATIENCE_MS = 60_000


class Counter(Request[Pong], frozen=True):
    verb = "count"
    reply = Pong
    to: int


class Bench:
    """A server whose clock stands still, and a client that sends any bytes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.ready: dict[int, bool] = {}
        handlers = {Ping: self.ping, Counter: self.count, Abort: self.abort}
        self.server = ControlServer(self.context, "tcp://127.0.0.1:*", handlers, lambda: self.now)
        self.client = self.context.socket(zmq.DEALER)
        self.client.connect(self.server.endpoint)

    def ping(self, _: Ping) -> Pong:
        return Pong("1.0")

    def count(self, request: Counter) -> DeferredReply:
        def ask(expired: bool) -> Reply | None:
            return Pong(f"{request.to}, late: {expired}") if self.ready.get(request.to) or expired else None

        return DeferredReply(10.0, ask)

    def abort(self, request: Abort) -> Reply:
        raise {"busy": Busy("not\nnow"), "bad": BadInput("no such scan")}.get(request.scan_id) or KeyError("a bug")

    def another(self) -> zmq.Socket[bytes]:
        """A second client."""
        other = self.context.socket(zmq.DEALER)
        other.setsockopt(zmq.LINGER, 0)
        other.connect(self.server.endpoint)
        return other

    def send(self, body: bytes) -> None:
        self.client.send_multipart([b"", body])
        assert self.server.serve(PATIENCE_MS)

    def receive(self) -> dict[str, Any]:
        assert self.client.poll(PATIENCE_MS)
        return msgpack.unpackb(self.client.recv_multipart()[-1])

    def ask(self, verb: str, **args: Any) -> dict[str, Any]:
        self.send(msgpack.packb({"v": 1, "verb": verb, "args": args}))
        return self.receive()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.server.close()
    bench.client.close(0)
    bench.context.term()


def test_a_reply_is_a_map_with_version_and_ok(bench: Bench) -> None:
    assert bench.ask("ping") == {"v": 1, "ok": True, "version": "1.0"}
    bench.send(msgpack.packb({"v": 1, "verb": "ping"}))
    assert bench.receive()["ok"], "args may be left out"
    bench.send(msgpack.packb({"v": 1, "verb": "ping", "args": None, "new": 1}))
    assert bench.receive()["ok"], "or nil"
    assert bench.server.requests == {("ping", "ok"): 3}


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b"", "bad_input", "not msgpack"),
        (b"\xc1", "bad_input", "not msgpack"),
        (msgpack.packb([1, 2]), "bad_input", "text keys"),
        (msgpack.packb({"verb": "ping"}), "bad_input", "request of version None, this server speaks 1"),
        (msgpack.packb({"v": 2, "verb": "ping"}), "bad_input", "request of version 2"),
        (msgpack.packb({"v": True, "verb": "ping"}), "bad_input", "request of version True"),
        (msgpack.packb({"v": 1}), "unknown_verb", "unknown verb None; known: abort, count, ping"),
        (msgpack.packb({"v": 1, "verb": "dance"}), "unknown_verb", "'dance'"),
        (msgpack.packb({"v": 1, "verb": ["ping"]}), "unknown_verb", "known: abort"),
        (msgpack.packb({"v": 1, "verb": "ping", "args": 3}), "bad_input", "not a map"),
        (msgpack.packb({"v": 1, "verb": "count", "args": {}}), "bad_input", "count: to is missing"),
        (
            msgpack.packb({"v": 1, "verb": "count", "args": {"to": "x"}}),
            "bad_input",
            "count: to is 'x', expected a whole",
        ),
    ],
)
def test_a_bad_request_is_refused_in_one_line(bench: Bench, body: bytes, code: str, text: str) -> None:
    bench.send(body)
    answer = bench.receive()
    assert (answer["v"], answer["ok"], answer["code"]) == (1, False, code)
    assert text in answer["error"]
    assert "\n" not in answer["error"]
    assert bench.ask("ping")["ok"]


@pytest.mark.parametrize(
    ("scan_id", "code", "error"),
    [("busy", "busy", "not now"), ("bad", "bad_input", "no such scan"), ("bug", "failed", "KeyError: 'a bug'")],
)
def test_what_a_handler_raises_is_an_answer(
    bench: Bench, caplog: pytest.LogCaptureFixture, scan_id: str, code: str, error: str
) -> None:
    caplog.set_level(logging.CRITICAL, "streamer.io.messaging.control")
    answer = bench.ask("abort", scan_id=scan_id)
    assert (answer["code"], answer["error"]) == (code, error)
    assert bench.server.requests == {("abort", code): 1}


def test_deferred_replies_come_when_they_are_known_or_late(bench: Bench) -> None:
    for number in (1, 2):
        bench.send(msgpack.packb({"v": 1, "verb": "count", "args": {"to": number}}))
    bench.ready[2] = True
    assert bench.ask("ping")["ok"], "nobody waits for the others"
    assert bench.receive()["version"] == "2, late: False"
    bench.now = 10.0
    assert not bench.server.serve(0)
    assert bench.receive()["version"] == "1, late: True"


WAIT = msgpack.packb({"v": 1, "verb": "count", "args": {"to": 1}})


def test_deferred_replies_of_one_client_are_bounded(bench: Bench) -> None:
    for _ in range(MAX_DEFERRED_OF_CLIENT):
        bench.send(WAIT)
    bench.send(WAIT)
    answer = bench.receive()
    assert (answer["code"], answer["error"]) == ("busy", "too many requests are waiting")
    assert bench.ask("ping")["ok"]
    with bench.another() as other:
        other.send_multipart([b"", WAIT])
        assert bench.server.serve(PATIENCE_MS)
        bench.ready[1] = True
        bench.server.serve(0)
        assert other.poll(PATIENCE_MS), "another client has a place of its own"


def test_deferred_replies_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.io.messaging.control.MAX_DEFERRED", 3)
    for _ in range(4):
        bench.send(WAIT)
    assert bench.receive()["error"] == "too many requests are waiting"


def test_a_deferred_reply_goes_with_its_client(bench: Bench) -> None:
    """A client that waits for an hour and disconnects leaves its places to others."""
    with bench.another() as other:
        for _ in range(MAX_DEFERRED_OF_CLIENT):
            other.send_multipart([b"", WAIT])
            assert bench.server.serve(PATIENCE_MS)
    bench.send(WAIT)
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while bench.server.waiting != 1:
        bench.now += LOOK_AGAIN_S
        bench.server.serve(10)
        assert time.monotonic() < deadline
        bench.now = min(bench.now, 9.0)  # before the deadline of those that still wait
    bench.ready[1] = True
    bench.server.serve(0)
    assert bench.receive()["ok"], "whoever is still there gets the reply"


def test_a_message_of_many_parts_is_dropped(bench: Bench) -> None:
    bench.client.send_multipart([b"", b"", b"", b"", b"{}"])
    assert bench.server.serve(PATIENCE_MS)
    assert bench.ask("ping")["ok"]


def test_what_was_taken_from_a_connection_is_reported(bench: Bench) -> None:
    taken: list[tuple[int, int]] = []
    bench.server.taken = lambda descriptor, size: taken.append((descriptor, size))
    body = msgpack.packb({"v": 1, "verb": "ping"})
    bench.send(body)
    bench.send(body)
    ((descriptor, size),) = set(taken)
    assert size == len(body)
    assert descriptor > 2


def test_a_taken_endpoint_is_named(bench: Bench) -> None:
    with pytest.raises(BadInput, match=rf"^control.endpoint {bench.server.endpoint}: .* choose another port$"):
        ControlServer(bench.context, bench.server.endpoint, {}, lambda: 0.0)


def test_a_request_that_is_too_large_costs_its_connection_only(bench: Bench) -> None:
    other = bench.context.socket(zmq.DEALER)
    other.connect(bench.server.endpoint)
    other.send_multipart([b"", bytes(MAX_CONTROL + 1)])
    assert bench.ask("ping")["ok"]
    other.close(0)


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=300)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KNOWN = {kind.verb: kind for kind in DAEMON_REQUESTS}
names = st.sampled_from(sorted({name for kind in DAEMON_REQUESTS for name in kind.__struct_fields__}))


@given(st.sampled_from(sorted(KNOWN)) | junk, st.dictionaries(names, junk, max_size=4) | junk)
def test_any_map_is_a_request_or_refused_in_one_line(verb: object, args: object) -> None:
    known = isinstance(verb, str) and verb in KNOWN
    refused = None
    try:
        request = read_request(msgpack.packb({"v": 1, "verb": verb, "args": args}), KNOWN)
    except BadInput as error:
        refused = error
    assert isinstance(refused, UnknownVerb) == (not known)
    if refused is None:
        assert type(request) is KNOWN[verb]
    else:
        assert "\n" not in str(refused)
        assert len(str(refused)) < 1000


@pytest.mark.parametrize("timeout_s", [-1.0, 3601.0, float("nan"), "1"])
def test_bounds_of_arguments_hold(timeout_s: object) -> None:
    args = {"scan_id": "s", "wait": True, "timeout_s": timeout_s}
    with pytest.raises(BadInput, match=r"^verdict: timeout_s is .*, expected a number from 0 to 3600$"):
        read_request(pack({"v": 1, "verb": "verdict", "args": args}), {"verdict": GetVerdict})
