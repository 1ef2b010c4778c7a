"""Tomography scans: one scan, one run, one file.

A run has a stream "primary" (all frames, darks and flats included; ``<detector>_image_key`` tells them apart) and a
stream "verdict" with one event: what the daemon thinks of the data. The plans take a *station*: any object with the
attributes of ``Station`` whose devices satisfy Bluesky's protocols.

However a scan ends, the shutter is closed, the rotation stands, the daemon's scan is closed, and the frames that were
written until then are announced.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.run_engine import WaitForTimeoutError
from bluesky.utils import FailedStatus, RunEngineControlException, short_uid

from streamer.client import LinkTimeout
from streamer.flow.wire.daemon import Report
from streamer.frames import BadInput, Decision, FrameKind, Reason, ReasonCode, StreamerError, Verdict

from . import stubs
from .devices.requests import Closing, Exposures, ScanSetup
from .orders import interlaced_count
from .stubs import Plan
from .watching import Watch

STREAM = "primary"
MARGIN_S = 60.0
DUTY = 0.9
"""Share of the time between two triggers that a detector can expose."""


class TomoScanError(StreamerError):
    """A scan failed; ``str(error)`` is one readable line, and the reason in the run's stop document.

    ``fatal``: a server is gone, so that the next scan would fail too. ``scan_id`` and ``run_uid`` tell which scan.
    """

    def __init__(self, text: str, fatal: bool = False) -> None:
        super().__init__(text)
        self.fatal = fatal
        self.scan_id = ""
        self.run_uid = ""


class Station(Protocol):
    """The devices of a scan."""

    @property
    def rotation(self) -> Any: ...  # Movable, Readable, with a ``velocity`` that is Movable and Readable
    @property
    def sample_x(self) -> Any: ...  # Movable
    @property
    def shutter(self) -> Any: ...  # Movable: "open", "closed"
    @property
    def detector(self) -> Any: ...  # Stageable, Preparable, Flyable, WritesStreamAssets; Triggerable for steps
    @property
    def streamer(self) -> Any: ...  # Triggerable, Readable: the verdict


@dataclass(frozen=True)
class TomoScan:
    """What to measure. Rotation over ``range_deg`` from ``start_deg``, the end point left out.

    ``stop_early`` ends the scan as soon as the daemon says ENOUGH, ``stop_spoiled`` when it says that no further
    projection can make the data good. ``exposure_s`` 0 is as long as the rate allows.
    """

    sample: str
    projections: int = 720
    darks: int = 10
    flats: int = 20
    flats_after: int = 0
    start_deg: float = 0.0
    range_deg: float = 180.0
    rate_hz: float = 50.0
    x_in_mm: float = 0.0
    x_out_mm: float = 10.0
    stop_early: bool = False
    stop_spoiled: bool = False
    exposure_s: float = 0.0
    verdict_timeout_s: float = 60.0
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def step_deg(self) -> float:
        return self.range_deg / self.projections

    @property
    def velocity_deg_s(self) -> float:
        """The rotation turns by one step per frame."""
        return abs(self.step_deg) * self.rate_hz


@dataclass(frozen=True)
class ScanOutcome:
    """The result of one scan. ``report`` is the daemon's last report, None for other kinds of verdict devices."""

    scan_id: str
    run_uid: str
    verdict: Verdict
    center_px: float | None = None
    columns: int = 0
    pixel_size_m: float | None = None
    report: Report | None = None


Projections = Callable[[Station, TomoScan], Plan]  # returns how the scan ended: "ok" or "stopped"


def tomo_fly(station: Station, scan: TomoScan, md: dict[str, Any] | None = None) -> Plan:
    """Continuous rotation; the detector is triggered by the position. Returns a ScanOutcome.

    A scan whose verdict ends it (``stop_early``, ``stop_spoiled``) is a success. A rotation that was interrupted by a
    pause cannot go on: after the pause the scan fails, and may be taken again.
    """
    return (yield from _scan(station, scan, "tomo_fly", _fly, md))


