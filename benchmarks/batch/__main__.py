"""A night without anybody: a batch with every fault, by real processes, and whether it came out right.

``python -m benchmarks.batch [--samples 300] [--overlap 12] [--folder DIR]`` writes results/batch.json and batch.md.
Samples are small and the robot is fast. Two times the beam is lost in the middle of a scan; the daemon and the session
that runs the plan are each killed once with ``kill -9``, and started again with the same command. ``--overlap`` good
samples are then scanned by turns with and without mounting the next one while the verdict is awaited, and a dozen
samples slowly, in scans that are long against the time of a judgement, for what live verdicts save.
``--evaluate DIR`` only evaluates the folder of a run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.batch.evaluate import evaluate, markdown
from benchmarks.batch.night import Night
from benchmarks.batch.overlap import overlap
from benchmarks.batch.rig import SCAN, WANTED_PX, Rig, write_sheet
from benchmarks.record import RESULTS, record

SEED = 11
DOZEN = (*("good",) * 8, "empty", "slips", "loose", "wide")
SLOW_HZ = 10


def run(folder: Path, night: Night, limit_s: float, **columns: Any) -> None:
    """Run a night in ``folder``; what there is to evaluate stays there. ``columns`` of the sheet differ from SCAN."""
    rig = Rig(folder, night.kinds, max_resolution_px=WANTED_PX)
    try:
        sheet = write_sheet(folder / "sheet.csv", len(night.kinds), **{**SCAN, **columns})
        began = time.monotonic()
        code = rig.run(night, sheet, folder / "batch", limit_s)
        facts = {"code": code, "seconds": time.monotonic() - began, "events": rig.events, "night": asdict(night)}
        (folder / "night.json").write_text(json.dumps(facts), encoding="utf-8")
    finally:
        rig.close()


def main() -> None:
    parse = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=(__doc__ or "").splitlines()[0])
    parse.add_argument("--samples", type=int, default=300)
    parse.add_argument("--overlap", type=int, default=12, metavar="SAMPLES")
    parse.add_argument("--limit-s", type=float, default=7200.0, help="after this the run counts as hung")
    parse.add_argument("--folder", type=Path, help="keep everything here")
    parse.add_argument("--evaluate", type=Path, metavar="DIR", help="evaluate what a run has left in DIR")
    args = parse.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.evaluate or args.folder or Path(scratch) / "night"
        if args.evaluate is None:
            run(folder, Night.drawn(args.samples, SEED), args.limit_s)
        slow = Path(scratch) / "slow"
        run(slow, Night(DOZEN), args.limit_s, rate_hz=SLOW_HZ)
        result = {
            "night": evaluate(folder),
            "overlap": overlap(Path(scratch) / "overlap", args.overlap),
            "slow": {"rate_hz": SLOW_HZ, **evaluate(slow)},
        }
        path = record("batch", result)
        (RESULTS / "batch.md").write_text(markdown(result), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
