"""Hurts a daemon in every way that is known and says what was lost: ``python -m benchmarks.faults [--kills N]``."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults import source, writer
from benchmarks.record import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="scans in which the raw writer is killed (default 20)")
    count = parser.parse_args().kills
    faults: dict[str, Callable[[Path], writer.Row | None]] = {
        "kills": lambda folder: writer.kills(folder, count),
        "hangs": writer.hangs,
        "no-descriptors": writer.out_of_descriptors,
        "file-size-limit": writer.file_size_limit,
        "full-disk": lambda folder: writer.full_disk(folder, 0.0),
        "full-disk-reserve": lambda folder: writer.full_disk(folder, 16.0),
        "disk-stays-full": writer.disk_stays_full,
        "power-cut": lambda folder: writer.power_cut(folder, None),
        "power-cut-fsync": lambda folder: writer.power_cut(folder, 0.05),
        "read-only": writer.read_only,
        "shrunk": writer.shrunk,
        "unlinked": writer.unlinked,
        "scribbled": writer.scribbled,
        "everything-killed": writer.everything_killed,
        **source.FAULTS,
    }
    rows = []
    with tempfile.TemporaryDirectory(prefix="streamer-faults-") as folder:
        for name, fault in faults.items():
            print(f"== {name}", flush=True)
            row = fault(Path(folder) / name)
            no_disk = {"fault": name, "happens": "not measured: no file system could be mounted"}
            rows.append(no_disk if row is None else row.to_dict())
    record("faults", {"rows": rows})


if __name__ == "__main__":
    main()
