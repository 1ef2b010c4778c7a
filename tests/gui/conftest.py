"""Qt without a display, and a stand-in daemon on real sockets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

os.environ["QT_QPA_PLATFORM"] = "offscreen"

import pytest
from PySide6.QtWidgets import QApplication

from streamer.gui.qt import hold_none
from tests.gui.stand_in_daemon import QUEUED_PREVIEWS, StandInDaemon

Spin = Callable[[Callable[[], bool]], None]


@pytest.fixture(scope="session")
def qt() -> QApplication:
    hold_none()
    existing = QApplication.instance()
    return existing if isinstance(existing, QApplication) else QApplication([])


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[StandInDaemon]:
    """A stand-in daemon; its parameter is how many previews wait for a slow viewer, instead of being dropped."""
    daemon = StandInDaemon(queued_previews=getattr(request, "param", QUEUED_PREVIEWS))
    yield daemon
    daemon.close()


@pytest.fixture
def spin() -> Callable[..., None]:
    """Turn every given crank until the condition holds."""

    def until(condition: Callable[[], bool], *cranks: Callable[[], object], within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, "timed out"
            for crank in cranks:
                crank()
            time.sleep(0.002)

    return until
