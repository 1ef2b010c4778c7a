"""The viewer in a real window of an X server (Xvfb), on a small screen: planes are dragged, the screen is looked at."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamer.core.planes.plane import orthogonal_planes
from streamer.daemon.compute.pictures import spec_of
from tests.gui import real_window
from tests.gui.stand_in_daemon import StandInDaemon, pictures, report_of

SIDE, ROWS = 64, 48


@pytest.fixture
def display(tmp_path: Path) -> Iterator[str]:
    """The number of a new X server of 1280 × 720."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x720x24", "-nolisten", "tcp"]
    with (tmp_path / "xvfb.log").open("w") as log:
        server = subprocess.Popen(command, pass_fds=[writing], stdout=log, stderr=log)
    os.close(writing)
    with os.fdopen(reading) as number:
        yield f":{number.readline().strip()}"
    server.terminate()
    server.wait()


@pytest.fixture
def daemon() -> Iterator[StandInDaemon]:
    """A stand-in daemon that shows the planes where it is told to."""
    images = pictures(SIDE, ROWS, 30)
    server = StandInDaemon()
    server.report = report_of(angles=30, of=60)
    stopped = threading.Event()

    def run() -> None:
        while not stopped.is_set():
            server.serve(0.02)
            places = server.watched[-1] if server.watched else map(spec_of, orthogonal_planes(ROWS, SIDE))
            for place in places:
                server.plane(place.name, images[place.name], 30, 60, place=place, volume=(ROWS, SIDE, SIDE))
        server.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield server
    stopped.set()
    thread.join()


def test_planes_are_dragged_in_a_real_window(display: str, daemon: StandInDaemon, tmp_path: Path) -> None:
    shot = tmp_path / "screen.png"
    environment = {**os.environ, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb", "XDG_CONFIG_HOME": str(tmp_path)}
    command = [sys.executable, real_window.__file__, daemon.endpoint, str(shot)]
    began = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stderr} after {time.monotonic() - began:.0f} s"
    assert daemon.watched
    screen = np.asarray(Image.open(shot).convert("RGB"))
    assert screen.shape == (720, 1280, 3)
    planes = screen[200:500, 50:900]
    assert planes.std() > 20
    orange = (np.abs(planes.astype(int) - [0xE6, 0x9F, 0x00]).max(axis=2) < 90).sum()
    assert orange > 50, "the cross-hair is in the colour of its plane"
