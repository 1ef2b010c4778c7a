"""``python -m streamer_plans.scans advise``: how to scan the mounted sample.

Exit code 0: done. 1: the looks, or the scan, failed. 2: bad input.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted

from streamer.frames import BadInput, StreamerError

from ..devices.beamline_file import add_options, chosen_beamline
from ..scan import TomoScan
from ..tomo import tomo_fly
from .advice import Wanted
from .advise import Advised, tomo_advise


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(prog="python -m streamer_plans.scans", description=(__doc__ or "").splitlines()[0])
    verbs = parse.add_subparsers(dest="verb", required=True)
    advise = verbs.add_parser("advise", help="look at the mounted sample with little light; say how to scan it")
    advise.add_argument("sample", help="its name")
    advise.add_argument("--resolution", type=float, required=True, metavar="PX", help="wanted, as a period in pixels")
    advise.add_argument(
        "--dose", type=float, default=inf, metavar="S", help="that it bears, looks included, in s of the open beam"
    )
    advise.add_argument("--velocity", type=float, default=inf, metavar="DEG_S", help="the fastest of the rotation")
    advise.add_argument("--darks", type=int, default=10, metavar="N", help="of each look (10)")
    advise.add_argument("--flats", type=int, default=20, metavar="N", help="of each look (20)")
    advise.add_argument("--x-out", type=float, default=10.0, metavar="MM", help="where the sample is beside the beam")
    advise.add_argument("--take", action="store_true", help="take the scan, too")
    advise.add_argument("--json", type=Path, metavar="FILE", help="write the advice for programs")
    add_options(advise)
    return parse


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        _run(args)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    except (StreamerError, RunEngineInterrupted) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


def _run(args: argparse.Namespace) -> None:
    wanted = Wanted(args.resolution, args.dose)
    scan = TomoScan(args.sample, darks=args.darks, flats=args.flats, x_out_mm=args.x_out)
    beamline = chosen_beamline(args)
    engine: Any = RunEngine({}, context_managers=[], call_returns_result=True)
    try:
        found: Advised = engine(tomo_advise(beamline, scan, wanted, args.velocity)).plan_result
        print("\n".join(told(found)))
        if args.json is not None:
            entries = {**asdict(found.advice), "dose_s": found.advice.dose_s, "spent_s": found.spent_s}
            args.json.write_text(json.dumps(entries, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        if args.take:
            outcome = engine(tomo_fly(beamline, found.scan, {"advice": list(found.advice.why)})).plan_result
            print(f"{outcome.scan_id}: {outcome.verdict}")
    finally:
        beamline.close()


def told(found: Advised) -> list[str]:
    """The advice in words."""
    advice = found.advice
    looks = f"{len(found.looks)} looks took {found.spent_s:.3g} s of the open beam"
    settings = f"{advice.projections} projections of {advice.exposure_s:.3g} s at {advice.rate_hz:.4g} Hz"
    return [looks, *advice.why, f"{settings}: {advice.dose_s:.3g} s of the open beam, {advice.resolution_px:.2g} px"]


if __name__ == "__main__":
    sys.exit(main())
