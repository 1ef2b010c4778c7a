"""Both ends of the acknowledged transport over real sockets. The sink's disk is a map, flushed when a test says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from streamer.flow import wire
from streamer.flow.spool import Spool
from streamer.flow.wire.acknowledged import decode_credit
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec
from streamer.io.senders.acknowledged import AcknowledgedSender, SpoolFullError, new_run
from streamer.io.shared import SharedBuffer
from tests.io.sources.receiving_daemon import Disk, Sink, receiving

PATIENCE_S = 60.0
SPOOL = 2**20
ROWS, COLUMNS = 8, 16
SPEC = ScanSpec("scan-1", "tooth", ROWS, COLUMNS, projections=40)


@contextmanager
def sending(
    endpoint: str,
    bind: bool = False,
    spool: SharedBuffer | None = None,
    alarm: Callable[[str], None] = lambda text: None,
) -> Iterator[AcknowledgedSender]:
    memory = spool or SharedBuffer.create(SPOOL)
    with zmq.Context() as context:
        sender = AcknowledgedSender(context, endpoint, bind, Spool(memory.memory, new_run()), "test", alarm)
        try:
            yield sender
        finally:
            sender.close()
    memory.close()


def pixels(index: int) -> np.ndarray:
    return np.full((ROWS, COLUMNS), index, "<u2")


def frame(index: int) -> tuple[bytes, memoryview]:
    return wire.encode_frame(FrameMeta(SPEC.scan_id, index, FrameKind.PROJECTION, 0.0), pixels(index))


def send_scan(sender: AcknowledgedSender, first: int = 0, last: int = SPEC.projections) -> None:
    for index in range(first, last):
        sender.send(frame(index), PATIENCE_S)


def whole(disk: Disk) -> bool:
    return disk.frames == {index: pixels(index).tobytes() for index in range(SPEC.projections)}


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("producer_binds", [False, True])
def test_a_scan_arrives_whole_whoever_binds(producer_binds: bool, tmp_path: Path) -> None:
    sink, endpoint = Sink(Disk()), f"ipc://{tmp_path}/frames"
    with receiving(sink, endpoint, not producer_binds) as place, sending(place, producer_binds) as sender:
        sender.send(wire.encode(wire.Start(SPEC)), PATIENCE_S)
        send_scan(sender)
        sender.send(wire.encode(wire.End(SPEC.scan_id, SPEC.projections)), PATIENCE_S)
        assert sender.wait(PATIENCE_S)
        assert sender.unacknowledged == 0
    assert whole(sink.disk)
    assert (sink.disk.ended, sink.disk.doubled, sink.bad) == (1, 0, [])


def test_frames_are_acknowledged_only_when_they_are_flushed() -> None:
    sink = Sink(Disk())
    sink.flushing = False
    with receiving(sink) as place, sending(place) as sender:
        send_scan(sender, 0, 10)
        eventually(lambda: sink.count == 10)
        assert sender.unacknowledged == 10
        sink.flush()
        assert sender.wait(PATIENCE_S)


def test_a_daemon_that_dies_gets_again_what_it_had_not_flushed(tmp_path: Path) -> None:
    disk, endpoint = Disk(), f"ipc://{tmp_path}/frames"
    with sending(endpoint) as sender:
        first = Sink(disk)
        with receiving(first, endpoint):
            send_scan(sender, 0, 10)
            assert sender.wait(PATIENCE_S)
            first.flushing = False
            send_scan(sender, 10, 20)
            eventually(lambda: first.count == 20)
        send_scan(sender, 20)
        assert set(disk.frames) == set(range(10))
        with receiving(Sink(disk), endpoint):
            assert sender.wait(PATIENCE_S)
        assert sender.resent >= 10
    assert whole(disk)


def test_a_producer_that_dies_leaves_its_spool_to_the_next(tmp_path: Path) -> None:
    disk, endpoint, path = Disk(), f"ipc://{tmp_path}/frames", tmp_path / "spool"
    with sending(endpoint, spool=SharedBuffer.named(path, SPOOL)) as sender:
        send_scan(sender, 0, 15)
    with sending(endpoint, spool=SharedBuffer.named(path, SPOOL)) as sender:
        last = sender.last_header()
        assert last is not None
        assert wire.decode(last) == wire.decode(frame(14)[0])
        with receiving(Sink(disk), endpoint):
            send_scan(sender, 15)
            assert sender.wait(PATIENCE_S)
    assert whole(disk)


def test_frames_that_cannot_be_taken_wait_at_the_producer() -> None:
    sink = Sink(Disk())
    sink.refusal = "scan-0 is running"
    with receiving(sink) as place, sending(place) as sender:
        send_scan(sender)
        eventually(lambda: sender.held == "scan-0 is running")
        assert "the daemon says: scan-0 is running" in sender.complaint()
        assert not sender.wait(0.05)
        assert sink.count == 0
        sink.refusal = ""
        assert sender.wait(PATIENCE_S)
        assert sender.held == ""
    assert whole(sink.disk)


def test_messages_that_are_not_taken_are_counted() -> None:
    sink = Sink(Disk())
    sink.refusal = "scan other is acquiring"
    with receiving(sink) as endpoint, sending(endpoint) as sender:
        sender.send(wire.encode(wire.Start(SPEC)), PATIENCE_S)
        send_scan(sender)
        eventually(lambda: sink.put_off_by_cause["held"] > 1)
        sink.refusal = ""
        assert sender.wait(PATIENCE_S)
    assert set(sink.put_off_by_cause) <= {"held", "early", "again"}
    assert whole(sink.disk)


def test_a_full_spool_raises_the_alarm_and_holds_the_sender_back() -> None:
    alarms: list[str] = []
    room = SPOOL // 2
    with sending("tcp://127.0.0.1:9", alarm=alarms.append) as sender:
        sender.send([bytes(room)])
        for _ in range(2):
            with pytest.raises(SpoolFullError, match="1 messages are not acknowledged by tcp"):
                sender.send([bytes(room)], timeout_s=0.05)
    assert len(alarms) == 1
    assert "nobody answers there" in alarms[0]


def test_garbage_on_the_socket_changes_nothing() -> None:
    sink = Sink(Disk())
    with receiving(sink) as place, sending(place) as sender, zmq.Context() as context:
        send_scan(sender, 0, 5)
        with context.socket(zmq.DEALER) as stranger:
            stranger.connect(place)
            stranger.linger = 1000
            for parts in ([b""], [b"x" * 8], [b"x" * 8, b"frame"], [b"", b"\xff"], [b"", b""], [b"a", b"b", b"c"]):
                stranger.send_multipart(parts)
            credit = decode_credit(stranger.recv())
            assert credit.run == 0  # a message of nobody that the daemon knows
        send_scan(sender, 5)
        assert sender.wait(PATIENCE_S)
    assert whole(sink.disk)
    assert set(sink.bad) == {"header"}


def test_messages_that_will_never_be_right_do_not_stop_the_rest() -> None:
    sink = Sink(Disk())
    header, payload = frame(0)
    with receiving(sink) as place, sending(place) as sender:
        sender.send([b"no header", payload])
        sender.send([header, bytes(payload)[:10]])
        sender.send([header])
        sender.send(wire.encode(wire.KeepAlive()))
        send_scan(sender)
        assert sender.wait(PATIENCE_S)
    assert whole(sink.disk)
    assert sink.bad == ["header", "truncated", "parts"]


def test_a_spool_file_is_for_one_process_and_one_size(tmp_path: Path) -> None:
    with SharedBuffer.named(tmp_path / "spool", SPOOL), pytest.raises(BadInput, match="another process"):
        SharedBuffer.named(tmp_path / "spool", SPOOL)
    with pytest.raises(BadInput, match=f"has {SPOOL} bytes"):
        SharedBuffer.named(tmp_path / "spool", 2 * SPOOL)
    with pytest.raises(BadInput, match="cannot be reserved"):
        SharedBuffer.named(tmp_path / "nowhere" / "spool", SPOOL)
