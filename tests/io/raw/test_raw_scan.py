"""What the raw writer's parent makes of the messages of its processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.io.raw.raw_scan import RawScan
from tests.io.helpers import SPEC, STARTED

FIRST = 100  # position in the ring at which the scan begins
ROOM = 10**12


@pytest.fixture
def scan() -> RawScan:
    scan = RawScan(SPEC, Path("a.nx"), STARTED, FIRST, None)
    scan.has_opened(FIRST)
    assert not scan.has_written(FIRST, ROOM, 0), "nothing new"
    return scan


def fail(scan: RawScan) -> None:
    scan.has_trouble("it died", 5.0)
    scan.lost_its_process()


def test_progress_is_counted_in_positions(scan: RawScan) -> None:
    assert scan.has_written(FIRST + 10, ROOM, 0)
    assert (scan.written, scan.safe_position, scan.state) == (10, FIRST + 10, ("ok", ""))
    assert scan.expects_progress(FIRST + 11)
    assert not scan.expects_progress(FIRST + 10)


def test_what_a_successor_writes_again_is_not_counted_twice(scan: RawScan) -> None:
    scan.has_written(FIRST + 10, ROOM, 0)
    fail(scan)
    assert scan.state == ("recovering", "it died")
    assert not scan.busy
    scan.has_opened(FIRST + 6)
    assert not scan.has_written(FIRST + 8, ROOM, 0)
    assert scan.written == 10
    assert scan.state[0] == "recovering"
    assert not scan.has_written(FIRST + 10, ROOM, 0)
    assert scan.state == ("ok", "")
    assert scan.has_written(FIRST + 12, ROOM, 0)
    assert (scan.written, scan.segments) == (12, 2)


def test_frames_that_were_safe_before_the_process_could_say_so_are_not_lost(scan: RawScan) -> None:
    scan.has_written(FIRST + 10, ROOM, 0)
    fail(scan)
    scan.has_opened(FIRST + 20)  # two flushes, and killed before a message
    assert scan.has_written(FIRST + 25, ROOM, 0)
    assert (scan.written, scan.safe_position) == (25, FIRST + 25)


def test_frames_that_were_let_go_are_lost_and_never_called_safe(scan: RawScan) -> None:
    scan.has_written(FIRST + 10, ROOM, 0)
    fail(scan)
    scan.lets_frames_go(FIRST + 8)
    assert scan.state[0] == "failed"
    scan.has_opened(FIRST + 30)
    assert scan.has_written(FIRST + 31, ROOM, 0)
    assert (scan.written, scan.safe_position, scan.state) == (11, FIRST + 10, ("ok", ""))


def test_a_disk_that_will_be_full_is_told(scan: RawScan) -> None:
    left = (SPEC.frames - 10) * SPEC.frame_nbytes
    scan.has_written(FIRST + 10, left + 500, 1000)
    assert scan.state == ("ok", "")
    scan.has_written(FIRST + 10, left + 499, 1000)
    assert scan.state[0] == "low_space"


def test_a_resumed_scan_needs_room_for_what_it_lacks() -> None:
    scan = RawScan(SPEC, Path("a.nx"), STARTED, FIRST, SPEC.frames - 3)
    scan.has_opened(FIRST)
    scan.has_written(FIRST + 1, 2 * SPEC.frame_nbytes, 0)
    assert (scan.resume, scan.state[0]) == (True, "ok")


def test_the_end_is_not_tried_for_ever(scan: RawScan) -> None:
    scan.end = {}
    for _ in range(4):
        assert not scan.in_vain
        scan.opened, scan.finishing = False, True
        scan.was_refused("read-only file system")
    assert scan.in_vain
    scan.give_up(FIRST + 5, "read-only file system")
    assert scan.result is not None
    assert (scan.result.lost, scan.result.sealed) == (5, False)
    assert "streamer recover" in scan.result.error


@pytest.mark.parametrize(("lost", "error"), [(0, ""), (2, "it died; a.nx: damaged frames: 2")])
def test_a_failure_that_cost_nothing_is_no_error(scan: RawScan, lost: int, error: str) -> None:
    fail(scan)
    problems = ["a.nx: damaged frames: 2"] if lost else []
    scan.has_sealed({"written": 50 - lost, "lost": lost, "problems": problems, "segments": 2})
    assert scan.result is not None
    assert (scan.result.written, scan.result.error, scan.result.segments) == (50 - lost, error, 2)
