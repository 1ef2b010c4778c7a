"""The rotation axis brought to the middle of the detector and made upright, from a few projections each time."""

from dataclasses import dataclass, replace
from typing import Any

import bluesky.plan_stubs as bps

from streamer.frames import BadInput

from .. import stubs
from ..exposing import fly
from ..scan import ScanOutcome, Station, TomoScan
from ..stubs import Plan
from ..tomo import TomoScanError, take_scan

TOLERANCE_DEG = 0.002


@dataclass(frozen=True)
class Alignment:
    """Where the axis stands after alignment, by the last of ``scans``.

    ``offset_px`` is the axis minus the middle of the detector, ``tilt_deg`` its lean, positive where its column grows
    with the row. ``x_in_mm`` is where sample_x has the axis in the middle: give it to the scans that follow.
    """

    offset_px: float
    tilt_deg: float
    x_in_mm: float
    aligned: bool
    scans: tuple[ScanOutcome, ...]


def align_axis(
    station: Station,
    scan: TomoScan,
    within_px: float = 0.5,
    within_deg: float = 0.1,
    rounds: int = 3,
    md: dict[str, Any] | None = None,
) -> Plan:
    """Look where the axis is, move it, and look again, at most ``rounds`` times. Returns an Alignment.

    ``scan.projections`` may be few: some tens over a full turn show centre and tilt, from opposite views. The tilt is
    corrected where the station has an ``axis_tilt``. An axis that is not ``within_px`` and ``within_deg`` at the end is
    not ``aligned``, and stays where it was measured last. Raises TomoScanError when the axis is not seen at all.
    """
    if rounds < 1:
        raise BadInput(f"align_axis: {rounds} rounds; give 1 or more")
    tilt_axis = getattr(station, "axis_tilt", None)
    look = replace(scan, range_deg=360.0 if scan.range_deg > 0 else -360.0, stop_early=False, stop_spoiled=False)
    scans: list[ScanOutcome] = []
    while True:
        entries = {"round": len(scans), **(md or {})}
        found = yield from take_scan(station, look, "align_axis", fly, entries)
        scans.append(found)
        offset_px, tilt_deg = seen(found)
        aligned = abs(offset_px) <= within_px and (tilt_axis is None or abs(tilt_deg) <= within_deg)
        if aligned or len(scans) > rounds:
            return Alignment(offset_px, tilt_deg, look.x_in_mm, aligned, tuple(scans))
        if tilt_axis is not None and abs(tilt_deg) > within_deg:
            stands = yield from bps.rd(tilt_axis)
            yield from stubs.move_checked(tilt_axis, stands - tilt_deg, TOLERANCE_DEG)
        if abs(offset_px) > within_px:
            look = replace(look, x_in_mm=look.x_in_mm - offset_px * _pixel(found) * 1e3)


def seen(outcome: ScanOutcome) -> tuple[float, float]:
    """Offset of the axis from the middle of the detector (px) and its tilt (degrees). Raises TomoScanError."""
    report = outcome.report
    if outcome.center_px is None or report is None:
        raise TomoScanError(f"align_axis: the rotation axis was not found: {outcome.verdict}")
    return outcome.center_px - (outcome.columns - 1) / 2, float(report.geometry.get("axis_tilt_deg", 0.0))


def _pixel(outcome: ScanOutcome) -> float:
    if not outcome.pixel_size_m:
        raise TomoScanError("align_axis: the camera does not say how large its pixels are at the sample")
    return outcome.pixel_size_m
