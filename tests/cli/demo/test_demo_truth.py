"""The demo compares tomograms with the truth of the virtual beamline, and has a colour for every decision."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from streamer.cli.demo.results import COLOURS, print_table, sample_results
from streamer.core.masks import circle_mask
from streamer.frames import Decision, Reason, ReasonCode, ScanSpec, Verdict
from streamer.io.tomogram import TomogramFile
from streamer.sim.scene.motion import Motion
from streamer.sim.scene.phantom import Body
from streamer.sim.truth import truth_volume

ROWS, COLUMNS, PIXEL_M = 4, 24, 2e-5
TRUTH = {
    "geometry": {"rows": ROWS, "columns": COLUMNS, "pixel_size_m": PIXEL_M, "center_px": 11.25},
    "sample_model": {
        "bodies": [Body("cylinder", (0.02, -0.01, 0.0), (0.12, 0.12, 1.0), "water").to_dict()],
        "scale": 1.0,
    },
    "spectrum": {"energies_kev": [25.0], "weights": [1.0]},
    "motion": Motion().to_dict(),
}


def outcome(verdict: Verdict, **report: Any) -> dict[str, Any]:
    told = {"scan_id": "a", "action": "accept", **verdict.to_dict()}
    frames = {"frames": {"expected": 50, "received": 50}, "latency_ms": {"p50": 1.0, "p99": 2.0}}
    whole = {**verdict.to_dict(), **frames, "last_frame_to_tomogram_s": 0.5, "center_px": 11.3, **report}
    return {"samples": [{"name": "one", **told, "report": whole, "attempts": []}]}


def judged(decision: Decision) -> Verdict:
    return Verdict(decision, (Reason(ReasonCode.NOTHING_WRONG, "all angles came"),), final=True)


def test_a_tomogram_that_is_off_by_a_known_amount_is_off_by_that(tmp_path: Path) -> None:
    truth = truth_volume(TRUTH)
    assert truth.shape == (ROWS, COLUMNS, COLUMNS)
    assert truth.max() > 0.3  # water at 25 keV, in 1/cm
    inside = circle_mask(COLUMNS, 0.95)
    volume = truth + np.where(inside, np.float32(0.25), np.float32(50.0))
    spec = ScanSpec("a", "one", rows=ROWS, columns=COLUMNS, projections=30, pixel_size_m=PIXEL_M)
    with TomogramFile.create(tmp_path / "t.h5", volume.shape, spec, unit="1/cm") as file:
        file.write_rows(0, volume.astype(np.float32))
    (tmp_path / "a.truth.json").write_text(json.dumps(TRUTH))
    scanned = outcome(judged(Decision.ENOUGH), tomogram_file=str(tmp_path / "t.h5"))
    (result,) = sample_results(scanned, tmp_path, tmp_path)
    assert result["rmse_vs_truth"] == pytest.approx(0.25, rel=1e-4)
    assert (result["center_px"], result["center_truth_px"]) == (11.3, 11.25)
    sheet = io.StringIO()
    print_table([result], Console(file=sheet, width=80))
    assert sheet.getvalue().splitlines()[1].split()[-3:] == ["11.30", "11.25", "–"]
    assert "off the truth by 0.250 1/cm (rms)" in sheet.getvalue().replace("\n", " ")


@pytest.mark.parametrize("decision", Decision)
def test_every_decision_has_its_row_and_only_good_ones_are_green(decision: Decision, tmp_path: Path) -> None:
    sheet = io.StringIO()
    results = sample_results(outcome(judged(decision)), tmp_path, tmp_path)
    print_table(results, Console(file=sheet, width=80, force_terminal=True, color_system="standard"))
    row = sheet.getvalue().splitlines()[1]
    assert f"{decision} → accept" in row
    good = decision in (Decision.ENOUGH, Decision.CONTINUE)
    assert (COLOURS[decision] == "green") is good
    assert ("\x1b[32m" in row) is good
