"""Find out how a sample should be scanned: looks with little light, then advice for the wanted resolution and dose."""

from dataclasses import dataclass, replace
from typing import Any

from streamer.frames import BadInput

from .. import stubs
from ..exposing import fly
from ..scan import ScanOutcome, Station, TomoScan, TomoScanError
from ..stubs import Plan
from ..tomo import take_scan
from .advice import DUTY, Advice, Hardware, Look, Wanted, advise, complete_projections, search

FIRST_SHARE = 1 / 64
"""Of the dose that the sample bears, or of what the scan would have given: the first look."""

MOST_LOOKS = 5


@dataclass(frozen=True)
class Advised:
    """``advice``; ``scan`` with its settings, to be taken next; the ``looks``; and ``spent_s``, the dose of these."""

    advice: Advice
    scan: TomoScan
    looks: tuple[ScanOutcome, ...]
    spent_s: float


def tomo_advise(
    station: Station,
    scan: TomoScan,
    wanted: Wanted,
    max_velocity_deg_s: float = float("inf"),
    md: dict[str, Any] | None = None,
) -> Plan:
    """Look at the sample with little light, and say how to scan it. Returns an Advised.

    Each look has as many projections as the wanted resolution needs. The first one has little light; ``search`` says
    how much the next one has, and when there are enough of them, five at most. Looks and scan together stay within
    ``wanted.most_dose_s``. Darks, flats and places are those of ``scan``; its projections, exposure and rate are not
    used, but for the light of the first look where no dose is given. Raises TomoScanError when nothing is seen.
    """
    if abs(scan.range_deg) != 180.0:
        raise BadInput(f"tomo_advise: advice is for half a turn, not for {scan.range_deg:g}°")
    geometry = yield from stubs.call(station.detector.hardware.geometry)
    hardware = Hardware(geometry.max_rate_hz, max_velocity_deg_s)
    count = complete_projections(geometry.columns, wanted.resolution_px)
    usual_s = scan.projections * (scan.exposure_s or DUTY / scan.rate_hz)
    dose_s = FIRST_SHARE * min(wanted.most_dose_s, usual_s)
    looks: list[ScanOutcome] = []
    seen: list[Look] = []
    spent_s = 0.0
    while True:
        look = _look(scan, hardware, count, dose_s)
        entries = {"look": len(looks), **(md or {})}
        looks.append((yield from take_scan(station, look, "tomo_advise", fly, entries)))
        seen.append(seen_by(looks[-1], look))
        spent_s += seen[-1].dose_s
        left = replace(wanted, most_dose_s=max(wanted.most_dose_s - spent_s, dose_s))
        found = search(seen, hardware, left)
        if not isinstance(found, Advice) and (len(looks) == MOST_LOOKS or spent_s + found > wanted.most_dose_s):
            found = _last_resort(seen, hardware, left)
        if isinstance(found, Advice):
            break
        dose_s = found
        if seen[-1].resolution_px is not None:
            count = complete_projections(seen[-1].width_px, wanted.resolution_px)
    best = replace(scan, projections=found.projections, exposure_s=found.exposure_s, rate_hz=found.rate_hz)
    return Advised(found, best, tuple(looks), spent_s)


def _last_resort(seen: list[Look], hardware: Hardware, wanted: Wanted) -> Advice:
    """Advice from the look with the most light. Raises TomoScanError when none has a resolution."""
    brightest = max((look for look in seen if look.resolution_px), key=lambda look: look.dose_s, default=None)
    if brightest is None:
        spent_s = sum(look.dose_s for look in seen)
        raise TomoScanError(f"tomo_advise: {len(seen)} looks with {spent_s:.3g} s of the beam have shown no detail")
    return advise(brightest, hardware, wanted)


def _look(scan: TomoScan, hardware: Hardware, count: int, dose_s: float) -> TomoScan:
    exposure_s = max(dose_s / count, hardware.least_exposure_s)
    rate_hz = min(hardware.max_rate_hz, DUTY / exposure_s, count * hardware.max_velocity_deg_s / 180.0)
    return replace(
        scan, projections=count, exposure_s=exposure_s, rate_hz=rate_hz, stop_early=False, stop_spoiled=False
    )


def seen_by(outcome: ScanOutcome, look: TomoScan) -> Look:
    """What a scan has shown, by the daemon's last report. Raises TomoScanError where there is none."""
    report = outcome.report
    if report is None:
        raise TomoScanError("tomo_advise: the daemon has not said what it saw")
    quality = report.quality
    per_column = quality.projections_per_column
    width_px = quality.projections / per_column if per_column else float(outcome.columns)
    return Look(
        quality.projections,
        look.exposure_s,
        quality.resolution_px,
        min(width_px, float(outcome.columns)),
        quality.beam_level,
        quality.peak_attenuation,
    )
