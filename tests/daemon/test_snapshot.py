"""What a scrape of the metrics sees."""

from __future__ import annotations

import numpy as np

from streamer.cli.status import lines
from streamer.daemon.snapshot import snapshot
from streamer.io.raw.unclosed import open_raw
from tests.daemon.rig import PROJECTIONS, RING_BYTES, Rig, TinyScan


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
