"""The samples of a batch, what became of each, and the events of its progress."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..scan import ScanOutcome, Station, TomoScan
from ..stubs import Plan
from ..tomo import tomo_fly, tomo_golden, tomo_interlaced
from .policy import Action, Blame, Choice, with_settings

ScanPlan = Callable[[Station, TomoScan], Plan]


@dataclass(frozen=True)
class Sample:
    """One sample: its slot, and how it is scanned. Higher priorities come first, then the order of the sheet."""

    slot: int
    scan: TomoScan
    priority: float = 0.0
    plan: str = "fly"
    turns: int = 8  # of the plan interlaced

    @property
    def name(self) -> str:
        return self.scan.sample

    def take(self, station: Station, scan: TomoScan) -> Plan:
        """The plan that scans it."""
        if self.plan == "interlaced":
            return tomo_interlaced(station, scan, self.turns)
        return tomo_golden(station, scan) if self.plan == "golden" else tomo_fly(station, scan)


@dataclass(frozen=True)
class Attempt:
    outcome: ScanOutcome
    action: Action


@dataclass
class SampleOutcome:
    """All attempts at one sample, and the last action: accept or reject. ``faults`` counts those of the robot with it.

    ``in_flight`` is the id of a scan that was begun and not judged.
    """

    sample: Sample
    attempts: list[Attempt] = field(default_factory=list)
    action: Action | None = None
    faults: int = 0
    in_flight: str = ""

    @property
    def name(self) -> str:
        return self.sample.name

    @property
    def slot(self) -> int:
        return self.sample.slot

    @property
    def realigned(self) -> bool:
        return any(attempt.action.choice is Choice.REALIGN for attempt in self.attempts)

    @property
    def retaken(self) -> Counter[Blame]:
        """How often a scan was followed by another one, by blame."""
        return Counter(attempt.action.blame for attempt in self.attempts if attempt.action.choice is Choice.RETAKE)

    @property
    def scan(self) -> TomoScan:
        """The settings of the next scan: those of the sheet, and what the attempts have changed."""
        scan = self.sample.scan
        for attempt in self.attempts:
            scan = with_settings(scan, attempt.action.settings)
        return scan


@dataclass(frozen=True)
class BatchEvent:
    """Progress of a batch; ``what`` is "mounting", "scanning", "attempt" (a scan was judged) or "sample" (decided)."""

    what: str
    sample: SampleOutcome


def unlit(outcome: ScanOutcome) -> int:
    """Projections of a scan that had no light, as the daemon counts them."""
    counts: Mapping[str, Any] = {} if outcome.report is None else outcome.report.quality.unusable_counts
    return int(counts.get("no light", 0))
