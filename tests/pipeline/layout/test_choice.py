"""Which layout is chosen, for what reason, and what it takes to change it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.half_acquisition import OppositeViews
from streamer.core.alignment.tilt import MAX_TILT_RAD, Tilt
from streamer.frames import BadInput, ScanSpec
from streamer.phantoms import half_turn, random_body, sinogram
from streamer.pipeline.layout.choice import choose_layout, max_layout_width, tilt_of_views
from streamer.pipeline.layout.evidence import sinogram_evidence
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.layout.options import MAX_TILT_DEG, LayoutOptions

FULL = np.arange(721) * 2 * np.pi / 721
UNKNOWN = CenterEstimate.unknown("none")


def scan(columns: int, rows: int = 1, angles: np.ndarray = FULL, range_deg: float = 360.0, **more) -> ScanSpec:
    return ScanSpec("s", "s", rows, columns, len(angles), range_deg=range_deg, **more)


def choose(
    spec: ScanSpec,
    angles: np.ndarray,
    sinograms: np.ndarray,
    estimate: CenterEstimate = UNKNOWN,
    options: LayoutOptions | None = None,
    **known: Any,
) -> Layout:
    """The layout by sinograms; ``known`` is evidence besides."""
    return choose_layout(spec, replace(sinogram_evidence(spec, angles, sinograms, estimate), **known), options)


BODY = random_body(np.random.default_rng(6), 300)
"""About 170 columns across."""


@pytest.mark.parametrize(
    ("columns", "center", "range_deg", "options", "half", "reason"),
    [
        (140, 110.3, 360.0, {}, True, "axis found by opposite views"),
        (140, 28.6, 360.0, {}, True, "axis found by opposite views"),
        (140, 110.3, 360.0, {"geometry": "plain"}, False, "asked for"),
        (140, 110.3, 360.0, {"center_px": 110.3}, True, "axis given"),
        (140, 110.3, 270.0, {}, False, "a scan of 270°"),
        (300, 148.0, 360.0, {}, False, "within the detector"),
        (300, 148.0, 360.0, {"geometry": "half"}, True, "axis found by opposite views"),
        (300, 148.0, 180.0, {}, False, "a scan of 180°"),
        (120, 59.0, 360.0, {}, False, "hardly a wider view"),
        (140, 110.3, 360.0, {"center_px": 300.0}, False, "not on the detector"),
    ],
)
def test_choices(columns: int, center: float, range_deg: float, options: dict, half: bool, reason: str) -> None:
    angles = np.deg2rad(np.arange(0, range_deg, 1.0))
    lines = sinogram(BODY, columns, angles, center, 2)[:, None]
    lines += np.random.default_rng(7).normal(0, 0.01, lines.shape).astype(np.float32)
    given = options.get("center_px")
    wanted = LayoutOptions(**{name: value for name, value in options.items() if name != "center_px"})
    spec = scan(columns, 1, angles, range_deg)
    estimate = CenterEstimate(center + 0.5, 0.7, 0.3, "pairs")
    layout = choose(spec, angles, lines, estimate, wanted, center_px=given)
    assert layout.half == half
    assert reason in layout.reason
    assert layout.detector_center == pytest.approx(center if given is None else given, abs=0.15 if half else 0.51)
    assert layout.width <= max_layout_width(spec, wanted, given)
    if half:
        assert layout.width == round(2 * max(layout.detector_center, columns - 1 - layout.detector_center)) + 1
        assert not layout.extend
    assert layout.to_dict()["reason"] == layout.reason


def test_what_is_not_known_stays_plain() -> None:
    rng = np.random.default_rng(8)
    angles = np.deg2rad(np.arange(360.0))
    flat = np.full((360, 1, 100), 0.7, np.float32) + rng.normal(0, 0.01, (360, 1, 100)).astype(np.float32)
    spec = scan(100, 1, angles)
    for options in (None, LayoutOptions(geometry="half")):
        layout = choose(spec, angles, flat, UNKNOWN, options)
        assert not layout.half
        assert layout.detector_center == 49.5
        assert "axis unknown" in layout.reason
        assert "do not tell" in layout.reason
    assert choose(spec, angles[:0], flat[:0], UNKNOWN, LayoutOptions(geometry="half")).detector_center == 49.5
    known = scan(100, 1, angles, center_px=52.0)
    assert choose(known, angles[:0], flat[:0]).detector_center == 52.0
    early = choose(spec, angles[:90], flat[:90])
    assert not early.half
    lines = sinogram(BODY, 140, angles, 110.3, 2)[:, None]
    assert not choose(scan(140, 1, angles), angles[:150], lines[:150]).half
    assert choose(scan(140, 1, angles), angles[:260], lines[:260]).half
    estimate = CenterEstimate(60.0, 0.8, 0.1, "moments")
    assert choose(spec, angles, flat, estimate, LayoutOptions(geometry="half")).detector_center == 60.0


@pytest.mark.parametrize(
    ("found", "options", "degrees", "reason"),
    [
        (Tilt(50.0, np.deg2rad(0.3), np.deg2rad(0.02), 0.9), {}, 0.3, "0.300° corrected"),
        (Tilt(50.0, np.deg2rad(0.3), np.deg2rad(0.02), 0.3), {}, 0.0, "tilt not measured"),
        (Tilt(50.0, np.deg2rad(0.04), np.deg2rad(0.005), 0.9), {}, 0.0, "left alone"),
        (Tilt(50.0, np.deg2rad(0.3), np.deg2rad(0.2), 0.9), {}, 0.0, "left alone"),
        (Tilt(50.0, np.deg2rad(0.3), np.deg2rad(0.02), 0.9), {"tilt": "off"}, 0.0, ""),
        (Tilt(50.0, 0.0, float("inf"), 0.0), {}, 0.0, "tilt not measured"),
        (None, {"tilt": -0.7}, -0.7, "given"),
        (None, {}, 0.0, ""),
    ],
)
def test_tilt_is_applied_when_it_is_sure_and_matters(
    found: Tilt | None, options: dict, degrees: float, reason: str
) -> None:
    angles = half_turn(30)
    lines = np.zeros((30, 1, 100), np.float32)
    estimate = CenterEstimate(48.0, 0.9, 0.1, "pairs")
    layout = choose(
        scan(100, 400, angles, 180.0), angles, lines, estimate, LayoutOptions(**options), tilt=lambda: found
    )
    assert np.rad2deg(layout.tilt_rad) == pytest.approx(degrees)
    assert layout.needs_all_rows == (degrees != 0)
    assert reason in layout.reason
    assert ("tilt" in layout.reason) == bool(reason)
    assert layout.detector_center == 48.0


@pytest.mark.parametrize(("degrees", "turned"), [(0.4, False), (0.7, True)])
def test_a_tilt_of_a_strip_matters_for_what_it_lifts_at_the_edges(degrees: float, turned: bool) -> None:
    """Half a row there, though the axis moves by less than a tenth of a pixel at the ends."""
    angles = half_turn(30)
    found = Tilt(50.0, np.deg2rad(degrees), np.deg2rad(0.03), 0.99)
    lines, estimate = np.zeros((30, 1, 100), np.float32), CenterEstimate(48.0, 0.9, 0.1, "pairs")
    layout = choose(scan(100, 12, angles, 180.0), angles, lines, estimate, LayoutOptions(), tilt=lambda: found)
    assert np.rad2deg(layout.tilt_rad) == pytest.approx(degrees if turned else 0.0)


def test_widest() -> None:
    assert max_layout_width(scan(100, range_deg=180.0)) == 100
    assert max_layout_width(scan(100, range_deg=-360.0)) == 200
    assert max_layout_width(scan(100), LayoutOptions(geometry="plain")) == 100
    assert max_layout_width(scan(100, range_deg=180.0), LayoutOptions(geometry="half")) == 200
    assert max_layout_width(scan(100), center_px=70.0) == 141
    assert max_layout_width(scan(100), center_px=-20.0) == 100


def test_the_tilts_that_may_be_given_are_those_that_are_measured() -> None:
    assert np.deg2rad(MAX_TILT_DEG) == MAX_TILT_RAD


def test_options_and_evidence_that_make_no_sense_are_refused() -> None:
    for wrong in ({"geometry": "spiral"}, {"tilt": "yes"}, {"tilt": 9.0}, {"tilt": np.nan}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            LayoutOptions(**wrong)
    with pytest.raises(BadInput, match="sinograms"):
        choose(scan(100), FULL, np.zeros((3, 1, 100), np.float32))
    with pytest.raises(BadInput, match="2 sinograms of 1 rows"):
        tilt_of_views(OppositeViews(*np.ones((2, 2, 16, 100), np.float32)), [1.0], 2.0)
    assert tilt_of_views(None, [1.0], 2.0).confidence == 0.0
