"""Frames of one kind after the other, within an open scan: darks, flats, and projections in flight or step by step."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import short_uid

from streamer.frames import BadInput, FrameKind

from . import stubs
from .devices.requests import Exposures
from .guards.beam import BeamGuard
from .scan import Station, TomoScan
from .stubs import Plan
from .watching import Watch

STREAM = "primary"
ROWS = "progress"
ROW_S = 1.0
MARGIN_S = 60.0
TOLERANCE_DEG = 0.01
TURN_DEG = 360.0


class InFlight(Protocol):
    """Looks at a scan while it runs; ``ended`` once it has ended it."""

    ended: bool

    @property
    def wanted(self) -> bool: ...  # whether it may ever do so

    def look_in_flight(self) -> Plan: ...  # look, and stop the detector when the scan is to end


def out_mm(station: Station, scan: TomoScan) -> float:
    """Where the sample goes for flats. Raises BadInput for a name that the station does not know."""
    if not scan.flat_position:
        return scan.x_out_mm
    known = getattr(station, "flat_positions", {})
    if scan.flat_position not in known:
        names = ", ".join(known) or "none"
        raise BadInput(f"flat_position {scan.flat_position!r}: the beamline knows no such place; known: {names}")
    return float(known[scan.flat_position])


def tomo_dark_flat(station: Station, scan: TomoScan, darks: int, flats: int) -> Plan:
    """Darks (shutter closed) and flats (sample out of the beam), within an open scan.

    Leaves the sample in the beam and the shutter open.
    """
    if darks:
        yield from stubs.close_shutter(station.shutter)
        yield from expose(station, scan, Exposures(darks, FrameKind.DARK))
    if flats:
        yield from stubs.sample_out(station.sample_x, out_mm(station, scan))
        yield from stubs.open_shutter(station.shutter)
        yield from expose(station, scan, Exposures(flats, FrameKind.FLAT))
    yield from stubs.sample_in(station.sample_x, scan.x_in_mm)
    yield from stubs.open_shutter(station.shutter)


def expose(station: Station, scan: TomoScan, exposures: Exposures) -> Plan:
    yield from stubs.prepare_and_kickoff(station.detector, exposures)
    yield from stubs.collect_until_complete(station.detector, STREAM, deadline_s(scan, exposures.frames))


def fly(station: Station, scan: TomoScan) -> Plan:
    """All projections with continuous rotation. Returns how it ended: "ok" or "stopped"."""
    return (yield from keeping_velocity(station, _fly_parts(station, scan)))


def keeping_velocity(station: Station, inner: Plan) -> Plan:
    """Run ``inner``, and give the rotation its velocity back."""
    rotation = station.rotation
    usual = yield from bps.rd(rotation.velocity)
    return (yield from bpp.finalize_wrapper(inner, lambda: stubs.move(rotation.velocity, usual, 10.0)))


def _fly_parts(station: Station, scan: TomoScan) -> Plan:
    watch, guard = Watch(station, scan), BeamGuard(station, scan.beam_losses)
    for first, count in scan.parts:
        if first and scan.flats:
            yield from tomo_dark_flat(station, scan, 0, scan.flats)
        yield from fly_part(station, scan, watch, guard, first, count)
        if watch.ended:
            return "stopped"
    return "ok"


def fly_part(station: Station, scan: TomoScan, watch: InFlight, guard: BeamGuard, first: int, count: int) -> Plan:
    """``count`` projections from number ``first`` on, those again that a loss of the beam has spoiled.

    They are fewer when ``watch`` ends the scan. The velocity stays.
    """
    while count:
        yield from _fly_once(station, scan, watch, guard, first, count)
        if watch.ended:
            return
        lost = 0
        if guard.lost:
            yield from guard.wait_for_beam()
            lost = yield from guard.count_lost(count)
            yield from tomo_dark_flat(station, scan, 0, scan.flats)
        first, count = first + count - lost, lost


def _fly_once(station: Station, scan: TomoScan, watch: InFlight, guard: BeamGuard, first: int, count: int) -> Plan:
    """``count`` projections from number ``first`` on; the velocity stays.

    They are fewer when ``watch`` ends the scan, or when ``guard`` notices that the beam is lost.
    """
    rotation, detector = station.rotation, station.detector
    start_deg, range_deg = scan.start_deg + first * scan.step_deg, count * scan.step_deg
    lead = (2 * abs(scan.step_deg) + 0.1 * scan.velocity_deg_s) * (1 if scan.range_deg > 0 else -1)
    yield from stubs.move_checked(rotation, start_deg - lead, TOLERANCE_DEG, period=TURN_DEG)
    yield from stubs.move(rotation.velocity, scan.velocity_deg_s)
    run_up_s = abs(lead) / scan.velocity_deg_s
    exposures = Exposures(count, FrameKind.PROJECTION, start_deg, scan.step_deg, run_up_s)
    guard.begin()
    yield from stubs.prepare_and_kickoff(detector, exposures)
    motion = short_uid("rotation")
    moving = yield from bps.abs_set(rotation, start_deg + range_deg + lead, group=motion)
    deadline = deadline_s(scan, count)

    rows = Rows(station)

    def look() -> Plan:
        yield from guard.look_in_flight()
        if watch.wanted:
            yield from watch.look_in_flight()
        yield from rows.now_and_then()

    yield from stubs.collect_until_complete(detector, STREAM, deadline, look)
    yield from guard.look_in_flight()
    if watch.ended or guard.lost:
        yield from stubs.halt(rotation, motion)
    else:
        yield from stubs.until_done(moving, motion, deadline)


class Rows:
    """Events that say how far a scan is: angle, frames, verdict so far. For tables and plots of the usual callbacks."""

    def __init__(self, station: Station, clock: Callable[[], float] = time.monotonic) -> None:
        frames = getattr(station.detector, "frames_taken", None)
        self._devices = [station.rotation, *filter(None, [frames]), station.streamer]
        self._clock, self._last_s = clock, clock()

    def now_and_then(self) -> Plan:
        """One row, unless the last one is not a second old."""
        if self._clock() - self._last_s >= ROW_S:
            self._last_s = self._clock()
            yield from stubs.record(ROWS, *self._devices)


def steps(station: Station, scan: TomoScan, angles_deg: Sequence[float]) -> Plan:
    """One projection at each angle, in the order given. Returns how it ended: "ok" or "stopped"."""
    watch, guard, rows = Watch(station, scan), BeamGuard(station, scan.beam_losses), Rows(station)
    for first, count in scan.parts:
        if first and scan.flats:
            yield from tomo_dark_flat(station, scan, 0, scan.flats)
        yield from stubs.prepare(station.detector, Exposures(1, FrameKind.PROJECTION))
        for angle in angles_deg[first : first + count]:
            yield from _step(station, scan, guard, angle)
            while guard.lost:
                yield from guard.wait_for_beam()
                yield from tomo_dark_flat(station, scan, 0, scan.flats)
                yield from stubs.prepare(station.detector, Exposures(1, FrameKind.PROJECTION))
                yield from _step(station, scan, guard, angle)
            yield from rows.now_and_then()
            if (yield from watch.look()):
                return "stopped"
    return "ok"


def _step(station: Station, scan: TomoScan, guard: BeamGuard, angle_deg: float) -> Plan:
    """One projection at an angle."""
    detector = station.detector
    guard.begin()
    yield from stubs.move_checked(station.rotation, angle_deg, TOLERANCE_DEG, period=TURN_DEG)
    group = short_uid("trigger")
    status = yield from bps.trigger(detector, group=group)
    yield from stubs.until_done(status, group, deadline_s(scan, 1))
    yield from bps.collect(detector, name=STREAM)
    yield from bps.checkpoint()  # a deferred pause happens here
    yield from guard.look_in_flight()


def deadline_s(scan: TomoScan, frames: int) -> float:
    """A backstop; the devices have shorter time-outs and better messages."""
    return 3.0 * frames / scan.rate_hz + MARGIN_S
