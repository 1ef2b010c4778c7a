"""The window in the user's hands: planes, centre, detector, past scans; with mouse and keys, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from PIL import Image
from PySide6.QtCore import QPoint, QPointF, QSettings, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from streamer.core.planes.plane import orthogonal_planes
from streamer.daemon.compute.pictures import spec_of
from streamer.flow.scan import ScanState
from streamer.flow.wire.control import Busy
from streamer.flow.wire.daemon import PlaneSpec, PreviewHeader, WatchPlanes
from streamer.flow.wire.looks import LatestPlane
from streamer.frames import Decision, Quality, Reason, ReasonCode, Verdict
from streamer.gui.client import ViewerClient
from streamer.gui.state.model import ViewModel
from streamer.gui.theme import LIGHT
from streamer.gui.window import ViewerWindow
from streamer.io.batch_queue import QueueFile
from tests.gui.stand_in_daemon import StandInDaemon, pictures, report_of

Spin = Callable[..., None]
SIDE, ROWS, ANGLES = 64, 48, 60
VOLUME = (ROWS, SIDE, SIDE)
PLANES = {plane.name: spec_of(plane) for plane in orthogonal_planes(ROWS, SIDE)}
PICTURES = pictures(SIDE, ROWS, 30)


@pytest.fixture
def window(qt: QApplication, server: StandInDaemon, spin: Spin, tmp_path: Path) -> Iterator[ViewerWindow]:
    """A window that shows the three planes of a running scan."""
    server.report = report_of(of=ANGLES, angles=30, quality=Quality(30, ANGLES, center_px=31.5, center_confidence=0.9))
    model = ViewModel(server.endpoint)
    made = ViewerWindow(model, ViewerClient(server.endpoint, model), tmp_path)
    made.show()
    spin(lambda: len(made.tiles.tiles) == 3, server.serve, qt.processEvents, lambda: send(server))
    spin(lambda: model.steering.point is not None, server.serve, qt.processEvents)
    yield made
    made.close()
    made.deleteLater()
    qt.processEvents()


def send(server: StandInDaemon, places: dict[str, PlaneSpec] = PLANES, angles: int = 30) -> None:
    for name, place in places.items():
        image = PICTURES.get(name, PICTURES["xy"])
        server.plane(name, image, angles, ANGLES, place=place, volume=VOLUME)


def on_tile(window: ViewerWindow, name: str, x: float, y: float) -> QPoint:
    """A place in a tile as a pixel of the graphics: shares of its width and height, once the layout is at rest."""
    box = None
    while box is None or box.width() < 50 or box != window.tiles.tiles[name].plot.getViewBox().sceneBoundingRect():
        box = window.tiles.tiles[name].plot.getViewBox().sceneBoundingRect()
        for _ in range(5):
            QApplication.processEvents()
    return QPoint(round(box.left() + x * box.width()), round(box.top() + y * box.height()))


def viewport(window: ViewerWindow) -> object:
    return window.tiles.widget.viewport()  # type: ignore[attr-defined]


def watched(server: StandInDaemon) -> dict[str, PlaneSpec]:
    return {plane.name: plane for plane in server.watched[-1]} if server.watched else {}


def test_dragging_in_one_plane_moves_the_others(
    window: ViewerWindow, qt: QApplication, server: StandInDaemon, spin: Spin
) -> None:
    view = viewport(window)
    spin(lambda: window.tiles.tiles["xy"].plot.getViewBox().width() > 50, qt.processEvents)
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=on_tile(window, "xy", 0.5, 0.5))
    for share in (0.55, 0.6, 0.7, 0.75):
        QTest.mouseMove(view, on_tile(window, "xy", share, 0.25))
        qt.processEvents()
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=on_tile(window, "xy", 0.75, 0.25))
    spin(lambda: watched(server) and abs(watched(server)["yz"].origin[0] - 47.5) <= 1.5, server.serve, qt.processEvents)
    assert watched(server)["xz"].origin[1] == pytest.approx(15.5, abs=1.5)
    assert watched(server)["xy"] == PLANES["xy"], "the plane that the mouse is in stays where it is"
    vertical = window.tiles.tiles["xy"]._lines["yz"]
    picture = window.tiles.tiles["xy"].plane
    assert picture is not None
    assert vertical.value() == pytest.approx(picture.on_axes(0, watched(server)["yz"].origin[0])[0])
    # A picture of where the plane was before is not shown any more, one of where it is now is.
    revision = window.model.revisions["xz"]
    old, new = PLANES["xz"], watched(server)["xz"]
    server.plane("xz", PICTURES["xz"], 31, ANGLES, place=old, volume=VOLUME)
    spin(lambda: window.model.scan.angles >= 31, server.serve, qt.processEvents)
    assert window.model.revisions["xz"] == revision
    spin(lambda: window.model.revisions["xz"] > revision, qt.processEvents,
         lambda: server.plane("xz", PICTURES["xz"], 31, ANGLES, place=new, volume=VOLUME))  # fmt: skip


def test_wheel_and_keys_scroll_the_plane_under_the_mouse(
    window: ViewerWindow, qt: QApplication, server: StandInDaemon, spin: Spin
) -> None:
    spin(lambda: window.tiles.tiles["xz"].plot.getViewBox().width() > 50, qt.processEvents)
    place = QPointF(on_tile(window, "xz", 0.5, 0.5))
    up = QPoint(0, 120)
    control, none = Qt.KeyboardModifier.ControlModifier, Qt.MouseButton.NoButton
    wheel = QWheelEvent(place, place, QPoint(), up, none, control, Qt.ScrollPhase.NoScrollPhase, False)
    QApplication.sendEvent(viewport(window), wheel)  # type: ignore[arg-type]
    spin(lambda: watched(server).get("xz", PLANES["xz"]).origin[1] == 33.0, server.serve, qt.processEvents)
    window.tiles._moved(QPointF(on_tile(window, "yz", 0.5, 0.5)))
    QTest.keyClick(window, Qt.Key.Key_PageDown)
    spin(lambda: watched(server)["yz"].origin[0] == 22.0, server.serve, qt.processEvents)
    QTest.keyClick(window, Qt.Key.Key_Up)
    spin(lambda: watched(server)["yz"].origin[0] == 23.0, server.serve, qt.processEvents)
    QTest.keyClick(window, Qt.Key.Key_0)
    spin(lambda: watched(server) == PLANES, server.serve, qt.processEvents)


def test_a_free_plane_comes_turns_and_goes(
    window: ViewerWindow, qt: QApplication, server: StandInDaemon, spin: Spin
) -> None:
    QTest.keyClick(window, Qt.Key.Key_N)
    spin(lambda: "free" in watched(server), server.serve, qt.processEvents)
    first = watched(server)["free"]
    spin(lambda: "free" in window.tiles.tiles, server.serve, qt.processEvents,
         lambda: send(server, {"free": watched(server)["free"]}))  # fmt: skip
    QTest.keyClick(window, Qt.Key.Key_BracketRight)
    spin(lambda: watched(server)["free"] != first, server.serve, qt.processEvents)
    turned = watched(server)["free"]
    spin(lambda: window.tiles.tiles["free"].plot.getViewBox().width() > 50, qt.processEvents)
    view, start = viewport(window), on_tile(window, "free", 0.5, 0.5)
    QTest.mousePress(view, Qt.MouseButton.RightButton, pos=start)
    for step in range(1, 6):
        QTest.mouseMove(view, start + QPoint(6 * step, -8 * step))
        qt.processEvents()
    QTest.mouseRelease(view, Qt.MouseButton.RightButton, pos=start + QPoint(30, -40))
    spin(lambda: watched(server)["free"] != turned, server.serve, qt.processEvents)
    free = window.model.steering.free
    assert free is not None
    assert (free.azimuth_deg, free.tilt_deg) != (35.0, 60.0)
    window.side.setCurrentWidget(window.side.planes)
    window.side.planes.tilt.setValue(90.0)
    spin(lambda: watched(server)["free"].v == (0.0, 0.0, 1.0) or abs(watched(server)["free"].v[2] - 1) < 1e-9,
         server.serve, qt.processEvents)  # fmt: skip
    QTest.keyClick(window, Qt.Key.Key_N)
    spin(lambda: "free" not in watched(server), server.serve, qt.processEvents)
    assert "free" not in window.model.shown_planes


def test_the_centre_is_nudged_and_given_back(
    window: ViewerWindow, qt: QApplication, server: StandInDaemon, spin: Spin
) -> None:
    spin(lambda: window.cards.center.value.text() == "31.50 px", server.serve, qt.processEvents)
    QTest.keyClick(window, Qt.Key.Key_Period)
    assert window.model.scan.center_px == 32.0, "the number moves at once"
    spin(lambda: server.centers == [32.0], server.serve, qt.processEvents)
    spin(lambda: window.cards.center.note.text() == "held by hand", server.serve, qt.processEvents)
    QTest.keyClick(window, Qt.Key.Key_C)
    spin(lambda: server.centers == [32.0, None], server.serve, qt.processEvents)
    spin(lambda: window.cards.center.note.text() == "confidence 90 %", server.serve, qt.processEvents)


def test_a_viewer_without_the_role_is_told(qt: QApplication, spin: Spin, tmp_path: Path) -> None:
    def refuse(_request: WatchPlanes) -> None:
        raise Busy("planes needs the role steer")

    server = StandInDaemon(handlers={WatchPlanes: refuse})  # type: ignore[dict-item]
    server.report = report_of(of=ANGLES)
    model = ViewModel(server.endpoint)
    window = ViewerWindow(model, ViewerClient(server.endpoint, model), tmp_path)
    window.show()
    spin(lambda: len(window.tiles.tiles) == 3, server.serve, qt.processEvents, lambda: send(server))
    QTest.keyClick(window, Qt.Key.Key_Up)
    spin(lambda: "needs the role steer" in model.refused, server.serve, qt.processEvents)
    spin(lambda: model.steering.point == (32.0, 32.0, 24.0), server.serve, qt.processEvents)
    window.close()
    window.deleteLater()
    server.close()


def test_what_the_detector_sees(window: ViewerWindow, qt: QApplication, server: StandInDaemon, spin: Spin) -> None:
    assert not server.looked, "nobody looks"
    QTest.keyClick(window, Qt.Key.Key_D)
    seen = ["raw", "projection", "sinogram"]
    spin(lambda: list(window.detector.tiles) == seen, server.serve, qt.processEvents)
    assert "flat, frame 3" in window.detector.tiles["raw"].plot.titleLabel.text
    window.hand.put("projection", 10.0, 7.4)
    spin(lambda: any(each.row == 7 for each in server.looked), server.serve, qt.processEvents)
    asked = len(server.looked)
    QTest.keyClick(window, Qt.Key.Key_D)
    spin(lambda: not window.client.looking, server.serve, qt.processEvents)  # type: ignore[union-attr]
    before = len(server.looked)
    assert before - asked < 10


def test_a_past_scan_is_opened_again(window: ViewerWindow, qt: QApplication, server: StandInDaemon, spin: Spin) -> None:
    server.tell(Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved"),), final=True))
    spin(lambda: window.banner.word.text() == "RETAKE", server.serve, qt.processEvents,
         lambda: server.enter(ScanState.COMPLETE))  # fmt: skip
    assert "Fix the sample" in window.banner.advice.text()
    spin(lambda: bool(window.desktop.told), server.serve, qt.processEvents)
    assert window.desktop.told[0].title == "foam: RETAKE"
    server.report = report_of("s2", "bone", of=ANGLES)
    spin(lambda: window.model.scan.scan_id == "s2", server.serve, qt.processEvents)
    spin(lambda: not window.model.shows_past, server.serve, qt.processEvents, lambda: send(server))
    window.side.setCurrentWidget(window.side.history)
    qt.processEvents()
    items = window.side.history.list
    assert [items.item(row).text().split()[0] for row in range(items.count())] == ["bone", "foam"]
    items.itemClicked.emit(items.item(1))
    qt.processEvents()
    assert window.texts.past == "foam, opened again"
    assert "foam, opened again" in window.tiles.tiles["xy"].plot.titleLabel.text
    asked = len(server.watched)
    QTest.keyClick(window, Qt.Key.Key_Up)
    assert len(server.watched) == asked, "planes of a past scan cannot be moved"
    QTest.keyClick(window, Qt.Key.Key_Home)
    assert window.texts.past == ""


def test_who_comes_late_sees_the_last_result(
    qt: QApplication, server: StandInDaemon, spin: Spin, tmp_path: Path
) -> None:
    listening = ViewModel(server.endpoint)
    server.report = report_of("s1", state=ScanState.COMPLETE, angles=60, of=60)
    server.scans = [report_of("s0", "tooth", state=ScanState.INCOMPLETE), server.report]
    image = PICTURES["xz"]
    low, high = float(image.min()), float(image.max())
    header = structs.replace(preview_header(server), plane="xz", shape=image.shape, lo=low, hi=high)
    server.latest = {"xz": LatestPlane(header, np.full(image.shape, 9000, "<u2").tobytes())}
    window = ViewerWindow(listening, ViewerClient(server.endpoint, listening), tmp_path)
    spin(lambda: list(window.tiles.tiles) == ["xz"], server.serve, qt.processEvents)
    assert [scan.sample for scan in listening.history.values()] == ["tooth", "foam"]
    assert window.texts.past == "", "the pictures are of the scan that the daemon had last"
    window.close()
    window.deleteLater()


def preview_header(server: StandInDaemon) -> PreviewHeader:
    assert server.report is not None
    return PreviewHeader(
        scan_id=server.report.scan_id, sample=server.report.sample, plane="xz", angles=60, of=60, shape=(1, 1), lo=0.0,
        hi=1.0, unit="1/cm", pixel_size_m=1e-6, place=PLANES["xz"], volume=VOLUME,
    )  # fmt: skip


def test_line_profile_histogram(window: ViewerWindow, qt: QApplication, server: StandInDaemon) -> None:
    QTest.keyClick(window, Qt.Key.Key_B)
    qt.processEvents()
    measure = window.side.measure
    assert window.side.currentWidget() is measure
    assert measure.length.text().endswith("µm")
    distance, values = measure.curve.getData()
    assert len(distance) > 20
    assert np.ptp(values) > 0
    tile = window.tiles.tiles["xy"]
    before = measure.length.text()
    tile.line.movePoint(tile.line.handles[0]["item"], QPointF(0.0, 0.0))
    qt.processEvents()
    assert measure.length.text() != before
    assert "length" in tile.length
    low, high = window.model.contrast.levels("xy").low, window.model.contrast.levels("xy").high
    measure.levels.setLevels(low + 0.1 * (high - low), high)
    assert not window.model.contrast.levels("xy").auto
    QTest.keyClick(window, Qt.Key.Key_B)
    assert tile.line is None


def test_quality_is_drawn(window: ViewerWindow, qt: QApplication, server: StandInDaemon, spin: Spin) -> None:
    window.side.setCurrentWidget(window.side.trends)
    for projections in (31, 40, 50):
        quality = Quality(projections, ANGLES, center_px=30.0 + projections / 100, center_confidence=0.9)
        said = report_of(of=ANGLES, angles=projections, quality=quality)
        spin(lambda said=said: window.model.scan.angles >= said.projections.received, server.serve, qt.processEvents,
             lambda said=said: server.tell(projections=said.projections, quality=said.quality))  # fmt: skip
    window._panels_now()
    x, y = window.side.trends.curve.getData()
    assert list(x)[-1] == 50.0
    assert y[-1] == pytest.approx(30.5)
    assert window.side.trends.now.text() == "now 30.50 px"


def test_files_and_queue(qt: QApplication, server: StandInDaemon, spin: Spin, tmp_path: Path) -> None:
    samples = [{"scan": {"sample": name}, "slot": slot} for slot, name in enumerate(("a", "b"))]
    lines = [
        {"time": "2026-11-27T03:00:00+00:00", "event": "started", "samples": samples},
        {"time": "2026-11-27T03:01:00+00:00", "event": "decided", "sample": "a", "decision": {"choice": "accept"}},
    ]
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"half a line')
    server.report = report_of(raw_file="/data/s1.nx", tomogram_file="/data/s1.tomogram.h5")
    model = ViewModel(server.endpoint)
    window = ViewerWindow(model, ViewerClient(server.endpoint, model), tmp_path, queue=QueueFile(tmp_path))
    window.show()
    window.side.setCurrentWidget(window.side.batch)
    batch = window.side.batch
    spin(lambda: batch.files["raw frames"].text() == "/data/s1.nx", server.serve, qt.processEvents)
    assert batch.files["tomogram"].text() == "/data/s1.tomogram.h5"
    spin(lambda: batch.list.count() == 2, server.serve, qt.processEvents)
    assert "accept" in batch.list.item(0).text()
    assert batch.said.text() == "1 of 2 done, about 1 min 0 s left"
    window.close()
    window.deleteLater()


def test_a_movie_is_a_gif(
    window: ViewerWindow, qt: QApplication, server: StandInDaemon, spin: Spin, tmp_path: Path
) -> None:
    QTest.keyClick(window, Qt.Key.Key_V)
    assert window.recorder.movie is not None
    movie = window.recorder.movie
    spin(lambda: len(movie) >= 3, server.serve, qt.processEvents)
    QTest.keyClick(window, Qt.Key.Key_V)
    spin(lambda: "saved" in window.foot.text.text(), qt.processEvents)
    with Image.open(next(tmp_path.glob("*.gif"))) as gif:
        assert gif.n_frames >= 1
        assert gif.width > 300


def test_light_and_small_and_remembered(qt: QApplication, server: StandInDaemon, spin: Spin, tmp_path: Path) -> None:
    settings = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
    server.report = report_of(of=ANGLES)
    model = ViewModel(server.endpoint)
    window = ViewerWindow(model, ViewerClient(server.endpoint, model), tmp_path, settings=settings)
    window.show()
    spin(lambda: len(window.tiles.tiles) == 3, server.serve, qt.processEvents, lambda: send(server))
    QTest.keyClick(window, Qt.Key.Key_T)
    shot = window.grab().toImage()
    assert shot.pixelColor(3, 3).name() == LIGHT.background
    window.resize(1280, 720)
    qt.processEvents()
    assert (window.width(), window.height()) == (1280, 720), "no part of the window asks for more"
    assert window.foot.geometry().bottom() <= window.height()
    assert all(tile.plot.sceneBoundingRect().width() > 150 for tile in window.tiles.tiles.values())
    QTest.keyClick(window, Qt.Key.Key_P)
    assert window.side.isHidden()
    window.close()
    again = ViewerWindow(model, None, tmp_path, settings=settings)
    assert (again.width(), again.height(), again.side.isHidden()) == (1280, 720, True)
    assert again._palette is LIGHT
    again.close()
    for each in (window, again):
        each.deleteLater()


def test_the_sheet_of_keys(window: ViewerWindow, qt: QApplication) -> None:
    QTest.keyClick(window, Qt.Key.Key_F1)
    assert window.keys.isVisible()
    assert "centre of rotation" in window.keys.sheet.text()
    window.keys.close()
