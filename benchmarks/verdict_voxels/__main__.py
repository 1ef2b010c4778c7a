"""``python -m benchmarks.verdict_voxels``: see the package for what it does and how to read it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import benchmarks.verdict_voxels as package
from benchmarks.verdict_voxels.examine import PER_SPECIMEN, run
from benchmarks.verdict_voxels.kinds import KINDS
from benchmarks.verdict_voxels.report import report


def main() -> None:
    """Examine, print the tables, write the findings."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verdict_voxels",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scans", type=int, default=600, help="of all sorts, six for each specimen (default 600)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same scans")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)"
    )
    parser.add_argument("--only", nargs="*", default=[], choices=sorted(KINDS), metavar="KIND", help="of faults")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every finding to this file")
    options = parser.parse_args()
    findings = run(options.seed, -(-options.scans // PER_SPECIMEN), options.workers, options.only)[: options.scans]
    print(report(findings))
    if options.json:
        content = {
            "command": " ".join(["python -m benchmarks.verdict_voxels", *sys.argv[1:]]),
            "seed": options.seed,
            "findings": [finding.to_dict() for finding in findings],
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
