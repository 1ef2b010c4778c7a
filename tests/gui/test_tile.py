"""Pictures on the screen under real mouse events: scale bar, zoom, axes, titles, and what the hand is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from streamer.flow.wire.daemon import PlaneSpec
from streamer.gui.state.contrast import Contrast
from streamer.gui.state.plane import PlanePicture
from streamer.gui.theme import DARK, LIGHT
from streamer.gui.tile import PAST_OPACITY, Tile, pg
from streamer.gui.tiles import Tiles

Calls = list[tuple[Any, ...]]
Modifier = Qt.KeyboardModifier
NONE, SHIFT, CONTROL = Modifier.NoModifier, Modifier.ShiftModifier, Modifier.ControlModifier
LEFT, MIDDLE, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton, Qt.MouseButton.RightButton
POINT = (64.0, 64.0, 24.0)


class Notes:
    """A hand that notes what it is told."""

    def __init__(self) -> None:
        self.calls: Calls = []

    def levels(self, name: str, low: float, high: float) -> None:
        self.calls.append(("levels", name, low, high))

    def put(self, name: str, x: float, y: float) -> None:
        self.calls.append(("put", name, x, y))

    def pull(self, name: str, across: float, down: float) -> None:
        self.calls.append(("pull", name, across, down))

    def scroll(self, name: str, steps: int) -> None:
        self.calls.append(("scroll", name, steps))

    def measure(self, name: str) -> None:
        self.calls.append(("measure", name))


def picture(name: str = "xy", shape: tuple[int, int] = (128, 128), **changes: Any) -> PlanePicture:
    """Pixels of 10 µm whose value is the row plus a thousandth of the column."""
    image = np.add.outer(np.arange(shape[0]), np.arange(shape[1]) / 1000).astype(np.float32)
    known = {"name": name, "scan_id": "s1", "sample": "foam", "image": image, "unit": "1/cm", "angles": 5, "of": 9}
    return PlanePicture(**{**known, "pixel_m": 1e-5, "caption": "5 of 9 angles", **changes})


class Screen:
    """Tiles in a window of 700 × 600 pixels without a display."""

    def __init__(self) -> None:
        self.hand = Notes()
        self.said: list[str] = []
        self.tiles = Tiles(self.hand, self.said.append)
        self.contrast = Contrast()
        self.widget: QWidget = self.tiles.widget
        self.widget.resize(700, 600)
        self.widget.show()
        self._revision = 0

    def show(self, *pictures: PlanePicture, point: tuple[float, float, float] | None = None, past: str = "") -> Tile:
        """Show these pictures; the first tile."""
        self._revision += 1
        by_name = {each.name: each for each in pictures}
        for name, each in by_name.items():
            self.contrast.measured(name, 0.0, float(each.image.max()), each.unit)
        revisions = dict.fromkeys(by_name, self._revision)
        self.tiles.show(list(by_name), by_name, revisions, self.contrast, point, past)
        for _ in range(3):
            QApplication.processEvents()
        return self.tiles.tiles[pictures[0].name]

    @property
    def view(self) -> QWidget:
        view: QWidget = self.widget.viewport()  # type: ignore[attr-defined]
        return view

    def at(self, tile: Tile, x: float, y: float) -> QPoint:
        """A place in a picture, as shares of its width and height."""
        box = tile.plot.getViewBox().sceneBoundingRect()
        return QPoint(round(box.left() + x * box.width()), round(box.top() + y * box.height()))

    def drag(self, button: Qt.MouseButton, modifier: Qt.KeyboardModifier, start: QPoint, *way: QPoint) -> None:
        QTest.mouseMove(self.view, start)
        QTest.mousePress(self.view, button, modifier, start)
        for place in way:  # QTest's moves have no modifiers
            at = QPointF(place)
            move = QMouseEvent(QEvent.Type.MouseMove, at, at, Qt.MouseButton.NoButton, button, modifier)
            QApplication.sendEvent(self.view, move)
            QApplication.processEvents()
        QTest.mouseRelease(self.view, button, modifier, way[-1])
        QApplication.processEvents()

    def wheel(self, place: QPoint, turn: int, modifier: Qt.KeyboardModifier = NONE) -> None:
        at, none = QPointF(place), Qt.MouseButton.NoButton
        event = QWheelEvent(at, at, QPoint(), QPoint(0, turn), none, modifier, Qt.ScrollPhase.NoScrollPhase, False)
        QApplication.sendEvent(self.view, event)


@pytest.fixture
def screen(qt: QApplication) -> Iterator[Screen]:
    limit = pg.getConfigOption("mouseRateLimit")
    pg.setConfigOption("mouseRateLimit", -1)  # every move counts, however quickly they come
    made = Screen()
    yield made
    pg.setConfigOption("mouseRateLimit", limit)
    made.widget.close()
    made.widget.deleteLater()
    qt.processEvents()


def seen(tile: Tile) -> tuple[float, float, float, float]:
    rect = tile.plot.getViewBox().viewRect()
    return rect.left(), rect.top(), rect.width(), rect.height()


@pytest.mark.parametrize(
    ("zoom", "words", "size"),
    [(1.0, "200 µm", 0.2), (2.0, "100 µm", 0.1), (3.0, "50 µm", 0.05), (10.0, "20 µm", 0.02), (1000.0, "200 nm", 2e-4)],
)
def test_the_scale_bar_is_as_long_as_it_says(screen: Screen, zoom: float, words: str, size: float) -> None:
    tile = screen.show(picture())
    side = 1.28 / zoom
    tile.plot.getViewBox().setRange(QRectF(-side / 2, -side / 2, side, side), padding=0)
    assert tile._scale.text.toPlainText() == words
    of_the_window = tile._scale.bar.rect().width() / tile.plot.getViewBox().width()
    assert of_the_window * seen(tile)[2] == pytest.approx(size, rel=0.01)
    assert 0.07 < of_the_window < 0.21


def test_the_scale_bar_without_a_pixel_size_is_in_pixels(screen: Screen) -> None:
    tile = screen.show(picture(pixel_m=None, unit="1/pixel"))
    assert (tile._scale.text.toPlainText(), tile._scale.size) == ("20 px", 20.0)


@pytest.mark.parametrize(
    ("shown", "labels"),
    [
        (picture("xz"), ("x (mm)", "z (mm)", "attenuation (1/cm)")),
        (picture("yz", pixel_m=None, unit="1/pixel"), ("y (px)", "z (px)", "attenuation (1/pixel)")),
        (picture("sinogram", pixel_m=None, unit=""), ("column (px)", "projection (px)", "")),
        (picture("raw", pixel_m=None, unit="a < b"), ("column (px)", "row (px)", "a &lt; b")),
    ],
)
def test_axes_have_names_and_units(screen: Screen, shown: PlanePicture, labels: tuple[str, str, str]) -> None:
    tile = screen.show(shown)
    bottom, left = tile.plot.getAxis("bottom"), tile.plot.getAxis("left")
    assert (bottom.labelText, left.labelText, tile.bar.axis.labelText) == labels
    for axis in (bottom, left, tile.bar.axis):
        assert not axis.autoSIPrefix, "1 mm is not written as 1000 of something else"


def test_zooming_lasts_until_the_plane_is_another(screen: Screen) -> None:
    tile = screen.show(picture())
    whole = seen(tile)
    assert whole == pytest.approx((-0.64, -0.64, 1.28, 1.28), abs=0.03)
    screen.wheel(screen.at(tile, 0.25, 0.25), 120)
    near = seen(tile)
    assert near[2] < 0.95 * whole[2]
    assert near[2] / near[3] == pytest.approx(whole[2] / whole[3])
    assert not screen.hand.calls, "the plane stays where it is"
    screen.show(picture(angles=6))
    assert seen(tile) == pytest.approx(near)
    screen.show(picture(bin=2, pixel_m=2e-5, shape=(64, 64)))
    assert seen(tile) == pytest.approx(near), "less detail of the same plane"
    screen.show(picture(shape=(100, 100)))
    assert seen(tile) == pytest.approx((-0.5, -0.5, 1.0, 1.0), abs=0.03)


def test_a_moved_plane_keeps_the_zoom(screen: Screen) -> None:
    place = PlaneSpec("xy", (0.0, 0.0, 3.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (128, 128))
    tile = screen.show(picture(place=place))
    screen.wheel(screen.at(tile, 0.5, 0.5), 240)
    near = seen(tile)
    screen.show(picture(place=PlaneSpec("xy", (0.0, 0.0, 9.0), place.u, place.v, place.shape)))
    assert seen(tile) == pytest.approx(near)
    screen.tiles.reset()
    assert seen(tile)[2] == pytest.approx(1.28, abs=0.03)


@pytest.mark.parametrize(
    ("turn", "modifier", "steps"),
    [(120, CONTROL, 1), (-120, CONTROL, -1), (120, CONTROL | SHIFT, 10), (-120, CONTROL | SHIFT, -10)],
)
def test_the_wheel_with_control_scrolls(screen: Screen, turn: int, modifier: Qt.KeyboardModifier, steps: int) -> None:
    screen.show(picture("xy"), picture("xz"))
    tile = screen.tiles.tiles["xz"]
    before = seen(tile)
    screen.wheel(screen.at(tile, 0.5, 0.5), turn, modifier)
    assert screen.hand.calls == [("scroll", "xz", steps)]
    assert seen(tile) == before


def test_a_click_and_a_drag_put_the_cross_hair_under_the_mouse(screen: Screen) -> None:
    tile = screen.show(picture())
    left, top, width, height = seen(tile)
    QTest.mouseClick(screen.view, LEFT, NONE, screen.at(tile, 0.25, 0.75))
    pixel = width / tile.plot.getViewBox().width()
    assert [call[:2] for call in screen.hand.calls] == [("put", "xy")]
    assert screen.hand.calls[0][2:] == pytest.approx((left + 0.25 * width, top + 0.75 * height), abs=1.5 * pixel)
    screen.drag(LEFT, NONE, *(screen.at(tile, share, 0.5) for share in (0.3, 0.45, 0.6, 0.8)))
    assert {call[:2] for call in screen.hand.calls} == {("put", "xy")}
    assert screen.hand.calls[-1][2:] == pytest.approx((left + 0.8 * width, top + 0.5 * height), abs=1.5 * pixel)
    assert seen(tile) == (left, top, width, height)


@pytest.mark.parametrize(("button", "modifier"), [(LEFT, SHIFT), (MIDDLE, NONE)])
def test_the_picture_is_shifted(screen: Screen, button: Qt.MouseButton, modifier: Qt.KeyboardModifier) -> None:
    tile = screen.show(picture())
    before = seen(tile)
    screen.drag(button, modifier, *(screen.at(tile, share, 0.5) for share in (0.3, 0.4, 0.5, 0.6)))
    after = seen(tile)
    assert screen.hand.calls == []
    assert before[0] - after[0] == pytest.approx(0.3 * before[2], rel=0.15), "to the right with the mouse"
    assert after[1:] == pytest.approx(before[1:], abs=1e-3)


def test_the_right_button_pulls_by_pixels_of_the_screen(screen: Screen) -> None:
    tile = screen.show(picture())
    start = screen.at(tile, 0.5, 0.5)
    screen.drag(RIGHT, NONE, start, *(start + QPoint(3 * step, -7 * step) for step in range(1, 6)))
    assert {call[:2] for call in screen.hand.calls} == {("pull", "xy")}
    pulled = np.sum([call[2:] for call in screen.hand.calls], axis=0)
    assert tuple(pulled) == (15.0, -35.0)


def test_the_title_says_what_is_shown_and_takes_nothing_for_html(screen: Screen) -> None:
    tile = screen.show(picture(caption="<b>5</b> angles"), point=POINT)
    assert "z = 24" in tile.plot.titleLabel.text
    assert "&lt;b&gt;5&lt;/b&gt; angles" in tile.plot.titleLabel.text
    assert tile.image.opacity() == 1.0
    screen.show(picture(), point=POINT, past="<i>bone</i>, the last one")
    assert "&lt;i&gt;bone&lt;/i&gt;, the last one" in tile.plot.titleLabel.text
    assert "z = 24" not in tile.plot.titleLabel.text, "where the planes of the running scan are is another matter"
    assert tile.image.opacity() == PAST_OPACITY
    screen.widget.resize(180, 220)
    screen.show(picture(), point=POINT)
    screen.show(picture(), point=POINT)  # by now the tile is as small as its room
    assert "z = 24" in tile.plot.titleLabel.text
    assert "angles" not in tile.plot.titleLabel.text


def test_the_value_under_the_mouse(screen: Screen) -> None:
    tile = screen.show(picture())
    scene = tile.plot.getViewBox().mapViewToScene(QPointF(-0.64 + 10.5 * 0.01, -0.64 + 99.5 * 0.01))
    QTest.mouseMove(screen.view, scene.toPoint())
    QApplication.processEvents()
    assert screen.said[-1].startswith("xy   x −0.53")
    assert screen.said[-1].endswith(" mm   pixel [99, 10]   99.01 1/cm")
    assert screen.tiles.under_mouse == "xy"


@pytest.mark.parametrize("count", range(1, 7))
@pytest.mark.parametrize("shape", [(128, 128), (40, 160), (400, 300)])
def test_pictures_fill_the_room_and_never_overlap(screen: Screen, count: int, shape: tuple[int, int]) -> None:
    screen.show(*(picture(f"row-{number}", shape) for number in range(count)))
    boxes = [tile.plot.sceneBoundingRect() for tile in screen.tiles.tiles.values()]
    room = QRectF(0, 0, 700, 600).adjusted(-1, -1, 1, 1)
    assert all(room.contains(box) for box in boxes)
    assert not any(one.adjusted(1, 1, -1, -1).intersects(other) for one, other in combinations(boxes, 2))
    for tile in screen.tiles.tiles.values():
        left, top, width, height = seen(tile)
        assert left <= -0.005 * shape[1]
        assert top <= -0.005 * shape[0]
        assert left + width >= 0.005 * shape[1]
        assert top + height >= 0.005 * shape[0], "all of the picture is seen"
        assert 1e-4 * shape[0] * shape[1] > 0.85 * width * height, "and little else"


@pytest.mark.parametrize("shape", [(128, 128), (400, 100), (400, 60), (400, 20), (60, 400)])
def test_a_view_is_as_large_as_its_picture(screen: Screen, shape: tuple[int, int]) -> None:
    screen.show(*(picture(name, shape, caption="a caption that is much too long for it") for name in ("xy", "yz")))
    room = screen.tiles._cell(2)
    for tile in screen.tiles.tiles.values():
        box, scale = tile.plot.getViewBox().sceneBoundingRect(), tile.scale_in(*room)
        assert (box.width(), box.height()) == pytest.approx((0.01 * shape[1] * scale, 0.01 * shape[0] * scale), abs=2.0)
        used = tile.plot.sceneBoundingRect()
        assert min(room[0] - used.width(), room[1] - used.height()) == pytest.approx(0.0, abs=1.0), "no room is lost"


def test_the_cross_hair_lies_on_the_voxels_of_the_other_planes(screen: Screen) -> None:
    place = PlaneSpec("xz", (0.0, 64.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (128, 128))
    tile = screen.show(picture("xz", place=place), point=(10.0, 64.0, 100.0))
    assert {name: line.value() for name, line in tile._lines.items()} == {
        "yz": pytest.approx(-0.64 + 10.5 * 0.01), "xy": pytest.approx(-0.64 + 100.5 * 0.01),
    }  # fmt: skip
    assert (tile._lines["yz"].angle, tile._lines["xy"].angle) == (90, 0)
    screen.tiles.cross(False)
    assert not any(line.isVisible() for line in (*tile._lines.values(), tile._scale))
    screen.show(picture("xz", place=place), point=None)
    screen.tiles.cross(True)
    screen.show(picture("xz", place=place), point=None)
    assert not any(line.isVisible() for line in tile._lines.values()), "a past scan has no cross-hair"
    assert tile._scale.isVisible()


def test_a_new_tile_comes_in_the_colours_of_the_others(screen: Screen) -> None:
    painted: Callable[[Tile], list[int]] = lambda tile: tile.bar.colorMap().map(0.0).tolist()  # noqa: E731
    screen.tiles.paint("viridis")
    screen.tiles.dress(LIGHT)
    screen.tiles.cross(False)
    tile = screen.show(picture())
    assert painted(tile) == [68, 1, 84, 255]
    assert tile.plot.getAxis("left").textPen().color().name() == LIGHT.text
    assert not tile._scale.isVisible()
    screen.tiles.dress(DARK)
    assert tile.plot.getAxis("left").textPen().color().name() == DARK.text


def test_the_measuring_line_lies_in_the_picture_and_is_told(screen: Screen) -> None:
    tile = screen.show(picture())
    assert (tile.ends, tile.length) == (None, "")
    tile.show_line(True)
    assert screen.hand.calls == [("measure", "xy")]
    assert tile.ends is not None
    assert np.ravel(tile.ends) == pytest.approx([-0.256, 0.0, 0.256, 0.0])
    assert tile.length == "xy   length 512 µm"
    handle = screen.widget.mapFromScene(tile.line.getSceneHandlePositions()[1][1])  # type: ignore[attr-defined]
    screen.drag(LEFT, NONE, handle, *(handle + QPoint(-12 * step, 0) for step in range(1, 6)))
    pixel = 1280 / tile.plot.getViewBox().width()
    assert float(tile.length.split()[2]) == pytest.approx(512 - 60 * pixel, abs=3 * pixel)
    assert {call[0] for call in screen.hand.calls} == {"measure"}, "and the cross-hair stays"
    tile.show_line(False)
    gone = tile.length
    assert (gone, tile.line) == ("", None)


def test_the_measuring_line_stays_on_its_pixels_when_the_axes_change(screen: Screen) -> None:
    tile = screen.show(picture(pixel_m=None, unit="1/pixel"))
    tile.show_line(True)
    for _ in range(2):
        screen.drag(LEFT, NONE, *(screen.at(tile, 0.5, 0.5 - share) for share in (0.0, 0.05, 0.1, 0.15, 0.2)))
    assert tile.ends is not None
    (x, y), (right, down) = tile.ends
    assert (right - x, down - y) == pytest.approx((51.2, 0.0), abs=0.01)
    assert y < 50, "it was dragged up"
    told = len(screen.hand.calls)
    screen.show(picture())
    in_mm = [(0.01 * (place + 0.5) - 0.64) for place in (x, y, right, down)]
    assert np.ravel(tile.ends) == pytest.approx(in_mm)
    assert tile.length == "xy   length 512 µm"
    screen.show(picture(shape=(100, 100)))
    assert np.ravel(tile.ends) == pytest.approx(in_mm), "in mm it is where it was"
    screen.show(picture(shape=(100, 100), pixel_m=None, unit="1/pixel"))
    assert np.ravel(tile.ends) == pytest.approx([100 * place + 49.5 for place in in_mm])
    assert len(screen.hand.calls) == told, "no mouse has moved it"
