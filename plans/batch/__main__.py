"""``python -m streamer_plans.batch``: a night of samples from a sheet, and its record.

Exit code 0: done, whatever became of the samples. 1: the batch could not go on; the same command goes on where it was.
2: bad input.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted

from streamer.frames import BadInput, StreamerError

from ..devices.beamline_file import add_options, chosen_beamline
from .documents import DocumentLines
from .journal import read_journal
from .messages import Mail, Send, Webhook
from .policy import Policy
from .report import write_report
from .samples import BatchEvent
from .session import sheet_batch
from .sheet import SheetErrors, in_order, read_sheet
from .why import why


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(prog="python -m streamer_plans.batch", description=(__doc__ or "").splitlines()[0])
    verbs = parse.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser("check", help="check a sheet without touching anything")
    check.add_argument("sheet", type=Path)
    run = verbs.add_parser("run", help="run a sheet; the same command again goes on where it was")
    run.add_argument("sheet", type=Path)
    run.add_argument("folder", type=Path, help="for journal, documents and report")
    add_options(run)
    run.add_argument("--retakes", type=int, default=2, help="scans that may follow because of the sample (2)")
    run.add_argument("--no-overlap", action="store_true", help="wait for each verdict before the robot moves")
    run.add_argument("--patience", type=float, default=600.0, metavar="S", help="how long a server may be gone (600)")
    run.add_argument(
        "--mail-to", action="append", default=[], metavar="ADDRESS", help="mail of troubles, by --mail-host"
    )
    run.add_argument("--mail-host", default="localhost:25", metavar="HOST:PORT")
    run.add_argument("--mail-from", default="streamer@localhost", metavar="ADDRESS")
    tell = verbs.add_parser("why", help="why a sample was taken again, accepted or rejected")
    tell.add_argument("folder", type=Path)
    tell.add_argument("sample")
    report = verbs.add_parser("report", help="write report.html and samples.csv again")
    report.add_argument("folder", type=Path)
    return parse


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        if args.verb == "check":
            for sample in in_order(read_sheet(args.sheet)):
                print(f"slot {sample.slot:3d}  {sample.name}: {sample.scan.projections} projections, {sample.plan}")
        elif args.verb == "why":
            print("\n".join(why(read_journal(args.folder), args.sample)))
        elif args.verb == "report":
            print(write_report(args.folder, read_journal(args.folder)))
        else:
            _run(args)
    except SheetErrors as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    except (StreamerError, RunEngineInterrupted) as error:
        print(f"{' '.join(str(error).split())}\nthe same command goes on where it was", file=sys.stderr)
        return 1
    return 0


def _run(args: argparse.Namespace) -> None:
    beamline = chosen_beamline(args)
    engine = RunEngine({}, context_managers=[])
    documents = DocumentLines(args.folder)
    engine.subscribe(documents)
    policy = Policy(retakes=args.retakes, overlap=not args.no_overlap, patience_s=args.patience)
    try:
        engine(sheet_batch(beamline, args.sheet, args.folder, policy, _sends(args), _say))
        print(args.folder / "report.html")
    finally:
        documents.close()
        beamline.close()


def _sends(args: argparse.Namespace) -> list[Send]:
    """Where messages go. The address of a webhook is a secret, so it comes from the environment."""
    sends: list[Send] = []
    if url := os.environ.get("STREAMER_WEBHOOK"):
        sends.append(Webhook(url))
    if args.mail_to:
        host, _, port = args.mail_host.partition(":")
        if not host or not (port or "25").isdecimal():
            raise BadInput(f"--mail-host {args.mail_host}: expected HOST:PORT")
        sends.append(Mail(host, args.mail_from, args.mail_to, int(port or 25)))
    return sends


def _say(event: BatchEvent) -> None:
    sample = event.sample
    told = {"attempt": lambda: f"{sample.attempts[-1].outcome.verdict} → {sample.attempts[-1].action.choice}"}
    detail = told.get(event.what, lambda: "")()
    result = f": {sample.action.choice}" if event.what == "sample" and sample.action is not None else ""
    print(f"{event.what} {sample.name}{result} {detail}".rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
