"""``streamer view`` as a command: snapshot, exit codes, one line for each thing that can be wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamer.cli import main
from tests.gui.stand_in_daemon import StandInDaemon, pictures, report_of

NOBODY = "tcp://127.0.0.1:1"


DISPLAYS = ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY")


@pytest.fixture
def server() -> Iterator[StandInDaemon]:
    """A stand-in daemon that keeps sending three planes."""
    planes = pictures(64, 48, 30)
    server = StandInDaemon()
    server.report = report_of(angles=30, of=30, verdict="ENOUGH")
    stopped = threading.Event()

    def run() -> None:
        while not stopped.is_set():
            server.serve(0.05)
            for name, image in planes.items():
                server.plane(name, image, 30, 30)
        server.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield server
    stopped.set()
    thread.join()


def environment(**changes: str | None) -> dict[str, str]:
    without: dict[str, str | None] = dict.fromkeys(DISPLAYS)
    merged = {**os.environ, **without, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def view(*arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "streamer", "view", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=150, env=environment(**changes), check=False)


def test_snapshot_without_a_display(server: StandInDaemon, tmp_path: Path) -> None:
    path = tmp_path / "now.png"
    done = view(server.endpoint, "--snapshot", str(path), "--after", "8")
    assert done.returncode == 0, done.stderr
    assert "30 of 30 angles" in done.stdout
    assert "ENOUGH" in done.stdout
    shown = np.asarray(Image.open(path).convert("RGB"))
    assert shown.shape == (900, 1600, 3)
    planes = shown[200:600]
    assert planes.std() > 20
    assert (shown == [0x00, 0x80, 0x5F]).all(axis=2).sum() > 50_000  # the banner is green


def test_nothing_came(tmp_path: Path) -> None:
    done = view(NOBODY, "--snapshot", str(tmp_path / "now.png"), "--after", "0.3")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "no plane came within 0.3 s: waiting for the daemon at tcp://127.0.0.1:1" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--snapshot", "/no/such/folder/x.png"], "there is no folder /no/such/folder"),
        (["--snapshot", "x.png", "--after", "-1"], "--after: give a number from 0 to 1000000, not '-1'"),
        (["--snapshot", "x.png", "--after", "nan"], "--after: give"),
        ([], "no display"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    assert main(["view", NOBODY, *arguments]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert said in error


def test_an_unusable_endpoint_is_one_line() -> None:
    done = view("rubbish", "--snapshot", "x.png")
    assert done.returncode == 2
    assert done.stderr.startswith("streamer view: ENDPOINT: give an endpoint: tcp://HOST:PORT")
    assert len(done.stderr.splitlines()) == 1


def test_a_display_that_is_dead_is_one_line() -> None:
    done = view(NOBODY, DISPLAY=":987")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "Qt cannot open a window" in done.stderr


def test_without_the_gui_packages(tmp_path: Path) -> None:
    (tmp_path / "PySide6").mkdir()  # an empty folder of that name hides the real one
    (tmp_path / "PySide6" / "__init__.py").touch()
    done = view(NOBODY, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert done.returncode == 2
    assert done.stderr.startswith("streamer view: the viewer needs PySide6.QtWidgets: ")
    assert " -m pip install -e '.[gui]' in the repository" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["view", "--help"])
    told = capsys.readouterr().out
    for word in ("tcp://127.0.0.1:5581", "--snapshot", "--after", "examples:", "exit codes:", "cross-hair", "F1 or ?"):
        assert word in told


STOPPED_WHILE_IT_PAINTS = """
import signal, sys
from streamer.cli import main
from streamer.gui import window

class Window(window.ViewerWindow):
    def paintEvent(self, event):
        signal.raise_signal(signal.SIGINT)
        super().paintEvent(event)

window.ViewerWindow = Window
sys.exit(main(["view", sys.argv[1]]))
"""


def test_ctrl_c_while_the_window_is_painted(server: StandInDaemon) -> None:
    command = [sys.executable, "-W", "error", "-c", STOPPED_WHILE_IT_PAINTS, server.endpoint]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(QT_QPA_PLATFORM="offscreen"), timeout=100, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_ctrl_c_closes_cleanly(server: StandInDaemon) -> None:
    command = [sys.executable, "-W", "error", "-m", "streamer", "view", server.endpoint]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(QT_QPA_PLATFORM="offscreen")
    )
    deadline = time.monotonic() + 100
    while not server.asked:  # the window is up when it asks
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""
