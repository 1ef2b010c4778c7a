"""``python -m streamer_plans.demo``: a batch of samples on the virtual beamline, with a real RunEngine.

Progress goes to stdout, one JSON map per line ("event": sample, scan, progress, verdict, outcome); logs go to
``DIR/plans-bluesky.log``. Every document is checked against the schemas of event-model. Exit code 0: the batch ended,
whatever became of the samples. 1: the run failed or was interrupted. 2: bad input.
"""

import argparse
import json
import logging
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from event_model import DocumentNames, schema_validators
from msgspec import to_builtins

from streamer.client import LinkError, LinkTimeout
from streamer.flow.wire.daemon import Report
from streamer.frames import BadInput, Decision, Reason, ReasonCode, StreamerError, Verdict

from .batch import Attempt, BatchEvent, Choice, Policy, Sample, SampleOutcome, tomo_batch
from .devices.beamline import Beamline
from .devices.beamline_file import DAEMON, open_beamline
from .tomo import TomoScan

log = logging.getLogger(__name__)

PROGRESS_S = 0.2
SERVER_GONE_S = 20.0  # nobody starts a daemon of the demo again
X_OUT_MM = 10.0


class Interrupted(StreamerError):
    """Somebody asked the batch to end."""


def validate(name: str, document: dict[str, Any]) -> None:
    """Raise when a document does not follow its schema; subscribed to the RunEngine, this aborts the run."""
    schema_validators[DocumentNames[name]].validate(document)