def tomo_step(station: Station, scan: TomoScan, angles_deg: Sequence[float], md: dict[str, Any] | None = None) -> Plan:
    """Stop at every angle, in the order given, and take one projection. Returns a ScanOutcome.

    May be paused at any time. ``golden_angles`` gives an order in which any part of the scan covers the half circle
    evenly.
    """
    if not angles_deg:
        raise BadInput("tomo_step: no angles are given")
    scan = replace(scan, projections=len(angles_deg), start_deg=min(angles_deg))

    return (yield from _scan(station, scan, "tomo_step", lambda place, what: _steps(place, what, angles_deg), md))


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
    return (yield from _scan(station, scan, "tomo_interlaced", _fly, md))


def tomo_dark_flat(station: Station, scan: TomoScan, darks: int, flats: int) -> Plan:
    """Darks (shutter closed) and flats (sample out of the beam), within an open scan.

    Leaves the sample in the beam and the shutter open.
    """
    if darks:
        yield from stubs.close_shutter(station.shutter)
        yield from _expose(station, scan, Exposures(darks, FrameKind.DARK))
    if flats:
        yield from stubs.sample_out(station.sample_x, scan.x_out_mm)
        yield from stubs.open_shutter(station.shutter)
        yield from _expose(station, scan, Exposures(flats, FrameKind.FLAT))
    yield from stubs.sample_in(station.sample_x, scan.x_in_mm)
    yield from stubs.open_shutter(station.shutter)


# ── one run around everything ───────────────────────────────────────────────────────────────────────────────────────
def _scan(station: Station, scan: TomoScan, plan_name: str, take: Projections, md: dict[str, Any] | None) -> Plan:
    setup = ScanSetup(
        scan_id=_new_scan_id(scan.sample),
        sample=scan.sample,
        projections=scan.projections,
        flats=scan.flats + scan.flats_after,
        darks=scan.darks,
        start_deg=scan.start_deg,
        range_deg=scan.range_deg,
        rate_hz=scan.rate_hz,
        exposure_s=scan.exposure_s,
        metadata=scan.metadata,
    )
    metadata = {**_metadata(station, scan, setup, plan_name), **(md or {})}
    run = _run(station, scan, setup, take, metadata)
    staged = bpp.stage_wrapper(run, [station.detector])
    try:
        return (yield from bpp.finalize_wrapper(staged, lambda: _make_safe(station)))
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
        yield from bps.close_run(exit_status="fail", reason=str(readable))
        raise readable from error
    yield from bps.close_run(exit_status="success")
    return replace(outcome, run_uid=run_uid)


def _measure(station: Station, scan: TomoScan, setup: ScanSetup, take: Projections) -> Plan:
    detector = station.detector
    yield from stubs.prepare(detector, setup)
    yield from bps.declare_stream(detector, name=STREAM, collect=True)
    yield from tomo_dark_flat(station, scan, scan.darks, scan.flats)
    ended = yield from take(station, scan)
    if scan.flats_after:
        yield from tomo_dark_flat(station, scan, 0, scan.flats_after)
    yield from stubs.close_shutter(station.shutter)
    yield from stubs.close_scan(detector, STREAM, Closing(ended))
    return (yield from _read_verdict(station, scan, setup.scan_id))


def _salvage(station: Station, reason: str) -> Plan:
    """Announce the frames on disk within a run that failed, before it is closed."""
    closing = stubs.close_scan(station.detector, STREAM, Closing("aborted", reason), deadline_s=30.0)
    yield from stubs.attempt(closing, "announcing the last frames")


def _make_safe(station: Station) -> Plan:
    yield from stubs.attempt(stubs.halt(station.rotation), "stopping the rotation")
    yield from stubs.attempt(stubs.close_shutter(station.shutter), "closing the shutter")


# ── projections ─────────────────────────────────────────────────────────────────────────────────────────────────────
def _fly(station: Station, scan: TomoScan) -> Plan:
    rotation = station.rotation
    usual = yield from bps.rd(rotation.velocity)
    inner = _fly_at_speed(station, scan)
    return (yield from bpp.finalize_wrapper(inner, lambda: stubs.move(rotation.velocity, usual, 10.0)))


