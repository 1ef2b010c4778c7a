"""One detector for several receivers over real sockets: who gets what, who is waited for, what is cut out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import zmq
from msgspec import structs

from streamer.flow import wire
from streamer.flow.row_cut import RowCut
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec
from streamer.io.senders.branches import Branch
from streamer.io.senders.tee import Tee

ANYWHERE = "tcp://127.0.0.1:*"
PATIENCE_MS = 100_000
SPEC = ScanSpec("s-1", "tooth", rows=64, columns=1024, projections=400)
PIXELS = np.random.default_rng(3).integers(0, 2**16, (64, 1024)).astype("<u2")

Context = zmq.Context[zmq.Socket[bytes]]
Parts = Sequence[bytes]


def frame(index: int) -> Parts:
    header, payload = wire.encode_frame(FrameMeta("s-1", index, FrameKind.PROJECTION, 0.5 * index), PIXELS + index)
    return [header, bytes(payload)]


def offered(socket: zmq.Socket[bytes], parts: Parts) -> bool:
    """Whether the message was taken within the timeout of the socket."""
    try:
        socket.send_multipart(parts)
    except zmq.Again:
        return False
    return True


START = wire.encode(wire.Start(spec=SPEC, src="camera"))
END = wire.encode(wire.End(scan_id="s-1", frames=400))


class Rig:
    """A tee on a thread of its own, its detector, and its receivers."""

    def __init__(self, context: Context, *cuts: RowCut | None) -> None:
        self.context = context
        self._stopped, self._sockets = threading.Event(), list[zmq.Socket[bytes]]()
        self.tee = Tee(context, ANYWHERE, True, [Branch(ANYWHERE, cut) for cut in cuts], 4)
        self.detector = self._socket(zmq.PUSH, self.tee.source)
        self._thread = threading.Thread(target=self.tee.run, args=(self._stopped.is_set,))
        self._thread.start()

    def _socket(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        socket.set_hwm(4)
        socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        socket.setsockopt(zmq.SNDTIMEO, PATIENCE_MS)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        self._sockets.append(socket)
        return socket

    def receiver(self, number: int) -> zmq.Socket[bytes]:
        return self._socket(zmq.PULL, self.tee.branches[number].endpoint)

    def receivers(self) -> list[zmq.Socket[bytes]]:
        """One for each branch, all of them connected: a small message has come to each."""
        made = [self.receiver(number) for number in range(len(self.tee.branches))]
        self.detector.send_multipart(wire.encode(wire.KeepAlive()))
        for socket in made:
            socket.recv_multipart()
        return made

    def stop(self) -> None:
        """It may be called again."""
        self._stopped.set()
        self._thread.join()
        for socket in self._sockets:
            socket.close()


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def rig_of(context: Context) -> Iterator[Callable[..., Rig]]:
    """Makes a rig, and stops it however the test ends: a socket must not be closed while its thread waits there."""
    made: list[Rig] = []

    def make(*cuts: RowCut | None) -> Rig:
        made.append(Rig(context, *cuts))
        return made[-1]

    yield make
    for rig in made:
        rig.stop()


def test_every_receiver_gets_every_message_as_it_was(rig_of: Callable[..., Rig]) -> None:
    rig = rig_of(None, None)
    receivers = rig.receivers()
    sent = [START, *(frame(index) for index in range(4)), [b"any", b"thing", b""], END]
    for parts in sent:
        rig.detector.send_multipart(parts)
        assert [receiver.recv_multipart() for receiver in receivers] == [list(parts), list(parts)]
    rig.stop()
    assert [(branch.sent, branch.dropped) for branch in rig.tee.branches] == [(8, 0), (8, 0)]


def test_a_receiver_that_takes_nothing_costs_the_first_one_nothing(rig_of: Callable[..., Rig]) -> None:
    rig = rig_of(None, None, None)
    first, second, _third = rig.receivers()
    for index in range(600):
        rig.detector.send_multipart(frame(index))
        assert wire.decode(first.recv_multipart()[0]).index == index  # type: ignore[union-attr]
        if index < 4:  # what waits for a receiver is taken in any case
            second.recv_multipart()
    rig.stop()
    first_branch, *others = rig.tee.branches
    assert (first_branch.sent, first_branch.dropped) == (601, 0)
    for branch in others:
        assert branch.dropped > 200
        assert branch.sent + branch.dropped == 601


def test_the_end_of_a_scan_waits_for_a_receiver_that_lost_its_frames(rig_of: Callable[..., Rig]) -> None:
    rig = rig_of(None, None)
    first = rig.receiver(0)
    for parts in (START, *(frame(index) for index in range(20)), END):
        rig.detector.send_multipart(parts)
        first.recv_multipart()
    second = rig.receiver(1)
    assert [second.recv_multipart() for _ in range(2)] == [list(START), list(END)]
    rig.stop()
    assert (rig.tee.branches[1].sent, rig.tee.branches[1].dropped) == (2, 20)


def test_the_first_receiver_holds_the_detector_back_and_loses_nothing(rig_of: Callable[..., Rig]) -> None:
    rig = rig_of(None, None)
    first, second = rig.receivers()
    rig.detector.setsockopt(zmq.SNDTIMEO, 1000)
    taken = next(index for index in range(400) if not offered(rig.detector, frame(index)))
    indices = [wire.decode(first.recv_multipart()[0]).index for _ in range(taken)]  # type: ignore[union-attr]
    assert indices == list(range(taken))
    assert second.recv_multipart()[1] == frame(0)[1]
    rig.stop()
    assert (rig.tee.branches[0].sent, rig.tee.branches[0].dropped) == (taken + 1, 0)


def test_rows_are_cut_out_with_headers_that_fit(rig_of: Callable[..., Rig]) -> None:
    rig = rig_of(None, RowCut(16, 24))
    first, second = rig.receivers()
    for parts in (START, frame(7), END):
        rig.detector.send_multipart(parts)
        assert first.recv_multipart() == list(parts)
    start = wire.decode(second.recv_multipart()[0])
    header, payload = second.recv_multipart()
    cut, end = wire.decode(header), second.recv_multipart()
    rig.stop()
    assert isinstance(start, wire.Start)
    assert start == wire.Start(spec=structs.replace(SPEC, rows=8, metadata={"rows": "16:24 of 64"}), src="camera")
    np.testing.assert_array_equal(np.frombuffer(payload, "<u2").reshape(8, 1024), (PIXELS + 7)[16:24])
    assert isinstance(cut, wire.FrameHeader)
    assert (cut.index, cut.shape, cut.size, cut.angle_deg) == (7, (8, 1024), len(payload), 3.5)
    assert cut.checksum == wire.checksum(payload)
    assert end == list(END)


def test_rows_of_a_corrupt_frame_stay_corrupt() -> None:
    header, payload = frame(0)
    damaged = bytes([payload[0] ^ 1]) + payload[1:]
    cut, pixels = RowCut(32, 64).of([memoryview(header), memoryview(damaged)])
    message = wire.decode(cut)
    assert isinstance(message, wire.FrameHeader)
    assert message.checksum != wire.checksum(pixels)


def test_rows_that_a_detector_does_not_have_are_named_and_counted(rig_of: Callable[..., Rig]) -> None:
    rig = rig_of(None, RowCut(0, 65))
    first = rig.receiver(0)
    for parts in (START, frame(0), [b"junk"]):
        rig.detector.send_multipart(parts)
        first.recv_multipart()
    rig.stop()
    branch = rig.tee.branches[1]
    assert branch.refused == {"shape": 2, "header": 1}
    assert branch.why == "rows 0:65 of a detector that has 64"


@pytest.mark.parametrize(("first", "end"), [(5, 5), (6, 5), (-1, 5)])
def test_a_range_without_rows_is_refused(first: int, end: int) -> None:
    with pytest.raises(BadInput, match="give the first row and the one behind the last"):
        RowCut(first, end)


def test_a_port_that_is_taken_is_named(context: Context) -> None:
    with context.socket(zmq.PUSH) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(BadInput, match=rf"--to tcp://127.0.0.1:{port}: Address already in use"):
            Tee(context, ANYWHERE, True, [Branch(ANYWHERE), Branch(f"tcp://127.0.0.1:{port}")], 4)
