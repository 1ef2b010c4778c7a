"""Run every benchmark, one after the other: ``python -m benchmarks``. Results go to ``benchmarks/results``."""

from __future__ import annotations

import subprocess
import sys

SCRIPTS = (
    "streams.headers",
    "streams.sim_rate",
    "reconstruction.planes",
    "moved_planes",
    "page_moves",
    "reconstruction.volume",
    "reconstruction.preparation",
    "reconstruction.center",
    "reconstruction.geometries",
    "reconstruction.few_angles",
    "viewers",
    "end_to_end",
    "reconstruction.read_rows",
    "streams.ingest",
    "streams.compressed",
    "streams.dialects",
    "faults.kills",
    "strangers",
    "verdict",
    "verdict_blind",
    "verdict_voxels",
    "adaptive",
    "streams.positions",
    "streams.tee",
    "plans.sessions",
    "plans.cine",
    "plans.wide",
)

if __name__ == "__main__":
    for script in SCRIPTS:
        print(f"== {script}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{script}"], check=True)
