"""Run every benchmark, one after the other: ``python -m benchmarks``. Results go to ``benchmarks/results``."""

from __future__ import annotations

import subprocess
import sys

SCRIPTS = (
    "headers",
    "sim_rate",
    "planes",
    "volume",
    "preparation",
    "center",
    "geometries",
    "few_angles",
    "faults.stalled_viewer",
    "end_to_end",
    "ingest",
    "faults.kills",
    "strangers",
    "verdict",
    "verdict_blind",
    "adaptive",
)

if __name__ == "__main__":
    for script in SCRIPTS:
        print(f"== {script}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{script}"], check=True)
