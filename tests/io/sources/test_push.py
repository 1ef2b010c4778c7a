"""Frames over a PULL socket: what is handed over, what is refused, and when the socket is attached."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import numpy as np
import pytest
import zmq

from streamer.flow import wire
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec
from streamer.io.sources.push import FrameReceiver

ANYWHERE = "tcp://127.0.0.1:*"
PATIENCE_S = 100.0
SPEC = ScanSpec("s", "x", rows=4, columns=8, projections=50)
PIXELS = np.arange(32, dtype="<u2").reshape(4, 8)


class Sink:
    """Says what it was given, in order; ``fails`` are errors that it meets with the next frames."""

    def __init__(self) -> None:
        self.heard: Queue[tuple[Any, ...]] = Queue()
        self.fails: list[Exception] = []
        self._slot = bytearray(64)

    def start(self, message: wire.Start) -> None:
        self.heard.put(("start", message.spec.scan_id))

    def end(self, message: wire.End) -> None:
        self.heard.put(("end", message.frames))

    def alive(self, message: wire.KeepAlive) -> None:
        self.heard.put(("alive", message.paused))

    def slot(self, header: wire.FrameHeader) -> memoryview | None:
        if self.fails:
            raise self.fails.pop()
        return memoryview(self._slot)[: header.size]

    def frame(self, header: wire.FrameHeader) -> None:
        assert bytes(self._slot) == PIXELS.tobytes()
        self.heard.put(("frame", header.index))

    def corrupt(self, header: wire.FrameHeader, reason: str) -> None:
        self.heard.put(("corrupt", header.index, reason))

    def rejected(self, reason: str, text: str) -> None:
        self.heard.put(("rejected", reason))

    def failed(self, error: Exception) -> None:
        self.heard.put(("failed", type(error).__name__))

    def next(self) -> tuple[Any, ...]:
        return self.heard.get(timeout=PATIENCE_S)


def frame(index: int) -> tuple[bytes, memoryview]:
    return wire.encode_frame(FrameMeta("s", index, FrameKind.PROJECTION, 1.0 * index), PIXELS)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def receive(context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Callable[..., FrameReceiver]]:
    """Start a receiver on a thread of its own: ``receive(sink, endpoint, bind, wanted=…)``."""
    stopped, threads = threading.Event(), []

    def make(sink: Sink, endpoint: str, bind: bool, **more: Any) -> FrameReceiver:
        receiver = FrameReceiver(context, endpoint, bind, 8, 2**20, **more)
        threads.append(threading.Thread(target=receiver.run, args=(sink, stopped.is_set)))
        threads[-1].start()
        return receiver

    yield make
    stopped.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def push(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.PUSH)
    socket.set_hwm(8)
    return socket


def test_each_message_is_handed_over(receive: Callable[..., FrameReceiver], push: zmq.Socket[bytes]) -> None:
    sink = Sink()
    push.connect(receive(sink, ANYWHERE, True).endpoint)
    push.send_multipart(wire.encode(wire.Start(SPEC)))
    push.send_multipart(frame(3))
    push.send_multipart(wire.encode(wire.KeepAlive(paused=True)))
    push.send_multipart(wire.encode(wire.End("s", 1)))
    assert [sink.next() for _ in range(4)] == [("start", "s"), ("frame", 3), ("alive", True), ("end", 1)]


@pytest.mark.parametrize(
    ("parts", "heard"),
    [
        ([b"junk"], ("rejected", "header")),
        ([b"junk", b"", b"more"], ("rejected", "header")),
        ([frame(5)[0]], ("corrupt", 5, "parts")),
        ([*frame(5), b"more", b"and more"], ("corrupt", 5, "parts")),
        ([frame(5)[0], bytes(63)], ("corrupt", 5, "truncated")),
        ([frame(5)[0], bytes(65)], ("corrupt", 5, "oversize")),
        ([frame(5)[0], bytes(64)], ("corrupt", 5, "checksum")),
    ],
)
def test_what_is_wrong_with_a_message_is_named_and_the_next_one_is_good(
    receive: Callable[..., FrameReceiver], push: zmq.Socket[bytes], parts: list[bytes], heard: tuple[Any, ...]
) -> None:
    sink = Sink()
    push.connect(receive(sink, ANYWHERE, True).endpoint)
    push.send_multipart(parts)
    push.send_multipart(frame(6))
    assert [sink.next(), sink.next()] == [heard, ("frame", 6)]


@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), MemoryError(), BadInput("no"), ValueError("bug")]
)
def test_a_message_that_cannot_be_handled_costs_only_itself(
    receive: Callable[..., FrameReceiver], push: zmq.Socket[bytes], error: Exception
) -> None:
    sink = Sink()
    sink.fails = [error]
    push.connect(receive(sink, ANYWHERE, True).endpoint)
    for index in (0, 1):
        push.send_multipart(frame(index))
    assert [sink.next(), sink.next()] == [("failed", type(error).__name__), ("frame", 1)]


def test_an_idle_receiver_takes_no_frame_of_another_one(
    receive: Callable[..., FrameReceiver], push: zmq.Socket[bytes]
) -> None:
    push.bind(ANYWHERE)
    endpoint = push.getsockopt_string(zmq.LAST_ENDPOINT)
    busy, idle = Sink(), Sink()
    receive(idle, endpoint, False, wanted=lambda: False)
    receive(busy, endpoint, False, wanted=lambda: True)
    for index in range(50):
        push.send_multipart(frame(index))
    assert [busy.next() for _ in range(50)] == [("frame", index) for index in range(50)]
    assert idle.heard.empty()


def test_it_is_attached_only_while_frames_are_wanted(
    receive: Callable[..., FrameReceiver], push: zmq.Socket[bytes]
) -> None:
    push.bind(ANYWHERE)
    sink, wanted = Sink(), threading.Event()
    receive(sink, push.getsockopt_string(zmq.LAST_ENDPOINT), False, wanted=wanted.is_set)
    assert not push.poll(200, zmq.POLLOUT), "nobody is attached"
    for index in range(3):
        wanted.set()
        push.send_multipart(frame(index))  # blocks until somebody is attached
        assert sink.next() == ("frame", index)
        wanted.clear()
        deadline = time.monotonic() + PATIENCE_S
        while push.poll(0, zmq.POLLOUT):
            assert time.monotonic() < deadline, "it does not detach"
            time.sleep(0.01)


def test_a_frame_beyond_the_limit_is_named_and_the_connection_made_anew(
    receive: Callable[..., FrameReceiver], push: zmq.Socket[bytes]
) -> None:
    push.bind(ANYWHERE)
    sink = Sink()
    receive(sink, push.getsockopt_string(zmq.LAST_ENDPOINT), False)
    push.send_multipart(frame(0))
    assert sink.next() == ("frame", 0)
    push.send_multipart([frame(1)[0], bytes(2**20 + 2**13)])
    assert sink.next() == ("rejected", "oversize")
    push.send_multipart(frame(2))
    assert sink.next() == ("frame", 2)


def test_a_detector_that_is_started_again_is_connected_without_a_word(
    receive: Callable[..., FrameReceiver], context: zmq.Context[zmq.Socket[bytes]], push: zmq.Socket[bytes]
) -> None:
    sink = Sink()
    with context.socket(zmq.PUSH) as first:
        first.bind(ANYWHERE)
        endpoint = first.getsockopt_string(zmq.LAST_ENDPOINT)
        receive(sink, endpoint, False)
        first.send_multipart(frame(0))
        assert sink.next() == ("frame", 0)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            push.bind(endpoint)
            break
        except zmq.ZMQError:  # the port is free a moment later
            assert time.monotonic() < deadline
    push.send_multipart(frame(1))
    assert sink.next() == ("frame", 1)


def test_an_endpoint_that_makes_no_sense_is_named_at_once(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    with pytest.raises(BadInput, match=r"source\.endpoint tcp://127\.0\.0\.1:\*: "):
        FrameReceiver(context, ANYWHERE, False, 8, 2**20, wanted=lambda: True)
