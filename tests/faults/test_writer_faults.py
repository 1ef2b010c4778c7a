"""Faults of the raw writer and of its disk in a whole daemon, the short form of ``python -m benchmarks.faults``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.faults import writer
from benchmarks.faults.writer import Row


def assert_nothing_lost(row: Row | None, segments: int = 2) -> None:
    """None: no file system could be mounted here, and the raw writer's own tests fill a disk in another way."""
    if row is not None:
        assert row.fate.sound, row
        assert (row.lost, row.fate.claimed, row.fate.state) == (0, 0, "complete"), row
        assert row.fate.segments >= segments, row  # on a busy machine a successor may be slow, and be replaced, too
        assert row.next_scan_good


def assert_listed(row: Row) -> None:
    assert row.fate.sound, row
    assert row.lost == row.fate.listed == row.fate.claimed > 0, row
    assert row.fate.state == "failed"
    assert row.next_scan_good


def test_a_writer_killed_at_random_frames_loses_nothing(tmp_path: Path) -> None:
    assert_nothing_lost(writer.kills(tmp_path, count=3), segments=6)


def test_a_hung_writer_loses_nothing(tmp_path: Path) -> None:
    assert_nothing_lost(writer.hangs(tmp_path, hang_s=2.0))


def test_a_daemon_without_descriptors_for_a_new_writer_loses_nothing(tmp_path: Path) -> None:
    assert_nothing_lost(writer.out_of_descriptors(tmp_path))


def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path) -> None:
    assert_nothing_lost(writer.file_size_limit(tmp_path))


def test_a_disk_that_is_full_and_freed_loses_nothing(tmp_path: Path) -> None:
    assert_nothing_lost(writer.full_disk(tmp_path, 16.0))


def test_a_file_system_that_turns_read_only_loses_nothing(tmp_path: Path) -> None:
    assert_nothing_lost(writer.read_only(tmp_path))


def test_a_file_system_that_shrinks_and_grows_loses_nothing(tmp_path: Path) -> None:
    assert_nothing_lost(writer.shrunk(tmp_path))


def test_a_disk_that_stays_full_loses_what_is_listed(tmp_path: Path) -> None:
    row = writer.disk_stays_full(tmp_path)
    if row is not None:
        assert_listed(row)


def test_a_removed_file_and_a_damaged_one_lose_what_is_listed(tmp_path: Path) -> None:
    assert_listed(writer.unlinked(tmp_path / "unlinked"))
    assert_listed(writer.scribbled(tmp_path / "scribbled"))


def test_what_was_safe_survives_the_death_of_daemon_and_writer(tmp_path: Path) -> None:
    row = writer.everything_killed(tmp_path)
    assert row.fate.sound, row
    assert row.lost == 0
    assert row.fate.listed == 310 - row.fate.right
