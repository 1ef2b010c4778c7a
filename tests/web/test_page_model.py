from __future__ import annotations

import json
from typing import Any

import numpy as np
from msgspec import structs

from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import (
    CenterReply,
    DaemonStatus,
    Endpoints,
    FrameCounts,
    PreviewHeader,
    ProjectionCounts,
    RingStatus,
)
from streamer.flow.wire.events import FaultEvent, ProgressEvent, StateEvent, VerdictEvent
from streamer.frames import Decision, Reason, ReasonCode
from streamer.web.geometry import Place, Volume, planes_at
from streamer.web.messages import split_picture
from streamer.web.model import MAX_HISTORY, PICTURES_KEPT, SILENT_S, PageModel
from tests.gui.stand_in_daemon import report_of

PIXELS = (np.arange(40 * 50, dtype="<u2") * 32).tobytes()


def status_of(report: Any = None) -> DaemonStatus:
    endpoints = Endpoints("", "", "", "")
    state = ScanState.IDLE if report is None else report.state
    return DaemonStatus(state, "1.0", "numba", endpoints, RingStatus(0, 0, 0), report)


def preview_of(scan_id: str, plane: str = "xy", angles: int = 9) -> PreviewHeader:
    return PreviewHeader(
        scan_id=scan_id, sample="foam", plane=plane, angles=angles, of=90, shape=(40, 50), lo=0.0, hi=2.0, unit="1/cm"
    )


def last(news: Any, subject: str = "state") -> Any:
    found = dict(news)[subject]
    return split_picture(found)[0] if isinstance(found, bytes) else json.loads(found)


def finished(scan_id: str, **changes: Any) -> Any:
    return structs.replace(report_of(scan_id), state=ScanState.COMPLETE, verdict="ENOUGH", final=True, **changes)


def test_before_anything_is_known() -> None:
    state = json.loads(dict(PageModel().greeting(0.0))["state"])
    assert (state["connected"], state["scan"], state["volume"]) == (False, None, None)


def test_a_silent_daemon_is_told() -> None:
    model = PageModel()
    assert last(model.status(status_of(), 10.0))["connected"]
    assert json.loads(model.state(10.0 + SILENT_S))["connected"]
    assert not json.loads(model.state(10.1 + SILENT_S))["connected"]


def test_rate_and_time_left_come_from_what_arrives() -> None:
    model = PageModel()
    for second in range(8):
        frames = FrameCounts(expected=1000, received=50 * second, missing=100)
        report = structs.replace(report_of(), frames=frames)
        state = last(model.event(ProgressEvent(scan_id="s1", report=report), float(second)))
    assert state["rate_hz"] == 50
    assert state["left_s"] == (1000 - 350 - 100) / 50
    assert (
        last(model.event(StateEvent(scan_id="s1", state=ScanState.COMPLETE, report=finished("s1")), 9))["left_s"]
        is None
    )


def test_the_verdict_comes_with_reasons_and_what_to_do() -> None:
    model = PageModel()
    list(model.status(status_of(report_of()), 0.0))
    reason = Reason(ReasonCode.MOTION, "the sample moved by 3 px")
    event = VerdictEvent(scan_id="s1", verdict=Decision.RETAKE, reasons=(reason,), final=False)
    scan = last(model.event(event, 1.0))["scan"]
    assert scan["verdict"] == "RETAKE"
    assert scan["reasons"][0]["text"] == "the sample moved by 3 px"
    assert "scan again" in scan["reasons"][0]["advice"]


def test_a_late_verdict_does_not_take_the_final_one_back() -> None:
    model = PageModel()
    list(model.status(status_of(finished("s1")), 0.0))
    event = VerdictEvent(scan_id="s1", verdict=Decision.CONTINUE, reasons=(), final=False)
    assert last(model.event(event, 1.0))["scan"]["verdict"] == "ENOUGH"


def test_the_last_result_stays_until_the_first_picture_of_the_next_scan() -> None:
    model = PageModel()
    list(model.status(status_of(report_of("s1")), 0.0))
    header = last(model.preview(preview_of("s1"), PIXELS, 0.1), "plane xy")
    assert (header["scan_id"], header["shape"], header["angles"]) == ("s1", [40, 50], 9)
    list(model.event(StateEvent(scan_id="s1", state=ScanState.COMPLETE, report=finished("s1")), 0.2))
    state = last(model.event(ProgressEvent(scan_id="s2", report=report_of("s2")), 0.3))
    assert (state["scan"]["scan_id"], state["pictures_of"]) == ("s2", "s1")
    assert last(model.greeting(0.3), "plane xy")["scan_id"] == "s1"
    list(model.preview(preview_of("s2", "xz"), PIXELS, 0.4))
    assert {subject for subject, _ in model.greeting(0.4) if "plane" in subject} == {"plane xz"}


