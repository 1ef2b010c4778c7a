"""Faults of sources and clients in a whole daemon, the short form of ``python -m benchmarks.faults``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.faults import source
from benchmarks.faults.writer import Row


@pytest.mark.parametrize(
    "fault",
    [
        lambda folder: source.slow_disk(folder, pause_s=4.0),
        lambda folder: source.paused(folder, pause_s=4.0),
        source.end_overtakes,
        source.back_to_back,
        source.two_sources,
        source.idle_daemon,
    ],
    ids=["slow disk", "paused", "end overtakes", "back to back", "two sources", "idle daemon"],
)
def test_nothing_is_lost(tmp_path: Path, fault: Callable[[Path], Row]) -> None:
    row = fault(tmp_path)
    assert row.fate.sound, row
    assert (row.lost, row.fate.state) == (0, "complete"), row
    assert row.next_scan_good


def test_what_a_dead_source_did_not_send_is_listed(tmp_path: Path) -> None:
    row = source.silent(tmp_path)
    assert row.fate.sound, row
    assert (row.fate.state, row.lost, row.fate.listed) == ("incomplete", 160, 160), row
    assert row.next_scan_good


def test_a_scan_that_nobody_wants_any_more_does_not_block_the_daemon(tmp_path: Path) -> None:
    row = source.nobody_comes(tmp_path)
    assert row.fate.state == "aborted", row
    assert row.next_scan_good


def test_a_folder_that_is_away_costs_one_scan_and_no_thread(tmp_path: Path) -> None:
    row = source.folder_away(tmp_path)
    assert (row.fate.state, row.lost, row.fate.listed) == ("refused", 70, 70), row
    assert row.next_scan_good


def test_what_another_receiver_takes_is_listed_and_named(tmp_path: Path) -> None:
    row = source.thief(tmp_path)
    assert row.fate.sound, row
    assert row.lost == row.fate.listed > 0, row
    assert "only every second frame came: the frames also go to another receiver" in row.happens
    assert row.next_scan_good
