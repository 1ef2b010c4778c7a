"""The raw writer when it dies, hangs or finds no room: no frame of the ring is lost, and the file says what is."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from msgspec import structs

from streamer.io.raw.segments import segments_of
from tests.io.helpers import SPEC, STARTED, pixels_of, small_disk, wait_until
from tests.io.raw.test_writer import DATA, PATIENCE_S, SLOTS, Bench, assert_frames

N = SPEC.frames


class Clock:
    """Seconds; the test may let some pass at once."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.offset_s


LONG_S = 1000.0
"""Longer than any machine takes."""

BIG = structs.replace(SPEC, rows=64, columns=128, projections=100)  # 16 KiB a frame


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    built: list[Bench] = []

    def make(**options: Any) -> Bench:
        built.append(Bench(tmp_path, **options))
        return built[-1]

    yield make
    for bench in built:
        bench.close()


def kill(bench: Bench) -> None:
    pid = bench.writer.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not bench.writer.alive, "the death of the writer")


def assert_scan(path: Path, spec: Any = SPEC, status: str = "complete", lost: Any = ()) -> None:
    """As any program reads it: each frame once, all right, the rest listed as lost."""
    with h5py.File(path, "r") as file:
        indices = file["entry/instrument/detector/sequence_number"][()].tolist()
        assert sorted(indices) == sorted(set(range(spec.frames)) - set(lost))
        for index, image in zip(indices, file[DATA], strict=True):
            np.testing.assert_array_equal(image, pixels_of(index, spec))
        assert file["entry/streamer/status"].asstr()[()] == status
        np.testing.assert_array_equal(file["entry/streamer/lost_frames"], sorted(lost))


@pytest.mark.parametrize("at", [0, 1, 12, 30, 50])
def test_a_killed_writer_is_replaced_and_no_frame_is_lost(build: Callable[..., Bench], at: int) -> None:
    bench = build()
    path = bench.open()
    bench.commit(range(at))
    kill(bench)
    event = bench.events("died")
    assert event.text == "the raw writer ended (killed by signal 9)"
    assert bench.writer.state == ("recovering", event.text)
    bench.commit(range(at, N))
    result = bench.finish(N)
    assert (result.written, result.lost, result.error, result.sealed) == (N, 0, "", True)
    assert_scan(path)
    assert bench.ring.occupied == 0
    second = bench.open("b.nx")
    bench.commit(range(5))
    assert (bench.finish(5).written, bench.writer.restarts, bench.writer.state) == (5, 1, ("ok", ""))
    assert_frames(second, 5, "complete")


def test_writers_may_be_killed_again_and_again(build: Callable[..., Bench]) -> None:
    bench = build()
    path = bench.open()
    for start in range(0, N, 10):
        bench.commit(range(start, start + 10))
        kill(bench)
        bench.events("died")
        wait_until(lambda: bench.writer.poll_events() is not None and bench.writer.state[0] == "ok", "the next writer")
    result = bench.finish(N)
    assert (result.written, result.lost, result.segments) == (N, 0, 6)
    assert_scan(path)
    assert len(segments_of(path)) == 6


def test_a_writer_killed_while_the_scan_is_finished_is_replaced(build: Callable[..., Bench]) -> None:
    bench = build()
    path = bench.open()
    os.kill(bench.writer.pid, signal.SIGSTOP)
    bench.commit(range(SLOTS))
    os.kill(bench.writer.pid, signal.SIGKILL)
    result = bench.finish(SLOTS)
    assert (result.written, result.lost) == (SLOTS, 0)
    assert_frames(path, SLOTS, "complete")


def test_a_writer_told_to_stop_is_replaced(build: Callable[..., Bench]) -> None:
    bench = build()
    path = bench.open()
    bench.commit(range(9))
    os.kill(bench.writer.pid, signal.SIGTERM)
    bench.events("died")
    bench.commit(range(9, N))
    assert bench.finish(N).lost == 0
    assert_scan(path)


def test_a_hung_writer_is_killed_and_replaced(build: Callable[..., Bench]) -> None:
    bench = build(hang_s=1.0)
    path = bench.open()
    bench.commit(range(3))
    bench.wait_written(3)
    hung = bench.writer.pid
    os.kill(hung, signal.SIGSTOP)
    bench.commit(range(3, N))  # more than the ring holds: it goes on when the process is replaced
    assert bench.events("hung").text.startswith("the raw writer did nothing for ")
    assert bench.writer.pid != hung
    result = bench.finish(N)
    assert (result.written, result.lost) == (N, 0)
    assert_scan(path)


