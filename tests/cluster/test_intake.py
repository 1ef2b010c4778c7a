"""What a shard takes of what arrives: a real ring, and a raw writer of which only what it says matters."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from streamer.cluster.intake import FRAMES_AT_ONCE, Intake, Part
from streamer.flow import wire
from streamer.flow.acknowledged import Taken
from streamer.flow.ring.ring import Reader, Ring
from streamer.flow.row_cut import RowCut
from streamer.frames import FrameKind
from streamer.io.shared import SharedBuffer
from tests.cluster.cluster_rig import Scan

CUT = RowCut(32, 64)


class Writer:
    """How far the raw writer is."""

    def __init__(self) -> None:
        self.safe_position = 0
        self.told = 0

    def notify(self) -> None:
        self.told += 1


class Bench:
    def __init__(self, scan: Scan) -> None:
        self.scan, self.spec = scan, CUT.part(scan.spec)
        self._shared = SharedBuffer.create(2**20)
        self.ring = Ring(self._shared.memory)
        self.ring.format((self.spec.rows, self.spec.columns), self.spec.dtype, 16)
        self.reader: Reader = self.ring.reader(0, lossless=True)
        self.writer, self.stopped, self.woken = Writer(), threading.Event(), 0
        self.intake = Intake(self.ring, self.writer, self.stopped, lambda: 12.5, self._wake)  # type: ignore[arg-type]
        self.part = Part(self.spec, Path("rows.nx"), 0.0)

    def _wake(self) -> None:
        self.woken += 1

    def arm(self) -> None:
        self.intake.part = self.part

    def header(self, index: int) -> wire.FrameHeader:
        parts = CUT.of([memoryview(bytes(part)) for part in
                        wire.encode_frame(self.scan.metas[index], self.scan.pixels[index], "cutter")])  # fmt: skip
        header = wire.decode(memoryview(parts[0]))
        assert isinstance(header, wire.FrameHeader)
        return header

    def send(self, index: int) -> bool:
        """Whether the frame was wanted."""
        header = self.header(index)
        slot = self.intake.slot(header)
        if slot is None:
            return False
        slot[:] = self.scan.pixels[index][CUT.first : CUT.end].tobytes()
        self.intake.frame(header)
        return True

    def taken(self, scan_id: str, position: int | None) -> bool:
        return self.intake.settled(Taken(scan_id, position))


@pytest.fixture(scope="module")
def scan() -> Scan:
    return Scan("taken")


@pytest.fixture
def bench(scan: Scan) -> Bench:
    return Bench(scan)


def test_frames_lie_in_the_ring_as_they_came(bench: Bench) -> None:
    bench.arm()
    order = [5, 3, 4, 9]
    assert all(bench.send(index) for index in order)
    for ahead, index in enumerate(order):
        frame = bench.reader.poll(ahead)
        assert frame is not None
        assert (frame.meta.index, frame.meta.angle_deg) == (index, bench.scan.metas[index].angle_deg)
        np.testing.assert_array_equal(frame.pixels, bench.scan.pixels[index][CUT.first : CUT.end])
    assert bench.reader.poll(len(order)) is None
    assert bench.part.ledger.received == 4
    assert bench.woken == 4
    assert bench.part.heard_s == 12.5


def test_before_a_scan_messages_wait_at_the_cutter_and_after_it_those_of_the_next(bench: Bench) -> None:
    header = bench.header(3)
    assert bench.intake.admit(header) == "no scan is armed"
    bench.arm()
    assert bench.intake.admit(header) == ""
    bench.part.over = True
    assert bench.intake.admit(header) == ""  # late: taken, and counted nowhere
    assert bench.intake.admit(structs.replace(header, scan_id="next")) == "no scan is armed"
    assert bench.intake.admit(wire.Start(spec=structs.replace(bench.scan.spec, scan_id="next"))) == "no scan is armed"


def test_a_frame_that_comes_again_is_not_kept_twice(bench: Bench) -> None:
    bench.arm()
    assert bench.send(4)
    bench.send(4)
    assert bench.ring.committed == 1
    assert (bench.part.ledger.received, bench.part.ledger.seen) == (1, 1)


def test_frames_that_are_in_the_file_already_are_not_kept_again(bench: Bench) -> None:
    bench.arm()
    bench.part.restore({index: bench.scan.metas[index].kind for index in range(6)})
    bench.send(5)
    bench.send(6)
    assert bench.ring.committed == 1
    assert (bench.part.restored, bench.part.ledger.received) == (6, 7)


@pytest.mark.parametrize(("name", "value"), [("shape", (16, 64)), ("shape", (32, 63)), ("dtype", "<u4")])
def test_rows_of_another_form_are_corrupt(bench: Bench, name: str, value: Any) -> None:
    bench.arm()
    form = {"shape": (32, 64), "dtype": "<u2", name: value}
    size = int(np.prod(form["shape"])) * np.dtype(form["dtype"]).itemsize
    assert bench.intake.slot(structs.replace(bench.header(7), size=size, **form)) is None
    assert bench.part.ledger.corrupt_indices().tolist() == [7]
    assert bench.send(7)  # the right one may still come
    assert bench.part.ledger.received == 1


def test_what_is_of_no_scan_here_is_not_taken(bench: Bench) -> None:
    other = structs.replace(bench.header(3), scan_id="other")
    assert bench.intake.slot(bench.header(3)) is None
    bench.arm()
    assert bench.intake.slot(other) is None
    bench.intake.frame(other)
    bench.intake.corrupt(other, "checksum")
    bench.intake.end(wire.End("other", 5))
    bench.part.over = True
    assert bench.intake.slot(bench.header(3)) is None
    bench.intake.frame(bench.header(3))
    assert bench.ring.committed == 0
    assert bench.part.ledger.corrupt_indices().tolist() == []
    assert bench.part.end is None


def test_a_message_is_settled_when_its_rows_are_on_the_disk(bench: Bench) -> None:
    assert bench.taken("taken", 1)  # no scan: nobody waits for it
    bench.arm()
    bench.send(3)
    position = bench.intake.position()
    assert position == 1
    assert not bench.taken("taken", position)
    bench.writer.safe_position = 1
    assert bench.taken("taken", position)
    assert not bench.taken("taken", position + 1)
    assert bench.taken("taken", None)  # an end brings no rows
    assert bench.taken("other", position + 1)
    bench.part.over = True
    assert bench.taken("taken", position + 1)


def test_the_raw_writer_is_woken_for_several_frames_together(bench: Bench) -> None:
    bench.arm()
    for index in range(3, 3 + FRAMES_AT_ONCE - 1):
        bench.send(index)
    assert bench.writer.told == 0
    bench.send(3 + FRAMES_AT_ONCE)
    assert bench.writer.told == 1
    bench.send(3 + FRAMES_AT_ONCE + 1)
    bench.intake.have_written()
    bench.intake.have_written()
    assert bench.writer.told == 2  # for the one that was left, and not again for none


def test_a_full_ring_waits_for_the_writer_and_tells_it_so(bench: Bench) -> None:
    bench.arm()
    slots = 0
    while bench.ring.acquire() is not None:
        bench.send(slots)
        slots += 1
    waiting = threading.Thread(target=bench.send, args=(slots,))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert bench.writer.told >= 1
    bench.reader.release_to(bench.ring.committed)
    waiting.join(5.0)
    assert not waiting.is_alive()
    assert bench.part.ledger.received == slots + 1


def test_a_wait_for_room_ends_with_the_shard(bench: Bench) -> None:
    bench.arm()
    index = 0
    while bench.ring.acquire() is not None:
        bench.send(index)
        index += 1
    threading.Timer(0.1, bench.stopped.set).start()
    assert bench.intake.slot(bench.header(index)) is None


def test_the_end_and_signs_of_life_are_remembered(bench: Bench) -> None:
    bench.intake.alive(wire.KeepAlive())
    bench.arm()
    bench.part.heard_s = 0.0
    bench.intake.alive(wire.KeepAlive())
    assert bench.part.heard_s == 12.5
    bench.intake.end(wire.End("taken", 50))
    assert bench.part.end is not None
    assert bench.part.end.frames == 50


def test_kinds_are_counted_as_the_detector_named_them(bench: Bench) -> None:
    bench.arm()
    for index in range(12):
        bench.send(index)
        bench.reader.release_to(bench.ring.committed)
    kinds = [bench.scan.metas[index].kind for index in range(12)]
    assert np.unique(kinds).size == 3
    assert bench.part.ledger.received == 12
    assert FrameKind.PROJECTION in kinds
