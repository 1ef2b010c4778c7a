"""``streamer bench``: figures that make sense, whatever the machine; clean ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.cli import main
from streamer.cli.bench import number
from streamer.cli.bench.figures import Figure, alternate

pytestmark = pytest.mark.timeout(600)  # the cache of kernels may be empty

RATIO_KEYS = {"name", "value", "unit", "beside", "beside_value", "ratio"}


def figures(tmp_path: Path, *words: str) -> list[dict[str, Any]]:
    path = tmp_path / "r.json"
    assert main(["bench", *words, "--seconds", "0.2", "--threads", "1", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert (result["bench"], result["threads"]) == (words[0], 1)
    for figure in result["figures"]:
        assert set(figure) == RATIO_KEYS
        assert np.isfinite(figure["value"])
        assert figure["value"] >= 0
    return result["figures"]


def named(all_of: list[dict[str, Any]], text: str) -> dict[str, Any]:
    return next(figure for figure in all_of if text in figure["name"])


def test_planes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(tmp_path, "planes", "--size", "64", "--size", "48")
    for size in ("64×64", "48×48"):
        assert named(found, f"{size}, 8 at a time")["value"] > 0
        assert (
            named(found, f"{size}, frame → planes, p99")["value"]
            >= named(found, f"{size}, frame → planes, p50")["value"]
        )
    assert "frames/s" in capsys.readouterr().out


def test_volume_tells_its_error(tmp_path: Path) -> None:
    found = figures(tmp_path, "volume", "--size", "64")
    at_once, streamed = named(found, "RMSE on smooth blobs"), named(found, "RMSE as frames come")
    assert 0 < at_once["value"] < 5e-3
    assert streamed["value"] == pytest.approx(at_once["value"], rel=0.01)
    assert named(found, "after the last frame")["unit"] == "s"


def test_ingest_takes_frames_from_another_process(tmp_path: Path) -> None:
    found = figures(tmp_path, "ingest", "--size", "64")
    for way in ("push, tcp", "acknowledged, tcp", "push, ipc", "acknowledged, ipc", "push, tcp, 2 senders"):
        into_ring, into_file = named(found, f"{way} → ring"), named(found, f"{way} → ring → raw file")
        assert min(into_ring["value"], into_file["value"]) > 0
        assert into_ring["beside"].startswith("bare PULL recv_into")
        assert into_file["beside"] == f"{into_ring['beside']} or plain file"
    assert named(found, "corrupt or rejected")["value"] == 0


def test_end_to_end_is_whole_scans(tmp_path: Path) -> None:
    found = figures(tmp_path, "end-to-end", "--size", "32")
    assert named(found, "frames lost")["value"] == 0
    for name in (
        "received",
        "first → tomogram on disk",
        "first → judged",
        "last frame → tomogram",
        "frame received → planes, p99",
    ):
        assert named(found, name)["value"] > 0


def test_ctrl_c_ends_cleanly_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamer", "bench", "ingest", "--size", "64", "--seconds", "600"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "64²" in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "streamer bench: interrupted"
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--size", "8"), "--size: give a whole number from 16 to 4096, not '8'"),
        (("--size", "100000"), "--size: give a whole number"),
        (("--seconds", "0"), "--seconds: give a number above 0, at most 3600"),
        (("--threads", "0"), "--threads: give a whole number from 1"),
        (("--backend", "opencl"), "--backend: "),
        (("--json", "/no/such/folder/x.json"), "/no/such/folder"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    options: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "planes", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_ratios_are_above_one_where_we_are_better() -> None:
    assert Figure("fast", 100.0, "frames/s", "plain", 10.0).ratio == 10
    assert Figure("quick", 1.0, "ms", "plain", 10.0).ratio == 10
    assert Figure("alone", 1.0, "ms").ratio is None


def test_ways_are_called_in_turn_three_times_at_least() -> None:
    calls: list[str] = []
    took = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 0.0)
    assert calls == ["a", "b"] * 4
    assert [len(times) for times in took.values()] == [3, 3]


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (0.01234, "0.0123"), (99.9, "99.9"), (12345.6, "12346")])
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_check_warms_and_says_how_long_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anywhere = "tcp://127.0.0.1:*"
    config = tmp_path / "c.toml"
    config.write_text(
        f'control = {{ endpoint = "{anywhere}", events = "{anywhere}" }}\npreview.endpoint = "{anywhere}"\n'
        f'metrics.port = 0\nwriter.directory = "{tmp_path}"\n'
    )
    assert main(["check", str(config), "--warm"]) == 0
    told = capsys.readouterr()
    assert "0 of" in told.err
    assert re.search(r"kernels are compiled and cached, \d+\.\d s", told.out)