def test_a_writer_that_hangs_at_the_end_is_replaced(build: Callable[..., Bench]) -> None:
    bench = build(hang_s=1.0)
    path = bench.open()
    bench.commit(range(10))
    bench.wait_written(10)
    os.kill(bench.writer.pid, signal.SIGSTOP)
    result = bench.finish(10)
    assert (result.written, result.lost) == (10, 0)
    assert_frames(path, 10, "complete")
    assert bench.open("b.nx").exists()


def test_an_idle_writer_is_not_taken_for_a_hung_one(build: Callable[..., Bench]) -> None:
    now = [0.0]
    bench = build(hang_s=5.0, clock=lambda: now[0])
    path = bench.open()
    bench.commit(range(3))
    bench.wait_written(3)
    for _ in range(5):
        now[0] += 1000.0
        assert not bench.writer.poll_events()
    bench.commit(range(3, N))
    assert bench.finish(N).lost == 0
    assert bench.writer.restarts == 0
    assert_scan(path)


def fill(folder: Path, keep: int) -> Path:
    """Take the space of a disk, all but ``keep`` bytes."""
    stat = os.statvfs(folder)
    path = folder / "filler"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, stat.f_bavail * stat.f_frsize - keep)
    return path


def is_small(folder: Path) -> bool:
    stat = os.statvfs(folder)
    return stat.f_blocks * stat.f_frsize < 2**26


def commit_until_an_error(bench: Bench, index: int) -> int:
    """Commit frames from ``index`` on until the writer says that it cannot write them; the index of the next one."""
    while not any(event.kind == "error" for event in bench.seen):
        assert index < BIG.frames, "they all found room"
        if bench.tried(index, BIG):
            bench.writer.notify()
            index += 1
        bench.seen += bench.writer.poll_events(0.02)
    return index