def _fly_at_speed(station: Station, scan: TomoScan) -> Plan:
    rotation, detector = station.rotation, station.detector
    lead = (2 * abs(scan.step_deg) + 0.1 * scan.velocity_deg_s) * (1 if scan.range_deg > 0 else -1)
    yield from stubs.move_checked(rotation, scan.start_deg - lead, tolerance=0.01)
    yield from stubs.move(rotation.velocity, scan.velocity_deg_s)
    run_up_s = abs(lead) / scan.velocity_deg_s
    exposures = Exposures(scan.projections, FrameKind.PROJECTION, scan.start_deg, scan.step_deg, run_up_s)
    yield from stubs.prepare_and_kickoff(detector, exposures)
    motion = short_uid("rotation")
    moving = yield from bps.abs_set(rotation, scan.start_deg + scan.range_deg + lead, group=motion)
    watch = Watch(station, scan)
    deadline = _deadline_s(scan, scan.projections)
    yield from stubs.collect_until_complete(detector, STREAM, deadline, watch.look_in_flight if watch.wanted else None)
    if watch.ended:
        yield from stubs.halt(rotation, motion)
        return "stopped"
    yield from stubs.until_done(moving, motion, deadline)
    return "ok"


def _steps(station: Station, scan: TomoScan, angles_deg: Sequence[float]) -> Plan:
    rotation, detector = station.rotation, station.detector
    watch = Watch(station, scan)
    yield from stubs.prepare(detector, Exposures(1, FrameKind.PROJECTION))
    for angle in angles_deg:
        yield from stubs.move_checked(rotation, angle, tolerance=0.01)
        group = short_uid("trigger")
        status = yield from bps.trigger(detector, group=group)
        yield from stubs.until_done(status, group, _deadline_s(scan, 1))
        yield from bps.collect(detector, name=STREAM)
        yield from bps.checkpoint()  # a deferred pause happens here
        if (yield from watch.look()):
            return "stopped"
    return "ok"


def _expose(station: Station, scan: TomoScan, exposures: Exposures) -> Plan:
    yield from stubs.prepare_and_kickoff(station.detector, exposures)
    yield from stubs.collect_until_complete(station.detector, STREAM, _deadline_s(scan, exposures.frames))


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
    center = float(value("center_px"))
    return ScanOutcome(
        scan_id=scan_id,
        run_uid="",
        verdict=Verdict(Decision(value("decision")), reasons, bool(value("final"))),
        center_px=None if center != center else center,  # NaN: not measured
        columns=int(detector.describe_collect()[detector.name]["shape"][-1]),
        pixel_size_m=pixel_size_m or None,
        report=getattr(streamer, "last_report", None),
    )


# ── small things ────────────────────────────────────────────────────────────────────────────────────────────────────
def _deadline_s(scan: TomoScan, frames: int) -> float:
    """A backstop; the devices have shorter time-outs and better messages."""
    return 3.0 * frames / scan.rate_hz + MARGIN_S


def _new_scan_id(sample: str) -> str:
    return f"{sample[:70]}.{time.strftime('%Y%m%dT%H%M%S')}.{uuid.uuid4().hex[:6]}"


def _metadata(station: Station, scan: TomoScan, setup: ScanSetup, plan_name: str) -> dict[str, Any]:
    angle = f"{station.detector.name}_rotation_angle"
    return {
        "plan_name": plan_name,
        "sample_name": scan.sample,
        "tomo_scan_id": setup.scan_id,  # Bluesky's own "scan_id" is a number
        "detectors": [station.detector.name],
        "motors": [station.rotation.name],
        "num_points": setup.frames,
        "geometry": {
            "projections": scan.projections,
            "darks": setup.darks,
            "flats": setup.flats,
            "start_deg": scan.start_deg,
            "range_deg": scan.range_deg,
            "rate_hz": scan.rate_hz,
            "x_in_mm": scan.x_in_mm,
        },
        "hints": {"dimensions": [([angle], STREAM)]},
    }


def _readable(error: BaseException) -> TomoScanError:
    """The error for the user: the message of the device, not that a Status failed."""
    if isinstance(error, TomoScanError):
        return error
    cause = error.__cause__ if isinstance(error, FailedStatus) and error.__cause__ is not None else error
    text = str(cause) or type(cause).__name__
    return TomoScanError(" ".join(text.split()), fatal=isinstance(cause, LinkTimeout))
