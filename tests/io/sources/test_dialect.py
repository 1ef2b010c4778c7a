"""Foreign detectors over real sockets: what is handed over, what is refused, and when the socket is attached."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, Queue
from typing import Any

import numpy as np
import pytest
import zmq
from karabo_bridge import ServerInThread
from numpy.typing import NDArray

from streamer.flow import wire
from streamer.flow.assembly import Assembly
from streamer.flow.codecs import compress
from streamer.flow.dialects import DIALECTS
from streamer.flow.dialects.message import Dialect, Image, SeriesEnd, SeriesStart
from streamer.flow.kinds import Kinds
from streamer.flow.positions.positions import Positions
from streamer.frames import ScanSpec
from streamer.io.positions.table import PositionTable
from streamer.io.sources.dialect import DialectReceiver, ZmqInbox

ANYWHERE = "tcp://127.0.0.1:*"
PATIENCE_S = 100.0
SPEC = ScanSpec("s", "x", rows=4, columns=6, projections=20, flats=3, darks=2)
PIXELS: list[NDArray[Any]] = [np.random.default_rng(n).integers(0, 2**16, (4, 6)).astype("<u2") for n in range(25)]

Context = zmq.Context[zmq.Socket[bytes]]


class Sink:
    """Says what it was given, in order."""

    def __init__(self) -> None:
        self.heard: Queue[tuple[Any, ...]] = Queue()
        self._slot = bytearray(48)
        self.packed: dict[int, bytes | None] = {}
        self.announced = ("", SeriesStart(""))
        self.remarked: tuple[str, ...] = ()

    def start(self, message: wire.Start) -> None:
        self.heard.put(("start", message.spec.scan_id))

    def end(self, message: wire.End) -> None:
        self.heard.put(("end", message.scan_id, message.frames))

    def alive(self, message: wire.KeepAlive) -> None:
        self.heard.put(("alive", message.paused))

    def slot(self, header: wire.FrameHeader) -> memoryview | None:
        if header.shape != (4, 6):
            self.corrupt(header, "shape")
            return None
        return memoryview(self._slot)

    def frame(self, header: wire.FrameHeader, packed: memoryview | None = None) -> None:
        pixels = np.frombuffer(bytes(self._slot), "<u2").reshape(4, 6)
        self.packed[header.index] = None if packed is None else bytes(packed)
        self.heard.put(("frame", header.index, header.kind.name, header.angle_deg, pixels))

    def corrupt(self, header: wire.FrameHeader, reason: str) -> None:
        self.heard.put(("corrupt", header.index, reason))

    def series(self, scan_id: str, start: SeriesStart) -> None:
        self.announced = (scan_id, start)

    def remarks(self, scan_id: str, texts: Sequence[str]) -> None:
        self.remarked = (scan_id, *texts)

    def rejected(self, reason: str, text: str) -> None:
        self.heard.put(("rejected", reason, text))

    def failed(self, error: Exception) -> None:
        self.heard.put(("failed", repr(error)))

    def next(self) -> tuple[Any, ...]:
        return self.heard.get(timeout=PATIENCE_S)

    def silent(self) -> bool:
        try:
            self.heard.get(timeout=0.2)
        except Empty:
            return True
        return False


class Detector:
    """Sends the messages of a dialect."""

    def __init__(self, context: Context, dialect: Dialect, kind: int) -> None:
        self.socket = context.socket(kind)
        self.dialect = dialect
        self.socket.bind(ANYWHERE)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def send(self, parts: Sequence[bytes | memoryview]) -> None:
        if parts:
            self.socket.send_multipart(parts)

    def start(self, series: str = "7", **more: Any) -> None:
        self.send(self.dialect.encode_start(SeriesStart(series, **more)))

    def image(self, number: int, index: int | None = None, shape: tuple[int, int] = (4, 6)) -> None:
        pixels = PIXELS[number if index is None else index].reshape(shape)
        self.send(self.dialect.encode_image(Image(shape, "<u2", pixels.data.cast("B"), number=number, series="7")))

    def end(self, series: str = "7") -> None:
        self.send(self.dialect.encode_end(SeriesEnd(series)))


class Rig:
    """A receiver on a thread of its own, and the scan that waits for frames."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.sink = Sink()
        self.scan: ScanSpec | None = SPEC
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._detectors: list[Detector] = []

    def receive(
        self, name: str, endpoint: str, bind: bool = False, kind: Any = None, table: PositionTable | None = None
    ) -> DialectReceiver:
        dialect = DIALECTS[name]
        kind = kind or dialect.TRAITS.sockets[0]
        inbox = ZmqInbox(self.context, endpoint, bind, 100, 2**20, dialect.decode, kind, time.monotonic)

        def new_assembly(spec: ScanSpec) -> Assembly:
            positions = Positions(source="planned" if table is None else "table", wait_s=PATIENCE_S)
            return Assembly(spec, name, Kinds(), positions)

        receiver = DialectReceiver(inbox, name, lambda: self.scan, new_assembly, time.monotonic, table)
        self._threads.append(threading.Thread(target=receiver.run, args=(self.sink, self._stopped.is_set)))
        self._threads[-1].start()
        return receiver

    def detector(self, name: str, kind: int) -> Detector:
        self._detectors.append(Detector(self.context, DIALECTS[name], kind))
        return self._detectors[-1]

    def close(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        for detector in self._detectors:
            detector.socket.close(0)


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def rig(context: Context) -> Iterator[Rig]:
    made = Rig(context)
    yield made
    made.close()


def check_whole_scan(rig: Rig, ends: bool) -> None:
    for index in range(25):
        what, frame, kind, angle, pixels = rig.sink.next()
        assert (what, frame) == ("frame", index)
        assert kind == ("DARK" if index < 2 else "FLAT" if index < 5 else "PROJECTION")
        assert angle == (None if index < 5 else 9.0 * (index - 5))
        np.testing.assert_array_equal(pixels, PIXELS[index])
    if ends:
        assert rig.sink.next() == ("end", "s", 25)


pushed = pytest.mark.parametrize("name", [name for name, each in DIALECTS.items() if "pull" in each.TRAITS.sockets])
published = pytest.mark.parametrize("name", [name for name, each in DIALECTS.items() if "sub" in each.TRAITS.sockets])


@pushed
def test_a_scan_that_is_pushed_comes_whole(rig: Rig, name: str) -> None:
    detector = rig.detector(name, zmq.PUSH)
    rig.receive(name, detector.endpoint, kind="pull")
    detector.start(frames=25, shape=(4, 6), dtype="<u2")
    for number in range(25):
        detector.image(number)
    detector.end()
    check_whole_scan(rig, DIALECTS[name].TRAITS.ends)


@published
def test_a_scan_that_is_published_comes_whole_when_it_begins_while_the_daemon_listens(rig: Rig, name: str) -> None:
    detector = rig.detector(name, zmq.XPUB)
    rig.receive(name, detector.endpoint, kind="sub")
    assert detector.socket.recv() == b"\x01", "the subscription, also while no scan is armed"
    for number in range(25):
        detector.image(number)
    detector.end()
    check_whole_scan(rig, DIALECTS[name].TRAITS.ends)


def test_trains_of_the_karabo_bridge_are_asked_for_one_after_the_other(rig: Rig) -> None:
    with ServerInThread(ANYWHERE, maxlen=100) as server:
        rig.receive("karabo", server.endpoint)
        for number, pixels in enumerate(PIXELS):
            server.feed({"CAM": {"image": pixels}}, {"CAM": {"timestamp.tid": 10**9 + number}})
        check_whole_scan(rig, ends=False)


def test_a_lost_image_leaves_a_gap_and_a_lost_one_of_a_dialect_without_numbers_does_not(rig: Rig) -> None:
    for name, expected in (("stins", [0, 1, 3]), ("concert", [0, 1, 2])):
        rig.scan = ScanSpec(f"s-{name}", "x", rows=4, columns=6, projections=20, flats=3, darks=2)
        detector = rig.detector(name, zmq.PUSH)
        rig.receive(name, detector.endpoint, kind="pull")
        detector.start()
        for number in (0, 1, 3):
            detector.image(number)
        assert [rig.sink.next()[1] for _ in range(3)] == expected


def test_a_scan_may_have_several_series(rig: Rig) -> None:
    detector = rig.detector("stins", zmq.PUSH)
    rig.receive("stins", detector.endpoint)
    index = 0
    for frames in (2, 3, 20):
        detector.send([b'{"htype": "header", "msg_number": %d, "filename": ""}' % (1000 + index)])
        for number in range(frames):
            detector.image(number, index)
            index += 1
        detector.end()
    check_whole_scan(rig, ends=True)


def test_messages_without_an_armed_scan_are_refused_and_a_bound_socket_stays(rig: Rig) -> None:
    rig.scan = None
    detector = rig.context.socket(zmq.PUSH)
    detector.connect(rig.receive("stins", ANYWHERE, bind=True).endpoint)
    stins = DIALECTS["stins"]
    detector.send_multipart(stins.encode_image(Image((4, 6), "<u2", PIXELS[0].data.cast("B"), number=0)))
    detector.send_multipart(stins.encode_end(SeriesEnd()))
    detector.close(1000)
    for kind in ("Image", "SeriesEnd"):
        what, reason, text = rig.sink.next()
        assert (what, reason) == ("rejected", "stale_scan")
        assert text.startswith(kind)


def test_an_idle_receiver_takes_no_frame_of_another_one(rig: Rig) -> None:
    detector = rig.detector("stins", zmq.PUSH)
    idle = Rig(rig.context)
    idle.scan = None
    try:
        idle.receive("stins", detector.endpoint)
        rig.receive("stins", detector.endpoint)
        for number in range(25):
            detector.image(number)
        assert [rig.sink.next()[1] for _ in range(25)] == list(range(25))
        assert idle.sink.silent()
    finally:
        idle.close()


def test_an_end_that_is_none_of_the_series_and_a_number_that_is_none_of_the_scan_do_no_harm(rig: Rig) -> None:
    detector = rig.detector("dectris-v1", zmq.PUSH)
    rig.receive("dectris-v1", detector.endpoint)
    detector.end()  # before the start
    detector.start(frames=25, shape=(4, 6), dtype="<u2")
    detector.end(series="6")
    for number in range(25):
        detector.image(number)
        if number in (0, 24):
            detector.image(2**40, index=3)
    detector.end()
    heard = [rig.sink.next() for _ in range(28)]
    assert [each[:2] for each in heard if each[0] == "rejected"] == [("rejected", "beyond")] * 2
    frames = [each for each in heard if each[0] == "frame"]
    assert [each[1] for each in frames] == list(range(25))
    np.testing.assert_array_equal([each[-1] for each in frames], PIXELS)
    assert heard[-1] == ("end", "s", 25)


@pushed
def test_a_clumsy_detector_loses_no_frame_of_the_scan(rig: Rig, name: str) -> None:
    dialect = DIALECTS[name]
    detector = rig.detector(name, zmq.PUSH)
    rig.receive(name, detector.endpoint, kind="pull")
    detector.end()  # of a series that never began
    good = [bytes(part) for part in dialect.encode_image(Image((4, 6), "<u2", PIXELS[0].data.cast("B"), number=0))]
    for place, part in enumerate(good):
        for cut in (b"", part[: len(part) // 2], part[:-1]):
            detector.send([*good[:place], cut, *good[place + 1 :]])
        detector.send(good[:place] or [b""])
        detector.send([*good, *[part] * 2])
    detector.start(frames=25, shape=(6, 4), dtype="<u2", series="6")
    detector.start(frames=25, shape=(4, 6), dtype="<u2")
    for number in range(25):
        if dialect.TRAITS.numbers_frames:
            if number == 1:
                detector.image(2**40, index=1)
            wrong = PIXELS[number].astype("<u4").data.cast("B")
            detector.send(dialect.encode_image(Image((4, 6), "<u4", wrong, number=number, series="7")))
        detector.image(number)
    detector.end()
    frames: dict[int, NDArray[Any]] = {}
    while 24 not in frames:
        what, *said = rig.sink.next()
        assert what in ("frame", "corrupt", "rejected"), said
        if what == "frame":
            frames[said[0]] = said[-1]
            np.testing.assert_array_equal(said[-1], PIXELS[said[0]])
    assert list(frames) == list(range(25))
    if dialect.TRAITS.ends:
        assert rig.sink.next() == ("end", "s", 25)


DAMAGED = b'{"htype": "image", "msg_number": 1, "frame": 1, "shape": [4, 6], "type": "uint16", "compression": "bslz4"}'


def test_what_is_wrong_with_a_message_is_named_and_the_next_one_is_good(rig: Rig) -> None:
    detector = rig.detector("stins", zmq.PUSH)
    rig.receive("stins", detector.endpoint)
    detector.send([b"junk"])
    detector.send([b"junk"] * 2000)
    detector.image(0, shape=(6, 4))
    damaged = (
        b'{"htype": "image", "msg_number": 1, "frame": 1, "shape": [4, 6], "type": "uint16", "compression": "bslz4"}'
    )
    detector.send([damaged, bytes(20)])
    detector.image(2)
    heard = [rig.sink.next()[:3] for _ in range(5)]
    assert [each[:2] for each in heard[:2]] == [("rejected", "header")] * 2
    assert heard[2:4] == [("corrupt", 0, "shape"), ("corrupt", 1, "codec")]
    assert heard[4][:2] == ("frame", 2)


def test_frames_wait_for_their_positions_and_the_end_waits_for_the_frames(context: Context, rig: Rig) -> None:
    table = PositionTable()
    detector = rig.detector("stins", zmq.PUSH)
    rig.receive("stins", detector.endpoint, table=table)
    detector.start()
    for number in range(25):
        detector.image(number)
    detector.end()
    heard = [rig.sink.next()[:2] for _ in range(5)]
    assert heard == [("frame", number) for number in range(5)]  # darks and flats have no position
    table.enter(0, [9.0 * trigger for trigger in range(19)], last=True)
    angles = {index: angle for _frame, index, _kind, angle, _pixels in (rig.sink.next() for _ in range(20))}
    assert rig.sink.next() == ("end", "s", 25)
    assert math.isnan(angles.pop(24))
    assert angles == {5 + trigger: 9.0 * trigger for trigger in range(19)}
    assert rig.sink.remarked == ("s", "no position is known for frames 24")


def test_positions_that_come_while_no_scan_waits_are_those_of_no_frame(context: Context, rig: Rig) -> None:
    table = PositionTable()
    rig.scan = None
    detector = rig.detector("stins", zmq.PUSH)
    rig.receive("stins", detector.endpoint, table=table)
    table.enter(0, [99.0] * 20, last=False)
    deadline = time.monotonic() + PATIENCE_S
    while table.pending and time.monotonic() < deadline:
        time.sleep(0.005)
    rig.scan = SPEC
    detector.start()
    for number in range(25):
        detector.image(number)
    table.enter(0, [1.0] * 20, last=False)
    frames = [rig.sink.next() for _ in range(25)]
    assert {angle for _frame, _index, kind, angle, _pixels in frames if kind == "PROJECTION"} == {1.0}


def test_what_a_detector_announces_of_itself_is_handed_on(rig: Rig) -> None:
    detector = rig.detector("dectris-v1", zmq.PUSH)
    rig.receive("dectris-v1", detector.endpoint)
    mask = np.eye(4, 6, dtype=np.uint32)
    detector.start(shape=(4, 6), dtype="<u2", mask=mask, saturation=900.0)
    detector.image(0)
    assert rig.sink.next()[:2] == ("frame", 0)
    scan_id, start = rig.sink.announced
    assert (scan_id, start.saturation) == ("s", 900.0)
    np.testing.assert_array_equal(start.mask, mask)


def test_a_mask_of_another_shape_is_refused(rig: Rig) -> None:
    detector = rig.detector("dectris-v1", zmq.PUSH)
    rig.receive("dectris-v1", detector.endpoint)
    detector.send(detector.dialect.encode_start(SeriesStart("7", shape=(5, 6), mask=np.eye(5, 6, dtype=np.uint32))))
    assert rig.sink.next()[:2] == ("rejected", "shape")


@pytest.mark.parametrize("name", ["dectris-v1", "dectris-v2"])
def test_compressed_frames_of_dectris_arrive_with_the_bytes_that_came(rig: Rig, name: str) -> None:
    detector = rig.detector(name, zmq.PUSH)
    rig.receive(name, detector.endpoint)
    detector.start(shape=(4, 6), dtype="<u2", frames=25)
    packed = [compress("bslz4-h5", pixels.data.cast("B"), 2) for pixels in PIXELS]
    for number, data in enumerate(packed):
        image = Image((4, 6), "<u2", memoryview(data), "bslz4-h5", "7", number)
        detector.send(detector.dialect.encode_image(image))
    for number, pixels in enumerate(PIXELS):
        heard = rig.sink.next()
        assert heard[:2] == ("frame", number)
        np.testing.assert_array_equal(heard[4], pixels)
        assert rig.sink.packed[number] == packed[number]
    detector.end()
    assert rig.sink.next() == ("end", "s", 25)


def test_an_image_beyond_the_limit_is_named_and_the_connection_made_anew(rig: Rig) -> None:
    detector = rig.detector("stins", zmq.PUSH)
    rig.receive("stins", detector.endpoint)
    detector.image(0)
    assert rig.sink.next()[:2] == ("frame", 0)
    detector.send([b"{}", bytes(2**21 + 2**20)])
    assert rig.sink.next()[:2] == ("rejected", "oversize")
    detector.image(1)
    assert rig.sink.next()[:2] == ("frame", 1)
