"""When frames are flushed and given back to the ring, without processes and without files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from streamer.flow.ring.ring import Ring
from streamer.frames import BadInput, Frame
from streamer.io.raw.frame_writer import RING_READER, FrameWriter
from tests.io.helpers import SPEC, STARTED, commit

SLOTS = 16
FLUSH_S = 1.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class RecordedFile:
    """A file that keeps what it is asked for; ``fails`` names the step that its disk does not do."""

    def __init__(self, *_: Any) -> None:
        self.appended: list[int] = []
        self.readable: list[int] = []
        self.syncs = 0
        self.fails = ""
        self.gone = False
        self.ending: dict[str, Any] = {}

    @property
    def indices(self) -> Any:
        return np.array(self.readable, np.int64)

    def extend(self, frames: Sequence[Frame]) -> None:
        if self.fails == "extend":
            raise OSError(5, "Input/output error")
        self.appended += [frame.meta.index for frame in frames]

    def flush(self) -> int:
        if self.fails == "flush":
            raise RuntimeError("HDF5\nstack")
        self.readable = list(self.appended)
        return len(self.readable)

    def sync(self) -> None:
        self.syncs += 1

    def removed(self) -> bool:
        return self.gone

    def close(
        self, status: str, expected: int | None = None, frames: Any = None, ended: str = "", note: str = ""
    ) -> int:
        self.ending = {"status": status, "expected": expected, "frames": frames, "note": note}
        return self.flush()


class Bench:
    def __init__(self, tmp_path: Path, fsync_s: float | None = None, reserve_bytes: int = 0) -> None:
        self.ring = Ring(bytearray(100_000))
        self.ring.format((SPEC.rows, SPEC.columns), SPEC.dtype, SLOTS)
        self.clock, self.file, self.folder = Clock(), RecordedFile(), tmp_path
        self.writer = FrameWriter(self.ring, lambda *_: self.file, FLUSH_S, reserve_bytes, fsync_s, self.clock)

    def open(self) -> None:
        self.writer.open(self.folder / "a.nx", SPEC, STARTED)

    def commit(self, first: int, last: int) -> None:
        for index in range(first, last):
            assert commit(self.ring, index)
        self.writer.take(100)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.writer.flush_if_due()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.open()
    return bench


def test_a_frame_is_given_back_one_flush_after_it_is_safe(bench: Bench) -> None:
    assert bench.writer.flush_in() == float("inf")
    bench.commit(0, 1)
    assert (bench.file.appended, bench.file.readable, bench.writer.safe) == ([0], [], 0)
    assert bench.writer.flush_in() == FLUSH_S
    bench.pass_time(FLUSH_S)
    assert (bench.file.readable, bench.writer.safe, bench.ring.occupied) == ([0], 1, 1), "the newest flush stays"
    bench.commit(1, 2)
    bench.pass_time(FLUSH_S)
    assert (bench.file.readable, bench.writer.safe, bench.ring.occupied) == ([0, 1], 2, 1)


def test_a_flush_is_due_when_an_eighth_of_the_ring_is_filled(bench: Bench) -> None:
    bench.commit(0, 7)
    assert (bench.file.readable, bench.writer.safe) == ([0, 1, 2, 3, 4, 5], 6)
    assert bench.ring.occupied == 3, "two of the newest flush, and one that is not flushed"


def test_closing_gives_everything_back(bench: Bench) -> None:
    bench.commit(0, 5)
    bench.writer.close("complete", 5, {"unusable": [1]}, note="a note")
    assert bench.file.ending == {"status": "complete", "expected": 5, "frames": {"unusable": [1]}, "note": "a note"}
    assert (bench.ring.occupied, bench.writer.scan_open) == (0, False)
    bench.writer.close("complete")


def test_closing_without_lists_lists_what_is_missing(bench: Bench) -> None:
    bench.commit(0, 5)
    bench.writer.close("incomplete")
    np.testing.assert_array_equal(bench.file.ending["frames"]["missing"], range(5, SPEC.frames))


def test_frames_wait_for_an_open_file_and_those_of_other_scans_are_passed_over(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.commit(0, 2)
    assert bench.ring.occupied == 2
    bench.open()
    for index in range(2, 4):
        assert commit(bench.ring, index, structs.replace(SPEC, scan_id="other"))
    bench.commit(4, 6)
    bench.writer.close("complete")
    assert bench.file.readable == [0, 1, 4, 5]


@pytest.mark.parametrize("step", ["extend", "flush"])
def test_after_an_error_everything_that_may_be_spoiled_is_still_in_the_ring(bench: Bench, step: str) -> None:
    bench.commit(0, 4)
    assert bench.writer.safe == 4
    bench.file.fails = step
    with pytest.raises((OSError, RuntimeError)):
        bench.commit(4, 8)
    successor = bench.ring.reader(RING_READER, lossless=True)
    frame = successor.poll()
    assert frame is not None
    assert frame.meta.index == 2, "the frames of the newest flush, and those after it"


def test_a_file_that_was_removed_is_an_error_before_a_frame_is_given_back(bench: Bench) -> None:
    bench.commit(0, 1)
    bench.file.gone = True
    with pytest.raises(OSError, match="removed or renamed"):
        bench.pass_time(FLUSH_S)
    assert bench.ring.occupied == 1


def test_the_disk_is_forced_to_write_as_often_as_wanted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fsync_s=5.0)
    bench.open()
    for index in range(12):
        bench.commit(index, index + 1)
        bench.pass_time(FLUSH_S)
    assert bench.file.syncs == 2


def test_the_file_is_closed_while_there_is_room(tmp_path: Path) -> None:
    bench = Bench(tmp_path, reserve_bytes=2**60)
    bench.open()
    with pytest.raises(OSError, match="are to stay free"):
        bench.commit(0, 2)
    assert bench.file.ending["status"] == "incomplete"
    with pytest.raises(BadInput, match="bytes left on the disk"):
        Bench(tmp_path, reserve_bytes=2**60).writer.open(tmp_path / "b.nx", SPEC, STARTED, resume=True)


def test_one_file_at_a_time(bench: Bench) -> None:
    with pytest.raises(BadInput, match="still writes scan scan-1"):
        bench.open()
