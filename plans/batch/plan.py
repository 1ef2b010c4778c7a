"""Many samples without anybody watching: mount, scan, decide, next.

One bad sample never ends the batch: a robot fault, a failed scan or bad data reject that sample. The batch ends as
failed when a server stays away, when the robot needs a person, or when sample after sample fails because of the system;
what is not decided then is taken when the batch is started again with its journal.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp

from streamer.client import LinkTimeout
from streamer.frames import BadInput, Decision, Reason, ReasonCode, Verdict

from .. import stubs
from ..devices.failures import FailureCode
from ..scan import ScanOutcome, Station, TomoScanError
from ..stubs import Plan
from .journal import Journal, action_entries, outcome_entries, restored, sample_entries
from .mounting import Mounting
from .policy import Action, Blame, Case, Choice, Policy, changed, decide, plain, realign_by_mm
from .samples import Attempt, BatchEvent, Sample, SampleOutcome, ScanPlan, unlit
from .servers import await_servers, report_of
from .sheet import check_station, in_order
from .versions import versions

log = logging.getLogger(__name__)

ADOPTED = (Decision.ENOUGH, Decision.CONTINUE, Decision.EMPTY)
"""Verdicts by which a scan counts whose session ended before it could read them."""

FINAL = (Choice.ACCEPT, Choice.REJECT)

EARLY = (Decision.CONTINUE, Decision.ENOUGH, Decision.EMPTY)
"""Verdicts so far after which the sample is most probably not needed again."""


class BatchStation(Station, Protocol):
    @property
    def changer(self) -> Any: ...  # Movable: a slot, or None


def tomo_batch(
    station: BatchStation,
    samples: Sequence[Sample],
    policy: Policy = Policy(),  # noqa: B008 - a frozen value
    journal: Journal | None = None,
    on_event: Callable[[BatchEvent], None] = lambda event: None,
    take: ScanPlan | None = None,
) -> Plan:
    """Scan samples by their priority. Returns a list of SampleOutcome, in the order of ``samples``.

    With a ``journal`` that has begun, the batch goes on where it was. The beamline is claimed once for all. ``take`` is
    used instead of the plans that the samples name. A correction of the axis holds for one sample: every mount may sit
    a little differently. Raises BadInput before anything moves, and TomoScanError when the batch cannot go on.
    """
    batch = _Batch(station, samples, policy, journal or Journal(), on_event, take)
    # What is staged is also unstaged when the RunEngine is halted; it gives the beamline back.
    yield from bpp.stage_wrapper(batch.run(), [station.changer])
    return batch.outcomes


class _Batch:
    def __init__(
        self,
        station: BatchStation,
        samples: Sequence[Sample],
        policy: Policy,
        journal: Journal,
        on_event: Callable[[BatchEvent], None],
        take: ScanPlan | None,
    ) -> None:
        self._station, self._policy, self._journal = station, policy, journal
        self._on_event, self._take_plan = on_event, take
        self.outcomes = restored(journal.lines) or [SampleOutcome(sample) for sample in samples]
        if [outcome.sample for outcome in self.outcomes] != list(samples):
            where = journal.folder or "the journal"
            raise BadInput(f"{where}: was begun with another sheet; use that one, or another folder")
        names = [sample.name for sample in samples]
        if len(set(names)) < len(names):
            raise BadInput("samples: two have the same name; give each its own")
        order = in_order(samples)
        self._queue = sorted(self.outcomes, key=lambda outcome: order.index(outcome.sample))
        self._mounting = Mounting(station, policy, self._note)
        self._hopeless = 0
        self._versions: dict[str, str] = {}

    # ── the batch ───────────────────────────────────────────────────────────────────────────────────────────────
    def run(self) -> Plan:
        try:
            yield from self._begin()
            yield from self._all()
        except Exception as error:
            self._journal.write("failed", text=" ".join(str(error).split()) or type(error).__name__)
            raise
        yield from stubs.attempt(self._mounting.take_away(), "taking the last sample away")
        self._journal.write("ended")

    def _begin(self) -> Plan:
        station = self._station
        inventory, rate, self._versions = yield from stubs.call(
            lambda: (station.changer.inventory(), station.detector.hardware.geometry().max_rate_hz, versions(station))
        )
        check_station([outcome.sample for outcome in self._queue if outcome.action is None], inventory, rate)
        if any(line["event"] == "started" for line in self._journal.lines):
            self._journal.write("resumed", versions=self._versions)
        else:
            entries = [sample_entries(outcome.sample) for outcome in self.outcomes]
            self._journal.write("started", samples=entries, policy=plain(self._policy), versions=self._versions)
        yield from stubs.claim(station.changer, self._policy.queue_s)
        for sample in self._queue:
            if sample.action is not None:
                continue
            if sample.in_flight:
                yield from self._take_up(sample)
            elif sample.attempts and sample.attempts[-1].action.choice in FINAL:  # judged, and the session ended
                yield from self._decided(sample, sample.attempts[-1].action)

    def _all(self) -> Plan:
        while True:
            yield from bps.checkpoint()
            fault = yield from self._mounting.settle()
            if fault is not None:
                yield from self._robot_failed(*fault)
            sample = yield from self._choose()
            if sample is None:
                return
            fault = yield from self._mounting.mount(sample)
            if fault is None:
                yield from self._attempt(sample)
            else:
                yield from self._robot_failed(*fault)

    def _choose(self) -> Plan:
        """The sample on the stage if it is not decided, else the first one that is not; None when all are."""
        open_ones = [sample for sample in self._queue if sample.action is None]
        mounted = yield from self._mounting.mounted()
        return next((sample for sample in open_ones if sample.slot == mounted), open_ones[0] if open_ones else None)

    # ── one scan ────────────────────────────────────────────────────────────────────────────────────────────────
    def _attempt(self, sample: SampleOutcome) -> Plan:
        self._on_event(BatchEvent("scanning", sample))
        outcome, failure = yield from self._take(sample)
        case = Case(outcome.verdict, failure, unlit(outcome), sample.retaken, sample.realigned)
        yield from self._judged(sample, outcome, case)

    def _judged(self, sample: SampleOutcome, outcome: ScanOutcome, case: Case) -> Plan:
        action = self._with_settings(sample, outcome, decide(case, self._policy))
        inputs = {
            "verdict": outcome.verdict.to_dict(),
            "failure": None if case.failure is None else str(case.failure),
            "unlit": case.unlit,
            "retaken": {str(blame): count for blame, count in case.retaken.items()},
            "realigned": case.realigned,
        }
        sample.attempts.append(Attempt(outcome, action))
        self._write(
            "attempt",
            sample,
            number=len(sample.attempts),
            outcome=outcome_entries(outcome),
            inputs=inputs,
            decision=action_entries(action),
            versions=self._versions,
        )
        self._on_event(BatchEvent("attempt", sample))
        if action.choice in FINAL:
            yield from self._decided(sample, action)

    def _with_settings(self, sample: SampleOutcome, outcome: ScanOutcome, action: Action) -> Action:
        """The action with what it changes in the next scan."""
        scan = sample.scan
        if action.choice is Choice.RETAKE:
            return replace(action, settings=changed(scan, action.change))
        if action.choice is not Choice.REALIGN:
            return action
        if outcome.center_px is None or not outcome.pixel_size_m:
            why = f"{action.why}; but the centre or the pixel size is not known"
            return replace(action, choice=Choice.REJECT, why=why)
        by_mm = realign_by_mm(outcome.center_px, outcome.columns, outcome.pixel_size_m)
        settings: dict[str, float | int] = {"x_in_mm": scan.x_in_mm + by_mm}
        return replace(action, why=f"{action.why}; x moves by {by_mm:+.4f} mm", settings=settings)

    def _decided(self, sample: SampleOutcome, action: Action) -> Plan:
        sample.action = action
        self._write("decided", sample, decision=action_entries(action), versions=self._versions)
        self._on_event(BatchEvent("sample", sample))
        yield from bps.null()
        lost = action.choice is Choice.REJECT and action.blame in (Blame.SYSTEM, Blame.ROBOT, Blame.BEAM)
        self._hopeless = self._hopeless + 1 if lost else 0
        if self._hopeless >= self._policy.hopeless:
            what = f"{self._hopeless} samples in a row failed, not through their own fault; the last one: {action.why}"
            raise TomoScanError(what, fatal=True)

    def _take(self, sample: SampleOutcome) -> Plan:
        """One scan: a ScanOutcome and None, or one that is UNKNOWN with the code of the failure."""
        plan = self._take_plan or sample.sample.take
        try:
            outcome = yield from bpp.plan_mutator(plan(self._station, sample.scan), self._watched(sample))
        except TomoScanError as error:
            if error.fatal:
                yield from self._await_servers(str(error))
            return self._failed(error, error.scan_id, error.run_uid), _failure(error)
        except BadInput as error:
            return self._failed(error), FailureCode.REFUSED
        return outcome, None

    def _failed(self, error: Exception, scan_id: str = "", run_uid: str = "") -> ScanOutcome:
        reason = Reason(ReasonCode.SCAN_FAILED, f"the scan failed: {error}")
        return ScanOutcome(scan_id, run_uid, Verdict(Decision.UNKNOWN, (reason,)))

    def _watched(self, sample: SampleOutcome) -> Callable[[Any], tuple[Any, Any]]:
        """Looks at the messages of a scan: its id goes into the journal first, and while the verdict is awaited the
        robot brings the next sample.
        """

        def look(message: Any) -> tuple[Any, Any]:
            if message.command == "open_run":
                self._write(
                    "scanning",
                    sample,
                    number=len(sample.attempts) + 1,
                    scan_id=message.kwargs.get("tomo_scan_id", ""),
                    scan=sample_entries(replace(sample.sample, scan=sample.scan))["scan"],
                )
            elif message.command == "trigger" and message.obj is self._station.streamer and self._policy.overlap:
                return self._early(sample, message), None
            return None, None

        return look

    def _early(self, sample: SampleOutcome, message: Any) -> Plan:
        """Let the robot change the samples, unless the verdict so far says that this one is needed again."""
        following = next((other for other in self._queue if other.action is None and other is not sample), None)
        readings = yield from bps.read(self._station.streamer)
        decision = readings[f"{self._station.streamer.name}_decision"]["value"]
        if following is not None and decision in EARLY:
            yield from stubs.attempt(self._mounting.begin_early(following), "bringing the next sample")
        return (yield message)

    # ── troubles ────────────────────────────────────────────────────────────────────────────────────────────────
    def _robot_failed(self, sample: SampleOutcome, action: Action, error: Exception) -> Plan:
        if isinstance(error.__cause__ or error, LinkTimeout):
            yield from self._await_servers(str(error))
            return
        sample.faults += 1
        self._write("robot", sample, number=sample.faults, decision=action_entries(action), versions=self._versions)
        if action.choice is Choice.REJECT:
            yield from self._decided(sample, action)

    def _await_servers(self, why: str) -> Plan:
        self._journal.write("waiting", text=why)
        back = yield from await_servers(self._station, self._policy.patience_s)
        if not back:
            raise TomoScanError(why, fatal=True)
        self._versions = yield from stubs.call(lambda: versions(self._station))
        self._journal.write("went_on", versions=self._versions)

    def _take_up(self, sample: SampleOutcome) -> Plan:
        """What became of a scan whose session ended: it counts if its verdict does, else it is taken again."""
        scan_id, sample.in_flight = sample.in_flight, ""
        report = yield from report_of(self._station, scan_id, sample.scan.verdict_timeout_s)
        if report is not None and report.state == "complete" and report.judgement.decision in ADOPTED:
            verdict = report.judgement
            run_uid = ""  # its run has no stop document, and is found by the scan id
            outcome = ScanOutcome(scan_id, run_uid, verdict, report.center_px, report=report)
            case = Case(verdict, None, unlit(outcome), sample.retaken, sample.realigned)
            yield from self._judged(sample, outcome, case)
            return
        found = "is not known to the daemon" if report is None else f"ended as {report.state}"
        self._write("interrupted", sample, scan_id=scan_id, text=f"the session ended during the scan, which {found}")

    def _note(self, what: str, sample: SampleOutcome, early: bool) -> None:
        self._write(what, sample, slot=sample.slot, early=early)
        self._on_event(BatchEvent("mounting", sample))

    def _write(self, event: str, sample: SampleOutcome, **entries: Any) -> None:
        self._journal.write(event, sample=sample.name, **entries)


def _failure(error: BaseException) -> FailureCode:
    """The code of a scan's failure."""
    code = getattr(error, "failure", FailureCode.OTHER)
    return code if isinstance(code, FailureCode) else FailureCode.OTHER
