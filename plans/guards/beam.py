"""The beam during one scan: notice that it is gone, wait for it, and count what has to be taken again."""

import logging
import time
from typing import Any

import bluesky.plan_stubs as bps

from streamer.flow.wire.daemon import Report
from streamer.frames import Quality, StreamerError

from .. import stubs
from ..devices.failures import FailureCode
from ..devices.signals import BeamLimits
from ..stubs import Plan

log = logging.getLogger(__name__)

SETTLED_S = 1.0
PATIENCE_S = 4 * 3600.0
PERIOD_S = 0.2
LISTED_S = 10.0
"""For so long the daemon is asked which frames had no light."""

NO_LIGHT = "no light"
"""The daemon's cause for frames that were set aside for it."""


class BeamLost(StreamerError):
    """The beam is gone, for too long or too often."""

    failure = FailureCode.BEAM_LOST


class BeamGuard:
    """Watches the beam during one scan, in which it may be lost ``losses`` times.

    ``station`` is that of ``tomo``; without ``ring_current`` and ``front_end`` there is nothing to watch.
    """

    def __init__(self, station: Any, losses: int, settled_s: float = SETTLED_S, patience_s: float = PATIENCE_S) -> None:
        self._station, self._left = station, losses
        self._ring, self._front_end = (getattr(station, name, None) for name in ("ring_current", "front_end"))
        self._settled_s, self._patience_s = settled_s, patience_s
        self._first = self._lit = 0
        self.lost = False

    @property
    def wanted(self) -> bool:
        return self._ring is not None or self._front_end is not None

    def begin(self) -> None:
        """Projections follow."""
        self.lost = False
        if self.wanted:
            self._first = self._lit = self._station.detector.issued

    def look(self) -> Plan:
        """Whether there is a beam. Returns True where nothing can be known."""
        if self._ring is not None and (yield from bps.rd(self._ring)) < least_current(self._station):
            return False
        return self._front_end is None or (yield from bps.rd(self._front_end)) == "open"

    def look_in_flight(self) -> Plan:
        """Look, and stop the detector when the beam is gone."""
        if not self.wanted or self.lost:
            return
        issued = self._station.detector.get_index()  # on disk before the look, so taken with light
        if (yield from self.look()):
            self._lit = max(self._lit, issued)
        else:
            self.lost = True
            yield from bps.stop(self._station.detector)  # nothing when it is done

    def wait_for_beam(self) -> Plan:
        """Close the shutter and wait until the beam has been there for a while. Raises BeamLost."""
        yield from stubs.close_shutter(self._station.shutter)
        if not self._left:
            raise BeamLost("the beam was lost during the projections; take the scan again when it is back")
        self._left -= 1
        log.warning("the beam is gone; the scan waits for it")
        began = settled = time.monotonic()
        while (now := time.monotonic()) - settled < self._settled_s:
            if not (yield from self.look()):
                settled = now
            if now - began > self._patience_s:
                raise BeamLost(f"the beam was not back within {self._patience_s:g} s")
            yield from bps.sleep(PERIOD_S)

    def count_lost(self, projections: int) -> Plan:
        """How many of ``projections``, from the last one backwards, have not been taken with light since ``begin``.

        The daemon says which frames had none. If it does not, those count as lost that were not on disk at the last
        look that saw the beam: a few of them may be taken twice.
        """
        issued = self._station.detector.issued
        end = time.monotonic() + LISTED_S
        while (stop := lit_until(self._report(), self._lit, issued)) is None and time.monotonic() < end:
            yield from bps.sleep(PERIOD_S)
        taken = (self._lit if stop is None else stop) - self._first
        return projections - min(taken, projections)

    def _report(self) -> Report | None:
        return getattr(self._station.streamer, "last_report", None)


def lit_until(report: Report | None, first: int, issued: int) -> int | None:
    """Before which of the frames ``first`` … ``issued`` - 1 all had light; None when ``report`` does not tell yet."""
    if report is None:
        return None
    unlit = first_unlit(report.quality.unusable.get(NO_LIGHT, ""), first, issued)
    return issued if unlit is None and looked_at(report.quality) >= issued else unlit


def looked_at(quality: Quality) -> int:
    """How many frames the daemon has looked at."""
    return quality.projections + sum(quality.unusable_counts.values()) + quality.flats + quality.darks


def least_current(station: Any) -> float:
    """The ring current below which there is no beam to speak of, in the unit of the station's signal."""
    return float(getattr(station, "beam_limits", BeamLimits()).least_current)


def first_unlit(listed: str, first: int, stop: int) -> int | None:
    """The first of the frames ``first`` … ``stop`` - 1 among those listed, as "70-72, 80"; None when none is."""
    for run in listed.split(","):
        ends = run.strip().split("-")
        if not all(end.isdecimal() for end in ends):
            continue  # "…": there are more
        low, high = int(ends[0]), int(ends[-1])
        if low < stop and high >= first:
            return max(low, first)
    return None
