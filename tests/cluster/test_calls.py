"""Requests between the scout and its processes, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import zmq

from streamer.cluster.calls import Caller, CallServer, Handler, HelperLost, Wake
from streamer.cluster.messages import Answer, Armed, Ask, Detach, Done, Gather, Pictures, Stop, Watch
from streamer.flow.wire.control import Busy
from streamer.frames import BadInput


class Helper:
    """The other end, in a thread."""

    def __init__(self, context: zmq.Context[Any], handle: Handler) -> None:
        self._server = CallServer(context, "tcp://127.0.0.1:*")
        self.endpoint, self.alive = self._server.endpoint, True
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(handle,))
        self._thread.start()

    def _run(self, handle: Handler) -> None:
        while not self._ended.is_set():
            self._server.serve(handle, 20)
        self._server.close()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def helper(handle: Handler) -> Iterator[tuple[Helper, Caller]]:
    with ExitStack() as stack:
        context: zmq.Context[Any] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        other = Helper(context, handle)
        stack.callback(other.close)
        caller = Caller(context, other.endpoint, "shard 3", lambda: other.alive)
        stack.callback(caller.close)
        yield other, caller


def raising(error: Exception) -> Callable[[Any], Answer]:
    def handle(_request: Any) -> Answer:
        raise error

    return handle


def test_an_answer_comes_with_its_arrays() -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)

    def handle(request: Any) -> Any:
        assert request == Gather()
        return Pictures(7, 90, ("xy",), (image.shape,)), [image.data]

    with helper(handle) as (_, caller):
        said, payload = caller.ask(Gather(), Pictures, 5.0)
    assert (said.version, said.count, said.names, said.shapes) == (7, 90, ("xy",), ((3, 4),))
    np.testing.assert_array_equal(np.frombuffer(payload[0], np.float32).reshape(said.shapes[0]), image)


def test_numbers_of_numpy_are_plain_ones_on_the_way() -> None:
    with helper(lambda _: Armed({"tomogram": "grows", "memory_mb": np.float64(1.5), "rows": np.int64(8)})) as (
        _,
        caller,
    ):
        assert caller.ask(Ask(), Armed, 5.0)[0].plan == {"tomogram": "grows", "memory_mb": 1.5, "rows": 8}


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (BadInput("a shard has no memory"), BadInput, "^a shard has no memory$"),
        (Busy("no scan is armed"), Busy, "^no scan is armed$"),
        (ZeroDivisionError("by\n  zero"), BadInput, "^ZeroDivisionError: by zero$"),
    ],
)
def test_an_error_there_is_one_line_here_and_the_helper_goes_on(error: Exception, kind: type, text: str) -> None:
    with helper(raising(error)) as (_, caller):
        for _ in range(2):
            with pytest.raises(kind, match=text):
                caller.ask(Ask(), Done, 5.0)


def test_an_answer_of_another_kind_is_refused() -> None:
    with helper(lambda _: Done()) as (_, caller), pytest.raises(BadInput, match="shard 3 answered with Done"):
        caller.ask(Ask(), Armed, 5.0)


def test_who_dies_while_it_is_asked_is_lost_at_once() -> None:
    release = threading.Event()

    def handle(_request: Any) -> Answer:
        release.wait(10)
        return Done()

    with helper(handle) as (other, caller):
        threading.Timer(0.1, lambda: setattr(other, "alive", False)).start()
        began = time.monotonic()
        with pytest.raises(HelperLost, match="shard 3 is gone"):
            caller.ask(Ask(), Done, 30.0)
        assert time.monotonic() - began < 2.0
        release.set()


def test_the_last_answer_of_who_ends_with_it_counts() -> None:
    with ExitStack() as stack:
        context: zmq.Context[Any] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        server = CallServer(context, "tcp://127.0.0.1:*")
        stack.callback(server.close)

        def answers_and_ends() -> bool:
            server.serve(lambda _request: Done(), 10_000)
            return False

        caller = Caller(context, server.endpoint, "shard 3", answers_and_ends)
        stack.callback(caller.close)
        assert caller.ask(Stop(), Done, 10.0)[0] == Done()


def test_who_takes_too_long_is_busy_and_can_be_asked_again() -> None:
    pauses = [0.5, 0.0]
    heard: list[Any] = []

    def handle(request: Any) -> Answer:
        heard.append(request)
        time.sleep(pauses.pop(0))
        return Done()

    with helper(handle) as (_, caller):
        with pytest.raises(Busy, match=r"shard 3 did not answer within 0\.1 s"):
            caller.ask(Detach(), Done, 0.1)
        caller.ask(Stop(), Done, 5.0)  # by another socket: the late answer to the first is not taken for it
    assert heard == [Detach(), Stop()]


def test_two_threads_ask_one_after_the_other() -> None:
    inside, most = 0, 0
    lock = threading.Lock()

    def handle(_request: Any) -> Answer:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        with lock:
            inside -= 1
        return Done()

    with helper(handle) as (_, caller):
        threads = [threading.Thread(target=caller.ask, args=(Ask(), Done, 10.0)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == 1


def test_who_waits_for_another_thread_that_asks_is_told_so() -> None:
    release = threading.Event()

    def handle(_request: Any) -> Answer:
        release.wait(10)
        return Done()

    with helper(handle) as (_, caller):
        first = threading.Thread(target=caller.ask, args=(Ask(), Done, 20.0))
        first.start()
        time.sleep(0.1)
        with pytest.raises(Busy, match="shard 3 is still at work on something else"):
            caller.ask(Watch(()), Done, 0.1)
        release.set()
        first.join()


def test_a_wait_for_requests_is_ended_from_another_thread() -> None:
    with ExitStack() as stack:
        context: zmq.Context[Any] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        wake = Wake()
        stack.callback(wake.close)
        server = CallServer(context, "tcp://127.0.0.1:*", wake)
        stack.callback(server.close)
        wake.call()  # nobody wants it: it costs nothing, and is not heard later
        began = time.monotonic()
        assert not server.serve(raising(AssertionError("nobody asks")), 100)
        assert time.monotonic() - began > 0.08
        wake.want()
        threading.Timer(0.05, wake.call).start()
        began = time.monotonic()
        assert not server.serve(raising(AssertionError("nobody asks")), 20_000)
        assert time.monotonic() - began < 5.0
        began = time.monotonic()
        assert not server.serve(raising(AssertionError("nobody asks")), 100)  # one call ends one wait
        assert time.monotonic() - began > 0.08
