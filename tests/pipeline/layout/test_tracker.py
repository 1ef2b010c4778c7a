"""What the tracker decides of axis and layout, from the announcement to the last projection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamer.core.alignment.estimate import CenterEstimate
from streamer.frames import BadInput, ScanSpec
from streamer.phantoms import body_projections, random_body
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.layout.options import LayoutOptions
from streamer.pipeline.layout.tracker import LayoutTracker
from streamer.pipeline.store import AttenuationStore

ROWS, COLUMNS, AXIS = 8, 120, 88.4
UNKNOWN = CenterEstimate.unknown("none")
SURE = CenterEstimate(61.0, 0.9, 0.1, "pairs", tilt_rad=0.0)
BODY, SMALL = random_body(np.random.default_rng(6), 220), random_body(np.random.default_rng(6), 150)


def scan(range_deg: float, **more: Any) -> ScanSpec:
    return ScanSpec("s", "s", ROWS, COLUMNS, round(range_deg), range_deg=range_deg, **more)


def stored(body: list, range_deg: float, center: float, share: float = 1.0) -> AttenuationStore:
    count = round(range_deg)
    angles = np.deg2rad(np.arange(count))
    frames = body_projections(body, ROWS, COLUMNS, angles, center)
    store = AttenuationStore(ROWS, COLUMNS, count, 2**30)
    for frame, angle in zip(frames[: round(share * count)], angles, strict=False):
        store.next()[0] = frame
        store.add(np.array([angle]))
    return store


def new(spec: ScanSpec, fixed: float | None = None, **options: Any) -> LayoutTracker:
    return LayoutTracker(spec, LayoutOptions(**options), fixed)


@pytest.mark.parametrize(
    ("announced", "fixed", "center", "known"),
    [(None, None, 59.5, False), (50.0, None, 50.0, True), (None, 70.0, 70.0, True), (50.0, 70.0, 70.0, True)],
)
def test_it_begins_with_what_is_given(announced: float | None, fixed: float | None, center: float, known: bool) -> None:
    tracker = new(scan(180.0, center_px=announced), fixed)
    assert tracker.first == Layout(ROWS, COLUMNS, center)
    assert (tracker.known, tracker.final) == (known, False)


@pytest.mark.parametrize("center", [-61.0, 180.0, np.nan, np.inf])
def test_an_axis_without_a_slice_is_refused(center: float) -> None:
    with pytest.raises(BadInput, match=r"too far from the detector|no number"):
        new(scan(180.0), center)
    tracker = new(scan(180.0))
    with pytest.raises(BadInput, match="too far from the detector"):
        tracker.fix(center, tracker.first)
    assert not tracker.known
    assert new(scan(180.0), -20.0).first.detector_center == -20.0, "beside the detector, but within reach"


def test_the_first_projection_shows_whether_the_sample_fits() -> None:
    for body, extend in ((SMALL, False), (random_body(np.random.default_rng(6), 500), True)):
        tracker = new(scan(180.0))
        frame = body_projections(body, ROWS, COLUMNS, np.zeros(1), 59.5)[0]
        layout = tracker.begin(frame, 0.0, UNKNOWN, tracker.first)
        assert (layout.extend, layout.half, layout.detector_center) == (extend, False, 59.5)
        assert not tracker.known, "a single projection says nothing of the axis"


def test_an_estimate_counts_once_it_is_sure() -> None:
    tracker = new(scan(180.0))
    store = stored(SMALL, 180.0, 61.0, 0.2)
    doubtful = CenterEstimate(61.0, 0.4, 0.1, "pairs")
    assert tracker.track(store, doubtful, 0.5, tracker.first, look=False) == tracker.first
    assert not tracker.known
    assert tracker.track(store, SURE, 0.5, tracker.first, look=False) == tracker.first.at(61.0)
    assert tracker.known


def test_an_operator_goes_before_what_is_measured() -> None:
    tracker = new(scan(180.0))
    held = tracker.fix(70.0, tracker.first)
    store = stored(SMALL, 180.0, 61.0)
    assert tracker.track(store, SURE, 0.5, held, look=True).detector_center == 70.0
    assert tracker.refine(store, SURE, held).detector_center == 70.0
    freed = tracker.fix(None, held)
    assert freed == held
    assert tracker.track(store, SURE, 0.5, freed, look=False).detector_center == 61.0


def test_a_fixed_axis_ends_half_acquisition_that_was_about_another() -> None:
    tracker = new(scan(360.0))
    wide = Layout(ROWS, COLUMNS, AXIS, half=True)
    assert tracker.fix(62.0, wide) == Layout(ROWS, COLUMNS, 62.0)
    assert tracker.known


def test_a_full_turn_is_examined_in_its_second_half() -> None:
    tracker = new(scan(360.0))
    early = tracker.track(stored(BODY, 360.0, AXIS, 0.4), UNKNOWN, 0.5, tracker.first, look=True)
    assert early == tracker.first
    assert not tracker.known
    late = tracker.track(stored(BODY, 360.0, AXIS, 0.9), UNKNOWN, 0.5, early, look=True)
    assert late.half
    assert late.detector_center == pytest.approx(AXIS, abs=0.1)
    assert tracker.known
    unseen = tracker.track(stored(BODY, 360.0, AXIS, 0.95), SURE, 0.5, late, look=False)
    assert unseen == late, "methods that expect the axis in the middle do not move half acquisition"


def test_the_last_word_is_from_all_projections() -> None:
    tracker = new(scan(360.0))
    layout = tracker.refine(stored(BODY, 360.0, AXIS), UNKNOWN, tracker.first)
    assert layout.half
    assert tracker.final


def test_what_was_found_before_stays_where_nothing_better_is_seen() -> None:
    tracker = new(scan(180.0))
    before = tracker.first.at(61.3)
    layout = tracker.refine(stored(SMALL, 180.0, 61.0), UNKNOWN, before)
    assert layout.detector_center == 61.3


def test_a_geometry_that_was_asked_for_is_taken() -> None:
    store = stored(BODY, 360.0, AXIS)
    plain = new(scan(360.0), geometry="plain").refine(store, UNKNOWN, Layout(ROWS, COLUMNS, 59.5))
    assert not plain.half
    tilted = new(scan(360.0), tilt=0.5).refine(store, UNKNOWN, Layout(ROWS, COLUMNS, 59.5))
    assert np.rad2deg(tilted.tilt_rad) == pytest.approx(0.5)


def test_it_begins_where_the_axis_was_before() -> None:
    tracker = LayoutTracker(scan(180.0), LayoutOptions(), before=61.0)
    assert tracker.first == Layout(ROWS, COLUMNS, 61.0)
    assert (tracker.known, tracker.likely) == (False, True)
    for announced, fixed in ((50.0, None), (None, 50.0)):
        told = LayoutTracker(scan(180.0, center_px=announced), LayoutOptions(), fixed, before=61.0)
        assert told.first == Layout(ROWS, COLUMNS, 50.0)
    assert not new(scan(180.0)).likely


def test_where_the_axis_was_before_is_no_finding() -> None:
    """The end of a scan that does not show its axis is that of the same scan without another one before it."""
    tracker, alone = LayoutTracker(scan(180.0), LayoutOptions(), before=64.0), new(scan(180.0))
    store = stored(SMALL, 180.0, 61.0)
    live = tracker.track(store, UNKNOWN, 0.5, tracker.first, look=True)
    assert live.detector_center == 64.0
    assert tracker.refine(store, UNKNOWN, live) == alone.refine(store, UNKNOWN, alone.first)
    assert not tracker.known
    found = LayoutTracker(scan(180.0), LayoutOptions(), before=64.0)
    assert found.refine(store, SURE, found.first).detector_center == 61.0
    assert found.known
