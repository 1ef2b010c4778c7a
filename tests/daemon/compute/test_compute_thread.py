"""The compute thread, turned by hand: frames from the ring into planes, previews, progress and verdicts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from streamer.core.planes.plane import Plane
from streamer.daemon.compute import thread
from streamer.daemon.compute.thread import JUDGE_EVERY_S, JUDGE_SHARE, PROGRESS_EVERY_S
from streamer.frames import Verdict
from streamer.pipeline.judgement import Look
from streamer.pipeline.scan_pipeline import ScanPipeline
from tests.daemon.rig import PROJECTIONS, AtOnce, Late, Rig, TinyScan

DIAGONAL = Plane("diagonal", (0.0, 0.0, 8.0), (0.7, 0.7, 0.0), (0.0, 0.0, 1.0), (16, 32))


def of(messages: list[tuple[str, dict[str, Any]]], topic: str) -> list[dict[str, Any]]:
    return [entries for name, entries in messages if name == topic]


def test_every_frame_is_folded_in_and_timed(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan)
    session = rig.session(scan)
    assert rig.compute.folded == PROJECTIONS
    assert (rig.compute.backlog, rig.compute.skipped) == (0, 0)
    assert session.latency.count == rig.compute.latency.count == PROJECTIONS
    assert session.pipeline is not None
    assert session.pipeline.arrivals.seen == scan.spec.frames


def test_previews_show_how_far_the_scan_is_and_what_it_is_worth(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan)
    rig.turn_for(1.0)
    planes = of(rig.preview_listener.heard(), "plane")
    assert {plane["plane"] for plane in planes} == {"xy", "xz", "yz"}
    assert {plane["scan_id"] for plane in planes} == {"scan-1"}
    angles = [plane["angles"] for plane in planes]
    assert angles == sorted(angles)
    assert (angles[-1], planes[-1]["of"]) == (PROJECTIONS, PROJECTIONS)
    assert [plane["version"] for plane in planes] == sorted(plane["version"] for plane in planes)
    assert planes[-1]["lo"] < planes[-1]["hi"]
    assert planes[-1]["frame_rate_hz"] > 0
    assert Verdict.from_dict(planes[-1]).codes
    assert rig.previews.sent == len(planes)
    assert rig.session(scan).first_preview_projections == angles[0]


def test_previews_come_no_faster_than_the_configuration_says(build: Callable[..., Rig]) -> None:
    rig = build(preview={"max_rate_hz": 0.5})
    began = rig.clock.now
    rig.run(TinyScan(), turn_every=1)
    rig.turn_for(5.0)
    versions = {plane["version"] for plane in of(rig.preview_listener.heard(), "plane")}
    assert 1 <= len(versions) <= (rig.clock.now - began) * 0.5 + 2


def test_a_large_plane_is_binned_for_the_preview(build: Callable[..., Rig]) -> None:
    rig = build(preview={"max_px": 64})
    rig.scans.watch((Plane("wide", (0.0, 0.0, 8.0), (0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (100, 130)),))
    rig.run(TinyScan(), range(40))
    rig.turn_for(1.0)
    plane = of(rig.preview_listener.heard(), "plane")[-1]
    assert (plane["bin"], plane["shape"]) == (3, [34, 44])


def test_progress_is_told_ten_times_a_second_at_most(rig: Rig) -> None:
    began = rig.clock.now
    rig.run(TinyScan(), turn_every=1)
    progress = of(rig.event_listener.heard(), "progress")
    most = (rig.clock.now - began) / PROGRESS_EVERY_S + 2
    assert most / 4 < len(progress) <= most
    received = [entries["report"]["frames"]["received"] for entries in progress]
    assert received == sorted(received)
    assert all(Verdict.from_dict(entries["report"]).codes for entries in progress)


def test_a_verdict_is_an_event_only_when_it_is_another_one(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, turn_every=1)
    rig.finish(scan)
    verdicts = [Verdict.from_dict(entries) for entries in of(rig.event_listener.heard(), "verdict")]
    assert len(verdicts) >= 2
    for before, after in pairwise(verdicts):
        assert (before.decision, before.codes, before.final) != (after.decision, after.codes, after.final)
    assert verdicts[0].decision == "CONTINUE"
    assert verdicts[-1].decision == "ENOUGH"


def test_data_that_are_enough_early_are_announced_while_the_scan_runs(build: Callable[..., Rig]) -> None:
    rig = build(limits={"max_resolution_px": 12.0})
    scan = TinyScan(turns=5)
    rig.run(scan, range(scan.first_projection))
    for start in range(scan.first_projection, scan.spec.frames - 1, PROJECTIONS // 5):
        rig.feed(scan, range(start, min(start + PROJECTIONS // 5, scan.spec.frames - 1)))
        rig.turn_for(JUDGE_EVERY_S)
    verdicts = [Verdict.from_dict(entries) for entries in of(rig.event_listener.heard(), "verdict")]
    assert verdicts[0].decision == "CONTINUE"
    assert "ENOUGH" in [verdict.decision for verdict in verdicts]
    assert not any(verdict.final for verdict in verdicts)


def test_judging_keeps_its_pace(rig: Rig) -> None:
    """Between two looks at the quality JUDGE_EVERY_S pass, however many frames come."""
    scan = TinyScan()
    rig.run(scan, range(30))
    session = rig.session(scan)
    rig.turn_for(JUDGE_EVERY_S)
    judged = session.quality.projections
    assert judged == 30 - scan.first_projection
    rig.feed(scan, range(30, 60), turn_every=100)
    assert session.quality.projections == judged
    rig.turn_for(JUDGE_EVERY_S)
    assert session.quality.projections == 60 - scan.first_projection


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many projections there were when the scan was looked at."""
    counts, usual = list[int](), ScanPipeline.look

    def counted(pipeline: ScanPipeline, missing: int, corrupt: int) -> Callable[[], Look]:
        counts.append(pipeline.count)
        return usual(pipeline, missing, corrupt)

    monkeypatch.setattr(ScanPipeline, "look", counted)
    return counts


