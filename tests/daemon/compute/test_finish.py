"""How scans end: whole, cut short, empty, spoiled, with files that cannot be written."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

import numpy as np
import pytest

from streamer.flow.wire.daemon import Report
from streamer.frames import FrameKind, Verdict
from streamer.io.archive import read_archive
from streamer.io.raw.frame_writer import FLUSHES_PER_RING
from streamer.io.raw.unclosed import open_raw
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import read_tomogram
from tests.daemon.rig import CENTER, COLUMNS, PROJECTIONS, ROWS, Rig, TinyScan

TOMOGRAM = "scan-1.tomogram.h5"
RAW = "scan-1.nx"


def codes(report: Report) -> list[str]:
    return [reason.code for reason in report.reasons]


def test_a_whole_scan_is_complete_with_a_verdict_and_a_tomogram(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan)
    report = rig.finish(scan)
    assert (report.state, report.verdict, report.final) == ("complete", "ENOUGH", True), report
    assert codes(report) == ["nothing_wrong"]
    assert report.written == report.frames.received == scan.spec.frames
    assert report.center_px == pytest.approx(CENTER, abs=0.2)
    assert report.error is None
    assert report.geometry["geometry"] == "plain"
    assert report.artefacts["contrast"] > 0
    volume = read_tomogram(rig.directory / TOMOGRAM)
    assert volume.data.shape == (ROWS, COLUMNS, COLUMNS)
    assert volume.unit == "1/cm"
    with ScanFile.open(rig.directory / RAW) as raw:
        assert raw.info.projections == PROJECTIONS
    for name in (RAW, TOMOGRAM):
        kept = read_archive(rig.directory / name)
        assert Verdict.from_dict(kept) == report.judgement
        assert kept["quality"]["coverage"] == report.quality.coverage
        assert kept["frames"]["received"] == scan.spec.frames


def test_the_tomogram_does_not_wait_for_the_end_message(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan)
    session = rig.session(scan)
    rig.turn_until(lambda: session.result.tomogram_file is not None)
    assert (session.state, session.verdict.final) == ("acquiring", True)
    events = rig.event_listener.heard()
    report = rig.finish(scan)
    assert report.state == "complete"
    assert report.tomogram_file == str(rig.directory / TOMOGRAM)
    finals = [entries for topic, entries in events + rig.event_listener.heard() if topic == "verdict"]
    assert [entries["final"] for entries in finals].count(True) == 1, "it is judged once"


def test_the_time_from_the_last_frame_to_the_tomogram_is_measured(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan)
    report = rig.finish(scan)
    assert 0 < report.last_frame_to_tomogram_s < 10
    assert rig.finisher.latency.count == 1


def test_a_scan_larger_than_memory_has_the_tomogram_of_one_that_fits(build: Callable[..., Rig]) -> None:
    volumes = []
    for name, memory_mb in (("fits", 64.0), ("larger", 0.3)):
        scan, rig = TinyScan(name), build(reconstruction={"memory_mb": memory_mb})
        rig.run(scan)
        assert ("from the raw file" in rig.session(scan).plan["tomogram"]) == (name == "larger")
        report = rig.finish(scan)
        assert (report.state, report.verdict, report.error) == ("complete", "ENOUGH", None)
        volumes.append(read_tomogram(rig.directory / f"{name}.tomogram.h5").data)
    whole, blocks = volumes
    assert np.sqrt(np.mean((blocks - whole) ** 2)) < 1e-5 * whole.std()


def test_no_tomogram_when_none_is_wanted(build: Callable[..., Rig]) -> None:
    rig = build(writer={"tomogram": False})
    scan = TinyScan()
    rig.run(scan)
    report = rig.finish(scan)
    assert (report.state, report.verdict, report.tomogram_file) == ("complete", "ENOUGH", None)
    assert not (rig.directory / TOMOGRAM).exists()


def test_frames_that_the_reconstruction_was_overtaken_by_come_from_the_raw_file(build: Callable[..., Rig]) -> None:
    """The ring holds 16 frames; all projections are sent before the compute thread turns once."""
    rig = build(ring={"max_slots": 16})
    rig.scans.fix_center(CENTER)
    slow, prompt = TinyScan("slow"), TinyScan("prompt")
    rig.run(slow, range(slow.first_projection))
    rig.feed(slow, range(slow.first_projection, slow.spec.frames), turn_every=10_000)
    assert rig.compute.skipped > PROJECTIONS // 2
    overtaken = rig.finish(slow)
    rig.run(prompt)
    paced = rig.finish(prompt)
    assert (overtaken.state, overtaken.verdict) == (paced.state, paced.verdict) == ("complete", "ENOUGH")
    assert overtaken.projections.received == PROJECTIONS
    volumes = [read_tomogram(rig.directory / f"{name}.tomogram.h5").data for name in ("slow", "prompt")]
    assert np.abs(volumes[0] - volumes[1]).max() < 1e-5 * np.abs(volumes[1]).max()


def burst(scan: TinyScan) -> list[int]:
    return list(range(scan.spec.frames))


def projections_shuffled(scan: TinyScan) -> list[int]:
    rng = np.random.default_rng(4)
    return [
        *range(scan.first_projection),
        *rng.permutation(np.arange(scan.first_projection, scan.spec.frames)).tolist(),
    ]


def all_shuffled(scan: TinyScan) -> list[int]:
    return np.random.default_rng(4).permutation(scan.spec.frames).tolist()


def all_backwards(scan: TinyScan) -> list[int]:
    return burst(scan)[::-1]


ORDERS = pytest.mark.parametrize(
    ("order", "turn_every"),
    [
        (burst, 10_000),
        (burst, 40),
        (projections_shuffled, 4),
        (projections_shuffled, 10_000),
        (all_shuffled, 4),
        (all_shuffled, 10_000),
        (all_backwards, 4),
    ],
)
"""How frames arrive, and how often the compute thread turns: with 8 slots it is overtaken by nearly all of a burst."""


@pytest.mark.parametrize("order", [burst, projections_shuffled, all_shuffled, all_backwards])
def test_frames_that_are_found_to_be_of_no_use_at_the_end_are_listed_in_the_file(
    build: Callable[..., Rig], order: Callable[[TinyScan], list[int]]
) -> None:
    """Hardly a frame is looked at before the end, and where darks come late all of them are looked at anew."""
    rig, scan = build(ring={"max_slots": 8}), TinyScan()
    dark = scan.first_projection + np.arange(60, 63)
    scan.pixels[dark] = scan.pixels[0] + np.arange(3, dtype="<u2")[:, None, None]
    rig.run(scan, order(scan), turn_every=10_000)
    assert rig.compute.skipped > PROJECTIONS // 2
    report = rig.finish(scan)
    assert (report.state, report.error) == ("complete", None)
    assert report.quality.unusable_counts == {"no light": 3}
    assert read_archive(rig.directory / RAW)["unusable"] == {"no light": f"{dark[0]}-{dark[-1]}"}
    with open_raw(rig.directory / RAW) as file:
        assert file["entry/streamer/unusable_frames"][()].tolist() == dark.tolist()


def paced_and(
    rig: Rig, order: Callable[[TinyScan], list[int]], turn_every: int, jump_px: int = 0
) -> tuple[Report, Report]:
    """Reports of the same frames, in order and one by one, and so."""
    paced, other = TinyScan("paced"), TinyScan("other")
    for scan in (paced, other):
        scan.pixels[-PROJECTIONS // 2 :] = np.roll(scan.pixels[-PROJECTIONS // 2 :], jump_px, axis=2)
    rig.run(paced, turn_every=4)
    wanted = rig.finish(paced)
    assert rig.compute.skipped == 0
    rig.run(other, order(other), turn_every)
    return wanted, rig.finish(other)


@ORDERS
def test_the_tomogram_is_that_of_the_frames_and_not_of_load_or_order(
    build: Callable[..., Rig], order: Callable[[TinyScan], list[int]], turn_every: int
) -> None:
    rig = build(ring={"max_slots": 8})
    rig.scans.fix_center(CENTER)
    paced_and(rig, order, turn_every)
    volumes = [read_tomogram(rig.directory / f"{name}.tomogram.h5").data for name in ("paced", "other")]
    assert np.abs(volumes[0] - volumes[1]).max() <= 1e-5 * np.abs(volumes[0]).max()


@ORDERS
@pytest.mark.parametrize(("jump_px", "verdict"), [(0, "ENOUGH"), (6, "RETAKE")])
def test_the_verdict_is_that_of_the_frames_and_not_of_load_or_order(
    build: Callable[..., Rig], order: Callable[[TinyScan], list[int]], turn_every: int, jump_px: int, verdict: str
) -> None:
    rig = build(ring={"max_slots": 8}, writer={"tomogram": False})
    wanted, found = paced_and(rig, order, turn_every, jump_px)
    assert (wanted.state, wanted.verdict) == ("complete", verdict)
    assert (found.state, found.verdict, codes(found)[0]) == (wanted.state, wanted.verdict, codes(wanted)[0])
    assert found.quality.motion_px == pytest.approx(wanted.quality.motion_px, abs=0.01)
    assert found.center_px == pytest.approx(wanted.center_px, abs=0.01) or jump_px, "there is no axis then"


def test_a_scan_aborted_midway_keeps_what_came(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(50))
    rig.scans.abort("scan-1", "tea")
    report = rig.finished(scan)
    assert (report.state, report.final) == ("aborted", True)
    assert (report.frames.received, report.written) == (50, 50)
    with open_raw(rig.directory / RAW) as file:
        assert file["entry/streamer/status"].asstr()[()] == "aborted"
        assert file["entry/streamer/note"].asstr()[()] == "tea"
        np.testing.assert_array_equal(file["entry/instrument/detector/data"], scan.pixels[:50])
    assert rig.send(scan.metas[60], scan.pixels[60]) is False, "what comes later belongs to no scan"


def test_a_scan_that_stalls_is_incomplete_and_judged_by_what_came(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(60))
    rig.session(scan).end("stalled", None, "no frame for 30 s")
    report = rig.finished(scan)
    assert (report.state, report.verdict) == ("incomplete", "RETAKE")
    assert codes(report)[:2] == ["frames_lost", "angles_missing"]
    assert report.frames.missing == scan.spec.frames - 60
    assert (rig.directory / TOMOGRAM).exists()


def test_a_scan_that_is_stopped_early_misses_nothing(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(60))
    report = rig.finish(scan, frames=60, status="stopped")
    assert (report.state, report.frames.missing) == ("complete", 0)


def test_lost_frames_are_listed_in_the_file_and_named(rig: Rig) -> None:
    scan = TinyScan()
    lost = {20, 21, 22, 23, 24, 25}
    rig.run(scan, [index for index in range(scan.spec.frames) if index not in lost])
    report = rig.finish(scan)
    assert (report.state, report.verdict, report.frames.missing) == ("incomplete", "RETAKE", len(lost))
    assert "frames_lost" in codes(report)
    with open_raw(rig.directory / RAW) as file:
        assert set(file["entry/streamer/missing_frames"][()]) == lost


def test_an_empty_scan_is_unknown(rig: Rig) -> None:
    scan = TinyScan()
    rig.scans.arm(scan.spec)
    report = rig.finish(scan, frames=0)
    assert (report.state, report.verdict, report.final) == ("incomplete", "UNKNOWN", True)
    assert codes(report)[0] == "no_projections"
    assert report.tomogram_file is None
    assert report.scan_s is None


def test_a_scan_without_flats_is_unknown(rig: Rig) -> None:
    scan = TinyScan(flats=0)
    rig.run(scan)
    report = rig.finish(scan)
    assert (report.state, report.verdict, codes(report)[0]) == ("complete", "UNKNOWN", "no_flats")


def test_darks_and_flats_alone_are_no_scan(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(scan.first_projection))
    report = rig.finish(scan, frames=scan.first_projection)
    assert (report.state, report.verdict, codes(report)[0]) == ("incomplete", "UNKNOWN", "no_projections")


def test_an_empty_holder_is_empty(rig: Rig) -> None:
    scan = TinyScan(empty=True)
    rig.run(scan)
    report = rig.finish(scan)
    assert (report.state, report.verdict, codes(report)[0]) == ("complete", "EMPTY", "empty")


def test_a_tomogram_that_cannot_be_written_fails_the_scan_and_leaves_the_verdict(rig: Rig) -> None:
    (rig.directory / TOMOGRAM).write_text("somebody else's")
    scan = TinyScan()
    rig.run(scan)
    report = rig.finish(scan)
    assert (report.state, report.verdict, report.final) == ("failed", "ENOUGH", True)
    assert "exists already" in report.error
    assert (rig.directory / TOMOGRAM).read_text() == "somebody else's"
    assert report.written == scan.spec.frames


def test_flats_and_darks_that_are_missing_are_no_missing_projections(rig: Rig) -> None:
    scan = TinyScan()
    lost = {0, scan.first_projection - 1}
    rig.run(scan, [index for index in range(scan.spec.frames) if index not in lost])
    report = rig.finish(scan)
    assert (report.state, report.verdict, report.quality.missing) == ("incomplete", "ENOUGH", 0)
    counts = report.frames
    assert (counts.missing, counts.missing_projections) == (2, 0)
    assert (counts.missing_flats, counts.missing_darks) == (1, 1)
    assert "missing flats: 1; missing darks: 1" in report.note


def test_the_death_of_the_raw_writer_costs_nothing(rig: Rig) -> None:
    scan, after = TinyScan(), TinyScan("scan-2")
    rig.run(scan, range(50))
    os.kill(rig.writer.pid, signal.SIGKILL)
    while "died" not in [event.kind for event in rig.writer.poll_events(1.0)]:
        pass
    rig.scans.wait(held=False)
    recovering = rig.session(scan).report()
    assert (recovering.writer, recovering.writer_note) == ("recovering", "the raw writer ended (killed by signal 9)")
    rig.feed(scan, range(50, scan.spec.frames))
    report = rig.finish(scan)
    assert (report.state, report.verdict, report.error) == ("complete", "ENOUGH", None)
    assert report.written == scan.spec.frames
    with open_raw(rig.directory / RAW) as file:
        np.testing.assert_array_equal(file["entry/instrument/detector/data"], scan.pixels)
    rig.run(after)
    assert rig.finish(after).state == "complete"
    assert rig.scans.lost_by_writer == 0


def test_data_that_are_not_in_the_raw_file_are_not_enough(build: Callable[..., Rig]) -> None:
    rig, scan = build(scan={"stall_timeout_s": 1000.0, "end_timeout_s": 1000.0}), TinyScan()
    rig.run(scan)
    # Frames go back to the ring one flush late: what the last flush wrote would be saved into another file.
    rig.turn_until(lambda: rig.ring.occupied <= rig.ring.slots // FLUSHES_PER_RING)
    (rig.directory / RAW).unlink()
    report = rig.finish(scan)
    assert (report.state, report.verdict, report.final) == ("failed", "RETAKE", True)
    assert codes(report) == ["raw_data_lost", "nothing_wrong"]
    assert "removed" in report.error
    assert report.written < scan.spec.frames
    with open_raw(rig.directory / RAW) as file:
        assert len(file["entry/streamer/lost_frames"]) == scan.spec.frames - report.written
        assert file["entry/streamer/status"].asstr()[()] == "incomplete"
    assert rig.scans.lost_by_writer == scan.spec.frames - report.written


def test_a_reconstruction_that_fails_leaves_the_raw_file_and_the_next_scan(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "streamer.daemon")
    scan, after = TinyScan(), TinyScan("scan-2")
    rig.run(scan, range(40))

    def no_memory(*_: object) -> None:
        raise MemoryError("no 3 GB left")

    monkeypatch.setattr(rig.session(scan).pipeline, "push_batch", no_memory)
    rig.feed(scan, range(40, scan.spec.frames))
    early = rig.session(scan).report()
    assert (early.state, early.verdict, early.final) == ("acquiring", "UNKNOWN", True)
    assert codes(early) == ["reconstruction_failed"]
    report = rig.finish(scan)
    assert (report.state, codes(report)) == ("failed", ["reconstruction_failed"])
    assert report.error == "MemoryError: no 3 GB left"
    with ScanFile.open(rig.directory / RAW) as raw:
        assert raw.info.projections == PROJECTIONS
    rig.run(after)
    assert rig.finish(after).verdict == "ENOUGH"


def test_a_verdict_that_cannot_be_drawn_is_unknown(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "streamer.daemon")
    scan = TinyScan()
    rig.run(scan, range(60))

    def no_center() -> None:
        raise ValueError("no centre")

    monkeypatch.setattr(rig.session(scan).pipeline, "refine_center", no_center)
    report = rig.finish(scan)
    assert (report.state, report.verdict, codes(report)) == ("failed", "UNKNOWN", ["reconstruction_failed"])
    assert report.error == "ValueError: no centre"


def test_darks_flats_and_projections_reach_the_file_with_their_kinds(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan)
    rig.finish(scan)
    with open_raw(rig.directory / RAW) as file:
        keys = file["entry/instrument/detector/image_key"][()]
    assert keys.tolist() == [int(meta.kind) for meta in scan.metas]
    assert (keys == FrameKind.PROJECTION).sum() == PROJECTIONS
