"""What a viewer keeps: results, trends, the queue of a batch, notices."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.flow.scan import ScanState
from streamer.frames import Decision, Quality, Reason, ReasonCode, Verdict
from streamer.gui.state.contrast import Contrast
from streamer.gui.state.notices import Notices
from streamer.gui.state.plane import PlanePicture
from streamer.gui.state.results import THUMBNAIL_PX, Results
from streamer.gui.state.scan import ShownScan
from streamer.gui.state.trends import MEASURES, POINTS, Trends

RNG = np.random.default_rng(3)


def picture(scan_id: str, name: str = "xy") -> PlanePicture:
    return PlanePicture(name, scan_id, "foam", RNG.normal(size=(100, 80)).astype(np.float32), "1/cm", 5, 9)


def test_pictures_of_old_scans_go_and_their_thumbnails_stay() -> None:
    one = picture("s0")
    results = Results(max_bytes=int(2.5 * one.image.nbytes))
    for number in range(5):
        results.add(picture(f"s{number}"))
        results.finish(f"s{number}")
    assert [bool(results.planes(f"s{number}")) for number in range(5)] == [False, False, False, True, True]
    first = results["s0"]
    assert first is not None
    assert first.thumbnail is not None
    assert max(first.thumbnail.shape) <= THUMBNAIL_PX
    assert np.ptp(first.thumbnail) > 200
    assert results.newest == "s4"
    assert results["nobody"] is None
    results.forget("s4")
    assert results.newest == "s3"
    results.remove("s3", "xy")
    assert results.newest == ""


def test_trends_are_thinned_and_kept_in_order() -> None:
    trends = Trends()
    for projections in range(1, 5001):
        trends.add("s1", Quality(projections=projections, expected=5000, center_px=float(projections)))
    within = trends.within("s1", "center")
    assert POINTS / 2 < len(within) <= 1.2 * POINTS
    assert within[-1] == (5000.0, 5000.0)
    assert within == sorted(within)
    assert trends.within("s1", "resolution") == []
    trends.add("s2", Quality(projections=10, expected=10, center_px=3.0, resolution_px=2.0))
    assert trends.over_scans("center") == [(1.0, 5000.0), (2.0, 3.0)]
    assert trends.over_scans("resolution") == [(2.0, 2.0)]
    trends.add("s1", Quality(projections=1, expected=5000, center_px=7.0))
    assert trends.within("s1", "center") == [(1.0, 7.0)], "the scan was begun anew"
    assert all(isinstance(measure.of(Quality()), (float, type(None))) for measure in MEASURES.values())


@pytest.mark.parametrize(
    ("scan", "title"),
    [
        (ShownScan("s1", "foam", ScanState.FAILED, error="no memory"), "foam: failed"),
        (
            ShownScan("s1", "", verdict=Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved"),), True)),
            "s1: RETAKE",
        ),
        (ShownScan("s1", "foam", verdict=Verdict(Decision.ENOUGH, (), True)), None),
        (ShownScan("s1", "foam"), None),
    ],
)
def test_what_is_wrong_is_told_once(scan: ShownScan, title: str | None) -> None:
    notices = Notices()
    notice = notices.of(scan)
    assert (None if notice is None else notice.title) == title
    assert notices.of(scan) is None


def test_a_notice_says_what_to_do() -> None:
    moved = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved by 3 px"),), True)
    notice = Notices().of(ShownScan("s1", "foam", verdict=moved))
    assert notice is not None
    assert notice.text.startswith("it moved by 3 px Fix the sample")


def test_contrast_that_is_kept_stays_for_the_next_scan() -> None:
    contrast = Contrast()
    contrast.measured("xy", 0.0, 1.0, "1/cm")
    contrast.keep_levels()
    contrast.measured("xy", 5.0, 9.0, "1/cm")
    kept = contrast.levels("xy")
    assert (kept.low, kept.high, kept.auto) == (0.0, 1.0, False)
    contrast.auto_levels("xy")
    assert contrast.levels("xy").low == 5.0
