"""``python -m benchmarks.verdict [--seeds N] [--first SEED] [--only KIND …]``: how often is the verdict right?

N good scans, as many hard good ones (less beam, few photons, edges touched, a beam and a stage that are restless), and
five scans with faults on each of the N seeds, all through the pipeline of the daemon. Each kind of fault has its turn
equally often, its sizes one after the other: a share of a kind that came once says nothing. A fault counts when the
error of the tomogram grew by more than 10 % over its twin without the fault. Results go to
benchmarks/results/verdict.json.
Limits were set by seeds below 1000; what is kept is of seeds above.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from benchmarks.record import record
from benchmarks.verdict.faults import FAULTS, Fault
from benchmarks.verdict.judged import Judged, judged_again, run
from benchmarks.verdict.scans import draft, expose
from benchmarks.verdict.tables import Row, print_tables, summary
from streamer.core.backend.selection import Backend, select_backend
from streamer.frames import Verdict

HARD = ("decay", "dose", "edge", "worn", "wander", "unrest", "shimmer")
PER_SEED = 5
COARSER = 1.3
"""The resolution that is wanted, in that of the twin."""


def measure(seeds: int, first: int, only: list[str], backend: Backend) -> list[Row]:
    """A row for each scan."""
    rows: list[Row] = []
    drawn = planned([fault for fault in FAULTS.values() if not only or fault.name in only], first)
    for number in range(seeds):
        seed = first + number
        twin = scan(seed, None, 0.0, backend)
        rows.append(row(seed, "good", 0.0, twin, twin, None))
        if not only:
            hard = HARD[number % len(HARD)]
            rows.append(row(seed, hard, 0.0, good_but_hard(seed, hard, backend), None, None))
        for fault, size in islice(drawn, PER_SEED):
            rows.append(row(seed, fault.name, size, scan(seed, fault, size, backend), twin, fault))
    return rows


def planned(faults: list[Fault], seed: int) -> Iterator[tuple[Fault, float]]:
    """Endless: all kinds in random order, again and again, each with its next size."""
    rng = np.random.default_rng(seed)
    at = {fault.name: int(rng.integers(len(fault.sizes))) for fault in faults}
    while True:
        for k in rng.permutation(len(faults)):
            fault = faults[k]
            yield fault, fault.sizes[at[fault.name] % len(fault.sizes)]
            at[fault.name] += 1


def scan(seed: int, fault: Fault | None, size: float, backend: Backend) -> Judged:
    d = draft(seed)
    if fault is not None:
        fault.change(d, size, np.random.default_rng([seed, sorted(FAULTS).index(fault.name)]))
    return run(d, expose(d), backend, live=True, resolution=fault is None)


def good_but_hard(seed: int, hard: str, backend: Backend) -> Judged:
    d = draft(seed, hard)
    return run(d, expose(d), backend, live=True, resolution=True)


def row(seed: int, kind: str, size: float, result: Judged, twin: Judged | None, fault: Fault | None) -> Row:
    """What one scan tells."""
    damage = 1.0 if twin is None else max(a / b for a, b in zip(result.errors, twin.errors, strict=True))
    wanted = None if twin is None or twin.quality.resolution_px is None else COARSER * twin.quality.resolution_px
    limited = result.verdict if wanted is None else judged_again(result, wanted)
    quality = result.quality
    return Row(
        seed=seed,
        family=result.family,
        kind=kind,
        size=size,
        damage=damage,
        decision=decision(result.verdict),
        limited=decision(limited),
        code=result.verdict.codes[0].value,
        counts=fault is not None and (fault.always or damage > 1.1),
        right=fault is not None and result.verdict.decision in fault.right,
        right_limited=fault is not None and limited.decision in fault.right,
        center_error=None if quality.center_px is None else quality.center_px - result.center,
        center_sigma=quality.center_sigma_px,
        confidence=quality.center_confidence,
        resolution_px=quality.resolution_px,
        live=tuple(decision(verdict) for verdict in result.live),
        true_px=result.true_px,
    )


def decision(verdict: Verdict) -> str:
    return verdict.decision.value


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdict", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first", type=int, default=5000)
    parser.add_argument("--only", nargs="*", default=[], choices=sorted(FAULTS), metavar="KIND")
    parser.add_argument("--keep", action="store_true", help="write the result to benchmarks/results")
    options = parser.parse_args()
    started = time.perf_counter()
    rows = measure(options.seeds, options.first, options.only, select_backend("numba", 1)[0])
    print_tables(rows)
    result: dict[str, Any] = {"seconds": round(time.perf_counter() - started, 1), **summary(rows)}
    if options.keep:
        record("verdict", result)


if __name__ == "__main__":
    main()
