"""The window without a display, fed over real sockets, judged by its pixels."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import FrameCounts
from streamer.flow.wire.events import ProgressEvent
from streamer.frames import Decision, Reason, ReasonCode, Verdict
from streamer.gui.client import ViewerClient
from streamer.gui.state.model import ViewModel
from streamer.gui.theme import COLOUR_MAPS, DARK, VERDICT_STYLES
from streamer.gui.window import HINT, ViewerWindow
from tests.gui.stand_in_daemon import StandInDaemon, pictures, report_of

Spin = Callable[..., None]
SIDE, ROWS, ANGLES = 96, 64, 60


@pytest.fixture
def app(qt: QApplication) -> QApplication:
    return qt


@pytest.fixture
def window(app: QApplication, server: StandInDaemon, tmp_path: Path) -> Iterator[ViewerWindow]:
    server.report = report_of(of=ANGLES)
    model = ViewModel(server.endpoint)
    made = ViewerWindow(model, ViewerClient(server.endpoint, model), tmp_path)
    made.show()
    yield made
    made.close()
    made.deleteLater()
    app.processEvents()
    gc.collect()


def picture(widget: QWidget) -> NDArray[np.uint8]:
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    data = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return data[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def inside(window: ViewerWindow, name: str) -> NDArray[np.uint8]:
    """The pixels of one plane on the screen."""
    box = window.tiles.tiles[name].plot.getViewBox().sceneBoundingRect()
    shot = picture(window.tiles.widget)
    return shot[int(box.top()) + 2 : int(box.bottom()) - 2, int(box.left()) + 2 : int(box.right()) - 2]


def fill(
    window: ViewerWindow, server: StandInDaemon, spin: Spin, app: QApplication, angles: int
) -> dict[str, NDArray[np.float32]]:
    """Send the planes as they are after some of the angles, and wait until the window has drawn them."""
    planes = pictures(SIDE, ROWS, angles)

    def send() -> None:
        if time.monotonic() - sent[0] > 0.1:
            sent[0] = time.monotonic()
            for name, image in planes.items():
                server.plane(name, image, angles, ANGLES)

    def drawn() -> bool:
        return [tile.plane.angles for tile in window.tiles.tiles.values() if tile.plane] == 3 * [angles]

    sent = [0.0]
    spin(drawn, server.serve, send, app.processEvents)
    spin(lambda: inside(window, "xy").shape[0] > 150, app.processEvents)
    return planes


def test_waits_in_words(window: ViewerWindow, app: QApplication, server: StandInDaemon) -> None:
    app.processEvents()
    assert window.empty.text() == f"waiting for the daemon at {server.endpoint}"
    assert window.windowTitle() == "Streamer"


def test_planes_fill_in_and_are_not_blank(
    window: ViewerWindow, app: QApplication, server: StandInDaemon, spin: Spin
) -> None:
    fill(window, server, spin, app, 15)
    early = inside(window, "xy")
    fill(window, server, spin, app, 60)
    for name in ("xy", "xz", "yz"):
        shown = inside(window, name)
        assert shown.std() > 20, name
        assert len(np.unique(shown)) > 50, name
        assert (np.ptp(shown, axis=2) == 0).mean() > 0.9, "grey is the default, but for the scale bar"
    late = inside(window, "xy")
    assert early.shape != late.shape or np.abs(early.astype(int) - late).mean() > 5
    spin(lambda: window.cards.progress.value.text() == "60 of 60 angles", app.processEvents)
    assert window.cards.rate.value.text() == "480 frames/s"


def test_the_plane_is_the_right_way_up(
    window: ViewerWindow, app: QApplication, server: StandInDaemon, spin: Spin
) -> None:
    image = np.zeros((40, 80), np.float32)
    image[:10, :20] = 1.0  # rows grow downwards, columns to the right

    def sent() -> None:
        server.plane("xz", image, 1, 60)

    spin(lambda: "xz" in window.tiles.tiles, server.serve, sent, app.processEvents)
    spin(lambda: inside(window, "xz").shape[0] > 100, app.processEvents)
    shown = inside(window, "xz").mean(axis=2)
    rows, columns = shown.shape
    assert shown[: rows // 5, : columns // 5].mean() > 200
    assert shown[rows // 2 :].mean() < 50
    assert shown[: rows // 5, columns // 2 :].mean() < 50


@pytest.mark.parametrize("decision", list(Decision))
def test_the_banner_tells_the_verdict(
    window: ViewerWindow, app: QApplication, server: StandInDaemon, spin: Spin, decision: Decision
) -> None:
    reason = f"because of {decision.value.lower()}"

    def told() -> None:
        server.tell(Verdict(decision, (Reason(ReasonCode.OTHER, reason),), final=True))

    spin(lambda: window.banner.word.text() == decision.value, server.serve, told, app.processEvents)
    assert window.banner.reasons.text() == f"other: {reason}"
    shot = picture(window.banner)
    wanted = QColor(VERDICT_STYLES[decision].fill)
    share = (shot == [wanted.red(), wanted.green(), wanted.blue()]).all(axis=2).mean()
    assert share > 0.6


def test_verdict_colours_differ_without_colour_vision() -> None:
    """Red and green are told apart by what a deuteranope has left: blue against yellow, and lightness."""
    seen = {}
    for decision in Decision:
        colour = QColor(VERDICT_STYLES[decision].fill)
        seen[decision] = np.array([0.63 * colour.red() + 0.37 * colour.green(), colour.blue()])
    for one in Decision:
        for other in Decision:
            if one < other:
                assert np.abs(seen[one] - seen[other]).max() > 25, (one, other)


def test_lost_frames_are_red(window: ViewerWindow, app: QApplication, server: StandInDaemon, spin: Spin) -> None:
    frames = FrameCounts(expected=60, received=50, missing=3)
    spin(
        lambda: window.cards.lost.value.text() == "3 missing",
        server.serve,
        lambda: server.tell(frames=frames),
        app.processEvents,
    )
    wanted = QColor(DARK.alarm)
    shot = picture(window.cards.lost)
    assert (shot == [wanted.red(), wanted.green(), wanted.blue()]).all(axis=2).sum() > 50


def test_keys(window: ViewerWindow, app: QApplication, server: StandInDaemon, spin: Spin, tmp_path: Path) -> None:
    fill(window, server, spin, app, 5)
    model = window.model
    window.hand.levels("xy", 0.0, 1.0)
    assert model.contrast.manual
    QTest.keyClick(window, Qt.Key.Key_A)
    assert not model.contrast.manual
    QTest.keyClick(window, Qt.Key.Key_L)
    assert model.contrast.linked
    QTest.keyClick(window, Qt.Key.Key_M)
    assert window.foot.maps.currentText() == COLOUR_MAPS[1]
    QTest.keyClick(window, Qt.Key.Key_F)
    assert window.isFullScreen()
    QTest.keyClick(window, Qt.Key.Key_Escape)
    assert not window.isFullScreen()
    for _ in range(2):
        QTest.keyClick(window, Qt.Key.Key_S)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["streamer_s1_5of60-2.png", "streamer_s1_5of60.png"]
    assert window.foot.text.text().startswith("saved ")
    QTest.keyClick(window, Qt.Key.Key_Q)
    assert not window.isVisible()
    assert window.client is None


def test_every_colour_map_paints(window: ViewerWindow, app: QApplication, server: StandInDaemon, spin: Spin) -> None:
    fill(window, server, spin, app, 5)
    seen = set()
    for name in COLOUR_MAPS:
        window.foot.maps.setCurrentText(name)
        app.processEvents()
        seen.add(inside(window, "xy").tobytes())
    assert len(seen) == len(COLOUR_MAPS)


def test_cursor_and_dragging(window: ViewerWindow, app: QApplication, server: StandInDaemon, spin: Spin) -> None:
    fill(window, server, spin, app, 5)
    tile = window.tiles.tiles["xz"]
    box = tile.plot.getViewBox().sceneBoundingRect()
    window.tiles._moved(QPointF(box.center()))
    assert window.foot.text.text().startswith("xz   x ")
    assert window.foot.text.text().endswith(" 1/cm")
    window.tiles._moved(QPointF(QPoint(-5, -5)))
    assert window.foot.text.text() == HINT
    tile.bar.region.setRegion((80, 191))  # what a drag of the lower handle does
    assert window.model.contrast.manual
    assert not window.model.contrast.levels("xz").auto
    assert window.model.contrast.levels("xy").auto


def test_further_planes_come_and_go(window: ViewerWindow, app: QApplication, server: StandInDaemon, spin: Spin) -> None:
    planes = fill(window, server, spin, app, 5)

    def more() -> None:
        server.plane("row-12", planes["xy"], 5, 60, pixel_size_m=None)

    spin(lambda: len(window.tiles.tiles) == 4, server.serve, more, app.processEvents)
    spin(lambda: inside(window, "row-12").shape[0] > 100, app.processEvents)
    assert inside(window, "row-12").std() > 5
    server.report = report_of("s2", "bone")
    bone = lambda: "bone" in window.header.title.text()  # noqa: E731
    spin(bone, server.serve, app.processEvents, lambda: server.enter(ScanState.ARMED))
    assert window.tiles.tiles["xy"].image.opacity() < 1.0, "the last result stays, greyed"
    assert "foam, the last one" in window.tiles.tiles["xy"].plot.titleLabel.text
    shown = {"xy": planes["xy"]}
    spin(lambda: set(window.tiles.tiles) == {"xy"}, server.serve, app.processEvents,
         lambda: server.plane("xy", shown["xy"], 1, 60))  # fmt: skip
    assert window.tiles.tiles["xy"].image.opacity() == 1.0
    # Only a daemon that breaks the protocol has such a sample; the window takes it for text all the same.
    window.model.event(ProgressEvent(report=report_of("s3", "<b>bone</b>"), scan_id="s3"), time.monotonic())
    window.refresh()
    assert "<b>bone</b>" in window.header.title.text()
    window.side.setCurrentWidget(window.side.history)
    assert "<b>bone</b>" in window.side.history.list.item(0).text()


def test_an_unchanged_plane_is_not_drawn_again(
    window: ViewerWindow, app: QApplication, server: StandInDaemon, spin: Spin
) -> None:
    fill(window, server, spin, app, 5)
    window.refresh()
    tile = window.tiles.tiles["xy"]
    drawn: list[object] = []
    tile.image.sigImageChanged.connect(lambda: drawn.append(None))
    for _ in range(10):
        window.refresh()
    assert not drawn


def test_a_window_that_stood_still_comes_back(
    window: ViewerWindow, app: QApplication, server: StandInDaemon, spin: Spin
) -> None:
    planes = fill(window, server, spin, app, 5)
    for _ in range(200):  # nobody turns the window's event loop
        server.plane("xy", planes["xy"], 6, 60)
    began = time.monotonic()
    spin(lambda: window.model.planes["xy"].angles == 6, app.processEvents)
    assert time.monotonic() - began < 20


def test_broken_previews_are_told_not_raised(
    window: ViewerWindow, app: QApplication, server: StandInDaemon, spin: Spin
) -> None:
    fill(window, server, spin, app, 5)
    # One alone could be dropped, as previews are for a viewer that is behind.
    spin(lambda: window.model.broken >= 1, lambda: server.raw_preview([b"plane", b"\xc1", b"x"]), app.processEvents)
    assert inside(window, "xy").std() > 5
