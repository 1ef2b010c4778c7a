"""Results of ``streamer demo``: a table, a picture of each sample, and the comparison with the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from streamer.core.masks import circle_mask
from streamer.frames import Decision, Verdict
from streamer.io.picture import slices_picture
from streamer.io.tomogram import read_tomogram
from streamer.sim.truth import read_truth, truth_volume

CIRCLE = 0.95
"""Share of the reconstruction circle that is compared; a reconstruction is not defined at its rim."""

COLOURS = {
    Decision.ENOUGH: "green",
    Decision.CONTINUE: "green",
    Decision.RETAKE: "yellow",
    Decision.REALIGN: "yellow",
    Decision.EMPTY: "yellow",
    Decision.UNKNOWN: "red",
}


@dataclass
class SampleResult:
    """One sample of the batch; the fields are those of ``demo --json``, which ``docs/results.md`` explains."""

    name: str
    scan_id: str
    action: str
    frames: dict[str, int]
    verdict: str
    reasons: list[dict[str, str]]
    center_px: float | None
    center_truth_px: float | None
    center_confidence: float
    resolution_px: float | None
    rmse_vs_truth: float | None
    raw_file: str
    tomogram_file: str | None
    preview_png: str | None
    geometry: dict[str, Any]
    artefacts: dict[str, float]
    latency_ms: dict[str, float | None]
    first_preview_projections: int | None
    last_frame_to_tomogram_s: float | None
    scan_s: float | None
    attempts: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def sample_results(outcome: dict[str, Any], out: Path, truth: Path) -> list[SampleResult]:
    """Draw the tomograms of the batch and compare them with the truth of the virtual beamline."""
    return [_result(sample, out, truth) for sample in outcome["samples"]]


def _result(sample: dict[str, Any], out: Path, truth_directory: Path) -> SampleResult:
    report = sample["report"] or {}
    scan_id = sample["scan_id"] or ""
    truth_file = truth_directory / f"{scan_id}.truth.json"
    truth = read_truth(truth_file) if scan_id and truth_file.exists() else None
    picture = rmse = None
    if report.get("tomogram_file"):
        volume, pixel_size_m, unit = _open(Path(report["tomogram_file"]))
        picture = str(out / f"{sample['name']}.png")
        slices_picture(picture, middle_slices(volume), sample["name"], unit, pixel_size_m, _captions(report))
        if truth is not None:
            rmse = rmse_in_circle(volume, truth_volume(truth))
    return SampleResult(
        name=sample["name"],
        scan_id=scan_id,
        action=sample["action"],
        frames=report.get("frames", {}),
        verdict=sample["verdict"],
        reasons=sample["reasons"],
        center_px=report.get("center_px"),
        center_truth_px=float(truth["geometry"]["center_px"]) if truth is not None else None,
        center_confidence=report.get("center_confidence", 0.0),
        resolution_px=report.get("quality", {}).get("resolution_px"),
        rmse_vs_truth=rmse,
        raw_file=report.get("raw_file", ""),
        tomogram_file=report.get("tomogram_file"),
        preview_png=picture,
        geometry=report.get("geometry", {}),
        artefacts=report.get("artefacts", {}),
        latency_ms=report.get("latency_ms", {}),
        first_preview_projections=report.get("first_preview_projections"),
        last_frame_to_tomogram_s=report.get("last_frame_to_tomogram_s"),
        scan_s=report.get("scan_s"),
        attempts=[{key: a[key] for key in ("scan_id", "verdict", "reasons", "action")} for a in sample["attempts"]],
    )


def _open(path: Path) -> tuple[NDArray[np.float32], float | None, str]:
    tomogram = read_tomogram(path)
    return tomogram.data, tomogram.pixel_size_m, tomogram.unit


def middle_slices(volume: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    rows, height, width = volume.shape
    return {"xy": volume[rows // 2], "xz": volume[:, height // 2], "yz": volume[:, :, width // 2]}


def rmse_in_circle(volume: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Root of the mean square difference of two tomograms (row, y, x) within 95 % of the reconstruction circle."""
    mask = circle_mask(volume.shape[2], CIRCLE)
    return float(np.sqrt(np.mean((volume[:, mask].astype(np.float64) - truth[:, mask]) ** 2)))


def _captions(report: dict[str, Any]) -> list[str]:
    verdict = Verdict.from_dict(report)
    first, *others = verdict.reasons
    return [f"{verdict.decision}: {first}", *map(str, others)]


def print_table(results: list[SampleResult]) -> None:
    table = Table(title="samples")
    for heading in ("sample", "frames", "lost", "verdict", "centre found / true", "resolution", "RMSE 1/cm"):
        table.add_column(heading)
    table.add_column("latency p50 / p99 ms", justify="right")
    table.add_column("to tomogram s", justify="right")
    for result in results:
        lost = result.frames.get("missing", 0) + result.frames.get("corrupt", 0)
        colour = COLOURS[Decision(result.verdict)]
        table.add_row(
            result.name,
            f"{result.frames.get('received', 0)} of {result.frames.get('expected', 0)}",
            str(lost),
            f"[{colour}]{result.verdict}[/] {result.action}",
            f"{_number(result.center_px, 2)} / {_number(result.center_truth_px, 2)}",
            _number(result.resolution_px, 1),
            _number(result.rmse_vs_truth, 3),
            f"{_number(result.latency_ms.get('p50'), 1)} / {_number(result.latency_ms.get('p99'), 1)}",
            _number(result.last_frame_to_tomogram_s, 2),
        )
    console = Console(soft_wrap=True, width=None if Console().is_terminal else 150)
    console.print(table)
    for result in results:
        for attempt in result.attempts:
            console.print(f"  {result.name} → {attempt['action']}: {Verdict.from_dict(attempt)}", markup=False)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