def test_a_coarse_picture_says_so() -> None:
    model = PageModel()
    list(model.status(status_of(report_of("s1")), 0.0))
    assert not last(model.preview(preview_of("s1"), PIXELS, 0.1), "plane xy")["coarse"]
    coarse = structs.replace(preview_of("s1"), coarse=True, bin=2)
    header = last(model.preview(coarse, PIXELS, 0.2), "plane xy")
    assert (header["coarse"], header["bin"]) == (True, 2)


def test_scans_of_before_come_in_their_order_though_the_status_told_of_the_last_first() -> None:
    model = PageModel()
    list(model.status(status_of(finished("s2")), 0.0))
    list(model.past([finished("s1"), finished("s2")], 0.1))
    assert [subject for subject, _ in model.greeting(0.2) if subject.startswith("past")] == ["past s1", "past s2"]


def test_past_scans_have_thumbnails_and_can_be_opened_again() -> None:
    model = PageModel()
    list(model.status(status_of(report_of("s1")), 0.0))
    list(model.preview(preview_of("s1"), PIXELS, 0.1))
    report = finished("s1", tomogram_file="/data/s1.tomogram.h5")
    past = last(model.event(StateEvent(scan_id="s1", state=ScanState.COMPLETE, report=report), 0.2), "past s1")
    assert past["thumbnail"].startswith("data:image/jpeg;base64,")
    assert (past["opens"], past["verdict"], past["over"]) == (True, "ENOUGH", True)
    assert set(model.pictures("s1")) == {"xy"}
    assert str(model.tomogram_file("s1")) == "/data/s1.tomogram.h5"
    assert (model.pictures("s9"), model.tomogram_file("s9")) == ({}, None)


def test_scans_of_before_are_told_and_do_not_become_the_running_one() -> None:
    model = PageModel()
    list(model.status(status_of(report_of("s3")), 0.0))
    assert [subject for subject, _ in model.past([finished("s1"), finished("s2")], 0.1)] == ["past s1", "past s2"]
    assert model.current == "s3"


def test_it_never_grows_without_end() -> None:
    model = PageModel()
    for number in range(2 * MAX_HISTORY):
        name = f"s{number}"
        list(model.event(ProgressEvent(scan_id=name, report=report_of(name)), number))
        for plane in range(30):
            list(model.preview(preview_of(name, f"p{plane}"), PIXELS, number))
        list(model.event(StateEvent(scan_id=name, state=ScanState.COMPLETE, report=finished(name)), number))
    assert len(model.scans) == MAX_HISTORY
    assert sum(bool(scan.planes) for scan in model.scans.values()) == PICTURES_KEPT
    assert max(len(scan.planes) for scan in model.scans.values()) <= 16


def test_pictures_of_a_scan_that_was_over_long_ago_are_left_out() -> None:
    model = PageModel()
    list(model.status(status_of(finished("s1")), 0.0))
    list(model.status(status_of(report_of("s2")), 1.0))
    assert list(model.preview(preview_of("s1"), PIXELS, 2.0)) == []
    assert list(model.preview(preview_of("unknown"), PIXELS, 2.0)) == []


def test_planes_of_the_daemon_say_where_the_page_stands() -> None:
    model, volume = PageModel(), Volume(48, 64)
    watched = [*planes_at(volume, Place(1, 2, 3)), structs.replace(planes_at(volume, Place(0, 0, 0))[0], name="theirs")]
    state = last(model.planes(watched, 0.0))
    assert state["volume"] == {"rows": 48, "columns": 64}
    assert (state["place"]["x"], state["place"]["z"], state["place"]["free"]) == (1, 3, None)
    assert [plane.name for plane in model.others] == ["theirs"]
    assert last(model.fixed(CenterReply(31.5, 1.0, True), 0.0))["center_fixed"]


def test_a_fault_is_told() -> None:
    state = last(PageModel().event(FaultEvent(part="writer", text="the disk is full"), 0.0))
    assert state["fault"] == "writer: the disk is full"


def test_the_numbers_of_the_scan() -> None:
    report = structs.replace(report_of(), projections=ProjectionCounts(7, 90), raw_file="/data/s1.nx")
    scan = last(PageModel().status(status_of(report), 0.0))["scan"]
    assert (scan["angles"], scan["of"], scan["raw_file"], scan["over"]) == (7, 90, "/data/s1.nx", False)
