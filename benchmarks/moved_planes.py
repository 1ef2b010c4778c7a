"""From a move of the mouse to the new plane on the screen: ``python -m benchmarks.moved_planes [--moves N]``.

A real daemon, fed by the virtual beamline with 720 projections of 512², and the viewer's window without a display (it
is painted all the same). The mouse is dragged in one plane; measured is the time until the plane that moved with it has
been painted anew (first picture), and until all angles are in it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import zmq
from msgspec import structs
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from benchmarks.record import record
from streamer.cli.rig.processes import start_beamline, start_daemon
from streamer.cli.rig.scan_driver import ScanDriver
from streamer.gui.client import ViewerClient
from streamer.gui.qt import hold_none
from streamer.gui.state.model import ViewModel
from streamer.gui.window import ViewerWindow

SIDE, PROJECTIONS, REST = 512, 720, 40
"""``REST`` projections are announced and do not come: the scan goes on while it is looked at."""

PATIENCE_S = 300.0
REST_S = 0.02


@dataclass
class Times:
    """Seconds of each move."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    first_angles: list[int] = field(default_factory=list)


class Screen:
    """The window, and when which picture of a plane was painted."""

    def __init__(self, app: QApplication, window: ViewerWindow) -> None:
        self.app, self.window = app, window

    def until(self, condition: Callable[[], bool]) -> float:
        """The time at which it held; the event loop turns meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "nothing came"
            self.app.processEvents()
            time.sleep(0.0005)
        return time.perf_counter()

    def moved(self, tile: str, other: str, to: QPoint, times: Times, whole: bool) -> None:
        """Move the mouse in ``tile``, and wait for ``other``."""
        view = self.window.tiles.widget.viewport()  # type: ignore[attr-defined]
        began = time.perf_counter()
        QTest.mouseMove(view, to)
        self.app.processEvents()
        wanted = next(plane for plane in self.window.model.steering.wanted() if plane.name == other)

        def shown() -> int:
            picture = self.window.tiles.tiles[other].plane
            there = picture is not None and picture.place is not None and picture.place.origin == wanted.origin
            return picture.angles if there and picture is not None else 0

        self.until(lambda: shown() > 0)
        view.repaint()
        times.first.append(time.perf_counter() - began)
        times.first_angles.append(shown())
        if whole:
            self.until(lambda: shown() >= PROJECTIONS)
            view.repaint()
            times.whole.append(time.perf_counter() - began)


def quantiles(seconds: list[float]) -> dict[str, float]:
    return {name: round(1e3 * float(np.quantile(seconds, q)), 1) for name, q in (("p50", 0.5), ("p99", 0.99))}


def measure(moves: int, folder: Path) -> dict[str, object]:
    hold_none()
    app = QApplication([])
    beamline = start_beamline(folder, "--size", str(SIDE), "--rows", str(SIDE), "--seed", "3", "--mount-s", "0")
    daemon = start_daemon(
        folder,
        source={"endpoint": beamline.wait_ready()["frames"]},
        writer={"directory": folder / "data", "reserve_mb": 0},
        scan={"stall_timeout_s": 3600.0},
        reconstruction={"memory_mb": 4000},
    )
    daemon.wait_ready()
    driver = ScanDriver(zmq.Context(), beamline, daemon, PATIENCE_S)
    result: dict[str, object] = {"side": SIDE, "projections": PROJECTIONS, "moves": moves, "unit": "ms"}
    try:
        spec = driver.spec("moved", rows=SIDE, columns=SIDE, projections=PROJECTIONS + REST, flats=8, darks=4)
        driver.begin(spec, 100.0)
        driver.fly(structs.replace(spec, projections=PROJECTIONS), 60.0)
        driver.until(driver.at_rest, "all projections are taken")
        model = ViewModel(driver.daemon["control"])
        window = ViewerWindow(model, ViewerClient(driver.daemon["control"], model), folder)
        window.show()
        screen = Screen(app, window)
        screen.until(lambda: len(window.tiles.tiles) == 3 and model.steering.point is not None)
        screen.until(lambda: model.scan.angles >= PROJECTIONS)
        for name, other in (("xy", "xz"), ("xz", "xy"), ("xy", "yz")):
            times = Times()
            box = window.tiles.tiles[name].plot.getViewBox().sceneBoundingRect()
            middle = QPoint(round(box.center().x()), round(box.center().y()))
            view = window.tiles.widget.viewport()  # type: ignore[attr-defined]
            QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=middle)
            across = other == "yz"
            for move in range(moves):
                far = 2 + 3 * (move % 20)
                to = middle + (QPoint(far, 0) if across else QPoint(0, far))
                screen.moved(name, other, to, times, whole=move >= moves - 10)
                time.sleep(REST_S)
            QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=middle)
            result[f"mouse in {name}, {other} follows"] = {
                "first picture": quantiles(times.first),
                "angles in it": int(np.median(times.first_angles)),
                "all angles": quantiles(times.whole),
            }
        window.close()
    finally:
        daemon.stop()
        beamline.stop()
        driver.context.destroy(linger=0)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=200)
    wanted = parser.parse_args()
    with TemporaryDirectory() as place:
        record("moved_planes", measure(wanted.moves, Path(place)))
