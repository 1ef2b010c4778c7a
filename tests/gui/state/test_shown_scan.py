"""What is kept of scans: their reports, the curves of their quality, thumbnails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import FrameCounts, ProjectionCounts, Report
from streamer.frames import Decision, Quality, Reason, ReasonCode
from streamer.gui.state.plane import PlanePicture
from streamer.gui.state.results import MAX_KEPT, THUMBNAIL_PX, Results, thumbnail
from streamer.gui.state.scan import MAX_REASONS, MAX_TEXT, ShownScan, clean
from streamer.gui.state.trends import MAX_SCANS, MEASURES, Trends

MOVED = Reason(ReasonCode.MOTION, "it moved")


def report(**changes: Any) -> Report:
    known = {"scan_id": "s1", "sample": "foam", "state": ScanState.ACQUIRING, "verdict": "CONTINUE"}
    return Report(**{**known, **changes})


def picture(image: np.ndarray[Any, Any], name: str = "xy", scan_id: str = "s1") -> PlanePicture:
    return PlanePicture(name, scan_id, "foam", image.astype(np.float32), "1/cm", 5, 9)


def test_a_report_is_taken_whole() -> None:
    frames = FrameCounts(expected=99, received=50, missing=3, corrupt=2)
    told = report(frames=frames, projections=ProjectionCounts(40, 90), raw_file="/data/s1.nx", error="no\nroom")
    scan = ShownScan("s1").with_report(told)
    assert (scan.received, scan.lost, scan.angles, scan.of) == (50, 5, 40, 90)
    assert (scan.raw_file, scan.tomogram_file, scan.error) == ("/data/s1.nx", "", "no room")
    assert (scan.decision, scan.final) == (Decision.CONTINUE, False)


def test_what_a_report_does_not_say_stays_as_it_was() -> None:
    quality = Quality(projections=9, center_px=31.5, center_confidence=0.9, resolution_px=2.0)
    scan = ShownScan("s1").with_report(report(quality=quality)).with_report(report(quality=Quality(projections=10)))
    assert (scan.center_px, scan.center_confidence, scan.resolution_px) == (31.5, 0.9, 2.0)
    assert scan.quality.projections == 10


def test_the_last_word_is_not_taken_back_by_a_report_that_was_under_way() -> None:
    last = report(state=ScanState.FINALISING, verdict="RETAKE", reasons=(MOVED,), final=True)
    late = report(state=ScanState.FINALISING, frames=FrameCounts(received=77))
    scan = ShownScan("s1").with_report(last).with_report(late)
    assert (scan.decision, scan.final, scan.received) == (Decision.RETAKE, True, 77)
    again = scan.moved_to(ScanState.COMPLETE).moved_to(ScanState.ARMED)
    assert again == ShownScan("s1", "foam", ScanState.ARMED), "a scan of the same name begins anew"


def test_a_peer_cannot_flood_the_window() -> None:
    many = tuple(Reason(ReasonCode.OTHER, f"{number}\t" + "x" * 1000) for number in range(3 * MAX_REASONS))
    verdict = ShownScan("s1").with_verdict(report(reasons=many)).verdict
    assert verdict is not None
    assert [reason.text[:3] for reason in verdict.reasons] == [f"{number} x"[:3] for number in range(MAX_REASONS)]
    assert {len(reason.text) for reason in verdict.reasons} == {MAX_TEXT}
    assert clean("µm\x00\u202e→") == "µm  →"


def test_a_curve_has_a_point_for_each_number_of_projections() -> None:
    trends = Trends()
    for projections, center in ((0, 1.0), (3, 30.0), (3, 31.0), (5, None), (7, 32.0)):
        trends.add("s1", Quality(projections=projections, expected=90, center_px=center))
    assert trends.within("s1", "center") == [(3.0, 31.0), (7.0, 32.0)], "the last word on a number, and no gap as zero"
    assert trends.within("s1", "missing") == [(3.0, 0.0), (5.0, 0.0), (7.0, 0.0)]
    assert trends.within("nobody", "center") == []


def test_the_measures_are_those_of_the_report() -> None:
    quality = Quality(
        projections=9, missing=3, corrupt=2, snr=12.0, center_px=31.5, center_confidence=0.9, motion_px=0.4,
        flat_drift=-0.02, resolution_px=2.5,
    )  # fmt: skip
    assert {name: measure.of(quality) for name, measure in MEASURES.items()} == {
        "center": 31.5, "confidence": 0.9, "resolution": 2.5, "snr": 12.0, "motion": 0.4, "drift": -0.02,
        "missing": 5.0,
    }  # fmt: skip
    assert {name for name, measure in MEASURES.items() if measure.unit == "px"} == {"center", "resolution", "motion"}


def test_a_scan_without_a_number_keeps_its_place_among_the_others() -> None:
    trends = Trends()
    for number, resolution in enumerate((2.0, None, 4.0)):
        trends.add(f"s{number}", Quality(projections=9, expected=9, resolution_px=resolution))
    assert trends.over_scans("resolution") == [(1.0, 2.0), (3.0, 4.0)]
    trends.arrange(["s1", "s0", "nobody"])
    assert trends.over_scans("resolution") == [(1.0, 4.0), (3.0, 2.0)]
    for number in range(MAX_SCANS):
        trends.add(f"n{number}", Quality(projections=9, expected=9, resolution_px=float(number)))
    over = trends.over_scans("resolution")
    assert (len(over), over[0], over[-1]) == (MAX_SCANS, (1.0, 0.0), (float(MAX_SCANS), MAX_SCANS - 1.0))


@pytest.mark.parametrize(
    ("shape", "small"), [((10, 5), (10, 5)), ((48, 48), (48, 48)), ((49, 20), (25, 10)), ((100, 480), (10, 48))]
)
def test_a_thumbnail_is_the_picture_made_small(shape: tuple[int, int], small: tuple[int, int]) -> None:
    down = np.repeat(np.linspace(-3.0, 5.0, shape[0])[:, None], shape[1], axis=1)
    made = thumbnail(picture(down))
    assert made.shape == small
    assert max(made.shape) <= THUMBNAIL_PX
    assert (np.diff(made[:, 0].astype(int)) > 0).all(), "the first row is dark and on top"
    assert (made == made[:, :1]).all()
    assert made[0, 0] < 12


def test_the_thumbnail_is_of_xy_whichever_plane_came_first() -> None:
    results = Results(max_bytes=1)
    results.add(picture(np.zeros((9, 4)), "xz"))
    results.finish("s1")
    first = results["s1"]
    assert first is not None
    assert first.thumbnail is not None
    assert first.thumbnail.shape == (9, 4)
    results.add(picture(np.zeros((7, 7)), "xy"))
    results.finish("s1")
    assert first.thumbnail.shape == (7, 7)
    assert set(results.planes("s1")) == {"xz", "xy"}, "the newest is kept, however large"
    for number in range(MAX_KEPT):
        results.add(picture(np.zeros((3, 3)), scan_id=f"n{number}"))
        results.finish(f"n{number}")
    assert results["s1"] is None
    assert results.newest == f"n{MAX_KEPT - 1}"
