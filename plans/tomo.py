"""Tomography scans: one scan, one run, one file.

A run has a stream "primary" (all frames, darks and flats included; ``<detector>_image_key`` tells them apart) and a
stream "verdict" with one event: what the daemon thinks of the data. The plans take a *station*: any object with the
attributes of ``Station`` whose devices satisfy Bluesky's protocols.

However a scan ends, the shutter is closed, the rotation stands, the daemon's scan is closed, and the frames that were
written until then are announced.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.run_engine import WaitForTimeoutError
from bluesky.utils import FailedStatus, RunEngineControlException

from streamer.client import LinkTimeout
from streamer.frames import BadInput, Decision, Reason, ReasonCode, Verdict

from . import stubs
from .devices.failures import failure_of
from .devices.requests import Closing, ScanSetup, name_of, new_scan_id
from .exposing import STREAM, fly, out_mm, steps, tomo_dark_flat
from .orders import golden_angles, interlaced_count
from .scan import ScanOutcome, Station, TomoScan, TomoScanError
from .stubs import Plan

__all__ = [
    "ScanOutcome",
    "Station",
    "TomoScan",
    "TomoScanError",
    "take_scan",
    "tomo_dark_flat",
    "tomo_fly",
    "tomo_golden",
    "tomo_interlaced",
    "tomo_step",
]

DUTY = 0.9
"""Share of the time between two triggers that a detector can expose."""

Projections = Callable[[Station, TomoScan], Plan]  # returns how the scan ended: "ok" or "stopped"


def tomo_fly(station: Station, scan: TomoScan, md: dict[str, Any] | None = None) -> Plan:
    """Continuous rotation; the detector is triggered by the position. Returns a ScanOutcome.

    A scan whose verdict ends it (``stop_early``, ``stop_spoiled``) is a success. A rotation that was interrupted by a
    pause cannot go on: after the pause the scan fails, and may be taken again.
    """
    return (yield from take_scan(station, scan, "tomo_fly", fly, md))


def tomo_step(station: Station, scan: TomoScan, angles_deg: Sequence[float], md: dict[str, Any] | None = None) -> Plan:
    """Stop at every angle, in the order given, and take one projection. Returns a ScanOutcome.

    May be paused at any time. ``golden_angles`` gives an order in which any part of the scan covers the half circle
    evenly.
    """
    angles_deg = [float(angle) for angle in angles_deg]
    if not angles_deg:
        raise BadInput("tomo_step: no angles are given")
    scan = replace(scan, projections=len(angles_deg), start_deg=min(angles_deg))

    return (yield from take_scan(station, scan, "tomo_step", lambda place, what: steps(place, what, angles_deg), md))


def tomo_golden(station: Station, scan: TomoScan, md: dict[str, Any] | None = None) -> Plan:
    """``scan.projections`` steps in golden-ratio order over the range, so that any part of them covers it evenly.

    Returns a ScanOutcome. For ``scan.stop_early`` on a stage that stops at each angle; may be paused at any time.
    """
    angles_deg = golden_angles(scan.projections, scan.start_deg, scan.range_deg)
    return (yield from take_scan(station, scan, "tomo_golden", lambda place, what: steps(place, what, angles_deg), md))


def tomo_interlaced(station: Station, scan: TomoScan, turns: int = 8, md: dict[str, Any] | None = None) -> Plan:
    """Continuous rotation over ``turns`` times the range of ``scan``. Each turn fills gaps of those before.

    Returns a ScanOutcome. For ``scan.stop_early``: any few turns cover the range evenly. There may be a few more
    projections than ``scan`` says (``interlaced_count``). The rotation is ``turns`` times as fast as in ``tomo_fly``
    and the exposure as much shorter, so that no projection is smeared more; a lower rate leaves the light as it was.
    Raises BadInput unless the range is half a turn or a whole one.
    """
    if abs(scan.range_deg) not in (180.0, 360.0):
        raise BadInput(f"tomo_interlaced: turns of {scan.range_deg:g}° do not interlace; use 180 or 360, or minus that")
    count = interlaced_count(scan.projections, turns)
    exposure_s = scan.exposure_s or DUTY / (scan.rate_hz * turns)
    scan = replace(scan, projections=count, range_deg=turns * scan.range_deg, exposure_s=exposure_s)
    return (yield from take_scan(station, scan, "tomo_interlaced", fly, md))


# ── one run around everything ───────────────────────────────────────────────────────────────────────────────────────
def take_scan(
    station: Station, scan: TomoScan, plan_name: str, take: Projections, md: dict[str, Any] | None = None
) -> Plan:
    """One run around ``take``, a plan function that takes the projections. Returns a ScanOutcome.

    ``md`` is added to the start document. Raises TomoScanError, or BadInput before anything moves.
    """
    out_mm(station, scan)  # an unknown place is refused before anything moves
    name = name_of(scan.sample)
    setup = ScanSetup(
        scan_id=new_scan_id(name),
        sample=name,
        projections=scan.projections,
        flats=scan.all_flats + scan.spare,
        darks=scan.darks + scan.darks_after,
        start_deg=scan.start_deg,
        range_deg=scan.range_deg,
        rate_hz=scan.rate_hz,
        exposure_s=scan.exposure_s,
        energy_kev=scan.energy_kev,
        distance_m=scan.distance_m,
        tomogram_deg=scan.tomogram_deg,
        before_trigger=scan.before_trigger,
        metadata=scan.metadata if name == scan.sample else {"sample_name": scan.sample, **scan.metadata},
    )
    metadata = {**_metadata(station, scan, setup, plan_name), **(md or {})}
    yield from stubs.connect(station.rotation, station.sample_x, station.shutter, station.detector)
    yield from stubs.unstage_left(station.detector)
    run = _run(station, scan, setup, take, metadata)
    try:
        # What is staged is also unstaged when the RunEngine is halted, without any of our cleaning up.
        return (yield from bpp.stage_wrapper(run, [station.detector]))
    except (FailedStatus, WaitForTimeoutError) as error:
        raise _readable(error) from error


def _run(station: Station, scan: TomoScan, setup: ScanSetup, take: Projections, md: dict[str, Any]) -> Plan:
    run_uid = yield from bps.open_run(md)
    try:
        # Frames are numbered, so no exposure may be repeated after a pause.
        outcome = yield from bpp.rewindable_wrapper(_measure(station, scan, setup, take), False)
    except RunEngineControlException:  # the RunEngine closes the run itself, with the reason that the operator gave
        yield from _salvage(station, "interrupted by the operator")
        raise
    except Exception as error:
        readable = _readable(error)
        readable.scan_id, readable.run_uid = setup.scan_id, run_uid
        yield from _salvage(station, str(readable))
        yield from bps.close_run(exit_status="fail", reason=f"{readable.failure}: {readable}")
        raise readable from error
    yield from bps.close_run(exit_status="success", reason=", ".join(map(str, outcome.verdict.reasons[:1])))
    return replace(outcome, run_uid=run_uid)


def _measure(station: Station, scan: TomoScan, setup: ScanSetup, take: Projections) -> Plan:
    yield from stubs.prepare(station.detector, setup)
    # From here on the beamline is ours. Before, shutter and rotation may belong to the scan of somebody else, and some
    # motors (those of ophyd-async) stop when they are staged or unstaged.
    yield from stubs.unstage_left(station.rotation)
    inner = bpp.finalize_wrapper(_measure_prepared(station, scan, setup, take), lambda: _make_safe(station))
    return (yield from bpp.stage_wrapper(inner, [station.rotation]))


def _measure_prepared(station: Station, scan: TomoScan, setup: ScanSetup, take: Projections) -> Plan:
    detector = station.detector
    yield from bps.declare_stream(detector, name=STREAM, collect=True)
    yield from tomo_dark_flat(station, scan, scan.darks, scan.flats)
    ended = yield from take(station, scan)
    if scan.flats_after or scan.darks_after:
        yield from tomo_dark_flat(station, scan, scan.darks_after, scan.flats_after)
    yield from stubs.close_shutter(station.shutter)
    yield from stubs.close_scan(detector, STREAM, Closing("stopped" if scan.spare else ended))
    return (yield from _read_verdict(station, scan, setup.scan_id))


def _salvage(station: Station, reason: str) -> Plan:
    """Announce the frames on disk within a run that failed, before it is closed."""
    closing = stubs.close_scan(station.detector, STREAM, Closing("aborted", reason), deadline_s=30.0)
    yield from stubs.attempt(closing, "announcing the last frames")


def _make_safe(station: Station) -> Plan:
    yield from stubs.attempt(stubs.halt(station.rotation), "stopping the rotation")
    yield from stubs.attempt(stubs.close_shutter(station.shutter), "closing the shutter")


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────────────────────────
def _read_verdict(station: Station, scan: TomoScan, scan_id: str) -> Plan:
    detector, streamer = station.detector, station.streamer
    yield from stubs.move(streamer.verdict_timeout, scan.verdict_timeout_s, 10.0)
    readings = yield from stubs.trigger_and_read(streamer, "verdict")
    pixel_size_m = yield from bps.rd(detector.pixel_size_m)

    def value(key: str) -> Any:
        return readings[f"{streamer.name}_{key}"]["value"]

    reasons = tuple(
        Reason(ReasonCode(code), text) for code, text in zip(value("reason_codes"), value("reason_texts"), strict=True)
    )
    return ScanOutcome(
        scan_id=scan_id,
        run_uid="",
        verdict=Verdict(Decision(value("decision")), reasons, bool(value("final"))),
        center_px=value("center_px"),
        columns=int(detector.describe_collect()[detector.name]["shape"][-1]),
        pixel_size_m=pixel_size_m or None,
        report=getattr(streamer, "last_report", None),
    )


# ── small things ────────────────────────────────────────────────────────────────────────────────────────────────────
GEOMETRY = ("projections", "start_deg", "range_deg", "rate_hz", "x_in_mm", "energy_kev", "distance_m")
"""Fields of a scan in the start document."""


def _metadata(station: Station, scan: TomoScan, setup: ScanSetup, plan_name: str) -> dict[str, Any]:
    angle = f"{station.detector.name}_rotation_angle"
    return {
        "plan_name": plan_name,
        "sample_name": scan.sample,
        "tomo_scan_id": setup.scan_id,  # Bluesky's own "scan_id" is a number
        "detectors": [station.detector.name],
        "motors": [station.rotation.name],
        "num_points": setup.frames - scan.spare,
        "geometry": {"darks": setup.darks, "flats": scan.all_flats, **{name: getattr(scan, name) for name in GEOMETRY}},
        "hints": {"dimensions": [([angle], STREAM)]},
    }


def _readable(error: BaseException) -> TomoScanError:
    """The error for the user: the message of the device, not that a Status failed."""
    if isinstance(error, TomoScanError):
        return error
    cause = error.__cause__ if isinstance(error, FailedStatus) and error.__cause__ is not None else error
    text = str(cause) or type(cause).__name__
    return TomoScanError(" ".join(text.split()), isinstance(cause, LinkTimeout), failure_of(cause))
