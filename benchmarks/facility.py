"""What a detector of 8192² and a pool of GPUs for 20 beamlines take: ``python -m benchmarks.facility [--days N]``.

Nothing is measured. The detector's figures are those by which the daemon plans (``streamer.cluster.planning``), for
shards with a given memory. The pool is simulated: beamlines scan, think, and scan again; each scan takes the GPUs of
its beamline, all of them or none, first come first served. Figures of the pool are means over ``--seeds`` runs, with
the least and the most.
"""

from __future__ import annotations

import argparse
import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.record import record
from streamer.cluster.planning import plan
from streamer.frames import ScanSpec
from streamer.pipeline.reconstruction.growing_tomogram import GROWS

SIDE, RATE_HZ, PROJECTIONS = 8192, 100.0, 12868
SHARD_GIB = 128.0
CPU_THREADS = 8
NEEDS = (1,) * 14 + (4,) * 5 + (16,)
"""GPUs for a scan, of each beamline."""

SCAN_S = (20.0, 180.0)
DUTY = 0.35
"""Share of its time that a beamline scans, when it never waits."""

POOLS = (28, 32, 36, 40, 44, 50)
DAY_S = 86400.0


def detector(shards: int, binning: int) -> dict[str, Any]:
    """How a scan of the large detector is made, with what memory and rate for each shard."""
    spec = ScanSpec("plan", "plan", SIDE, SIDE, PROJECTIONS)
    found = plan(spec, RATE_HZ, shards, int(SHARD_GIB * 2**30), CPU_THREADS, binning)
    return {
        "shards": shards,
        "binning": binning,
        "way": found.way,
        "memory_gib": round(found.memory_bytes / 2**30, 1),
        "raw_tb": round(found.raw_bytes / 1e12, 2),
        "rate_gb_s": round(found.rate / 1e9, 2),
        "rate_of_one_gb_s": round(found.rate_of_one / 1e9, 3),
    }


@dataclass(frozen=True)
class PoolFigures:
    """Of one run: how many scans began, their waits (s), and the share of the pool's time that scans had."""

    waits_s: np.ndarray
    busy: float

    @property
    def waited(self) -> float:
        """Share of the scans that had to wait at all."""
        return float((self.waits_s > 0).mean())

    @property
    def p99_s(self) -> float:
        return float(np.percentile(self.waits_s, 99))


def simulate(needs: Sequence[int], gpus: int, duration_s: float, duty: float, rng: np.random.Generator) -> PoolFigures:
    """Raises ValueError when the pool is too small for one of the beamlines."""
    if gpus < max(needs):
        raise ValueError(f"a pool of {gpus} never has the {max(needs)} GPUs of one scan")
    pause_s = sum(SCAN_S) / 2 * (1 - duty) / duty
    events = [(rng.exponential(pause_s), beamline, True) for beamline in range(len(needs))]
    heapq.heapify(events)
    waiting: deque[tuple[float, int]] = deque()
    free, busy_gpu_s, last_s = gpus, 0.0, 0.0
    waits = []
    while events and events[0][0] <= duration_s:
        now, beamline, asks = heapq.heappop(events)
        busy_gpu_s += (gpus - free) * (now - last_s)
        last_s = now
        if asks:
            waiting.append((now, beamline))
        else:
            free += needs[beamline]
            heapq.heappush(events, (now + rng.exponential(pause_s), beamline, True))
        while waiting and needs[waiting[0][1]] <= free:
            asked, first = waiting.popleft()
            free -= needs[first]
            waits.append(now - asked)
            heapq.heappush(events, (now + rng.uniform(*SCAN_S), first, False))
    busy_gpu_s += (gpus - free) * (duration_s - last_s)
    return PoolFigures(np.array(waits), busy_gpu_s / (gpus * duration_s))


def pool(gpus: int, days: float, seeds: int) -> dict[str, Any]:
    """Figures over several runs: mean, least and most."""
    runs = [simulate(NEEDS, gpus, days * DAY_S, DUTY, np.random.default_rng(seed)) for seed in range(seeds)]

    def over(values: Sequence[float], digits: int) -> list[float]:
        return [round(float(figure), digits) for figure in (np.mean(values), min(values), max(values))]

    return {
        "scans": int(np.mean([len(run.waits_s) for run in runs])),
        "waited_percent": over([100 * run.waited for run in runs], 2),
        "p99_wait_s": over([run.p99_s for run in runs], 1),
        "longest_wait_s": over([float(run.waits_s.max()) for run in runs], 0),
        "busy_percent": over([100 * run.busy for run in runs], 1),
    }


def tables(result: dict[str, Any]) -> list[str]:
    """The rows of docs/how-to/facility.md."""
    rows = []
    for one in result["detector"]:
        binning = "none" if one["binning"] == 1 else f"{one['binning']}×{one['binning']}"
        live = f"yes, {one['memory_gib']:.1f} GiB" if one["way"] == GROWS else "no: after the scan, from the raw files"
        rates = f"{one['rate_gb_s']:.2f} | {one['rate_of_one_gb_s']:.3f}"
        rows.append(f"| {one['shards']} | {binning} | {live} | {rates} | {one['raw_tb']:.2f} |")
    for gpus, one in result["pool"].items():
        waited, p99, longest, busy = (one[name][0] for name in ("waited_percent", "p99_wait_s", "longest_wait_s",
                                                                "busy_percent"))  # fmt: skip
        rows.append(f"| {gpus} | {waited:.2f} % | {p99:.1f} s | {longest:.0f} s | {busy:.0f} % |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="What a detector of 8192² and a pool for 20 beamlines take.")
    parser.add_argument("--days", type=float, default=10.0, help="that are simulated (default 10)")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="runs with other random numbers (default 5)")
    options = parser.parse_args()
    cases = [(shards, binning) for shards in (4, 16, 64) for binning in (1, 2, 4)]
    record(
        "facility",
        {
            "detector": [detector(*case) for case in cases],
            "dedicated_gpus": sum(NEEDS),
            "pool": {str(gpus): pool(gpus, options.days, options.seeds) for gpus in POOLS},
        },
    )


if __name__ == "__main__":
    main()
