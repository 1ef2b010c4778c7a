"""Advice at a whole virtual beamline, whose light follows the exposure: from a shell, and as a plan of the queue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamer_plans import stubs
from tests.paths import ROOT
from tests.plans.scans.conftest import Whole

KINDS, SIZE, ROWS = ["good"], 64, 16
WORDS = ("--flat-exposure", "0.02")
WANTED_PX = 6.0
SETTINGS = {"darks": 5, "flats": 10}


@pytest.fixture
def mounted(engine: Any, whole: Whole) -> tuple[str, str]:
    """Where the beamline and the daemon answer; the sample is on the stage."""
    beamline = whole[0]
    engine(stubs.to_exchange(beamline.sample_x, beamline.changer))
    engine(stubs.mount(beamline.changer, 0))
    return beamline.links[0].endpoint, beamline.streamer._link.endpoint


def run(*words: str, **environment: str) -> str:
    """Output of a Python process."""
    command, settings = [sys.executable, *words], {**os.environ, **environment}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_command_says_how_to_scan(whole: Whole, mounted: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "advice.json"
    words = ["advise", "beetle", "--resolution", str(WANTED_PX), "--dose", "4", "--x-out", "6", "--json", str(file)]
    words += [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
    output = run("-m", "streamer_plans.scans", *words, "--beamline", mounted[0], "--daemon", mounted[1])
    advice = json.loads(file.read_text(encoding="utf-8"))
    assert advice["reached"]
    assert advice["dose_s"] == pytest.approx(advice["projections"] * advice["exposure_s"])
    assert 0 < advice["spent_s"] + advice["dose_s"] < 4.0
    lines = output.splitlines()
    assert lines[1:-1] == advice["why"]
    assert lines[-1].startswith(f"{advice['projections']} projections of ")


SESSION = """
import json, sys
import streamer_plans.startup as startup
starts, lines = [], []
startup.RE.subscribe(lambda _, document: starts.append(document), "start")
arguments = {**json.loads(sys.argv[1]), "x_out_mm": 6.0, "most_dose_s": 4.0}
startup.RE(startup.advised_scan("beetle", **arguments))
print(json.dumps([(start["plan_name"], start["num_points"], start.get("advice")) for start in starts]))
"""


def test_a_plan_of_the_queue_takes_the_scan_that_is_advised(mounted: tuple[str, str]) -> None:
    arguments = json.dumps({**SETTINGS, "resolution_px": WANTED_PX})
    where = {"STREAMER_BEAMLINE": mounted[0], "STREAMER_DAEMON": mounted[1]}
    *told, last = run("-c", SESSION, arguments, **where).splitlines()
    *looks, (plan, points, advice) = json.loads(last)
    assert {look[0] for look in looks} == {"tomo_advise"}
    assert plan == "tomo_fly"
    assert points > sum(SETTINGS.values())
    assert advice == told[-len(advice) :]
