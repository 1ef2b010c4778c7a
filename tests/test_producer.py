"""The producer against a receiver without a daemon; with a whole daemon it is in tests/faults."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from streamer.flow.wire import End
from streamer.frames import BadInput, FrameKind, ScanSpec
from streamer.io.senders.acknowledged import SpoolFullError
from streamer.producer import Producer, UnacknowledgedError
from tests.io.sources.receiving_daemon import Disk, Sink, receiving

ROWS, COLUMNS = 4, 8
SPEC = ScanSpec("scan-1", "tooth", ROWS, COLUMNS, projections=6, flats=2, exposure_s=0.5)
PIXELS = np.arange(ROWS * COLUMNS, dtype="<u2").reshape(ROWS, COLUMNS)


class Recording(Sink):
    """Keeps the headers, too."""

    def __init__(self) -> None:
        super().__init__(Disk())
        self.headers: list[object] = []

    def admit(self, message: object) -> str:
        self.headers.append(message)
        return super().admit(message)  # type: ignore[arg-type]


def send(producer: Producer, first: int, last: int) -> None:
    for index in range(first, last):
        kind = FrameKind.FLAT if index < 2 else FrameKind.PROJECTION
        producer.send(index, kind, 30.0 * index, PIXELS + index, monitor=0.5)


def test_a_scan_arrives_with_all_that_was_said_of_it() -> None:
    sink = Recording()
    with receiving(sink) as endpoint, Producer(endpoint, SPEC, spool_mb=1, source="camera") as producer:
        send(producer, 0, SPEC.frames)
        producer.finish()
        assert (producer.unacknowledged, producer.resent, producer.held) == (0, 0, "")
    start, *frames, end = sink.headers
    assert start.spec == SPEC  # type: ignore[attr-defined]
    assert [frame.index for frame in frames] == list(range(SPEC.frames))  # type: ignore[attr-defined]
    third = frames[2]
    assert (third.kind, third.angle_deg, third.monitor) == (FrameKind.PROJECTION, 60.0, 0.5)  # type: ignore[attr-defined]
    assert (third.exposure_s, third.src) == (0.5, "camera")  # type: ignore[attr-defined]
    assert third.timestamp_ns > 0  # type: ignore[attr-defined]
    assert end == End(SPEC.scan_id, SPEC.frames, "ok", src="camera")
    assert sink.disk.frames == {index: (PIXELS + index).tobytes() for index in range(SPEC.frames)}


@pytest.mark.parametrize(("error", "status"), [(None, "stopped"), (RuntimeError, "aborted")])
def test_a_block_that_is_left_early_ends_the_scan(error: type[Exception] | None, status: str) -> None:
    sink = Recording()

    def scan(endpoint: str) -> None:
        with Producer(endpoint, SPEC, spool_mb=1) as producer:
            send(producer, 0, 3)
            if error is not None:
                raise error

    with receiving(sink) as endpoint:
        if error is None:
            scan(endpoint)
        else:
            with pytest.raises(error):
                scan(endpoint)
    assert sink.headers[-1] == End(SPEC.scan_id, 3, status, src="producer")  # type: ignore[arg-type]


def test_another_process_goes_on_with_the_spool_file(tmp_path: Path) -> None:
    endpoint, spool = f"ipc://{tmp_path}/frames", tmp_path / "spool"
    first = Producer(endpoint, SPEC, spool_mb=1, spool_file=spool)
    send(first, 0, 5)
    first.close()  # as if it had been killed
    sink = Recording()
    with receiving(sink, endpoint), Producer(endpoint, SPEC, spool_mb=1, spool_file=spool) as second:
        assert second.next_index == 5
        send(second, 5, SPEC.frames)
        second.finish()
    assert len(sink.headers) == SPEC.frames + 2
    assert sorted(sink.disk.frames) == list(range(SPEC.frames))
    with pytest.raises(BadInput, match="scan-1 was ended by an earlier process"):
        Producer(endpoint, SPEC, spool_mb=1, spool_file=spool)


def test_a_producer_that_was_only_announced_announces_once(tmp_path: Path) -> None:
    endpoint, spool = f"ipc://{tmp_path}/frames", tmp_path / "spool"
    Producer(endpoint, SPEC, spool_mb=1, spool_file=spool).close()
    second = Producer(endpoint, SPEC, spool_mb=1, spool_file=spool)
    assert (second.next_index, second.unacknowledged) == (0, 1)
    second.close()


def test_a_daemon_that_does_not_come_is_named() -> None:
    alarms: list[str] = []
    producer = Producer("tcp://127.0.0.1:9", SPEC, spool_mb=0.002, alarm=alarms.append)
    with pytest.raises(UnacknowledgedError, match="nobody answers there"):
        producer.finish(timeout_s=0.01)
    while not alarms:
        with suppress(SpoolFullError):
            producer.send(0, FrameKind.PROJECTION, 0.0, PIXELS, timeout_s=0.01)
    with pytest.raises(SpoolFullError):
        producer.send(0, FrameKind.PROJECTION, 0.0, PIXELS, timeout_s=0.01)
    assert len(alarms) == 1
    producer.close()


def test_the_end_does_not_wait_for_room_longer_than_it_may() -> None:
    producer = Producer("tcp://127.0.0.1:9", SPEC, spool_mb=0.002, alarm=lambda _: None)
    with suppress(SpoolFullError):
        while True:
            producer.send(0, FrameKind.PROJECTION, 0.0, PIXELS, timeout_s=0.0)
    with pytest.raises(SpoolFullError):
        producer.end(timeout_s=0.01)
    with pytest.raises(UnacknowledgedError, match="nobody answers there"):
        producer.finish(timeout_s=0.01)
    producer.close()


def test_the_end_is_said_once() -> None:
    sink = Recording()
    with receiving(sink) as endpoint, Producer(endpoint, SPEC, spool_mb=1) as producer:
        send(producer, 0, 3)
        producer.end("stopped")
        producer.end("aborted")
        producer.finish()
    ends = [message for message in sink.headers if isinstance(message, End)]
    assert ends == [End(SPEC.scan_id, 3, "stopped", src="producer")]


def test_pixels_that_were_not_announced_are_refused() -> None:
    producer = Producer("tcp://127.0.0.1:9", SPEC, spool_mb=1)
    for wrong in (PIXELS.T, PIXELS.astype("<f4"), PIXELS.astype(">u2")):
        with pytest.raises(BadInput, match="announced are"):
            producer.send(0, FrameKind.PROJECTION, 0.0, wrong)
    producer.close()


def test_a_spool_or_an_endpoint_that_cannot_be_used_leaves_nothing_behind(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with pytest.raises(BadInput, match="endpoint"):
        Producer("nonsense", SPEC, spool_mb=1, spool_file=spool)
    Producer("tcp://127.0.0.1:9", SPEC, spool_mb=1, spool_file=spool).close()


def test_a_second_close_touches_nothing_that_was_opened_meanwhile() -> None:
    with receiving(Sink(Disk())) as endpoint:
        producer = Producer(endpoint, SPEC, spool_mb=1)
        producer.close()
        files = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]  # they get the numbers that came free
        try:
            producer.close()
            for file in files:
                os.fstat(file)
        finally:
            for file in files:
                os.close(file)
