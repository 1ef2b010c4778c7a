"""Quality over a scan and over the night: the numbers of each report, thinned. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamer.frames import Quality
from streamer.gui.state.figures import CENTRE_DECIMALS, number_text

POINTS = 400
"""Of one scan, about."""

MAX_SCANS = 500


@dataclass(frozen=True)
class Measure:
    """A number of the quality that is worth a curve."""

    label: str
    unit: str
    of: Callable[[Quality], float | None]
    decimals: int | None = None

    def words(self, value: float) -> str:
        """A value with its unit."""
        return f"{number_text(value, decimals=self.decimals)} {self.unit}".rstrip()


MEASURES = {
    "center": Measure("centre of rotation", "px", lambda q: q.center_px, CENTRE_DECIMALS),
    "confidence": Measure("confidence in the centre", "", lambda q: q.center_confidence),
    "resolution": Measure("resolution", "px", lambda q: q.resolution_px),
    "snr": Measure("signal to noise of a projection", "", lambda q: q.snr),
    "motion": Measure("motion", "px", lambda q: q.motion_px),
    "drift": Measure("drift of the beam", "", lambda q: q.flat_drift),
    "missing": Measure("frames missing or corrupt", "", lambda q: float(q.missing + q.corrupt)),
}

Curve = list[tuple[float, float]]


class Trends:
    """What every report said: by projections within a scan, and the last word of each scan."""

    def __init__(self) -> None:
        self._scans: dict[str, list[Quality]] = {}

    def add(self, scan_id: str, quality: Quality) -> None:
        """Take the quality of a report. Equal numbers of projections replace each other."""
        seen = self._scans.setdefault(scan_id, [])
        if seen and quality.projections < seen[-1].projections:
            seen.clear()  # the scan was begun anew
        apart = max(1, quality.expected // POINTS)
        again = bool(seen) and quality.projections == seen[-1].projections
        if again or (len(seen) > 1 and quality.projections - seen[-2].projections < apart):
            seen[-1] = quality
        elif quality.projections:
            seen.append(quality)
        while len(self._scans) > MAX_SCANS:
            self._scans.pop(next(iter(self._scans)))

    def arrange(self, newest: Sequence[str]) -> None:
        """Put these scans behind all others, in this order."""
        older = {scan_id: seen for scan_id, seen in self._scans.items() if scan_id not in newest}
        self._scans = older | {scan_id: self._scans[scan_id] for scan_id in newest if scan_id in self._scans}

    def within(self, scan_id: str, measure: str) -> Curve:
        """(projections, value) of one scan."""
        of = MEASURES[measure].of
        return [
            (float(quality.projections), value)
            for quality in self._scans.get(scan_id, [])
            if (value := of(quality)) is not None
        ]

    def over_scans(self, measure: str) -> Curve:
        """(number of the scan from 1, last value)."""
        of = MEASURES[measure].of
        last = [(number, seen[-1]) for number, seen in enumerate(self._scans.values(), start=1) if seen]
        return [(float(number), value) for number, quality in last if (value := of(quality)) is not None]
