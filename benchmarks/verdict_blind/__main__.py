"""Command line of the blind examination: ``python -m benchmarks.verdict_blind``."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from benchmarks.record import record
from benchmarks.verdict_blind.cases import Outcome, examine, in_detail
from benchmarks.verdict_blind.kinds import COUNTS, KINDS
from benchmarks.verdict_blind.report import figures, tables
from streamer.cli.terminal.progress import Progress

TEACHES = f"""
Is Streamer's verdict right? This examination was written without knowledge of how the verdict is measured: bodies with
analytic line integrals, moved in 3-D before they are projected, a beam with structure, quanta, and {len(KINDS)} kinds
of fault of random size. Which decision is right for which kind was fixed before the first run (kinds.py).

Every third scan is good (most of them hard: small imperfections of a usual day). Every other one has a fault, and a
twin of the same seed without it, which is a good scan too. The damage is the growth of the error: rms difference
between the product's own tomogram and the truth at the best rigid pose, per pixel and smoothed, relative to the twin's;
the larger ratio. A fault counts when the error grew by more than {COUNTS - 1:.0%}, or always (misalignment, loss, empty
holder).

How to read the tables:
  confusion       rows: what the scan is, and the decision that is right; columns: what the product said
  caught          of the faults that count, those not called ENOUGH; "right" had the right advice as well
  harmless        alarms on faults that do not count: no harm, but a scan is taken again for nothing
  false alarms    good scans not called ENOUGH, by family of sample, order of angles and small imperfection
  centre          whether a high confidence is deserved
  resolution      reported over true (Fourier ring correlation with the truth); 1 is honest, below 1 too optimistic
The most important figure is the last: scans with an error more than 1.5 times the twin's that were called ENOUGH, as a
share of all spoiled scans.

examples:
  python -m benchmarks.verdict_blind --scans 60      a quick look
  python -m benchmarks.verdict_blind --seed 7        other scans: figures should agree within their statistics
  python -m benchmarks.verdict_blind --case 41       why case 41 was judged as it was; nothing is written
"""


def main() -> None:
    """Examine, write results/verdict_blind.json, print the tables."""
    parse = argparse.ArgumentParser(
        "python -m benchmarks.verdict_blind",
        description="A blind examination of the quality verdict.",
        epilog=TEACHES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parse.add_argument("--scans", type=int, default=400, help="good and spoiled ones, twins not counted (default 400)")
    parse.add_argument("--seed", type=int, default=1, help="of the examination; the same seed gives the same scans")
    parse.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: one for each core)")
    parse.add_argument("--case", type=int, help="examine only this one and show everything about it")
    args = parse.parse_args()
    if args.case is not None:
        print(json.dumps(in_detail(args.seed, args.case), indent=2))
        return
    start = time.perf_counter()
    outcomes = examination(args.seed, args.scans, args.workers)
    result = {"seed": args.seed, "seconds": round(time.perf_counter() - start, 1), **figures(outcomes)}
    record("verdict_blind", result)
    print(tables(result))


def examination(seed: int, scans: int, workers: int | None) -> list[Outcome]:
    """The outcomes of all cases, in their order."""
    found: dict[int, list[Outcome]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool, Progress("examining", scans) as bar:
        waiting = {pool.submit(examine, seed, number): number for number in range(scans)}
        for done in as_completed(waiting):
            found[waiting[done]] = done.result()
            bar.at(len(found))
    return [outcome for number in range(scans) for outcome in found[number]]


if __name__ == "__main__":
    main()
