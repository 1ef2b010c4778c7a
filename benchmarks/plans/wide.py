"""``tomo_mosaic``, ``tomo_zoom``, ``tomo_360_offset`` and ``align_axis`` against the truth of the virtual beamline.

``python -m benchmarks.plans.wide`` writes results/wide.json. The error of a tomogram is the root mean square of its
difference to the true attenuation inside a circle, over the root mean square of the truth there.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamer
from benchmarks.plans.rig import Rig, rig
from benchmarks.record import record
from streamer.cli.stitch import pad, stitch_tiles
from streamer.core.masks import circle_mask
from streamer.flow.wire.axes import MoveAxis
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import read_tomogram
from streamer.sim.truth import truth_volume
from streamer_plans.scan import ScanOutcome, TomoScan
from streamer_plans.scans.align import align_axis
from streamer_plans.scans.wide import tomo_360_offset, tomo_mosaic, tomo_zoom

Volume = NDArray[np.float32]

SIZE, ROWS = 96, 24
PROJECTIONS = 240
SCAN = TomoScan("wide", PROJECTIONS, darks=10, flats=60, rate_hz=200.0, x_out_mm=9.0, verdict_timeout_s=300.0)
INSIDE = 0.9  # of the radius


def error(volume: Volume, truth: Volume, radius: float | None = None) -> float:
    """Relative error inside a circle, of ``radius`` pixels or nine tenths of the slices."""
    width = volume.shape[2]
    inside = circle_mask(width, INSIDE if radius is None else 2 * radius / width)
    away, true = (volume - truth)[:, inside], truth[:, inside]
    return float(np.sqrt(np.mean(away**2) / np.mean(true**2)))


def truth_of(at: Rig, scan_id: str, rows: int | None = None, columns: int | None = None) -> Volume:
    """The true volume of a scan, or of a wider or higher field about the same axis."""
    truth: Any = json.loads(at.truth(scan_id).read_text(encoding="utf-8"))
    geometry = {**truth["geometry"], "placed_mm": [*truth["geometry"]["placed_mm"][:2], 0.0]}
    if rows is None:
        geometry = truth["geometry"]
    sizes = {"rows": rows or geometry["rows"], "columns": columns or geometry["columns"]}
    return truth_volume({**truth, "geometry": {**geometry, **sizes}})


def center_of(at: Rig, scan_id: str) -> float:
    """The true axis."""
    return float(json.loads(at.truth(scan_id).read_text(encoding="utf-8"))["geometry"]["center_px"])


def tomogram_of(outcome: ScanOutcome) -> Volume:
    """What the daemon has made."""
    return read_tomogram(Path(outcome.report.tomogram_file)).data  # type: ignore[union-attr, arg-type]


def mosaic(at: Rig) -> dict[str, Any]:
    """2 × 2 tiles of a sample that is wider and higher than the detector."""
    pixel = at.beamline.detector.hardware.geometry().pixel_size_m or 1.0
    step_x, step_z = (round(0.6 * SIZE) * pixel * 1e3, round(0.75 * ROWS) * pixel * 1e3)
    tiles = at.run(tomo_mosaic(at.beamline, SCAN, 2, 2, step_x, step_z))
    wide = at.folder / "wide.nx"
    scans = [ScanFile.open(Path(tile.scan.report.raw_file)) for tile in tiles]
    stitch_tiles(scans, wide)
    for scan in scans:
        scan.close()
    with streamer.open(wide) as joined:
        result = joined.reconstruct()
    rows, columns = result.volume.shape[0], result.volume.shape[2]
    truth = truth_of(at, tiles[0].scan.scan_id, rows, columns)
    single = tiles[0].scan
    return {
        "tiles": len(tiles),
        "field": list(result.volume.shape),
        "error": round(error(result.volume, truth), 4),
        "error_of_one_tile_alone": round(error(tomogram_of(single), truth_of(at, single.scan_id)), 4),
        "center_px": round(result.center, 2),
    }


def zoom(at: Rig, times: float = 3.0) -> dict[str, Any]:
    """A box beside the axis, three times as large, in a sample of which the overview shows all."""
    pixel_mm = (at.beamline.detector.hardware.geometry().pixel_size_m or 1.0) * 1e3
    box = (8 * pixel_mm, -6 * pixel_mm, 2 * pixel_mm)
    found = at.run(tomo_zoom(at.beamline, SCAN, box, times))
    truth = truth_of(at, found.box.scan_id)
    padded = at.folder / "padded.nx"
    part, overview = (ScanFile.open(Path(s.report.raw_file)) for s in (found.box, found.overview))
    axis = pad(part, overview, found.overview.center_px, padded)
    part.close()
    overview.close()
    with streamer.open(padded) as joined:
        whole = joined.reconstruct(center=axis).volume
    margin = (whole.shape[2] - SIZE) // 2
    inner = whole[:, margin : margin + SIZE, margin : margin + SIZE]
    cut = tomogram_of(found.box)
    radius = INSIDE * SIZE / 2
    return {
        "times": times,
        "error_continued_by_the_overview": round(error(inner, truth, radius), 4),
        "error_edges_carried_on": round(error(cut, truth, radius), 4),
        "error_of_the_overview": round(error(tomogram_of(found.overview), truth_of(at, found.overview.scan_id)), 4),
    }


def offset(at: Rig) -> dict[str, Any]:
    """A full turn about an axis near the edge."""
    pixel_mm = (at.beamline.detector.hardware.geometry().pixel_size_m or 1.0) * 1e3
    scan = replace(SCAN, projections=2 * PROJECTIONS)
    found = at.run(tomo_360_offset(at.beamline, scan, 0.36 * SIZE * pixel_mm))
    volume = tomogram_of(found)
    truth = truth_of(at, found.scan_id, ROWS, volume.shape[2])
    return {
        "geometry": found.report.geometry["geometry"],
        "width": volume.shape[2],
        "center_px": found.report.geometry["detector_center_px"],
        "true_center_px": center_of(at, found.scan_id),
        "error": round(error(volume, truth), 4),
    }


def align(at: Rig) -> dict[str, Any]:
    """An axis that is 12 % of the columns off and leans by 0.8 degrees."""
    at.link.ask(MoveAxis("roll", 0.8))
    scan = replace(SCAN, projections=60)
    found = at.run(align_axis(at.beamline, scan))
    truth = json.loads(at.truth(found.scans[-1].scan_id).read_text(encoding="utf-8"))["geometry"]
    return {
        "projections": 60,
        "scans": len(found.scans),
        "aligned": found.aligned,
        "true_offset_px": round(truth["center_px"] - (SIZE - 1) / 2, 3),
        "true_tilt_deg": round(truth["roll_deg"], 4),
    }


def main() -> None:
    """Measure, print, and write the result."""
    result: dict[str, Any] = {"columns": SIZE, "rows": ROWS, "projections": PROJECTIONS}
    with rig(SIZE, ROWS, ["wide"]) as at:
        result |= {"mosaic": mosaic(at), "full turn about an axis near the edge": offset(at)}
    with rig(SIZE, ROWS, ["good"]) as at:
        result["zoom"] = zoom(at)
    with rig(SIZE, SIZE, ["off_axis"]) as at:
        result["alignment"] = align(at)
    record("wide", result)


if __name__ == "__main__":
    main()
