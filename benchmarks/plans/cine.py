"""``tomo_cine``: one tomogram for each half turn of a rotation that goes on and on, and where a moving bead is in each.

``python -m benchmarks.plans.cine [--seconds 60]`` writes results/cine.json. In the virtual beamline a bead goes round
among rods at rest, twice in the scan. Its place in each tomogram is the centre of mass of what differs from the median
of all tomograms; the truth is the mean of its path over the half turn.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.plans.rig import Rig, rig
from benchmarks.record import record
from streamer.io.tomogram import read_tomogram
from streamer.sim.scene.motion import Motion
from streamer_plans.scan import TomoScan
from streamer_plans.scans.cine import tomo_cine

COLUMNS, ROWS = 64, 24
HALF_TURN_S = 0.5
PROJECTIONS = 90  # of a half turn
HALF_HEIGHT = 0.5
"""Of the brightest voxel: from there on a voxel is one of the bead."""


@dataclass(frozen=True)
class Measured:
    """Tomograms wanted and found, and the distance (px) of the bead from the truth in each."""

    wanted: int
    found: int
    error_px: NDArray[np.float64]
    path_px: float  # that the bead moves in a half turn
    report: Any


def measure(at: Rig, tomograms: int, rate_hz: float = PROJECTIONS / HALF_TURN_S) -> Measured:
    """Take the scan, read its tomograms, follow the bead."""
    scan = TomoScan("stirrer", PROJECTIONS, darks=5, flats=20, rate_hz=rate_hz, x_out_mm=6.0, verdict_timeout_s=300)
    outcome = at.run(tomo_cine(at.beamline, scan, tomograms))
    report = outcome.scan.report
    files = sorted(Path(report.tomogram_file).parent.glob("*.h5"))
    truth = json.loads(at.truth(outcome.scan.scan_id).read_text(encoding="utf-8"))
    volumes = [read_tomogram(path) for path in files]
    numbers = [volume.parameters["tomogram"] for volume in volumes]
    rest = np.median([volume.data for volume in volumes], axis=0)
    found = np.array([place(volume.data - rest) for volume in volumes])
    true = np.array([true_place(truth, number, tomograms) for number in numbers])
    steps = np.linalg.norm(np.diff(true, axis=0), axis=1)
    away = np.linalg.norm(found - true, axis=1)
    return Measured(tomograms, len(set(numbers)), away, float(steps.mean()), report)


def place(change: NDArray[Any]) -> NDArray[np.float64]:
    """(row, y, x) of the bead in what has changed."""
    weight = np.where(change > HALF_HEIGHT * change.max(), change, 0.0)
    return np.array([(weight * grid).sum() for grid in np.indices(change.shape)]) / weight.sum()


def true_place(truth: Any, number: int, tomograms: int) -> NDArray[np.float64]:
    """(row, y, x) of the bead, the mean over one half turn."""
    motion = Motion.from_dict(truth["motion"])
    progress = np.linspace(number, number + 1, 32) / tomograms
    x, y, z = np.mean([motion.state(p)[0] for p in progress], axis=0)
    pixel_mm, geometry = truth["geometry"]["pixel_size_m"] * 1e3, truth["geometry"]
    middle = np.array([(geometry["rows"] - 1) / 2, *[(geometry["columns"] - 1) / 2] * 2])
    return middle + np.array([z, y, x]) / pixel_mm


def main() -> None:
    """Measure, print, and write the result."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--seconds", type=float, default=60.0)
    tomograms = round(parse.parse_args().seconds / HALF_TURN_S)
    with rig(COLUMNS, ROWS, ["stirrer"], "cine") as at:
        found = measure(at, tomograms)
    record(
        "cine",
        {
            "columns": COLUMNS,
            "rows": ROWS,
            "projections_per_half_turn": PROJECTIONS,
            "seconds": tomograms * HALF_TURN_S,
            "tomograms_wanted": found.wanted,
            "tomograms": found.found,
            "frames": found.report.frames.expected,
            "frames_missing": found.report.frames.missing,
            "verdict": found.report.verdict,
            "reasons": [str(reason) for reason in found.report.reasons],
            "bead_moves_px_per_half_turn": round(found.path_px, 3),
            "bead_error_px_median": round(float(np.median(found.error_px)), 3),
            "bead_error_px_largest": round(float(found.error_px.max()), 3),
            "last_frame_to_last_tomogram_s": found.report.last_frame_to_tomogram_s,
        },
    )


if __name__ == "__main__":
    main()
