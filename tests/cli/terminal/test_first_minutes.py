"""What a newcomer sees first: help, in 80 columns, at once; wrong words, missing packages, the first table."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from streamer.cli import VERBS, main
from streamer.cli.demo.results import print_table
from streamer.cli.status import lines, pace
from streamer.cli.terminal.extras import need
from streamer.core.backend import selection
from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import DaemonStatus, Endpoints, FrameCounts, ProjectionCounts, Report, RingStatus
from streamer.frames import BadInput
from streamer.gui.qt import missing_libraries

HELP_OF_EACH = """
import json, os, sys
from contextlib import suppress
from streamer.cli import main
import streamer.cli.terminal.arguments  # once, for all verbs
for verb, heavy in json.loads(sys.argv[1]).items():
    if os.fork() == 0:  # what one verb loads is not loaded for the next
        print(f"\\f{verb}")
        with suppress(SystemExit):
            main([verb, "--help"])
        print("loaded:", [name for name in heavy if name in sys.modules], flush=True)
        os._exit(0)
    os.wait()
"""
NEVER = ("matplotlib", "PySide6", "pyqtgraph", "bluesky", "ophyd", "tiled", "cupy")
COMPUTING = ("numba", "scipy")
COMPUTE = {"reconstruct", "bench", "sim", "stitch"}
"""Verbs that compute themselves."""


@pytest.fixture(scope="module")
def help_of_each() -> dict[str, str]:
    """What each verb prints in a terminal of 80 columns, and which heavy packages it has loaded for that."""
    heavy = {verb: NEVER if verb in COMPUTE else (*NEVER, *COMPUTING) for verb in VERBS}
    command = [sys.executable, "-c", HELP_OF_EACH, json.dumps(heavy)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"})
    assert done.stderr == ""
    return {page.split("\n", 1)[0]: page.split("\n", 1)[1] for page in done.stdout.split("\f")[1:]}


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_examples_fits_80_columns_and_loads_nothing_heavy(help_of_each: dict[str, str], verb: str) -> None:
    said = help_of_each[verb]
    assert "\nexamples:\n" in said
    assert [line for line in said.splitlines() if len(line) > 80] == []
    assert said.endswith("loaded: []\n")


def test_a_bare_call_shows_the_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert all(f"\n    {verb}" in said for verb in VERBS)
    assert [line for line in said.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(("wrong", "said"), [("rn", "did you mean run?"), ("xyzzy", "it is one of demo, ")])
def test_a_wrong_verb_is_told_the_right_one(wrong: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([wrong, "--json", "x"]) == 2
    assert said in capsys.readouterr().err


def test_what_is_missing_is_named_with_the_way_out() -> None:
    need("plans", "the demo", "json")
    with pytest.raises(BadInput, match=r"^the demo needs no_such_module: \S+ -m pip install -e '\.\[plans\]'"):
        need(
            "plans",
            "the demo",
            "json",
            "no_such_module",
        )


def test_a_machine_without_a_gpu_hears_nothing_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "GPU", tmp_path / "none")
    assert selection.select_backend("auto", 2)[1] == "backend numba with 2 threads"
    (tmp_path / "driver").touch()
    monkeypatch.setattr(selection, "GPU", tmp_path / "driver")
    assert "cupy" in selection.select_backend("auto", 2)[1]


def test_the_libraries_that_qt_really_lacks_are_named() -> None:
    said = """\tlinux-vdso.so.1 (0x00007fff)
\tlibxcb-icccm.so.4 => not found
\tlibxcb.so.1 => /usr/lib/libxcb.so.1 (0x0)
\tlibxcb-keysyms.so.1 => not found"""
    assert missing_libraries(lambda _path: said) == ["libxcb-icccm.so.4", "libxcb-keysyms.so.1"]


def result(**changes: Any) -> dict[str, Any]:
    usual = {
        "name": "sample-with-a-name-12",
        "frames": {"received": 3630, "expected": 3630, "missing": 0, "corrupt": 0},
        "latency_ms": {"p50": 1.4, "p99": 12.7},
        "verdict": "REALIGN",
        "action": "realign",
        "center_px": 1029.8015,
        "center_truth_px": 1029.7931,
        "resolution_px": 12.93,
        "rmse_vs_truth": 0.557,
        "last_frame_to_tomogram_s": 0.31,
        "attempts": [],
    }
    return {**usual, **changes}


def test_the_table_is_whole_in_80_columns() -> None:
    sheet = io.StringIO()
    results = [
        result(),
        result(name="empty-holder", center_px=None, resolution_px=None, verdict="EMPTY", action="reject"),
    ]
    print_table(results, Console(file=sheet, width=80))
    shown = sheet.getvalue()
    assert "…" not in shown
    rows = [line for line in shown.splitlines() if line.startswith(("sample-with-a-name-12 ", "empty-holder "))]
    assert [line.split() for line in rows] == [
        ["sample-with-a-name-12", "REALIGN", "→", "realign", "3630/3630", "0", "1029.80", "1029.79", "12.9"],
        ["empty-holder", "EMPTY", "→", "reject", "3630/3630", "0", "–", "1029.79", "–"],
    ]
    assert max(map(len, rows)) <= 80


def status(received: int, state: ScanState = ScanState.ACQUIRING, **fields: Any) -> DaemonStatus:
    frames = FrameCounts(expected=230, received=received, missing=0, duplicate=0, late=0, corrupt=0)
    report = Report(scan_id="a", sample="s", state=state, frames=frames, projections=ProjectionCounts(0, 200))
    endpoints = Endpoints("tcp://127.0.0.1:1", "tcp://127.0.0.1:2", "tcp://127.0.0.1:3", source="tcp://127.0.0.1:4")
    return DaemonStatus(state, "1", "numba", endpoints, RingStatus(4, 1, 2), report, **fields)


def test_the_pace_is_what_came_between_two_answers() -> None:
    assert pace(None, (1.0, status(30))) == []
    assert pace((1.0, status(30)), (3.0, status(130))) == ["  pace     50.0 frames/s, 100 to come, 2 s left"]
    assert pace((1.0, status(30)), (11.0, status(30))) == ["  pace     no frame in 10 s, 200 to come"]
    assert pace((1.0, status(30)), (2.0, status(230, ScanState.COMPLETE))) == []


def test_status_says_disk_detector_and_age() -> None:
    said = lines(status(30, uptime_s=7300.0, source_connected=True, last_frame_age_s=3.2, disk_free_bytes=5 * 10**11))
    assert "up for 2 h" in said[0]
    assert said[1:3] == ["  detector connected, last frame 3 s ago", "  disk     500.0 GB free"]
    assert "  detector not connected" in lines(status(30, source_connected=False))
    over = lines(status(230, ScanState.COMPLETE, source_connected=False))
    assert "  detector not connected, as is usual between scans" in over
    assert not any("detector" in line for line in lines(status(30)))