class Reporter:
    """Prints progress and collects the results."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._last = 0.0
        self._total = 0
        self._lock = threading.Lock()
        self.samples: list[SampleOutcome] = []
        self.documents: Counter[str] = Counter()
        self.run_uids: list[str] = []

    def say(self, event: str, **entries: Any) -> None:
        with self._lock:
            print(json.dumps({"event": event, **entries}), file=self._out, flush=True)

    def document(self, name: str, document: dict[str, Any]) -> None:
        self.documents[name] += 1
        if name == "start":
            self.run_uids.append(document["uid"])
            self._total = document["num_points"]

    def report(self, report: Report) -> None:
        """Take a report of the daemon, on any thread, and print at most one every ``PROGRESS_S`` seconds."""
        now = self._clock()
        if now - self._last < PROGRESS_S and not report.final:
            return
        self._last = now
        keys = ("scan_id", "sample", "state", "written", "verdict")
        self.say("progress", **{key: getattr(report, key) for key in keys}, total=self._total)

    def batch_event(self, event: BatchEvent) -> None:
        sample = event.sample
        if event.what in ("mounting", "scanning") and sample not in self.samples:  # one may be on the stage already
            self.samples.append(sample)
            self.say("sample", number=len(self.samples), sample=sample.name, slot=sample.slot)
        if event.what == "scanning":
            self.say("scan", sample=sample.name, attempt=len(sample.attempts) + 1, total=self._total)
        elif event.what == "attempt":
            self.say("verdict", sample=sample.name, **_attempt(sample.attempts[-1], brief=True))
        elif event.what == "sample" and sample.action is not None:
            self.say("outcome", sample=sample.name, action=sample.action.choice, why=sample.action.why)

    def expect(self, frames: int) -> None:
        """Set the number of frames of the next scan, for progress that is printed before its run begins."""
        self._total = frames

    def result(self) -> dict[str, Any]:
        samples = [_sample(sample) for sample in self.samples]
        return {"samples": samples, "run_uids": self.run_uids, "documents": dict(self.documents)}


def _sample(sample: SampleOutcome) -> dict[str, Any]:
    attempts = [_attempt(attempt) for attempt in sample.attempts]
    action = sample.action
    why = action.why if action is not None else "the batch ended before"
    not_scanned = Verdict(Decision.UNKNOWN, (Reason(ReasonCode.NOT_SCANNED, why),)).to_dict()
    return {
        "name": sample.name,
        "slot": sample.slot,
        **(attempts[-1] if attempts else {"scan_id": "", "run_uid": "", **not_scanned, "report": None}),
        "action": action.choice.value if action is not None else Choice.REJECT.value,
        "attempts": attempts,
    }


def _attempt(attempt: Attempt, brief: bool = False) -> dict[str, Any]:
    outcome = attempt.outcome
    entries: dict[str, Any] = {
        "scan_id": outcome.scan_id,
        "run_uid": outcome.run_uid,
        **outcome.verdict.to_dict(),
        "action": attempt.action.choice.value,
    }
    return entries if brief else {**entries, "report": to_builtins(outcome.report)}


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    """Run the whole batch. Raises a StreamerError with one readable line when it cannot be finished."""
    beamline = open_beamline(args.beamline, {DAEMON: args.daemon})
    try:
        scan = _scan(args, beamline)
        reporter.expect(scan.projections + scan.darks + scan.flats + scan.flats_after)
        beamline.streamer.on_report = reporter.report
        engine = RunEngine({"beamline": "virtual", "seed": args.seed}, context_managers=[])
        engine.subscribe(validate)
        engine.subscribe(reporter.document)
        samples = [Sample(slot, replace(scan, sample=f"sample-{slot + 1}")) for slot in range(args.samples)]
        # One after the other, as the display shows them.
        plan = tomo_batch(
            beamline, samples, Policy(overlap=False, patience_s=SERVER_GONE_S), on_event=reporter.batch_event
        )
        _run_until_signal(engine, plan)
    finally:
        beamline.streamer.on_report = None
        beamline.close()


def _scan(args: argparse.Namespace, beamline: Beamline) -> TomoScan:
    """The settings of every scan. Raises BadInput when the beamline cannot do them."""
    geometry = beamline.detector.hardware.geometry()
    if geometry.columns != args.size:
        raise BadInput(f"--size {args.size}: the detector has {geometry.columns} columns")
    if args.rate > geometry.max_rate_hz:
        raise BadInput(f"--rate {args.rate:g}: the detector can do up to {geometry.max_rate_hz:g} Hz")
    out_mm = getattr(beamline.sample_x, "out_mm", X_OUT_MM)  # the virtual beamline's knows where it is beside the beam
    return TomoScan("sample", args.projections, rate_hz=args.rate, x_out_mm=out_mm)


def _run_until_signal(engine: RunEngine, plan: Any) -> None:
    """Run the plan; SIGINT and SIGTERM abort it, which cleans up."""
    asked = threading.Event()

    def abort() -> None:
        try:
            engine.abort("interrupted by a signal")
        except RuntimeError as error:  # TransitionError: nothing is running
            log.info("a signal came when nothing was running: %s", error)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not asked.is_set():
            asked.set()
            threading.Thread(target=abort, name="abort", daemon=True).start()

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if not asked.is_set():
            engine(plan)
    except RunEngineInterrupted as error:
        raise Interrupted("interrupted; the beamline was left safe") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(prog="python -m streamer_plans.demo", description=__doc__.splitlines()[0])
    parse.add_argument(
        "--beamline",
        required=True,
        metavar="WHERE",
        help="beamline.toml, the name of one of ours, or the control socket of a virtual beamline",
    )
    parse.add_argument("--daemon", required=True, metavar="ENDPOINT", help="control socket of the daemon")
    parse.add_argument("--size", type=_positive(int), default=256, help="columns of the detector, as a check")
    parse.add_argument("--projections", type=_positive(int), default=360)
    parse.add_argument("--samples", type=_positive(int), default=4, help="slots to scan, from slot 0")
    parse.add_argument("--rate", type=_positive(float), default=50.0, metavar="HZ", help="frames per second")
    parse.add_argument("--out", type=Path, required=True, metavar="DIR", help="the log goes here")
    parse.add_argument("--json", type=Path, required=True, metavar="FILE", help="write the results here")
    parse.add_argument("--seed", type=int, default=1, help="of the virtual beamline; recorded in the runs")
    return parse


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text}: must be above 0")
        return value

    return number


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=args.out / "plans-bluesky.log", level=logging.INFO, force=True)
    reporter = Reporter(sys.stdout)
    code = 1
    try:
        with redirect_stdout(sys.stderr if sys.stderr.isatty() else _Quiet()):  # Bluesky prints hints to stdout
            run(args, reporter)
        code = 0
    except (LinkError, LinkTimeout) as error:
        print(f"plans: {error}", file=sys.stderr)
    except BadInput as error:
        code = 2
        print(f"plans: {error}", file=sys.stderr)
    except Exception as error:
        log.exception("the batch failed")
        print(f"plans: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
    finally:
        text = json.dumps(reporter.result(), indent=2, default=str)
        args.json.write_text(text, encoding="utf-8")
    return code


class _Quiet:
    """A stream whose text goes to the log."""

    def write(self, text: str) -> int:
        if text.strip():
            log.info("printed: %s", text.strip())
        return len(text)

    def flush(self) -> None: ...


if __name__ == "__main__":
    sys.exit(main())