def test_no_look_is_begun_that_the_final_judgement_would_wait_for(rig: Rig, looks: list[int]) -> None:
    scan = TinyScan()
    rig.run(scan, range(scan.spec.frames - 1))
    rig.turn_for(JUDGE_EVERY_S)
    before = list(looks)
    rig.clock.now += 2 * JUDGE_EVERY_S
    rig.send(scan.metas[-1], scan.pixels[-1])
    assert rig.finish(scan).verdict == "ENOUGH"
    assert looks == before


def test_what_was_judged_is_not_judged_again_before_something_comes(
    build: Callable[..., Rig], looks: list[int]
) -> None:
    rig, counts = build(scan={"stall_timeout_s": 1000.0}), looks
    scan = TinyScan()
    rig.run(scan, range(30))
    rig.turn_for(20 * JUDGE_EVERY_S)  # an axis that was found is a reason for one more look
    before = list(counts)
    rig.turn_for(20 * JUDGE_EVERY_S)
    assert counts == before
    rig.feed(scan, range(30, 31))
    rig.turn_for(JUDGE_EVERY_S)
    assert counts[len(before) :] == [31 - scan.first_projection]


def test_a_slow_judgement_takes_a_small_share_of_the_time(
    build: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, judged, usual = build(scan={"stall_timeout_s": 1000.0}), list[float](), ScanPipeline.look

    def slow(pipeline: ScanPipeline, missing: int, corrupt: int) -> Callable[[], Look]:
        look = usual(pipeline, missing, corrupt)

        def slowly() -> Look:
            judged.append(rig.clock.now)
            rig.clock.now += 2.0
            return look()

        return slowly

    monkeypatch.setattr(ScanPipeline, "look", slow)
    scan = TinyScan()
    rig.run(scan, range(30))
    began = rig.clock.now
    for frame in range(30, 50):
        rig.feed(scan, range(frame, frame + 1))
        rig.turn_for(3.0)
    assert 3 <= len(judged) <= (rig.clock.now - began) / (2.0 / JUDGE_SHARE) + 2
    assert all(later - earlier >= 2.0 / JUDGE_SHARE for earlier, later in pairwise(judged))


def test_frames_that_wait_come_before_pictures_and_judgements(build: Callable[..., Rig]) -> None:
    rig, scan, batch = build(preview={"max_rate_hz": 5.0}), TinyScan(), 8
    rig.run(scan, range(scan.first_projection + batch))
    rig.preview_listener.heard()
    session, first = rig.session(scan), scan.first_projection + batch
    judged = session.quality.projections
    for index in range(first, first + 4 * batch):
        rig.send(scan.metas[index], scan.pixels[index])
    rig.clock.now += 1.2 * JUDGE_EVERY_S
    for left in (3, 2, 1):
        turns = iter((False, True))
        rig.compute.run(lambda turns=turns: next(turns))
        assert rig.compute.backlog == left * batch
        assert session.quality.projections == judged
        assert not of(rig.preview_listener.heard(), "plane")
    rig.fold()
    assert session.quality.projections == 5 * batch
    assert {plane["angles"] for plane in of(rig.preview_listener.heard(), "plane")} == {5 * batch}


def test_what_waits_long_when_the_last_frame_is_in_is_seen_in_the_tomogram(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "SOON_PIXELS", 0)
    scan = TinyScan()
    rig.run(scan, range(60))
    rig.turn_for(1.0)
    rig.preview_listener.heard()
    for index in range(60, scan.spec.frames):
        rig.send(scan.metas[index], scan.pixels[index])
    seen = rig.compute.latency.count
    rig.fold()
    assert rig.compute.folded == PROJECTIONS
    assert seen < rig.compute.latency.count < PROJECTIONS, "the last batch alone went into the planes"
    report = rig.finish(scan)
    assert (report.verdict, rig.compute.latency.count) == ("ENOUGH", PROJECTIONS)
    last = of(rig.preview_listener.heard(), "plane")[-3:]
    assert [plane["angles"] for plane in last] == [PROJECTIONS] * 3


def test_what_is_soon_in_the_planes_does_not_wait_for_the_tomogram(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(60))
    rig.turn_for(1.0)
    for index in range(60, scan.spec.frames):
        rig.send(scan.metas[index], scan.pixels[index])
    rig.fold()
    assert rig.compute.folded == rig.compute.latency.count == PROJECTIONS


def test_a_look_is_made_while_frames_come_and_used_when_it_is_done(build: Callable[..., Rig]) -> None:
    """It tells of the frames that had come when it was begun; the next look follows when it is used."""
    late = Late()
    rig, scan = build(threads=lambda name: late if name == "look" else AtOnce(name)), TinyScan()
    rig.run(scan, range(40))
    rig.turn_for(2 * JUDGE_EVERY_S)
    late.work()  # the look at the first frame
    rig.turn_for(0.1)
    session = rig.session(scan)
    assert (len(late.waiting), session.quality.projections) == (1, 0)
    rig.feed(scan, range(40, 60), turn_every=5)
    rig.turn_for(2 * JUDGE_EVERY_S)
    assert len(late.waiting) == 1
    late.work()
    rig.turn_for(0.1)
    assert (len(late.waiting), session.quality.projections) == (1, 40 - scan.first_projection)
    late.work()
    rig.turn_for(0.1)
    assert session.quality.projections == 60 - scan.first_projection


def test_a_look_that_fails_ends_one_reconstruction(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Callable[[], Look]:
        def fail() -> Look:
            raise MemoryError("no memory for a look")

        return fail

    scan = TinyScan()
    monkeypatch.setattr(ScanPipeline, "look", broken)
    rig.run(scan, range(60))
    rig.turn_for(1.0)
    monkeypatch.undo()
    assert "no memory for a look" in caplog.text
    rig.feed(scan, range(60, scan.spec.frames))
    assert rig.finish(scan).state == "failed"
    following = TinyScan("scan-2")
    rig.run(following)
    assert rig.finish(following).verdict == "ENOUGH"


def test_what_goes_wrong_with_pictures_ends_one_reconstruction(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("no memory for a picture")

    scan = TinyScan()
    monkeypatch.setattr(rig.previews, "plane", broken)
    rig.run(scan, range(60))
    rig.turn_for(1.0)
    monkeypatch.undo()
    assert "no memory for a picture" in caplog.text
    rig.feed(scan, range(60, scan.spec.frames))
    assert rig.finish(scan).state == "failed"
    following = TinyScan("scan-2")
    rig.run(following)
    assert rig.finish(following).verdict == "ENOUGH"


def test_planes_are_changed_while_the_scan_runs(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(40))
    rig.turn_for(1.0)
    rig.preview_listener.heard()
    rig.scans.watch((DIAGONAL,))
    rig.feed(scan, range(40, scan.spec.frames))
    rig.turn_for(1.0)
    planes = of(rig.preview_listener.heard(), "plane")
    assert planes[-1]["plane"] == "diagonal"
    assert planes[-1]["shape"] == [16, 32]
    assert planes[-1]["angles"] == PROJECTIONS, "what came before is in it"


def test_a_center_is_held_and_let_go_while_the_scan_runs(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(60))
    rig.scans.fix_center(20.0)
    rig.turn_for(1.0)
    session = rig.session(scan)
    assert session.pipeline is not None
    assert session.pipeline.center == 20.0
    rig.scans.fix_center(None)
    rig.feed(scan, range(60, scan.spec.frames))
    rig.turn_for(1.0)
    assert session.pipeline.center != 20.0
    assert rig.finish(scan).verdict == "ENOUGH"


@pytest.mark.parametrize("center", [-500.0, 1e9])
def test_a_center_far_off_the_detector_does_not_end_the_scan(
    rig: Rig, center: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "streamer.daemon.compute")
    scan = TinyScan()
    rig.run(scan, range(60))
    rig.scans.fix_center(center)
    rig.feed(scan, range(60, scan.spec.frames))
    rig.turn_for(1.0)
    rig.scans.fix_center(None)
    rig.turn_for(1.0)
    report = rig.finish(scan)
    assert (report.state, report.projections.received) == ("complete", PROJECTIONS)


def test_frames_of_another_scan_in_the_ring_are_passed_over(rig: Rig) -> None:
    scan = TinyScan()
    rig.scans.arm(scan.spec)
    slot = rig.ring.acquire()
    assert slot is not None
    slot[:] = np.zeros(len(slot), np.uint8)
    rig.ring.commit(TinyScan("stranger").metas[0])
    rig.feed(scan, range(20))
    session = rig.session(scan)
    assert session.pipeline is not None
    assert session.pipeline.arrivals.seen == 20


def test_scans_of_other_shapes_follow_each_other(rig: Rig) -> None:
    first = TinyScan()
    rig.run(first)
    rig.finish(first)
    second = TinyScan("scan-2")
    second.pixels = second.pixels[:, :8].copy()
    second.spec = type(second.spec).from_dict({**second.spec.to_dict(), "rows": 8})
    rig.run(second)
    report = rig.finish(second)
    assert (report.state, report.verdict) == ("complete", "ENOUGH")
    assert report.center_px == pytest.approx(rig.scans.report("scan-1").center_px, abs=0.3)  # type: ignore[index]


def test_frames_in_any_order_give_the_same_verdict(rig: Rig) -> None:
    in_turn, shuffled = TinyScan("in-turn"), TinyScan("shuffled")
    rig.run(in_turn)
    first = rig.finish(in_turn)
    order = np.random.default_rng(2).permutation(np.arange(shuffled.first_projection, shuffled.spec.frames))
    rig.run(shuffled, [*range(shuffled.first_projection), *order.tolist()])
    second = rig.finish(shuffled)
    assert (first.verdict, second.verdict) == ("ENOUGH", "ENOUGH")
    assert second.center_px == pytest.approx(first.center_px, abs=0.05)
    assert rig.scans.tally.totals["disordered"] > 0


def test_without_a_scan_a_turn_does_nothing(rig: Rig) -> None:
    rig.turn_for(1.0)
    assert rig.compute.folded == 0
    assert rig.event_listener.heard() == rig.preview_listener.heard() == []
