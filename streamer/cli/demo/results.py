"""Results of ``streamer demo``: a table, a picture of each sample, and the comparison with the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streamer.cli.terminal.words import folded
from streamer.core.masks import circle_mask
from streamer.frames import Decision, Verdict
from streamer.io.picture import slices_picture
from streamer.io.tomogram import read_tomogram
from streamer.sim.truth import read_truth, truth_volume

CIRCLE = 0.95
"""Share of the reconstruction circle that is compared; a reconstruction is not defined at its rim."""

TIMES = ("first_preview_projections", "last_frame_to_tomogram_s", "scan_s")

COLOURS = {
    Decision.ENOUGH: "green",
    Decision.CONTINUE: "green",
    Decision.RETAKE: "yellow",
    Decision.REALIGN: "yellow",
    Decision.EMPTY: "yellow",
    Decision.UNKNOWN: "red",
}


def sample_results(outcome: dict[str, Any], out: Path, truth: Path) -> list[dict[str, Any]]:
    """Draw the tomograms of the batch and compare them with the truth of the virtual beamline.

    One map for each sample, as in ``demo --json``; ``docs/results.md`` explains the keys.
    """
    return [_result(sample, out, truth) for sample in outcome["samples"]]


def _result(sample: dict[str, Any], out: Path, truth_directory: Path) -> dict[str, Any]:
    report = sample["report"] or {}
    truth_file = truth_directory / f"{sample['scan_id']}.truth.json"
    truth = read_truth(truth_file) if truth_file.exists() else None
    picture = rmse = None
    if report.get("tomogram_file"):
        tomogram = read_tomogram(Path(report["tomogram_file"]))
        slices, picture = middle_slices(tomogram.data), str(out / f"{sample['name']}.png")
        slices_picture(picture, slices, sample["name"], tomogram.unit, tomogram.pixel_size_m, _captions(report))
        if truth is not None:
            rmse = rmse_in_circle(tomogram.data, truth_volume(truth))
    kept = ("scan_id", "verdict", "reasons", "action")
    return {
        **{key: sample[key] for key in ("name", *kept)},
        **{key: report.get(key, {}) for key in ("frames", "geometry", "artefacts", "latency_ms")},
        **{key: report.get(key) for key in ("center_px", "raw_file", "tomogram_file", *TIMES)},
        "center_truth_px": None if truth is None else float(truth["geometry"]["center_px"]),
        "center_confidence": report.get("center_confidence", 0.0),
        "resolution_px": report.get("quality", {}).get("resolution_px"),
        "rmse_vs_truth": rmse,
        "preview_png": picture,
        "attempts": [{key: attempt[key] for key in kept} for attempt in sample["attempts"]],
    }


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


WIDTH = 80


def print_table(results: list[dict[str, Any]], console: Console | None = None) -> None:
    """The outcome of each sample, readable in 80 columns: names and words are never cut, and times come below."""
    console = console or Console(soft_wrap=True, highlight=False, width=None if Console().is_terminal else WIDTH)
    columns = console.width if console.is_terminal else None
    headings = ("sample", "verdict → action", "frames", "lost", "centre", "true", "res. px")
    rows = [
        (
            result["name"],
            f"{result['verdict']} → {result['action']}",
            f"{result['frames'].get('received', 0)}/{result['frames'].get('expected', 0)}",
            str(result["frames"].get("missing", 0) + result["frames"].get("corrupt", 0)),
            _number(result["center_px"], 2),
            _number(result["center_truth_px"], 2),
            _number(result["resolution_px"], 1),
        )
        for result in results
    ]
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column, heading in enumerate(headings):
        width = max(len(row[column]) for row in (headings, *rows))
        table.add_column(heading, no_wrap=True, min_width=width, justify="left" if column < 2 else "right")
    for result, (name, verdict, *numbers) in zip(results, rows, strict=True):
        table.add_row(escape(name), Text(verdict, style=COLOURS[Decision(result["verdict"])]), *numbers)
    console.print(table)
    for result in results:
        latency = result["latency_ms"]
        figures = f"{_number(latency.get('p50'), 0)} / {_number(latency.get('p99'), 0)} ms to the planes (50 / 99 %)"
        figures += f", tomogram {_number(result['last_frame_to_tomogram_s'], 2)} s after the last frame"
        figures += f", off the truth by {_number(result['rmse_vs_truth'], 3)} 1/cm (rms)"
        console.print(folded(f"{result['name']}: {figures}", columns=columns), markup=False)
        for attempt in result["attempts"]:
            line = f"  → {attempt['action']}: {Verdict.from_dict(attempt)}"
            console.print(folded(line, 4, columns=columns), markup=False)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
