"""How far a scan is, as Bluesky's own tools show it: progress bars and tables of a real RunEngine."""

import re
from dataclasses import replace

import matplotlib
import pytest
from bluesky.callbacks.best_effort import BestEffortCallback
from bluesky.utils import ProgressBarManager, TerminalProgressBar

from streamer_plans import exposing
from streamer_plans.scan_table import ScanTable
from streamer_plans.tomo import TomoScanError, tomo_fly, tomo_step

matplotlib.use("Agg")


@pytest.fixture
def every_look(monkeypatch):
    """A row at each look at the scan, so that a short one has some."""
    monkeypatch.setattr(exposing, "ROW_S", 0.0)


@pytest.fixture
def bars(engine):
    """Progress bars of the RunEngine, drawn from the first moment on."""
    engine.waiting_hook = ProgressBarManager(lambda statuses: TerminalProgressBar(statuses, delay_draw=0))


def test_progress_bars_show_projections_taken_and_the_time_left(engine, start_daemon, connect, scan, bars, capsys):
    beamline = connect(start_daemon())
    engine(tomo_fly(beamline, replace(scan, projections=120)))
    shown = capsys.readouterr().out
    counts = [float(n) for n in re.findall(r"detector: 120 projection frames:[^\r]*?([\d.]+)/120\.0 ", shown)]
    assert counts == sorted(counts)
    assert len(set(counts)) > 1
    assert re.search(r"detector: 120 projection frames:[^\r]* [1-9][\d.]*/120\.0 \[\d\d:\d\d<\d\d:\d\d", shown)


def test_a_table_has_a_row_with_angle_frames_and_verdict(engine, documents, start_daemon, connect, scan, every_look):
    beamline = connect(start_daemon({"live_after": 10, "live": "center_unknown"}))
    lines = []
    engine.subscribe(ScanTable(out=lines.append))
    engine(tomo_fly(beamline, replace(scan, projections=150)))
    head = next(line for line in lines if "seq_num" in line)
    assert [word.strip() for word in head.strip("|").split("|")] == [
        "seq_num", "time", "rotation", "detector_frames_taken", "streamer_decision", "streamer_reason",
    ]  # fmt: skip
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| +\d", line)]
    angles, frames = ([float(row[column]) for row in rows] for column in (2, 3))
    assert len(rows) >= 3
    assert angles == sorted(angles)
    assert frames == sorted(frames)
    assert frames[-1] > 100
    assert rows[-1][4] == "UNKNOWN"
    assert rows[-1][5].startswith("center_un")
    assert lines[-1].startswith("verdict: ENOUGH: fine") or "verdict: ENOUGH: fine" in lines
    descriptor = next(d for d in documents.of("descriptor") if d["name"] == "progress")
    assert descriptor["hints"]["rotation"] == {"fields": ["rotation"]}


def test_a_table_says_how_a_scan_failed(engine, start_daemon, connect, scan, every_look):
    beamline = connect(start_daemon({"fail_after": 20}))
    lines = []
    engine.subscribe(ScanTable(out=lines.append))
    with pytest.raises(TomoScanError):
        engine(tomo_fly(beamline, scan))
    assert lines[-1].startswith("the scan ended as fail: daemon_gave_up: ")


@pytest.mark.filterwarnings("ignore:Omitting streamer_")
def test_best_effort_takes_every_scan(engine, start_daemon, connect, scan, every_look, capsys):
    beamline = connect(start_daemon())
    best = BestEffortCallback()
    engine.subscribe(best)
    engine(tomo_fly(beamline, scan))
    engine(tomo_step(beamline, scan, [0.0, 45.0, 90.0, 135.0]))
    told = capsys.readouterr().out
    assert told.count("New stream: 'primary'") == 2
    assert told.count("New stream: 'progress'") == 2
    assert "failed to format" not in told
