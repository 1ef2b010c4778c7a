"""Watching a scan while it runs: what to do with the daemon's verdict so far. It reads decisions and codes."""

from collections.abc import Sequence
from typing import Any

import bluesky.plan_stubs as bps

from streamer.frames import Decision, ReasonCode

from .stubs import Plan

SPOILED = (Decision.RETAKE, Decision.REALIGN, Decision.EMPTY)
UNMEASURABLE = (ReasonCode.NO_FLATS, ReasonCode.NO_LIGHT, ReasonCode.DARKS_LIT, ReasonCode.SHADOW)


def may_end(decision: str, codes: Sequence[str], stop_early: bool, stop_spoiled: bool) -> bool:
    """Whether a verdict that is not final ends the scan.

    ``stop_early``: ENOUGH does. ``stop_spoiled``: what no further frame can make good does. The daemon says neither
    before it is sure (docs/reasons.md), so there is nothing to weigh here.
    """
    if decision == Decision.ENOUGH:
        return stop_early
    return stop_spoiled and (decision in SPOILED or bool(set(codes) & set(UNMEASURABLE)))


class Watch:
    """Looks at the verdict so far of one scan; ``ended`` once it has ended the scan.

    ``station`` and ``scan`` are those of ``tomo``.
    """

    def __init__(self, station: Any, scan: Any) -> None:
        self._station, self._scan = station, scan
        self.ended = False

    @property
    def wanted(self) -> bool:
        """Whether any verdict may end the scan."""
        return bool(self._scan.stop_early or self._scan.stop_spoiled)

    def look(self) -> Plan:
        """Look once, unless the scan was ended. Returns ``ended``."""
        if self.wanted and not self.ended:
            streamer = self._station.streamer
            readings = yield from bps.read(streamer)
            decision, codes = (readings[f"{streamer.name}_{key}"]["value"] for key in ("decision", "reason_codes"))
            self.ended = may_end(decision, codes, self._scan.stop_early, self._scan.stop_spoiled)
        return self.ended

    def look_in_flight(self) -> Plan:
        """Look, and stop the detector when that ends the scan."""
        if not self.ended and (yield from self.look()):
            yield from bps.stop(self._station.detector)
