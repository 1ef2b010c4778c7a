"""Which layout a scan gets, from what is known of it so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.half_acquisition import OffsetWeights, OppositeViews
from streamer.core.alignment.tilt import MAX_TILT_RAD, Tilt, fit_axis
from streamer.core.alignment.truncation import Edge
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.layout.evidence import NOT_MEASURED, Evidence
from streamer.pipeline.layout.layout import MIN_TILT_RAD, Layout
from streamer.pipeline.layout.options import LayoutOptions

FULL_TURN_DEG = 350.0
"""Below this range, half acquisition has a missing wedge."""

MIN_CONFIDENCE = 0.5
"""Confidence from which an axis or a tilt is applied."""

MIN_WIDTH_GAIN = 1.05
"""Width of the field of view, over the detector's, from which half acquisition is worth it."""

MIN_CUT_SHARE = 0.05
"""Share of the projections that must reach an edge for the sample to count as wider than the detector there."""

MIN_TILT_PX = 0.1
"""A tilt that moves the axis by less at the uppermost and lowest row, and lifts the sample by less than MIN_LIFT_PX at
the edges of the detector, is ignored, whatever its angle."""

MIN_LIFT_PX = 0.5
"""Rows that mix are less of a blur than columns that do: most samples go on along the axis, and so does the slice."""


def max_layout_width(spec: ScanSpec, options: LayoutOptions | None = None, center_px: float | None = None) -> int:
    """The most columns that a layout of the scan may have: for planning memory and disk before it begins.

    ``center_px`` is the axis, a detector column, if it was given.
    """
    options = LayoutOptions() if options is None else options
    if options.geometry == "plain" or (options.geometry == "auto" and not is_full_turn(spec)):
        return spec.columns
    if center_px is None:
        return 2 * spec.columns
    return max(spec.columns, _wide_columns(spec.columns, center_px))


def choose_layout(spec: ScanSpec, seen: Evidence, options: LayoutOptions | None = None) -> Layout:
    """The layout for what is known of a scan so far.

    Half acquisition is chosen if a full turn was announced, the sample reaches the edge that is near the axis, opposite
    views show the axis with a confidence of 0.5, and the field of view gains 5 %. Then the tilt is measured in these
    views, else in whole projections. It is applied from a confidence of 0.5, 0.05°, three standard errors, and a tenth
    of a pixel at the ends of the axis or half a row at the edges of the detector. Whatever is not known stays plain and
    upright about the estimate, the announced axis or the middle of the detector; ``reason`` says so.
    """
    options = LayoutOptions() if options is None else options
    half, center, why = _geometry(spec, seen, options)
    tilt = None
    if options.tilt == "auto":
        in_views = half and seen.band_rows is not None
        tilt = tilt_of_views(seen.views(), seen.band_rows or (), (spec.rows - 1) / 2) if in_views else seen.tilt()
    turn, about = _tilt(spec, options, tilt)
    if turn and tilt is not None and half and seen.center_px is None:
        center = tilt.center
    # In half acquisition the sample is always cut at the edge near the axis, where the other view sees it.
    far = [seen.edges[0 if center > (spec.columns - 1) / 2 else 1]] if half else seen.edges
    plan = Layout(spec.rows, spec.columns, center, half, False, turn, why + about)
    return replace(plan, **_extension(far, plan))


def _extension(edges: Sequence[Edge], plan: Layout) -> dict[str, Any]:
    """Whether to continue the sample's edges, and why: the error of doing so against that of a sudden end."""
    worst = max(edges, key=lambda edge: edge.share * edge.beyond_px)
    if worst.share < MIN_CUT_SHARE:
        return {}
    cut = f"{plan.reason}; sample cut off in {worst.share:.0%} of the projections"
    # A continuation over half a width, as a cosine, adds up to a quarter of the width.
    if worst.beyond_px < plan.width / 8:
        return {"reason": f"{cut}, but little lies beyond"}
    return {"extend": True, "reason": f"{cut}: edges carried on"}


