"""A viewer in a window of a real X server, for ``test_real_window``: used with the mouse, then the screen is saved.

Arguments: the daemon's endpoint, and the file for the picture.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from streamer.gui.client import ViewerClient
from streamer.gui.qt import hold_none
from streamer.gui.state.model import ViewModel
from streamer.gui.window import ViewerWindow

PATIENCE_S = 100.0


def main(endpoint: str, path: str) -> None:
    hold_none()
    app = QApplication([])
    model = ViewModel(endpoint)
    window = ViewerWindow(model, ViewerClient(endpoint, model))
    window.show()

    def until(condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, what
            app.processEvents()
            time.sleep(0.005)

    until(lambda: QTest.qWaitForWindowExposed(window, 10), "the window is not shown")
    until(lambda: len(window.tiles.tiles) == 3 and model.steering.point is not None, "no planes came")
    box = window.tiles.tiles["xy"].plot.getViewBox()
    until(lambda: box.width() > 50, "no room for the planes")
    rect = box.sceneBoundingRect()
    start = QPoint(round(rect.center().x()), round(rect.center().y()))
    view = window.tiles.widget.viewport()  # type: ignore[attr-defined]
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=start)
    for step in range(1, 6):
        QTest.mouseMove(view, start + QPoint(4 * step, 3 * step), 10)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=start + QPoint(20, 15))
    moved = model.steering.point
    assert moved is not None
    until(lambda: any(tile.plane.place.origin[0] == moved[0] for name, tile in window.tiles.tiles.items()
                      if name == "yz" and tile.plane and tile.plane.place), "the moved plane did not come")  # fmt: skip
    window.refresh()
    app.processEvents()
    screen = QGuiApplication.primaryScreen()
    assert QGuiApplication.platformName() == "xcb"
    assert screen.geometry().contains(window.frameGeometry()), f"{window.frameGeometry()} in {screen.geometry()}"
    assert screen.grabWindow(0).save(path, "PNG")
    window.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
