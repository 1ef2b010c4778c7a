"""Arming, aborting, looking up; what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import convert, structs

from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.daemon import reports
from streamer.daemon import scans as module
from streamer.flow.wire.daemon import Report
from streamer.frames import BadInput
from streamer.io.messaging.control import Busy
from tests.daemon.rig import COLUMNS, ROWS, Rig, TinyScan

SPEC = TinyScan().spec
MIDDLE = Plane("middle", (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (8, 8))


def test_an_armed_scan_has_its_file_and_its_ring_and_is_announced(rig: Rig) -> None:
    session = rig.scans.arm(SPEC)
    assert session.raw_file == rig.directory / "scan-1.nx"
    assert session.raw_file.exists()
    assert rig.ring.slots > 4
    assert session.plan["memory_mb"] > 0
    states = [entries["state"] for topic, entries in rig.event_listener.heard() if topic == "scan"]
    assert states == ["armed"]
    assert rig.scans.state == "armed"


def test_arming_it_again_is_fine_and_changes_nothing(rig: Rig) -> None:
    session = rig.scans.arm(SPEC)
    rig.send(TinyScan().metas[0], TinyScan().pixels[0])
    assert rig.scans.arm(structs.replace(SPEC)) is session
    assert session.ledger.received == 1


@pytest.mark.parametrize("other", [{"scan_id": "scan-2"}, {"projections": 7}])
def test_another_scan_is_busy_while_one_runs(rig: Rig, other: dict[str, Any]) -> None:
    session = rig.scans.arm(SPEC)
    with pytest.raises(Busy, match="scan scan-1 is armed; wait for it, or abort it"):
        rig.scans.arm(structs.replace(SPEC, **other))
    assert rig.scans.current is session
    assert not (rig.directory / "scan-2.nx").exists()


def test_a_scan_id_serves_once(rig: Rig) -> None:
    scan = TinyScan()
    rig.scans.arm(scan.spec)
    rig.finish(scan, frames=0)
    with pytest.raises(BadInput, match="was used before"):
        rig.scans.arm(scan.spec)
    rig.scans.arm(structs.replace(scan.spec, scan_id="scan-2"))
    rig.scans.abort("scan-2", "")
    rig.turn_until(lambda: not rig.scans.is_busy())
    with pytest.raises(BadInput, match="was used before"):
        rig.scans.arm(scan.spec)


def test_an_armed_scan_may_be_disarmed(rig: Rig) -> None:
    scan = TinyScan()
    rig.scans.arm(scan.spec)
    rig.scans.disarm("scan-1")
    report = rig.finished(scan)
    assert (report.state, report.verdict) == ("aborted", "UNKNOWN")
    assert report.frames.missing == 0


def test_a_scan_with_frames_is_not_disarmed(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(2))
    with pytest.raises(BadInput, match="has 2 frames; abort it instead"):
        rig.scans.disarm("scan-1")
    assert rig.session(scan).ending is None


@pytest.mark.parametrize("act", ["disarm", "abort"])
def test_a_scan_that_nobody_knows_cannot_be_ended(rig: Rig, act: str) -> None:
    rig.scans.arm(SPEC)
    with pytest.raises(BadInput, match="scan 'other' is not armed or running"):
        {"disarm": rig.scans.disarm, "abort": lambda name: rig.scans.abort(name, "")}[act]("other")
    assert rig.scans.current is not None
    assert rig.scans.current.ending is None


def test_aborting_twice_is_fine(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan, range(20))
    rig.scans.abort("scan-1", "first")
    rig.scans.abort("scan-1", "second")
    rig.finished(scan)
    ending = rig.session(scan).ending
    assert ending is not None
    assert ending.note == "first"


def test_planes_that_cannot_be_watched_are_refused(rig: Rig) -> None:
    with pytest.raises(BadInput, match="same name"):
        rig.scans.watch((MIDDLE, MIDDLE))
    with pytest.raises(BadInput, match="at most"):
        rig.scans.watch(tuple(named(f"p{k}") for k in range(100)))
    assert (rig.scans.planes, rig.scans.operator_revision) == (None, 0)


def named(name: str) -> Plane:
    return Plane(name, MIDDLE.origin, MIDDLE.u, MIDDLE.v, MIDDLE.shape)


def test_wishes_of_the_operator_hold_for_the_scans_to_come(rig: Rig) -> None:
    rig.scans.watch((MIDDLE,))
    rig.scans.fix_center(30)
    assert rig.scans.operator_revision == 2
    session = rig.scans.arm(SPEC)
    assert session.pipeline is not None
    assert session.pipeline.center == 30.0
    rig.scans.watch(())
    assert rig.scans.planes is None, "no planes: the three orthogonal ones"
    assert len(orthogonal_planes(ROWS, COLUMNS)) == 3


def test_reports_are_kept_up_to_a_number(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "REPORTS_KEPT", 2)
    for number in range(3):
        scan = TinyScan(f"scan-{number}")
        rig.scans.arm(scan.spec)
        rig.finish(scan, frames=0)
    assert rig.scans.report("scan-0") is None
    kept = [rig.scans.report(f"scan-{number}") for number in (1, 2)]
    assert [report.scan_id for report in kept if report] == ["scan-1", "scan-2"]
    assert rig.scans.report() == kept[1], "the last scan"
    assert rig.scans.report("never") is None


def test_a_scan_that_cannot_be_taken_is_a_record(rig: Rig) -> None:
    rig.scans.refuse(SPEC, "camera", "no room")
    report = rig.scans.report("scan-1")
    assert report is not None
    assert (report.state, report.error, report.source) == ("refused", "no room", "camera")
    assert (report.frames.expected, report.frames.missing) == (SPEC.frames, SPEC.frames)
    assert [reason.code for reason in report.reasons] == ["refused"]
    assert rig.scans.tally.results["refused"] == 1
    assert rig.scans.tally.missing.total() == SPEC.frames
    ((_, event),) = [heard for heard in rig.event_listener.heard() if heard[0] == "scan"]
    assert convert(event["report"], Report) == report
    assert rig.scans.arm(SPEC).state == "armed", "later it may be taken"
    assert not rig.scans.was_refused("scan-1")


def test_a_refusal_never_replaces_the_report_of_a_scan(rig: Rig) -> None:
    scan = TinyScan()
    rig.scans.arm(scan.spec)
    before = rig.finish(scan, frames=0, status="stopped")
    rig.scans.refuse(SPEC, "camera", "used before")
    assert rig.scans.report("scan-1") == before


def test_refusals_push_no_report_out_and_are_few(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "REFUSED_KEPT", 2)
    for number in range(3):
        rig.scans.refuse(structs.replace(SPEC, scan_id=f"scan-{number}"), "camera", "busy")
    assert [rig.scans.was_refused(f"scan-{number}") for number in range(3)] == [False, True, True]


def test_every_scan_is_counted_once(rig: Rig) -> None:
    good, cut, lossy = TinyScan("good"), TinyScan("cut"), TinyScan("lossy")
    rig.run(good)
    rig.finish(good)
    rig.run(cut, range(40))
    rig.scans.abort("cut", "")
    rig.finished(cut)
    rig.run(lossy, [*range(30), *range(10), *range(60, lossy.spec.frames)])
    rig.finish(lossy)
    assert rig.scans.tally.results == {"complete": 1, "incomplete": 1, "aborted": 1, "failed": 0, "refused": 0}
    assert rig.scans.tally.missing.total() == 30
    assert rig.scans.tally.totals["duplicate"] == 10
    assert rig.scans.tally.written == good.spec.frames + 40 + lossy.spec.frames - 30
    assert sum(rig.scans.tally.verdicts.values()) == 3
    assert rig.scans.tally.verdicts["ENOUGH"] == 1


@pytest.mark.parametrize(
    ("make", "level", "words"),
    [
        (TinyScan, logging.INFO, "scan scan-1 complete: ENOUGH: nothing_wrong: "),
        (lambda: TinyScan(empty=True), logging.WARNING, "scan scan-1 complete: EMPTY: empty: "),
        (lambda: TinyScan(flats=0), logging.WARNING, "scan scan-1 complete: UNKNOWN: no_flats: "),
        (lambda: TinyScan(center=44.0), logging.WARNING, "scan scan-1 complete: REALIGN: axis_off: "),
    ],
)
def test_the_log_names_the_decision_at_the_level_it_deserves(
    rig: Rig, caplog: pytest.LogCaptureFixture, make: Callable[[], TinyScan], level: int, words: str
) -> None:
    caplog.set_level(logging.INFO, module.__name__)
    scan = make()
    rig.run(scan)
    rig.finish(scan)
    (record,) = [record for record in caplog.records if " complete: " in record.getMessage()]
    assert record.levelno == level
    assert record.getMessage().startswith(words)


def test_an_incomplete_scan_is_a_warning_even_if_the_data_are_enough(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, module.__name__)
    scan = TinyScan()
    rig.run(scan, [index for index in range(scan.spec.frames) if index != 4])
    assert rig.finish(scan).verdict == "ENOUGH"
    (record,) = [record for record in caplog.records if " incomplete: " in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("scan scan-1 incomplete: ENOUGH: ")


def test_the_final_event_carries_the_report(rig: Rig) -> None:
    scan = TinyScan()
    rig.run(scan)
    report = rig.finish(scan)
    last = [entries for topic, entries in rig.event_listener.heard() if topic == "scan"][-1]
    assert (last["scan_id"], last["state"]) == ("scan-1", "complete")
    assert convert(last["report"], Report) == report
