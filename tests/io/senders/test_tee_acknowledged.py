"""A tee between a producer and a daemon of the acknowledged transport, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from streamer.flow import wire
from streamer.flow.row_cut import RowCut
from streamer.flow.spool import HeldMessages
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec
from streamer.io.senders.acknowledged import AcknowledgedSender, new_run
from streamer.io.senders.branches import Branch
from streamer.io.senders.tee import Tee
from streamer.io.senders.tee_acknowledged import AcknowledgedTee
from tests.io.sources.receiving_daemon import Disk, Sink, receiving

ANYWHERE = "tcp://127.0.0.1:*"
PATIENCE_S = 60.0
FRAMES = 40
SPEC = ScanSpec("scan-1", "tooth", rows=8, columns=16, projections=FRAMES)


def pixels(index: int) -> np.ndarray:
    return np.full((8, 16), index, "<u2")


def frame(index: int) -> tuple[bytes, memoryview]:
    return wire.encode_frame(FrameMeta("scan-1", index, FrameKind.PROJECTION, 0.0), pixels(index))


@contextmanager
def producer(endpoint: str) -> Iterator[AcknowledgedSender]:
    with zmq.Context() as context:
        messages = HeldMessages(2**20, new_run())
        sender = AcknowledgedSender(context, endpoint, False, messages, "test", lambda text: None)
        try:
            yield sender
        finally:
            sender.close()


@contextmanager
def tee(source: str, *to: Branch) -> Iterator[AcknowledgedTee]:
    stopped = threading.Event()
    with zmq.Context() as context:
        made = AcknowledgedTee(context, source, True, to, 4)
        thread = threading.Thread(target=made.run, args=(stopped.is_set,))
        thread.start()
        try:
            yield made
        finally:
            stopped.set()
            thread.join()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def whole(disk: Disk) -> bool:
    return disk.frames == {index: pixels(index).tobytes() for index in range(FRAMES)}


def test_the_daemon_acknowledges_and_the_others_get_each_message_once() -> None:
    sink = Sink(Disk())
    with tee(ANYWHERE, Branch(ANYWHERE), Branch(ANYWHERE), Branch(ANYWHERE, RowCut(2, 4))) as made:
        first, second, third = (branch.endpoint for branch in made.branches)
        with zmq.Context() as context, context.socket(zmq.PULL) as other, context.socket(zmq.PULL) as cut:
            for socket, endpoint in ((other, second), (cut, third)):
                socket.setsockopt(zmq.RCVTIMEO, int(1000 * PATIENCE_S))
                socket.connect(endpoint)
            with receiving(sink, first, False), producer(made.source) as sender:
                sender.send(wire.encode(wire.Start(SPEC)), PATIENCE_S)
                assert isinstance(wire.decode(other.recv_multipart()[0]), wire.Start)
                start = wire.decode(cut.recv_multipart()[0])
                assert isinstance(start, wire.Start)
                assert start.spec.rows == 2
                for index in range(FRAMES):
                    sender.send(frame(index), PATIENCE_S)
                    assert other.recv_multipart()[1] == pixels(index).tobytes()
                    assert cut.recv_multipart()[1] == pixels(index)[2:4].tobytes()
                sender.send(wire.encode(wire.End("scan-1", FRAMES)), PATIENCE_S)
                assert isinstance(wire.decode(other.recv_multipart()[0]), wire.End)
                assert sender.wait(PATIENCE_S)
                assert sender.unacknowledged == 0
    assert whole(sink.disk)
    assert (sink.disk.ended, sink.bad) == (1, [])
    assert made.received == FRAMES + 2
    assert [(branch.sent, branch.dropped) for branch in made.branches[:2]] == [(42, 0), (42, 0)]


def test_a_tee_and_a_daemon_that_die_cost_no_frame_and_nobody_hears_one_twice(tmp_path: Path) -> None:
    disk, place, daemon = Disk(), f"ipc://{tmp_path}/source", f"ipc://{tmp_path}/daemon"
    with producer(place) as sender:
        with tee(place, Branch(daemon)):
            sink = Sink(disk)
            sink.flushing = False  # taken, and not safe: it will be lost with the daemon
            with receiving(sink, daemon, False):
                for index in range(3):
                    sender.send(frame(index), PATIENCE_S)
                eventually(lambda: sink.count == 3)
        with tee(place, Branch(daemon), Branch(ANYWHERE)) as made:
            lossy = made.branches[1]
            sink = Sink(disk)
            sink.flushing = False
            with receiving(sink, daemon, False):
                sender.send(frame(3), PATIENCE_S)
                eventually(lambda: sink.count == 4)
            with receiving(Sink(disk), daemon, False):
                for index in range(4, FRAMES):
                    sender.send(frame(index), PATIENCE_S)
                assert sender.wait(PATIENCE_S)
            assert made.received == FRAMES
            assert lossy.sent + lossy.dropped + len(lossy.waiting) == FRAMES
    assert whole(disk)
    assert sender.resent >= 4


def test_sockets_that_do_not_go_together_are_named() -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as push, context.socket(zmq.DEALER) as dealer:
        for socket in (push, dealer):
            socket.bind(ANYWHERE)
        ends = [socket.getsockopt_string(zmq.LAST_ENDPOINT) for socket in (push, dealer)]
        with pytest.raises(BadInput, match=r"no PUSH socket; .* wants --transport acknowledged"):
            Tee(context, ends[1], False, [Branch(ANYWHERE)], 4).run(lambda: False)
        with pytest.raises(BadInput, match="no producer of the acknowledged transport"):
            AcknowledgedTee(context, ends[0], False, [Branch(ANYWHERE)], 4).run(lambda: False)
        with pytest.raises(BadInput, match="--rows: the first receiver acknowledges whole frames"):
            AcknowledgedTee(context, ends[1], False, [Branch(ANYWHERE, RowCut(0, 4))], 4)
