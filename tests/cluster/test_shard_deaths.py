"""Processes of a cluster that are killed in the middle of a scan."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamer.cli import main
from streamer.client import LinkError, final_report
from streamer.cluster.master import part_path
from streamer.cluster.rows import row_blocks
from streamer.flow.wire.daemon import Report
from streamer.io.raw.segments import read_account
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import read_tomogram
from tests.cluster.cluster_rig import Scan, Sharded, eventually, is_alive
from tests.cluster.test_sharded_scans import by_one_process

ENGINES = pytest.mark.parametrize("engine", ["processes", "ray"])


@ENGINES
@pytest.mark.parametrize("spares", [1, 0])
def test_a_shard_that_is_killed_is_replaced_and_nothing_lacks(tmp_path: Path, spares: int, engine: str) -> None:
    sharded, scan = Sharded(tmp_path, 2, spares, engine), Scan()
    try:
        assert len(sharded.children("shard")) == 2 + spares
        sharded.arm(scan)
        shards = sharded.holders()
        assert len(shards) == 2
        sharded.detector.begin(scan)
        sharded.detector.frames(scan, range(50))
        eventually(lambda: sharded.report(scan).written >= 20, "frames of both shards are on the disk")
        os.kill(shards[1], signal.SIGKILL)
        sharded.detector.frames(scan, range(50, scan.spec.frames))
        sharded.detector.end(scan)
        report = final_report(sharded.link, scan.spec.scan_id)
        assert not is_alive(shards[1])
        assert is_alive(shards[0])
    finally:
        sharded.close()
    assert report.error is None
    assert (report.state, report.frames.missing, report.written) == ("complete", 0, scan.spec.frames)
    assert report.tomogram_file is not None
    np.testing.assert_array_equal(read_tomogram(Path(report.tomogram_file)).data, by_one_process(scan)[0])
    with h5py.File(report.raw_file) as file:
        order = np.argsort(file["entry/instrument/detector/sequence_number"][()])
        np.testing.assert_array_equal(file["entry/instrument/detector/data"][()][order], scan.pixels)


@ENGINES
def test_a_spare_that_dies_is_replaced_and_takes_rows_like_any_other(tmp_path: Path, engine: str) -> None:
    sharded, scan = Sharded(tmp_path, 2, 1, engine), Scan()
    try:
        sharded.run(Scan("first"))
        first = sharded.holders()
        (unused,) = set(sharded.children("shard")) - set(first)
        os.kill(unused, signal.SIGKILL)
        first.append(unused)
        spare = eventually(lambda: set(sharded.children("shard")) - set(first), "another spare is started").pop()
        os.kill(first[1], signal.SIGKILL)
        eventually(lambda: b"shard 1 is back" in sharded.daemon.log.read_bytes(), "the rows have a process again")
        another = eventually(lambda: set(sharded.children("shard")) - {*first, spare}, "there is a spare again")
        report = sharded.run(scan)
        assert len(another) == 1
        assert set(sharded.children("shard")) == {first[0], spare, *another}
    finally:
        sharded.close()
    assert (report.state, report.frames.missing) == ("complete", 0)
    assert report.tomogram_file is not None
    np.testing.assert_array_equal(read_tomogram(Path(report.tomogram_file)).data, by_one_process(scan)[0])


@ENGINES
def test_shards_go_on_writing_when_the_scout_is_killed(tmp_path: Path, engine: str) -> None:
    sharded, scan = Sharded(tmp_path, 2, engine=engine), Scan()
    try:
        sharded.arm(scan)
        helpers = sharded.holders() + sharded.children("cutter")  # all are there once the scan is armed
        assert len(helpers) == 3
        sharded.detector.begin(scan)
        sharded.detector.frames(scan, range(40))
        eventually(lambda: sharded.report(scan).frames.received == 40, "the scout has seen all of them")
        os.kill(sharded.daemon.pid, signal.SIGKILL)
        eventually(lambda: sharded.daemon.poll() is not None, "the scout is gone")
        sharded.detector.frames(scan, range(40, scan.spec.frames))
        sharded.detector.end(scan)
        eventually(lambda: not any(map(is_alive, helpers)), "the others end when the scan is over")
    finally:
        sharded.close()
    blocks = row_blocks(scan.spec.rows, 2)
    parts = [(block, part_path(sharded.folder / "scan.nx", block)) for block in blocks]
    for _, path in parts:
        with h5py.File(path) as file:
            account = read_account(file)
        assert (account.status, account.note) == ("complete", "the scout died before the end of the scan")
    assert main(["recover", str(sharded.folder / "scan.nx")]) == 0
    with ScanFile.open(sharded.folder / "scan.nx") as recovered:
        np.testing.assert_array_equal(np.array([frame.pixels for frame in recovered.frames()]), scan.pixels)


def test_a_scan_that_not_all_shards_can_arm_is_refused_in_time_and_leaves_nothing(tmp_path: Path) -> None:
    """The promise of ``arm``. A stopped process is one that does not answer: nobody replaces it."""
    sharded, scan = Sharded(tmp_path, 2), Scan()
    try:
        sharded.run(Scan("first"))
        victim, before = sharded.holders()[1], set(sharded.folder.glob("*"))
        os.kill(victim, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(LinkError, match=r"shard \d did not answer within 2 s: the scan is not armed; try again"):
            sharded.arm(scan)
        assert time.monotonic() - began < 4.0
        assert set(sharded.folder.glob("*")) == before  # nothing is left of it
        os.kill(victim, signal.SIGCONT)
        report = eventually(lambda: ran(sharded, scan), "it is armed when all shards answer")
    finally:
        os.kill(victim, signal.SIGCONT)
        sharded.close()
    assert (report.state, report.frames.missing) == ("complete", 0)


def ran(sharded: Sharded, scan: Scan) -> Report | None:
    try:
        return sharded.run(scan)
    except LinkError:
        return None
