"""What ``streamer demo`` shows: the plans' events as they come, and the results at the end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from streamer.cli.demo import show_event
from streamer.cli.demo.results import middle_slices, print_table, rmse_in_circle, sample_results
from streamer.cli.terminal.progress import Progress
from streamer.frames import Decision, Reason, ReasonCode, ScanSpec, Verdict
from streamer.io.tomogram import TomogramFile
from tests.paths import ROOT

MOVED = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "the sample moved by 3.9 px"),), final=True)
GOOD = Verdict(Decision.ENOUGH, (Reason(ReasonCode.NOTHING_WRONG, "all angles came"),), final=True)


def event(kind: str, **entries: Any) -> bytes:
    return json.dumps({"event": kind, **entries}).encode() + b"\n"


def test_events_are_shown_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(parts=4) as progress:
        for line in (
            event("sample", number=2, sample="sample-2", slot=1),
            event("scan", sample="sample-2", attempt=1, total=210),
            event("progress", state="complete", written=210, verdict="ENOUGH"),  # of the scan before
            event("progress", state="acquiring", written=None, verdict=None),
            event("progress", state="acquiring", written=105, verdict="CONTINUE"),
            event("progress", state="acquiring", written=106, verdict="CONTINUE"),
            event("verdict", sample="sample-2", action="retake", **MOVED.to_dict()),
            event("outcome", sample="sample-2", action="accept", why="good"),
            b"Traceback: 3 is no event\n",
            b"3\n",
            b'{"no": "event"}\n',
            b"\xff\xfe\n",
        ):
            show_event(progress, line, 4)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "sample 2 of 4: sample-2",
        "sample-2 scan 1, frames: 0 of 210",
        "sample-2 scan 1, frames: 105 of 210 CONTINUE",
        f"sample-2 → retake: {MOVED}",
        "Traceback: 3 is no event",
        "3",
        '{"no": "event"}',
        "��",
    ]


@pytest.fixture
def outcome(tmp_path: Path) -> dict[str, Any]:
    """Of a sample whose scan was retaken, and of one that was never scanned."""
    volume = np.random.default_rng(0).random((18, 20, 20)).astype(np.float32)
    spec = ScanSpec("one", "one", rows=18, columns=20, projections=30, pixel_size_m=1e-6)
    with TomogramFile.create(tmp_path / "t.h5", volume.shape, spec, unit="1/cm") as file:
        file.write_rows(0, volume)
    report = {
        **GOOD.to_dict(),
        "frames": {"expected": 50, "received": 48, "missing": 1, "corrupt": 1, "duplicate": 0, "late": 0},
        "center_px": 9.5,
        "center_confidence": 0.9,
        "quality": {"resolution_px": 2.25},
        "latency_ms": {"p50": 1.5, "p99": 12.0},
        "last_frame_to_tomogram_s": 0.5,
        "tomogram_file": str(tmp_path / "t.h5"),
        "raw_file": "one.nx",
    }
    tries = [
        {"scan_id": "a", "action": "retake", "report": {}, **MOVED.to_dict()},
        {"scan_id": "b", "action": "accept", "report": report, **GOOD.to_dict()},
    ]
    scanned = {"name": "one", "scan_id": "b", "action": "accept", "attempts": tries, "report": report, **GOOD.to_dict()}
    unknown = Verdict(Decision.UNKNOWN, (Reason(ReasonCode.NOT_SCANNED, "the batch ended before"),)).to_dict()
    skipped = {"name": "two", "scan_id": "", "action": "reject", "attempts": [], "report": {}, **unknown}
    return {"samples": [scanned, skipped]}


def test_results_have_a_picture_and_all_attempts(outcome: dict[str, Any], tmp_path: Path) -> None:
    first, second = sample_results(outcome, tmp_path, tmp_path / "truth")
    assert first["preview_png"] == str(tmp_path / "one.png")
    assert matplotlib.image.imread(first["preview_png"]).std() > 0.05
    assert (first["center_px"], first["resolution_px"], first["rmse_vs_truth"]) == (9.5, 2.25, None)
    assert [(attempt["scan_id"], attempt["action"]) for attempt in first["attempts"]] == [
        ("a", "retake"),
        ("b", "accept"),
    ]
    assert all("report" not in attempt for attempt in first["attempts"])
    assert [second[key] for key in ("verdict", "preview_png", "frames", "center_px")] == ["UNKNOWN", None, {}, None]
    assert first.keys() == second.keys()
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "results.md").read_text(encoding="utf-8")))
    assert documented >= first.keys()


def test_the_table_shows_numbers_and_gaps(
    outcome: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_table(sample_results(outcome, tmp_path, tmp_path / "truth"))
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if re.match(r"(one|two) +[A-Z]", line)]
    assert rows == [
        ["one", "ENOUGH", "→", "accept", "48/50", "2", "9.50", "–", "2.2"],
        ["two", "UNKNOWN", "→", "reject", "0/0", "0", "–", "–", "–"],
    ]
    (times,) = [line for line in lines if line.startswith("one: ")]
    assert times.startswith("one: 2 / 12 ms to the planes (50 / 99 %), tomogram 0.50 s after the last frame")
    assert f"  → retake: {MOVED}" in lines


def test_the_error_counts_within_the_circle_only() -> None:
    truth = np.zeros((3, 40, 40), np.float32)
    volume = truth.copy()
    volume[:, 0, 0] = 1e6  # a corner
    assert rmse_in_circle(volume, truth) == 0
    assert rmse_in_circle(truth + 0.5, truth) == pytest.approx(0.5)


def test_middle_slices_are_those_through_the_middle() -> None:
    volume = np.arange(4 * 6 * 6, dtype=np.float32).reshape(4, 6, 6)
    slices = middle_slices(volume)
    assert {name: image.shape for name, image in slices.items()} == {"xy": (6, 6), "xz": (4, 6), "yz": (4, 6)}
    assert slices["xy"][3, 3] == slices["xz"][2, 3] == slices["yz"][2, 3] == volume[2, 3, 3]
