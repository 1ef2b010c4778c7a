"""Capture on demand: the rotation turns on and on, and what is kept are the turns around a moment."""

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import bluesky.plan_stubs as bps

from streamer.flow.wire import MAX_ANGLE_DEG
from streamer.frames import BadInput

from .. import stubs
from ..exposing import fly_part, keeping_velocity
from ..guards.beam import BeamGuard
from ..scan import ScanOutcome, Station, TomoScan
from ..stubs import Plan
from ..tomo import take_scan

DONE = "done"


@dataclass(frozen=True)
class CaptureOutcome:
    """Whether anybody triggered, and ``tomograms`` that the daemon has written of it: see ``CineOutcome``."""

    scan: ScanOutcome
    triggered: bool
    tomograms: int


def tomo_capture(
    station: Station,
    scan: TomoScan,
    before: int,
    after: int,
    trigger: Any = None,
    every_deg: float = 180.0,
    longest_s: float = 600.0,
    md: dict[str, Any] | None = None,
) -> Plan:
    """Turn on and on until somebody triggers; keep ``before`` turns from before that and ``after`` from then on.

    The turn in which the trigger comes is the first of those after. ``scan.projections`` are those of one turn of
    ``every_deg``, which is a tomogram, as in ``tomo_cine``. ``trigger`` is a Readable signal that becomes true; with or
    without it ``streamer trigger`` does the same. A scan that nobody triggers ends after ``longest_s``, without a
    projection, or when the rotation has turned by a million degrees. Returns a CaptureOutcome. Raises BadInput.

    Turns before the trigger are held by the daemon, in memory: its ``ring`` must have room for one more than that. When
    the daemon dies meanwhile they are lost.
    """
    if before < 0 or after < 1:
        raise BadInput(f"tomo_capture: {before} turns before the trigger and {after} after; give 0 or more, 1 or more")
    if not 180.0 <= every_deg <= 360.0:
        raise BadInput(f"tomo_capture: a tomogram of {every_deg:g}°; give 180 to 360, half a turn or a whole one")
    turn = every_deg if scan.range_deg > 0 else -every_deg
    whole = replace(
        scan,
        projections=scan.projections * (before + after),
        range_deg=turn * (before + after),
        tomogram_deg=every_deg,
        before_trigger=scan.projections * before,
        darks_after=0,
        flats_after=0,
        flats_every=0,
        beam_losses=0,
        stop_early=False,
    )
    as_far = int((0.99 * MAX_ANGLE_DEG - abs(scan.start_deg)) / abs(whole.step_deg))
    longest = min(max(whole.projections, ceil(longest_s * scan.rate_hz)), as_far)
    watch = TriggerWatch(station, trigger)

    def take(place: Station, what: TomoScan) -> Plan:
        part = fly_part(place, what, watch, BeamGuard(place, 0), 0, longest)
        yield from keeping_velocity(place, part)
        return "stopped"

    entries = {"turns_before": before, "turns_after": after, **(md or {})}
    outcome = yield from take_scan(station, whole, "tomo_capture", take, entries)
    made = 0 if outcome.report is None else outcome.report.tomograms
    return CaptureOutcome(outcome, watch.triggered, made)


class TriggerWatch:
    """Looks at the trigger while a scan runs, and ends it when all that is wanted has come; as ``Watch`` does."""

    def __init__(self, station: Station, trigger: Any = None) -> None:
        self._station, self._trigger = station, trigger
        self._asked = False
        self.triggered = self.ended = False

    @property
    def wanted(self) -> bool:
        return True

    def look_in_flight(self) -> Plan:
        """Pass the trigger on to the daemon, and stop the detector when the last wanted turn is there."""
        streamer = self._station.streamer
        if self._trigger is not None and not self._asked and (yield from bps.rd(self._trigger)):
            self._asked = True
            yield from stubs.call(lambda: streamer.capture(streamer.armed_scan.get()))
        report = streamer.last_report
        if report is None or report.capture is None or self.ended:
            return
        self.triggered = report.capture != "waiting"
        if report.capture == DONE:
            self.ended = True
            yield from bps.stop(self._station.detector)
