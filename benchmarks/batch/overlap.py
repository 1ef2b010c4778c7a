"""What it brings to mount the next sample while the verdict on the last one is awaited: samples an hour, by turns."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.batch.night import Night
from benchmarks.batch.rig import Rig, write_sheet
from streamer_plans.batch.journal import read_journal

MOUNTS_S = (0.5, 2.0)
"""Time of the robot for each way."""

COLUMNS, ROWS = 192, 192
LIMIT_S = 1800.0


def overlap(folder: Path, samples: int) -> list[dict[str, Any]]:
    """Good samples with a tomogram that takes a while, for each speed of the robot; nothing for 0 samples."""
    return [_compared(folder / f"robot{mount_s:g}", samples, mount_s) for mount_s in MOUNTS_S if samples]


def _compared(folder: Path, samples: int, mount_s: float) -> dict[str, Any]:
    night = Night(("good",) * samples)
    rig = Rig(folder, night.kinds, COLUMNS, ROWS, mount_s)
    spent = {"with": 0.0, "without": 0.0}
    waits: list[float] = []
    try:
        sheet = write_sheet(folder / "sheet.csv", samples, projections=180, rate_hz=100, darks=5, flats=10, x_out_mm=6)
        rig.run(night, sheet, folder / "warm", LIMIT_S)  # the kernels of the daemon are compiled
        for turn in range(2):
            for how, options in (("with", ()), ("without", ("--no-overlap",))):
                batch = folder / f"{how}{turn}"
                rig.run(night, sheet, batch, LIMIT_S, *options)
                lines = read_journal(batch)
                scans = [line for line in lines if line["event"] == "attempt"]
                waits += [line["outcome"]["report"]["last_frame_to_tomogram_s"] or 0.0 for line in scans]
                first, last = (datetime.fromisoformat(lines[k]["time"]) for k in (0, -1))
                spent[how] += (last - first).total_seconds()
    finally:
        rig.close()
    rates = {how: round(3600 * 2 * samples / seconds, 1) for how, seconds in spent.items()}
    return {"mount_s": mount_s, "samples": samples, **rates, "median_tomogram_s": sorted(waits)[len(waits) // 2]}
