"""What a scrape of the metrics sees."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from msgspec import structs

from streamer.cli.status import lines
from streamer.core.backend.selection import Backend
from streamer.daemon.compute.finish import STAGES
from streamer.daemon.monitoring.snapshot import gpu_memory, snapshot
from streamer.io.raw.unclosed import open_raw
from streamer.io.tomogram import DATA
from streamer.metrics import QUALITY
from tests.core.shim import ShimEngine
from tests.daemon.rig import PROJECTIONS, RING_BYTES, TURN_S, Rig, TinyScan


def test_before_the_first_scan_all_is_zero(rig: Rig) -> None:
    seen = snapshot(rig)
    assert (seen.scan_state, seen.scan_frames_expected, seen.projections_folded) == ("idle", 0, 0)
    assert seen.ring_bytes == RING_BYTES
    assert seen.writer_up
    assert seen.disk_free_bytes is not None
    assert sum(seen.scans.values()) == sum(seen.verdicts.values()) == 0


def test_a_folder_that_is_shut_does_not_blind_the_monitoring(rig: Rig) -> None:
    rig.directory = rig.directory / "shut"
    assert snapshot(rig).disk_free_bytes is None


def test_a_running_scan_is_counted_as_it_goes_and_its_gaps_at_the_end(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, [*range(30), *range(20, 30), *range(40, 60)])
    running = snapshot(rig)
    assert (running.scan_state, running.scan_frames_received) == ("acquiring", 50)
    assert (running.frames_duplicate, running.frames_missing) == (10, {})
    assert running.projections_folded == 50 - scan.first_projection
    assert running.frame_to_preview.count == running.projections_folded
    rig.finish(scan, frames=60)
    over = snapshot(rig)
    assert over.scan_state == "incomplete"
    missing = {"projection": scan.spec.frames - 50, "flat": 0, "dark": 0}
    assert (over.frames_duplicate, over.frames_missing) == (10, missing)
    assert over.writer_written == 50


def test_no_frame_is_counted_twice_over_several_scans(rig: Rig) -> None:
    for number in range(2):
        scan = TinyScan(f"scan-{number}")
        rig.run(scan)
        rig.finish(scan)
    seen = snapshot(rig)
    assert seen.projections_folded == 2 * PROJECTIONS
    assert seen.writer_written == seen.frames_received["dark"] + seen.frames_received["flat"] + 2 * PROJECTIONS
    assert seen.last_frame_to_tomogram.count == 2
    assert (seen.scans["complete"], seen.verdicts["ENOUGH"]) == (2, 2)
    assert seen.previews_published == rig.previews.sent > 0


def test_frames_of_no_use_are_counted_by_cause_once_and_listed_in_the_file(rig: Rig) -> None:
    scan = TinyScan()
    dark = scan.first_projection + np.arange(20, 23)
    scan.pixels[dark] = scan.pixels[0] + np.arange(3, dtype="<u2")[:, None, None]
    rig.run(scan)
    report = rig.finish(scan)
    assert report.quality.unusable_counts == {"no light": 3}
    assert "0 corrupt, 3 unusable (no light)" in "\n".join(lines(rig.status(report)))
    assert f"3 no light: {dark[0]}-{dark[-1]}" in str(report.judgement)
    rig.scans.arm(TinyScan("scan-2").spec)
    assert snapshot(rig).frames_unusable == {"no light": 3}
    with open_raw(rig.directory / f"{scan.spec.scan_id}.nx") as file:
        assert file["entry/streamer/unusable_frames"][()].tolist() == dark.tolist()


def test_quality_and_verdict_are_those_of_the_last_finished_scan(rig: Rig) -> None:
    assert (snapshot(rig).quality, snapshot(rig).verdict) == ({}, "")
    scan = TinyScan()
    rig.run(scan)
    assert snapshot(rig).quality == {}, "a running scan is not judged yet"
    report = rig.finish(scan)
    seen = snapshot(rig)
    assert set(seen.quality) <= set(QUALITY)
    assert seen.quality["center_px"] == report.center_px
    assert seen.quality["resolution_px"] == report.quality.resolution_px
    assert seen.verdict == "ENOUGH"
    rig.run(TinyScan("scan-2", empty=True))
    rig.finish(TinyScan("scan-2", empty=True))
    seen = snapshot(rig)
    assert seen.verdict == "EMPTY"
    assert "center_px" not in seen.quality or seen.quality["center_px"] != report.center_px


def test_the_time_of_a_night_is_that_of_its_phases(rig: Rig) -> None:
    began = rig.clock.now
    for number in range(2):
        scan = TinyScan(f"scan-{number}")
        rig.scans.arm(scan.spec)
        rig.clock.now += 3.0  # until the first frame
        rig.feed(scan, range(scan.spec.frames))
        rig.finish(scan)
        ended = rig.clock.now
        rig.clock.now += 20.0  # the next sample
    phases = snapshot(rig).phases_s
    assert phases["between"] == pytest.approx(20.0, abs=2 * TURN_S)
    assert phases["waiting"] == pytest.approx(6.0, abs=2 * TURN_S)
    assert phases["acquiring"] > 0 < phases["finishing"]
    assert sum(phases.values()) == pytest.approx(ended - began, abs=2 * TURN_S)


def test_stages_and_bytes_of_a_scan_are_counted(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan)
    report = rig.finish(scan)
    seen = snapshot(rig)
    assert {stage for stage, times in seen.stages.items() if times.count} == set(STAGES)
    assert seen.written_bytes["raw"] == scan.pixels.nbytes
    assert report.tomogram_file is not None
    with h5py.File(report.tomogram_file) as file:
        assert seen.written_bytes["tomogram"] == file[DATA].nbytes


def test_a_stamp_of_the_source_tells_how_long_a_frame_was_under_way(rig: Rig) -> None:
    scan = TinyScan()
    stamps = {20: time.time_ns() - 2 * 10**9, 21: time.time_ns() + 10**12, 22: 0}
    for index, stamp in stamps.items():
        scan.metas[index] = structs.replace(scan.metas[index], timestamp_ns=stamp)
    rig.run(scan, range(30))
    seen = snapshot(rig)
    assert (seen.frame_transport.count, seen.frames_ahead_of_clock) == (2, 1), "a frame without a stamp says nothing"
    assert 2.0 <= seen.frame_transport.sum_s < 60.0


def test_memory_of_a_gpu_is_told_where_there_is_one(engine: ShimEngine, numba_backend: Backend) -> None:
    assert gpu_memory(numba_backend) is None
    engine.capacity = 2**20
    held = engine.empty((1000,), np.uint8)
    backend = replace(numba_backend, kernels=SimpleNamespace(engine=engine))
    assert gpu_memory(backend) == (held.shape[0], 2**20)
