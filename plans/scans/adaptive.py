"""A scan that follows the daemon's opinion: it stops, goes on, renews its flats, or is taken again."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import bluesky.plan_stubs as bps

from streamer.frames import BadInput, Decision

from ..exposing import fly_part, keeping_velocity, tomo_dark_flat
from ..guards.beam import BeamGuard
from ..orders import interlaced_count
from ..scan import ScanOutcome, Station, TomoScan
from ..stubs import Plan
from ..tomo import DUTY, take_scan
from ..watching import Watch


class Step(StrEnum):
    """What follows a turn."""

    GO_ON = "go on"
    FLATS = "flats"
    STOP = "stop"


@dataclass(frozen=True)
class Adaptation:
    """How a scan adapts.

    ``turns`` interlaced turns have the projections of the ``TomoScan``; up to ``rounds`` times as many may be added,
    each between the angles before. A round that improves the resolution by less than ``least_gain`` (a share) is the
    last. Flats are taken anew, at most ``flat_sets`` times, when the beam has changed by ``drift`` (a share) since the
    latest ones. A scan that ends as RETAKE is taken again, at most ``retakes`` times.
    """

    turns: int = 8
    rounds: int = 2
    least_gain: float = 0.05
    drift: float = 0.02
    flat_sets: int = 2
    retakes: int = 1

    def __post_init__(self) -> None:
        if self.turns < 1 or self.rounds < 1 or self.flat_sets < 0 or self.retakes < 0:
            raise BadInput(f"tomo_adaptive: {self}; give 1 turn and 1 round or more, and no number below 0")


@dataclass(frozen=True)
class Look:
    """What the daemon says after a turn. None: it has not measured that."""

    resolution_px: float | None
    drift: float | None


@dataclass(frozen=True)
class AdaptiveOutcome:
    """``scans``, the last of which counts, the sets of flats that were renewed in it, and why it ended."""

    scans: tuple[ScanOutcome, ...]
    flat_sets: int
    why: str

    @property
    def last(self) -> ScanOutcome:
        return self.scans[-1]


class Course:
    """The decisions within one scan. Pure: a look at a time, in order."""

    def __init__(self, how: Adaptation, turns: int) -> None:
        """``turns`` are all that may be made."""
        self._how, self._turns = how, turns
        self._done = 0
        self._of_round: list[float | None] = []
        self._drift_at_flats = 0.0
        self.flat_sets = 0
        self.why = "all projections that were allowed"

    def after_turn(self, look: Look) -> Step:
        """What follows a turn that ended with this look."""
        self._done += 1
        if self._done >= self._turns:
            return Step.STOP
        if self._done % self._how.turns == 0:
            self._of_round.append(look.resolution_px)
            if (gain := self._gain()) is not None and gain < self._how.least_gain:
                self.why = f"the resolution improved by {100 * gain:.1f} % only"
                return Step.STOP
        drift, may = look.drift, self.flat_sets < self._how.flat_sets
        if drift is not None and may and abs(drift - self._drift_at_flats) > self._how.drift:
            self.flat_sets += 1
            self._drift_at_flats = drift
            return Step.FLATS
        return Step.GO_ON

    def _gain(self) -> float | None:
        """By which share the last round has improved the resolution."""
        if len(self._of_round) < 2 or None in self._of_round[-2:]:
            return None
        before, after = (value or 0.0 for value in self._of_round[-2:])
        return 1.0 - after / before if before > 0 else None


def tomo_adaptive(
    station: Station,
    scan: TomoScan,
    how: Adaptation = Adaptation(),
    md: dict[str, Any] | None = None,
) -> Plan:
    """Interlaced turns until the data are enough or do not improve. Returns an AdaptiveOutcome.

    Stops in flight on ENOUGH, which needs a wanted resolution (``limits.max_resolution_px`` of the daemon), on EMPTY,
    and on a RETAKE that no further projection can mend; that scan is taken again. The rotation stands between turns.
    Raises BadInput unless the range of ``scan`` is half a turn or a whole one.
    """
    if abs(scan.range_deg) not in (180.0, 360.0):
        raise BadInput(f"tomo_adaptive: turns of {scan.range_deg:g}° do not interlace; use 180 or 360, or minus that")
    turns = how.turns * how.rounds
    count = interlaced_count(scan.projections * how.rounds, turns)
    longest = replace(
        scan,
        projections=count,
        range_deg=turns * scan.range_deg,
        exposure_s=scan.exposure_s or DUTY / (scan.rate_hz * how.turns),
        flats_during=how.flat_sets * scan.flats,
        stop_early=True,
        stop_spoiled=True,
    )
    scans: list[ScanOutcome] = []
    while True:
        course = Course(how, turns)

        def take(place: Station, what: TomoScan, course: Course = course) -> Plan:
            return (yield from keeping_velocity(place, _turns(place, what, course, turns)))

        entries = {"attempt": len(scans), **(md or {})}
        scans.append((yield from take_scan(station, longest, "tomo_adaptive", take, entries)))
        if scans[-1].verdict.decision is not Decision.RETAKE or len(scans) > how.retakes:
            return AdaptiveOutcome(tuple(scans), course.flat_sets, course.why)


def _turns(station: Station, scan: TomoScan, course: Course, turns: int) -> Plan:
    watch, guard = Watch(station, scan), BeamGuard(station, scan.beam_losses)
    ends = [round(scan.projections * (turn + 1) / turns) for turn in range(turns)]
    for first, last in zip([0, *ends], ends, strict=False):
        yield from fly_part(station, scan, watch, guard, first, last - first)
        if watch.ended:
            course.why = "the verdict"
            break
        step = course.after_turn((yield from _look(station)))
        if step is Step.STOP:
            break
        if step is Step.FLATS:
            yield from tomo_dark_flat(station, scan, 0, scan.flats)
    return "stopped"  # there may be flats that were not wanted


def _look(station: Station) -> Plan:
    streamer = station.streamer
    readings = yield from bps.read(streamer)
    values = {key: readings.get(f"{streamer.name}_{key}", {}).get("value") for key in ("resolution_px", "flat_drift")}
    return Look(values["resolution_px"], values["flat_drift"])
