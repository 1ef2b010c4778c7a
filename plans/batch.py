"""Many samples without anybody watching: mount, scan, decide, next.

One bad sample never ends the batch: a robot fault, a failed scan or bad data reject that sample. When a server is
gone (daemon, beamline), the batch ends as failed, because nothing that follows could work.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import bluesky.plan_stubs as bps
from bluesky.run_engine import WaitForTimeoutError
from bluesky.utils import FailedStatus

from streamer.client import LinkTimeout
from streamer.frames import Decision, Reason, ReasonCode, Verdict

from . import stubs
from .adaptive import Action, Choice, Policy, decide, realign_by_mm
from .stubs import Plan
from .tomo import ScanOutcome, Station, TomoScan, TomoScanError, tomo_fly

ScanPlan = Callable[[Station, TomoScan], Plan]


class BatchStation(Station, Protocol):
    @property
    def changer(self) -> Any: ...  # Movable: a slot, or None


@dataclass(frozen=True)
class Attempt:
    outcome: ScanOutcome
    action: Action


@dataclass
class SampleOutcome:
    """All attempts at one sample, and the last action: accept or reject."""

    name: str
    slot: int
    attempts: list[Attempt] = field(default_factory=list)
    action: Action | None = None

    @property
    def realigned(self) -> bool:
        return any(attempt.action.choice is Choice.REALIGN for attempt in self.attempts)


@dataclass(frozen=True)
class BatchEvent:
    """Progress of a batch; ``what`` is "mounting", "scanning", "attempt" (a scan was judged) or "sample" (decided)."""

    what: str
    sample: SampleOutcome


def tomo_batch(
    station: BatchStation,
    samples: Sequence[int],
    scan: TomoScan,
    policy: Policy = Policy(),  # noqa: B008 - a frozen value
    names: Mapping[int, str] | None = None,
    on_event: Callable[[BatchEvent], None] = lambda event: None,
    take: ScanPlan = tomo_fly,
) -> Plan:
    """Scan the samples of the given slots with the settings of ``scan``. Returns a list of SampleOutcome.

    A correction of the axis holds for one sample: every mount may sit a little differently.
    """
    outcomes: list[SampleOutcome] = []
    for slot in samples:
        sample = SampleOutcome((names or {}).get(slot, f"sample-{slot}"), slot)
        outcomes.append(sample)
        yield from bps.checkpoint()
        problem = yield from _mount(station, sample, on_event)
        if problem is None:
            yield from _attempts(station, sample, replace(scan, sample=sample.name), policy, on_event, take)
        else:
            sample.action = Action(Choice.REJECT, problem)
        on_event(BatchEvent("sample", sample))
    yield from stubs.attempt(stubs.unmount(station.changer), "taking the last sample away")
    return outcomes


def _mount(station: BatchStation, sample: SampleOutcome, on_event: Callable[[BatchEvent], None]) -> Plan:
    """Returns None, or why the sample is not on the stage."""
    on_event(BatchEvent("mounting", sample))
    try:
        yield from stubs.mount(station.changer, sample.slot)
    except (FailedStatus, WaitForTimeoutError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, LinkTimeout):
            raise TomoScanError(str(cause), fatal=True) from error
        return str(cause)
    return None


def _attempts(
    station: BatchStation,
    sample: SampleOutcome,
    scan: TomoScan,
    policy: Policy,
    on_event: Callable[[BatchEvent], None],
    take: ScanPlan,
) -> Plan:
    """Scan until the sample is accepted or rejected."""
    while sample.action is None:
        on_event(BatchEvent("scanning", sample))
        outcome = yield from _take(station, scan, take)
        action = decide(outcome.verdict, len(sample.attempts) + 1, sample.realigned, policy)
        if action.choice is Choice.REALIGN:
            if outcome.center_px is None or not outcome.pixel_size_m:
                action = Action(Choice.REJECT, f"{action.why}; but the centre or the pixel size is not known")
            else:
                by_mm = realign_by_mm(outcome.center_px, outcome.columns, outcome.pixel_size_m)
                scan = replace(scan, x_in_mm=scan.x_in_mm + by_mm)
                action = Action(Choice.REALIGN, f"{action.why}; x moves by {by_mm:+.4f} mm")
        sample.attempts.append(Attempt(outcome, action))
        on_event(BatchEvent("attempt", sample))
        if action.choice in (Choice.ACCEPT, Choice.REJECT):
            sample.action = action


def _take(station: BatchStation, scan: TomoScan, take: ScanPlan) -> Plan:
    """One scan. A scan that fails is UNKNOWN; TomoScanError is raised only when a server is gone."""
    try:
        outcome: ScanOutcome = yield from take(station, scan)
    except TomoScanError as error:
        if error.fatal:
            raise
        reason = Reason(ReasonCode.SCAN_FAILED, f"the scan failed: {error}")
        return ScanOutcome(error.scan_id, error.run_uid, Verdict(Decision.UNKNOWN, (reason,)))
    return outcome
