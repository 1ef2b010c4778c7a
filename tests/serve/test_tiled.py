"""Tiled serves a scan while it grows, to the example's client."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.cli import main
from streamer.io.archive import write_archive
from streamer.io.raw.nxtomo import NXtomoFile
from streamer.io.runs import scan_of_run
from streamer.io.tomogram import TomogramFile
from tests.gui.stand_in_daemon import StandInDaemon, report_of
from tests.io.helpers import SPEC, STARTED, meta_of, pixels_of
from tests.io.test_archive import ARCHIVE
from tests.paths import ROOT

Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run() -> Iterator[Run]:
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_scan_is_served_while_it_grows(tmp_path: Path, run: Run) -> None:
    daemon, ended = StandInDaemon(), threading.Event()
    daemon.report = report_of("scan-1")
    picture = np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5)

    def publish() -> None:
        while not ended.is_set():
            daemon.serve(0.05)
            daemon.plane("xy", picture, 30, 90)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        server = run("-m", "streamer", "serve", str(tmp_path), "--port", "0", "--control", daemon.endpoint)
        assert server.stdout is not None
        address = re.search(r"http://\S+", server.stdout.readline())
        assert address is not None
        client = run("examples/watch_tiled.py", address[0])
        file = NXtomoFile.create(tmp_path / "scan-1.nx", SPEC, STARTED)
        frames = 0
        for wanted in (5, 12, SPEC.frames):
            while frames < wanted:
                file.append(meta_of(frames), pixels_of(frames))
                frames += 1
            file.flush()
            _said(client, f"scan-1: {wanted} frames, planes from 30 angles")
        file.close("complete")
        with TomogramFile.create(tmp_path / "scan-1.tomogram.h5", (3, 4, 4), SPEC) as volume:
            volume.write_rows(0, np.full((3, 4, 4), 2.5, np.float32))
        write_archive(tmp_path / "scan-1.nx", ARCHIVE)
        rest, _ = client.communicate(timeout=60)
        assert "xy: (4, 5), mean" in rest
        assert f"last frame: mean {pixels_of(SPEC.frames - 1).mean():.4g} counts" in rest
        assert "tomogram (3, 4, 4), middle slice 2.5" in rest
        assert f"complete: {ARCHIVE.verdict.decision}" in rest
        assert scan_of_run(address[0], "scan-1") == tmp_path / "scan-1.nx"  # as replay --tiled finds it
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 1
    finally:
        ended.set()
        thread.join()
        daemon.close()


def _said(client: subprocess.Popen[str], line: str) -> None:
    assert client.stdout is not None
    while (heard := client.stdout.readline()) != line + "\n":
        assert heard, f"the client ended before it said {line!r}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{none}"], "there is no such folder"),
        (["{folder}", "--host", "0.0.0.0"], "others could read everything; set TILED_SINGLE_USER_API_KEY"),
        (["{folder}", "--port", "99999"], "--port: give a whole number from 0 to 65535"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.delenv("TILED_SINGLE_USER_API_KEY", raising=False)
    names = {"folder": tmp_path, "none": tmp_path / "none"}
    assert main(["serve", *(text.format(**names) for text in arguments)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
