"""``streamer demo`` from outside: three processes, real RunEngine; ended well, by Ctrl-C, and by a killed daemon."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import matplotlib.image
import pytest
from station import eventually

from streamer.frames import BadInput
from streamer.io.raw.unclosed import open_raw

pytestmark = pytest.mark.timeout(600)

SMALL = ("--size", "128", "--projections", "180", "--rate", "300", "--headless")
LONG = ("--samples", "1", "--projections", "2000", "--rate", "100")
"""20 s of projections, in which something happens."""


def start(out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "streamer", "demo", "--out", str(out), *SMALL, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def processes_of(out: Path) -> list[int]:
    """Processes whose command line names this folder, or that hold a file in it open."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                held = [os.readlink(fd) for fd in (entry / "fd").iterdir()]
            except OSError:
                continue
            if str(out) in line or any(str(out) in name for name in held):
                found.append(int(entry.name))
    return found


def raw_files(out: Path) -> list[Path]:
    return sorted(out.glob("*.nx"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    out = tmp_path_factory.mktemp("demo")
    process = start(out, "--json", str(out / "r.json"))
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    return out, json.loads((out / "r.json").read_text()), output


def test_each_sample_ends_as_it_was_made_to(finished: tuple[Path, dict[str, Any], str]) -> None:
    _, result, _ = finished
    good, off_axis, moving, empty = result["samples"]
    assert [sample["verdict"] for sample in result["samples"]] == ["ENOUGH", "ENOUGH", "ENOUGH", "EMPTY"]
    assert [attempt["action"] for attempt in good["attempts"]] == ["accept"]
    assert [attempt["action"] for attempt in off_axis["attempts"]] == ["realign", "accept"]
    assert off_axis["attempts"][0]["reasons"][0]["code"] == "axis_off"
    assert [attempt["action"] for attempt in moving["attempts"]] == ["retake", "accept"]
    assert moving["attempts"][0]["reasons"][0]["code"] == "motion"
    assert [attempt["action"] for attempt in empty["attempts"]] == ["reject"]
    assert empty["attempts"][0]["reasons"][0]["code"] == "empty"


@pytest.mark.parametrize("control", ["epics", "ophyd-async"])
def test_the_same_over_channel_access(finished: tuple[Path, dict[str, Any], str], tmp_path: Path, control: str) -> None:
    process = start(tmp_path, "--json", str(tmp_path / "r.json"), "--control", control)
    _, errors = process.communicate(timeout=550)
    assert process.returncode == 0, errors
    assert processes_of(tmp_path) == []
    over = json.loads((tmp_path / "r.json").read_text())["samples"]
    for here, there in zip(over, finished[1]["samples"], strict=True):
        for key in ("verdict", "action", "frames", "center_truth_px"):
            assert here[key] == there[key]
        assert [attempt["action"] for attempt in here["attempts"]] == [each["action"] for each in there["attempts"]]
        given = [{k: v for k, v in each["geometry"].items() if "center" not in k} for each in (here, there)]
        assert given[0] == given[1]  # pixel size, energy and the rest reached the daemon
        if there["center_px"] is not None:
            assert here["center_px"] == pytest.approx(there["center_px"], abs=0.05)
            assert here["rmse_vs_truth"] == pytest.approx(there["rmse_vs_truth"], rel=0.05)


def test_no_frame_is_lost_and_the_centre_is_right(finished: tuple[Path, dict[str, Any], str]) -> None:
    _, result, _ = finished
    for sample in result["samples"]:
        assert sample["frames"]["missing"] == 0
        assert sample["frames"]["received"] == sample["frames"]["expected"]
    for sample in result["samples"][:3]:
        assert abs(sample["center_px"] - sample["center_truth_px"]) <= 0.25
        assert sample["first_preview_projections"] < 0.25 * 180


def test_geometry_and_artefacts_are_told(finished: tuple[Path, dict[str, Any], str]) -> None:
    _, result, _ = finished
    for sample in result["samples"][:3]:
        assert sample["geometry"]["geometry"] == "plain"
        assert sample["geometry"]["width_px"] == 128
        assert sample["artefacts"].keys() >= {"noise", "ring_index", "truncation"}  # cupping, where the sample allows
        assert sample["artefacts"]["contrast"] > 0


def test_files_and_pictures_are_there(finished: tuple[Path, dict[str, Any], str]) -> None:
    out, result, output = finished
    for sample in result["samples"]:
        with h5py.File(sample["raw_file"]) as raw, h5py.File(sample["tomogram_file"]) as tomogram:
            assert raw["entry/streamer/status"].asstr()[()] == "complete"
            assert tomogram["entry/data/data"].shape == (128, 128, 128)
        assert matplotlib.image.imread(sample["preview_png"]).std() > 0.05
        assert sample["name"] in output
    assert matplotlib.image.imread(out / "while-scanning.png").std() > 0.05
    assert not list(out.glob("*.partial.h5"))
    assert len(result["run_uids"]) == 6


def in_mid_scan(out: Path) -> Callable[[], bool]:
    def some_projections() -> bool:
        for path in raw_files(out):
            # A file that is just being made is still locked.
            with contextlib.suppress(BadInput), open_raw(path) as file:
                if len(file["entry/instrument/detector/image_key"]) > 60:
                    return True
        return False

    return some_projections


def test_ctrl_c_leaves_no_process_and_no_file_without_status(tmp_path: Path) -> None:
    process = start(tmp_path, *LONG)
    eventually(in_mid_scan(tmp_path), "a scan runs", 400)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=150)
    assert process.returncode == 1
    assert "interrupted" in errors
    assert processes_of(tmp_path) == []
    for path in raw_files(tmp_path):
        with h5py.File(path) as file:
            assert file["entry/streamer/status"].asstr()[()] == "aborted"


def test_a_killed_daemon_fails_the_run_and_keeps_the_frames(tmp_path: Path) -> None:
    process = start(tmp_path, *LONG)
    eventually(in_mid_scan(tmp_path), "a scan runs", 400)
    daemon = json.loads((tmp_path / "logs" / "daemon.json").read_text())["pid"]
    os.kill(daemon, signal.SIGKILL)
    killed = time.monotonic()
    _, errors = process.communicate(timeout=150)
    assert process.returncode == 1
    assert re.search(r"the run failed: .*daemon", errors)
    assert time.monotonic() - killed < 120
    (path,) = raw_files(tmp_path)

    def closed() -> bool:
        try:
            with h5py.File(path) as file:
                return bool(file["entry/streamer/status"].asstr()[()] == "incomplete")
        except OSError:
            return False

    eventually(closed, "the raw writer has closed the file by itself", 100)
    with h5py.File(path) as file:
        keys = file["entry/instrument/detector/image_key"][()]
        assert len(keys) == len(file["entry/instrument/detector/data"]) > 60
        assert file["entry/streamer/note"].asstr()[()]
    eventually(lambda: not processes_of(tmp_path), "the raw writer has ended")  # it closes the file first
    again = start(tmp_path / "again", "--samples", "1")
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
