"""The tabs beside the pictures: what they say, and what their buttons and boxes do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QColor, QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDoubleSpinBox, QListWidget, QPushButton, QWidget

from streamer.flow.scan import ScanState
from streamer.frames import Decision, Quality, Reason, ReasonCode, Verdict
from streamer.gui.hand import SteeringHand
from streamer.gui.panels import BatchPanel, HistoryPanel, PlanesPanel
from streamer.gui.plots import MeasurePanel, TrendPanel
from streamer.gui.state.model import ViewModel
from streamer.gui.state.plane import PlanePicture
from streamer.gui.state.scan import ShownScan
from streamer.gui.state.steering import FreePlane
from streamer.gui.state.texts import Texts
from streamer.gui.theme import VERDICT_STYLES
from streamer.gui.tile import Tile
from streamer.io.batch_queue import Queue

Shown = Callable[[QWidget], None]
MOVED = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved by 3 px"),), final=True)


@pytest.fixture
def model(qt: QApplication) -> ViewModel:
    """Of a scan that runs, in the middle of a tomogram of 48 × 64 × 64 voxels."""
    made = ViewModel("tcp://127.0.0.1:1")
    made.scan = made.history["s1"] = ShownScan("s1", "foam", ScanState.ACQUIRING, 30, 90, center_px=31.5)
    made.heard_s = made.data_s = 0.0
    made.steering.volume, made.steering.point = (48, 64, 64), (32.0, 32.0, 24.0)
    return made


@pytest.fixture
def shown(qt: QApplication) -> Iterator[Shown]:
    """Shows widgets, and closes them in the end."""
    opened: list[QWidget] = []

    def show(widget: QWidget) -> None:
        opened.append(widget)
        widget.show()
        qt.processEvents()

    yield show
    for each in opened:
        each.close()
        each.deleteLater()
    qt.processEvents()


def picture(name: str = "xy", **changes: Any) -> PlanePicture:
    """20 × 40 pixels of 10 µm, whose value is the column."""
    image = np.tile(np.arange(40, dtype=np.float32), (20, 1))
    known = {"name": name, "scan_id": "s1", "sample": "foam", "image": image, "unit": "1/cm", "angles": 1, "of": 9}
    return PlanePicture(**{**known, "pixel_m": 1e-5, **changes})


def lines(items: QListWidget) -> list[str]:
    return [items.item(row).text() for row in range(items.count())]


# Past scans.


def test_past_scans_are_listed_with_the_newest_on_top_and_opened_by_a_click(model: ViewModel, shown: Shown) -> None:
    model.history = {
        "s0": ShownScan("s0", "tooth", ScanState.COMPLETE, verdict=MOVED),
        "s1": replace(model.scan, verdict=Verdict(Decision.CONTINUE)),
        "s2": ShownScan("s2", "", ScanState.FAILED, error="no memory"),
        "s3": ShownScan("s3", "bone", ScanState.ARMED),
    }
    asked: list[str] = []
    panel = HistoryPanel(asked.append)
    shown(panel)
    panel.show_model(model)
    assert lines(panel.list) == [
        "bone   armed", "s2   failed\nno memory", "foam   CONTINUE", "tooth   RETAKE  complete\nit moved by 3 px",
    ]  # fmt: skip
    assert panel.list.item(0).toolTip() == "<qt>s3</qt>", "no empty lines for what there is not"
    for row, wanted in ((0, "s3"), (3, "s0")):
        place = panel.list.visualItemRect(panel.list.item(row)).center()
        QTest.mouseClick(panel.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
        assert asked[-1] == wanted
    assert not panel.back.isEnabled()
    model.opened = "s0"
    panel.show_model(model)
    QTest.mouseClick(panel.back, Qt.MouseButton.LeftButton)
    assert asked == ["s3", "s0", ""]


def test_a_scan_is_framed_in_the_colour_of_its_verdict_around_its_picture(model: ViewModel, shown: Shown) -> None:
    model.history = {"s1": replace(model.scan, verdict=MOVED)}
    panel = HistoryPanel(lambda _: None)
    shown(panel)
    frame = QColor(VERDICT_STYLES[Decision.RETAKE].fill).name()

    def icon() -> tuple[str, str, str]:
        panel.show_model(model)
        image = panel.list.item(0).icon().pixmap(QSize(48, 48)).toImage()
        return image.pixelColor(0, 0).name(), image.pixelColor(5, 24).name(), image.pixelColor(42, 24).name()

    assert icon() == (frame, frame, frame), "no picture yet"
    model.results.add(picture())
    model.results.finish("s1")
    corner, left, right = icon()
    assert corner == frame
    assert QColor(left).saturation() == QColor(right).saturation() == 0
    assert QColor(left).value() < 40
    assert QColor(right).value() > 215


# Planes and centre.


class Planes:
    """The panel on a model without a daemon, and how often the hand was used."""

    def __init__(self, model: ViewModel) -> None:
        self.model, self.changes = model, 0
        self.hand = SteeringHand(model, lambda: None, self.change, lambda _name: None)
        self.panel = PlanesPanel(model.steering, self.hand)

    def change(self) -> None:
        self.changes += 1

    def show(self) -> PlanesPanel:
        self.panel.show_model(self.model, Texts(self.model))
        return self.panel


def enter(box: QDoubleSpinBox, digits: str) -> None:
    """Type a number, as a person does."""
    QTest.mouseClick(box.lineEdit(), Qt.MouseButton.LeftButton)
    box.lineEdit().selectAll()
    QTest.keyClicks(box, digits)
    QTest.keyClick(box, Qt.Key.Key_Return)


def test_numbers_of_the_planes_are_shown_and_typed(model: ViewModel, shown: Shown) -> None:
    planes = Planes(model)
    panel = planes.show()
    shown(panel)
    assert [box.text() for box in panel.axes.values()] == ["32 voxel", "32 voxel", "24 voxel"]
    assert [box.maximum() for box in panel.axes.values()] == [63, 63, 47]
    assert (panel.center.text(), planes.changes) == ("31.50 px", 0), "to show is not to change"
    enter(panel.axes["z"], "7")
    assert model.steering.point == (32.0, 32.0, 7.0)
    enter(panel.axes["x"], "10")
    assert model.steering.point == (10.0, 32.0, 7.0)
    assert planes.changes == 2
    QTest.mouseClick(panel.middle, Qt.MouseButton.LeftButton)
    panel.setFocus()
    planes.show()
    assert [box.value() for box in panel.axes.values()] == [32, 32, 24]


def test_the_free_plane_has_numbers_only_while_there_is_one(model: ViewModel, shown: Shown) -> None:
    planes = Planes(model)
    panel = planes.show()
    shown(panel)
    assert not any(box.isEnabled() for box in (panel.azimuth, panel.tilt, panel.offset))
    panel.free.click()
    assert model.steering.free == FreePlane()
    planes.show()
    assert [box.text() for box in (panel.azimuth, panel.tilt, panel.offset)] == ["30.0°", "60.0°", "0 voxel"]
    enter(panel.azimuth, "-45.5")
    enter(panel.offset, "-3")
    assert model.steering.free == FreePlane(-45.5, 60.0, -3.0)
    panel.free.click()
    assert model.steering.free is None


def test_before_the_first_plane_nothing_can_be_moved(qt: QApplication) -> None:
    panel = Planes(ViewModel("tcp://127.0.0.1:1")).show()
    for widget in (*panel.axes.values(), panel.free, panel.middle, panel.center, panel.auto, panel.tilt):
        assert not widget.isEnabled()


def test_numbers_of_a_past_scan_cannot_be_changed(model: ViewModel, shown: Shown) -> None:
    planes = Planes(model)
    model.results.add(picture())
    model.planes = dict(model.results.planes("s1"))
    model.steering.free = FreePlane()
    panel = planes.show()
    shown(panel)
    widgets = [*panel.axes.values(), panel.free, panel.middle, panel.azimuth, panel.tilt, panel.offset]
    assert all(widget.isEnabled() for widget in widgets)
    model.results.add(picture(scan_id="s0"))
    model.results.finish("s0")
    model.opened = "s0"
    assert model.shows_past
    for box, value in ((panel.axes["z"], 7), (panel.tilt, 5)):  # before the panel is drawn again
        box.setValue(value)
    panel.free.click()
    assert (model.steering.point, model.steering.free) == ((32.0, 32.0, 24.0), FreePlane())
    planes.show()
    assert not any(widget.isEnabled() for widget in widgets)
    assert (panel.axes["z"].value(), panel.tilt.value(), panel.free.isChecked()) == (24, 60, True)
    assert panel.center.isEnabled(), "the centre is that of the running scan"
    model.opened = ""
    planes.show()
    assert all(widget.isEnabled() for widget in widgets)


def test_a_refusal_stands_where_the_centre_is_explained(model: ViewModel) -> None:
    planes = Planes(model)
    model.scan = replace(model.scan, center_confidence=0.9)
    assert planes.show().said.text() == "confidence 90 %"
    assert not planes.panel.auto.isEnabled()
    model.center_fixed = True
    assert planes.show().said.text() == "held by hand"
    assert planes.panel.auto.isEnabled()
    model.refused = "center needs the role steer"
    assert planes.show().said.text() == "center needs the role steer"


# Measures and curves.


def test_the_profile_has_the_values_and_the_units_of_the_picture(model: ViewModel, shown: Shown) -> None:
    hand = SteeringHand(model, lambda: None, lambda: None, lambda _name: None)
    tile, panel = Tile("xy", hand), MeasurePanel()
    shown(panel)
    panel.show_tile(tile, model)
    assert panel.range.text() == "", "there is no picture yet"
    model.contrast.measured("xy", 1.0, 38.0, "1/cm")
    tile.show(picture(), model.contrast.levels("xy"))
    tile.show_line(True)
    panel.show_tile(tile, model)
    assert (panel.name.text(), panel.length.text()) == ("XY, 1/cm", "160 µm")
    assert panel.range.text() == "0 … 39   shown: 1 … 38, automatic"
    distance, values = panel.curve.getData()
    assert (distance[0], distance[-1]) == pytest.approx((0.0, 160.0))
    np.testing.assert_allclose(values, 11.5 + np.asarray(distance) / 10, atol=1e-4)
    assert panel.profile.getAxis("bottom").labelText == "distance (µm)"
    assert panel.line.isChecked()
    assert np.sum(tile.image.getHistogram()[1]) > 0
    panel.levels.setLevels(5.0, 30.0)  # dragged
    panel.show_tile(tile, model)
    assert panel.range.text() == "0 … 39   shown: 5 … 30, by hand, kept"
    tile.show_line(False)
    tile.show(picture(pixel_m=None), model.contrast.levels("xy"))
    tile.show_line(True)
    panel.show_tile(tile, model)
    assert (panel.length.text(), panel.profile.getAxis("bottom").labelText) == ("16 px", "distance (px)")
    tile.show_line(False)
    panel.show_tile(tile, model)
    assert (panel.length.text(), panel.line.isChecked(), panel.curve.getData()[0]) == ("–", False, None)


def test_quality_over_the_scan_and_over_the_scans(model: ViewModel, shown: Shown) -> None:
    panel = TrendPanel()
    shown(panel)
    words = [panel.measure.itemText(row) for row in range(panel.measure.count())]
    assert words[:3] == ["centre of rotation (px)", "confidence in the centre", "resolution (px)"]
    panel.show_model(model)
    assert (panel.now.text(), panel.curve.getData()[0]) == ("not measured yet", None)
    model.trends.add("s0", Quality(projections=90, expected=90, center_px=30.0, motion_px=0.25))
    for projections, center in ((10, 31.25), (20, 31.5)):
        model.trends.add("s1", Quality(projections=projections, expected=90, center_px=center))
    panel.show_model(model)
    assert [list(axis) for axis in panel.curve.getData()] == [[10.0, 20.0], [31.25, 31.5]]
    assert [list(axis) for axis in panel.points.getData()] == [[1.0, 2.0], [30.0, 31.5]]
    assert panel.now.text() == "now 31.50 px"
    assert panel.within.getAxis("bottom").labelText == "projections"
    panel.measure.setCurrentIndex(words.index("motion (px)"))
    panel.show_model(model)
    assert (panel.now.text(), panel.curve.getData()[0]) == ("not measured yet", None)
    assert [list(axis) for axis in panel.points.getData()] == [[1.0], [0.25]]


def test_no_digit_before_the_point_is_dropped(model: ViewModel, qt: QApplication) -> None:
    trends = TrendPanel()
    model.trends.add("s1", Quality(projections=90, expected=90, center_px=1023.468, missing=12345, snr=0.01234567))
    said = {}
    for row in range(trends.measure.count()):
        trends.measure.setCurrentIndex(row)
        trends.show_model(model)
        said[trends.measure.itemText(row)] = trends.now.text()
    assert said["centre of rotation (px)"] == "now 1023.47 px", "as in its card"
    assert said["frames missing or corrupt"] == "now 12345"
    assert said["signal to noise of a projection"] == "now 0.01235"
    hand = SteeringHand(model, lambda: None, lambda: None, lambda _name: None)
    tile, panel = Tile("raw", hand), MeasurePanel()
    model.contrast.measured("raw", -12345.0, 54321.0, "counts")
    image = np.linspace(-20000.5, 65535, 200, dtype=np.float32).reshape(10, 20)
    tile.show(picture("raw", image=image, unit="counts"), model.contrast.levels("raw"))
    panel.show_tile(tile, model)
    assert panel.range.text() == "−20000 … 65535   shown: −12345 … 54321, automatic"


# Batch and files.


def test_samples_of_a_batch_with_their_verdicts(qt: QApplication) -> None:
    panel, queue = BatchPanel(), Queue()
    panel.show_queue(queue)
    assert panel.said.text() == "No batch is followed: start the viewer with --batch FOLDER."
    minutes: list[dict[str, Any]] = [
        {"event": "started", "samples": [{"scan": {"sample": name}, "slot": slot} for slot, name in enumerate("abc")]},
        {"event": "attempt", "sample": "a", "outcome": {"verdict": "RETAKE"}},
        {"event": "attempt", "sample": "a", "outcome": {"verdict": "ENOUGH"}},
        {"event": "decided", "sample": "a", "decision": {"choice": "accept"}},
        {"event": "scanning", "sample": "b", "scan_id": "b-1"},
        {"event": "waiting", "text": "the beam is off"},
    ]
    queue.read(json.dumps({"time": f"2026-11-27T03:0{k}:00+00:00", **line}) for k, line in enumerate(minutes))
    panel.show_queue(queue)
    assert lines(panel.list) == [
        "✔  a   slot 0   accept   ENOUGH   2 scans", "▶  b   slot 1   scanning", "○  c   slot 2   waiting",
    ]  # fmt: skip
    assert panel.said.text() == "1 of 3 done, about 10 min left – the beam is off"


def test_paths_of_the_files_are_copied(model: ViewModel, shown: Shown) -> None:
    panel = BatchPanel()
    shown(panel)
    model.scan = model.history["s1"] = replace(model.scan, tomogram_file="/data/s1.h5")
    model.disk_free_bytes = 2_000_000_000
    panel.show_model(Texts(model))
    assert {what: field.text() for what, field in panel.files.items()} == {"raw frames": "", "tomogram": "/data/s1.h5"}
    assert panel.disk.text() == "disk: 2 GB free"
    QTest.mouseClick(panel.findChildren(QPushButton)[1], Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "/data/s1.h5"
    model.scan = model.history["s1"] = replace(model.scan, tomogram_file="")
    panel.show_model(Texts(model))
    assert panel.files["tomogram"].text() == "", "a path of the scan before would be the wrong one"