def _geometry(spec: ScanSpec, seen: Evidence, options: LayoutOptions) -> tuple[bool, float, str]:
    """Half acquisition or not, the axis, and why."""
    edges, estimate = seen.edges, seen.estimate
    middle = (spec.columns - 1) / 2
    known = [c for c in (seen.center_px, estimate.center, spec.center_px) if c is not None]
    plain = known[0] if known else middle
    axis = "" if known else "; axis unknown: middle of the detector"
    asked = options.geometry == "half"
    against = ""
    if options.geometry == "plain":
        against = "asked for"
    elif not asked and not is_full_turn(spec):
        against = f"a scan of {abs(spec.range_deg):g}°"
    elif not asked and max(edge.share for edge in edges) < MIN_CUT_SHARE:
        against = "the sample is within the detector"
    if against:
        return False, plain, f"plain: {against}{axis}"
    center, source = _axis(seen, options)
    if center is None:
        wish = "half acquisition was asked for, but " if asked else ""
        return False, plain, f"plain: {wish}{source}{axis}"
    width = _wide_columns(spec.columns, center)
    if not width:
        return (
            False,
            center,
            f"plain: half acquisition was looked for, but the axis at {center:.1f} is not on the detector",
        )
    if not asked and edges[1 if center > middle else 0].share < MIN_CUT_SHARE:
        against = "the sample is within what all projections see"
    elif not asked and width < MIN_WIDTH_GAIN * spec.columns:
        against = f"axis {abs(center - middle):.1f} px from the middle, hardly a wider view"
    if against:
        return False, center, f"plain: {against}"
    covered = np.rad2deg(angular_weights(seen.angle_rad, 2 * np.pi).sum())
    return True, center, f"half acquisition: {source}, {width} columns, {covered:.0f}° of 360° covered"


def _axis(seen: Evidence, options: LayoutOptions) -> tuple[float | None, str]:
    """The axis of a full turn, anywhere on the detector, and where it is from; or why it is not known."""
    if seen.center_px is not None:
        return seen.center_px, "axis given"
    views, estimate = seen.views(), seen.estimate
    found = None if views is None else views.overlap().estimate
    if found is not None and _is_confident(found):
        return found.center, f"axis found by opposite views with {found.confidence:.2f}"
    if options.geometry == "half" and _is_confident(estimate):
        return estimate.center, f"axis found by {estimate.method} with {estimate.confidence:.2f}"
    return None, f"{seen.angle_rad.size} projections do not tell how opposite views overlap"


def _tilt(spec: ScanSpec, options: LayoutOptions, tilt: Tilt | None) -> tuple[float, str]:
    if options.tilt == "off":
        return 0.0, ""
    if not isinstance(options.tilt, str):
        return float(np.deg2rad(options.tilt)), f"; tilt of {options.tilt:g}° given"
    if tilt is None or spec.rows == 1:
        return 0.0, ""
    if tilt.confidence < MIN_CONFIDENCE:
        return 0.0, "; tilt not measured"
    angle = abs(tilt.tilt_rad)
    small = angle * spec.rows / 2 < MIN_TILT_PX and angle * spec.columns / 2 < MIN_LIFT_PX
    if angle < max(MIN_TILT_RAD, 3 * tilt.sigma_rad) or small or angle > MAX_TILT_RAD:
        return 0.0, f"; tilt of {np.rad2deg(tilt.tilt_rad):.3f}° left alone"
    return tilt.tilt_rad, f"; tilt of {np.rad2deg(tilt.tilt_rad):.3f}° corrected"


def tilt_of_views(views: OppositeViews | None, band_rows: Sequence[float], middle_row: float) -> Tilt:
    """Tilt of the axis of a full-turn scan, wherever the axis lies, from the axis in each row of the views.

    ``band_rows`` are the detector rows of the views, ``middle_row`` that of the tilt's centre. The confidence is 0 if
    fewer than three rows show the axis. Raises BadInput if there are not as many rows as views.
    """
    if views is not None and len(band_rows) != views.rows:
        raise BadInput(f"{views.rows} sinograms of {len(band_rows)} rows")
    found = [] if views is None else [(row, views.overlap(band).estimate) for band, row in enumerate(band_rows)]
    known = [(row, e.center) for row, e in found if e.center is not None and _is_confident(e)]
    if len(known) < 3:
        return NOT_MEASURED
    return fit_axis([row for row, _ in known], [center for _, center in known], middle_row)


def is_full_turn(spec: ScanSpec) -> bool:
    """Whether the announced angles see every ray from both sides."""
    return abs(spec.range_deg) * (1 + 1 / spec.projections) >= FULL_TURN_DEG


def _wide_columns(columns: int, center: float) -> int:
    """Width of half acquisition about an axis, 0 where it is not on the detector."""
    try:
        return OffsetWeights(columns, center).width
    except BadInput:
        return 0


def _is_confident(estimate: CenterEstimate) -> bool:
    return estimate.confidence >= MIN_CONFIDENCE