@pytest.mark.parametrize("reserve", [0, 2_000_000])
def test_a_disk_that_is_full_and_freed_again_costs_no_frame(tmp_path: Path, reserve: int) -> None:
    with small_disk(tmp_path, 16 * 1024) as folder:
        bench = Bench(folder, BIG, flush_s=0.01, reserve_bytes=reserve)
        try:
            path = bench.open()
            bench.commit(range(20))
            bench.wait_written(20)
            # Without a disk of our own, files may not grow beyond its size: then this one is far below.
            filler = fill(folder, reserve // 2 + 100_000) if is_small(folder) else None
            if filler is not None:
                full = commit_until_an_error(bench, 20)
                assert bench.events("error").errno == 28
                assert bench.writer.state[0] == "recovering"
                filler.unlink()
                bench.commit(range(full, BIG.frames))
            else:
                bench.commit(range(20, BIG.frames))
            result = bench.finish(BIG.frames)
            assert (result.written, result.lost, result.error) == (BIG.frames, 0, "")
            assert_scan(path, BIG)
        finally:
            bench.close()


def test_when_patience_ends_frames_are_lost_and_listed_and_it_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path, 4 * 1024) as folder:
        if not is_small(folder):
            return  # no file system of our own: nothing can be filled up
        clock = Clock()
        bench = Bench(folder, BIG, clock, flush_s=0.01, patience_s=LONG_S, hang_s=4 * LONG_S)
        try:
            path = bench.open()
            bench.commit(range(20))
            bench.wait_written(20)
            filler = fill(folder, 50_000)
            bench.commit(range(20, 20 + SLOTS // 2))
            bench.events("error")
            clock.offset_s += 1.5 * LONG_S
            bench.commit(range(20 + SLOTS // 2, 90))
            assert "left on the disk" in bench.events("failed").text or bench.writer.state[0] == "failed"
            filler.unlink()
            wait_until(lambda: bench.writer.poll_events() is not None and bench.writer.state[0] == "ok", "room")
            bench.commit(range(90, BIG.frames))
            result = bench.finish(BIG.frames)
            assert 0 < result.lost <= 70
            assert result.written + result.lost == BIG.frames
            assert result.error
            with h5py.File(path) as file:
                lost = file["entry/streamer/lost_frames"][()]
            assert len(lost) == result.lost
            assert_scan(path, BIG, "incomplete", lost)
        finally:
            bench.close()


def test_a_source_that_keeps_its_frames_is_held_back_for_as_long_as_it_takes(tmp_path: Path) -> None:
    with small_disk(tmp_path, 4 * 1024) as folder:
        if not is_small(folder):
            return
        clock = Clock()
        bench = Bench(folder, BIG, clock, flush_s=0.01, patience_s=0.5, source_keeps=True)
        try:
            path = bench.open()
            bench.commit(range(20))
            bench.wait_written(20)
            filler = fill(folder, 50_000)
            bench.commit(range(20, 20 + SLOTS // 2))
            bench.events("error")
            clock.offset_s += 1000.0
            bench.writer.poll_events()
            assert bench.writer.state[0] == "recovering"
            filler.unlink()
            bench.commit(range(20 + SLOTS // 2, BIG.frames))
            result = bench.finish(BIG.frames)
            assert (result.written, result.lost, result.error) == (BIG.frames, 0, "")
            assert_scan(path, BIG)
        finally:
            bench.close()


def test_a_disk_that_stays_full_ends_the_scan_with_what_it_has(tmp_path: Path) -> None:
    with small_disk(tmp_path, 4 * 1024) as folder:
        if not is_small(folder):
            return
        clock = Clock()
        bench = Bench(folder, BIG, clock, flush_s=0.01, patience_s=LONG_S, hang_s=4 * LONG_S)
        try:
            path = bench.open()
            filler = fill(folder, 700_000)
            full = commit_until_an_error(bench, 0)
            clock.offset_s += 1.5 * LONG_S  # frames are let go; after twice the patience the file would not be closed
            bench.commit(range(full, BIG.frames), BIG)
            result = bench.finish(BIG.frames)
            assert result.written + result.lost == BIG.frames
            assert 0 < result.written < BIG.frames
            assert result.error
            with h5py.File(path) as file:
                for index, image in zip(file["entry/instrument/detector/sequence_number"], file[DATA], strict=False):
                    np.testing.assert_array_equal(image, pixels_of(int(index), BIG))
            path.unlink()
            filler.unlink()
            for segment in segments_of(path):
                segment.unlink()
            short = structs.replace(BIG, projections=1, flats=0, darks=0)
            assert bench.writer.open(short, Path("b.nx"), STARTED, timeout=PATIENCE_S)
        finally:
            bench.close()


def test_a_disk_that_will_be_full_is_told_before(tmp_path: Path) -> None:
    with small_disk(tmp_path, 8 * 1024) as folder:
        if not is_small(folder):
            return
        bench = Bench(folder, BIG, flush_s=0.01, reserve_bytes=1_000_000)
        try:
            bench.open()
            bench.commit(range(10))
            bench.wait_written(10)
            assert bench.writer.state == ("ok", "")
            fill(folder, 1_500_000)
            bench.commit(range(10, 14))
            bench.wait_written(14)
            state, why = bench.writer.state
            assert state == "low_space"
            assert "GB free, the rest of the scan needs" in why
        finally:
            bench.close()


def test_a_file_that_is_removed_is_noticed_at_once_and_its_frames_are_listed(build: Callable[..., Bench]) -> None:
    bench = build()
    path = bench.open()
    bench.commit(range(20))
    bench.wait_written(20)
    path.unlink()
    bench.commit(range(20, 21))
    assert "removed or renamed" in bench.events("error").text
    bench.commit(range(21, N))
    result = bench.finish(N)
    assert result.written + result.lost == N
    assert 0 < result.lost <= 20
    assert "removed" in result.error
    with h5py.File(path) as file:
        lost = file["entry/streamer/lost_frames"][()]
    assert_scan(path, status="incomplete", lost=lost)


def test_a_file_that_was_written_into_is_noticed_at_the_end(build: Callable[..., Bench]) -> None:
    bench = build()
    path = bench.open()
    bench.commit(range(20))
    bench.wait_written(20)
    content = path.read_bytes()
    place = content.index(pixels_of(4).tobytes())
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"scribble")
    bench.commit(range(20, N))
    result = bench.finish(N)
    assert (result.written, result.lost) == (N - 1, 1)
    assert "damaged frames: 1" in result.error
    assert_scan(path, status="incomplete", lost=[4])
