"""One picture in the window: pixels, axes, colour bar, cross-hair, scale bar, measuring line."""

from __future__ import annotations

from html import escape
from importlib import import_module
from typing import Any, Protocol

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QFont

from streamer.gui.state.contrast import Levels
from streamer.gui.state.measure import length_text, scale_bar
from streamer.gui.state.plane import PlanePicture, Rect
from streamer.gui.state.steering import ORTHOGONAL, Point, pixel_of
from streamer.gui.theme import COLOUR_MAPS, DARK, LINE_COLOURS, TEXT_FONTS, TITLE_COLOURS, Palette

# Loaded after PySide6, which makes pyqtgraph use the same Qt.
pg: Any = import_module("pyqtgraph")

LEFT_AXIS, RIGHT_MARGIN, TITLE_HEIGHT, BOTTOM_AXIS, BAR_GAP, BAR_HEIGHT = 50, 8, 26, 36, 6, 46
"""Pixels around the picture in a tile: axis, margin, title, axis, distance, colour bar."""

BAR_GAP_ROW = 4  # of pyqtgraph's layout of a plot
EXTRA_WIDTH, EXTRA_HEIGHT = LEFT_AXIS + RIGHT_MARGIN, TITLE_HEIGHT + BOTTOM_AXIS + BAR_GAP + BAR_HEIGHT
PAST_OPACITY = 0.45
NARROW_PX = 250
"""In narrower tiles the title says only what is shown and where."""
SCALE_COLOUR = "#f0c030"  # seen on black and on white

Modifier = Qt.KeyboardModifier
Button = Qt.MouseButton


class Hand(Protocol):
    """What the mouse does in a tile."""

    def levels(self, name: str, low: float, high: float) -> None:
        """The colour bar was dragged."""

    def put(self, name: str, x: float, y: float) -> None:
        """The cross-hair was put to a place on the axes."""

    def pull(self, name: str, across: float, down: float) -> None:
        """The plane was pulled with the right button, by so many pixels of the screen."""

    def scroll(self, name: str, steps: int) -> None:
        """The plane was scrolled along its normal."""

    def measure(self, name: str) -> None:
        """The measuring line was moved."""


class PlaneBox(pg.ViewBox):  # type: ignore[misc]
    """A view box in which the left button puts the cross-hair."""

    def __init__(self, name: str, hand: Hand) -> None:
        super().__init__(lockAspect=True, invertY=True, enableMenu=False)
        self._name, self.hand = name, hand

    def mouseDragEvent(self, event: Any, axis: Any = None) -> None:  # noqa: N802 (pyqtgraph's name)
        button = event.button()
        if button == Button.LeftButton and not event.modifiers() & Modifier.ShiftModifier:
            event.accept()
            self._put(event.pos())
        elif button == Button.RightButton:
            event.accept()
            moved = event.screenPos() - event.lastScreenPos()
            self.hand.pull(self._name, moved.x(), moved.y())
        else:
            super().mouseDragEvent(event, axis)

    def mouseClickEvent(self, event: Any) -> None:  # noqa: N802
        if event.button() == Button.LeftButton:
            event.accept()
            self._put(event.pos())

    def wheelEvent(self, event: Any, axis: Any = None) -> None:  # noqa: N802
        if event.modifiers() & Modifier.ControlModifier:
            event.accept()
            far = 10 if event.modifiers() & Modifier.ShiftModifier else 1
            self.hand.scroll(self._name, far if event.delta() > 0 else -far)
        else:
            super().wheelEvent(event, axis)

    def _put(self, place: Any) -> None:
        on_axes = self.mapToView(place)
        self.hand.put(self._name, on_axes.x(), on_axes.y())


class Title(pg.LabelItem):  # type: ignore[misc]
    """A title that takes the width that there is; a longer one reaches out of the tile instead of widening it."""

    def updateMin(self) -> None:  # noqa: N802 (pyqtgraph's name)
        super().updateMin()
        self.setMinimumWidth(0)


def colour_map(name: str) -> Any:
    """A colour map of pyqtgraph by one of the names in theme.COLOUR_MAPS."""
    if name.startswith("grey"):
        ends = ["#000000", "#ffffff"]
        return pg.ColorMap([0.0, 1.0], ends[::-1] if "inverted" in name else ends)
    return pg.colormap.get(name)


class Tile:
    """Shows a picture; what the mouse does in it goes to ``hand``."""

    def __init__(self, name: str, hand: Hand) -> None:
        self.name = name
        self.plane: PlanePicture | None = None
        self.hand = hand
        self._palette = DARK
        self._rect: Rect | None = None  # of the whole plane
        self._grid: object = None  # where the pixels of the picture are
        self._labels: tuple[str, ...] = ()
        self._title = ""
        self._levels: Levels | None = None
        self._size: tuple[int, int] | None = None
        self._bar_text = ""
        self.plot = pg.PlotItem(viewBox=PlaneBox(name, hand))
        self.plot.hideButtons()
        self.plot.setMenuEnabled(False)
        self.plot.setMinimumSize(0, 0)
        self.plot.layout.removeItem(self.plot.titleLabel)
        self.plot.titleLabel.setParentItem(None)
        self.plot.titleLabel = Title(parent=self.plot)
        self.plot.layout.addItem(self.plot.titleLabel, 0, 1)
        self.image = pg.ImageItem(axisOrder="row-major")
        self.image.setAutoDownsample(True)
        self.plot.addItem(self.image)
        self.bar = pg.ColorBarItem(
            values=(0.0, 1.0),
            width=12,
            rounding=1e-9,
            orientation="horizontal",
            pen="#56b4e9a0",
            hoverPen="#ffffff",
            hoverBrush="#56b4e940",
            colorMap=colour_map(COLOUR_MAPS[0]),
            colorMapMenu=False,
        )
        self.bar.setImageItem(self.image, insert_in=self.plot)
        self.plot.layout.setRowFixedHeight(BAR_GAP_ROW, BAR_GAP)
        self.bar.sigLevelsChanged.connect(self._dragged)
        for axis in self._axes:
            axis.enableAutoSIPrefix(False)  # once: with a label that is seen it would scale the axis
        self._lines: dict[str, Any] = {}
        self._cross_shown = True
        self.line: Any = None  # what is measured
        self._scale = pg.ScaleBar(1.0, width=4, brush=SCALE_COLOUR, pen=pg.mkPen("#000000"), offset=(-16, -14))
        self._scale.setParentItem(self.plot.getViewBox())
        self._scale.text.setColor(SCALE_COLOUR)
        self._scale.anchor((1, 1), (1, 1), offset=(-16, -14))
        self.plot.getViewBox().sigRangeChanged.connect(lambda *_: self._fit_scale())
        self.dress(DARK)

    @property
    def _axes(self) -> tuple[Any, ...]:
        return self.plot.getAxis("left"), self.plot.getAxis("bottom"), self.bar.axis

    def dress(self, palette: Palette) -> None:
        """Take the colours of a palette."""
        self._palette = palette
        self._labels, self._title = (), ""
        font = QFont()
        font.setFamilies(list(TEXT_FONTS))
        font.setPixelSize(11)
        for axis in self._axes:
            axis.setPen(pg.mkPen(palette.muted))
            axis.setTextPen(pg.mkPen(palette.text))
            axis.setStyle(tickFont=font, tickLength=-4, autoExpandTextSpace=False, maxTextLevel=0)
        self.plot.getAxis("left").setWidth(LEFT_AXIS)
        self.plot.getAxis("bottom").setHeight(BOTTOM_AXIS)
        self.bar.axis.setHeight(BAR_HEIGHT - 14)
        self.plot.layout.setContentsMargins(0, 0, RIGHT_MARGIN, 0)
        self.plot.titleLabel.setMaximumHeight(TITLE_HEIGHT)
        self.plot.layout.setRowFixedHeight(0, TITLE_HEIGHT)
        if self.plane is not None:
            self._name_axes(self.plane)

    def show(self, plane: PlanePicture, levels: Levels) -> None:
        """Show a new picture."""
        before, self.plane = self.plane, plane
        self.image.setImage(plane.image, autoLevels=False, levels=(levels.low, levels.high))
        grid = plane.rect, plane.image.shape
        if grid != self._grid:
            self._grid = grid
            self.image.setRect(QRectF(*plane.rect))
        if plane.extent != self._rect:
            rect, self._rect = self._rect, plane.extent
            if rect is None or plane.place is None or rect[2:] != plane.extent[2:]:
                self.reset()
        if before is not None and before.axis_unit != plane.axis_unit and self.ends is not None:
            ends = [plane.on_axes(*before.full_pixel(*end)) for end in self.ends]
            self.show_line(False)
            self._lay_line(ends)
        self._name_axes(plane)
        self.stretch(levels)

    def _name_axes(self, plane: PlanePicture) -> None:
        across, down = plane.axis_names
        labels = (f"{across} ({plane.axis_unit})", f"{down} ({plane.axis_unit})", plane.unit)
        if labels != self._labels:
            self._labels = labels
            muted = self._palette.muted
            self.plot.setLabel("bottom", labels[0], color=muted)
            self.plot.setLabel("left", labels[1], color=muted)
            what = f"attenuation ({escape(plane.unit)})" if plane.unit.startswith("1/") else escape(plane.unit)
            self.bar.setLabel("bottom", what, color=muted)

    def entitle(self, past: str, point: Point | None) -> None:
        """Say what is shown: the plane, where it is, from how many angles; ``past``: of what other scan."""
        if self.plane is None:
            return
        colour = TITLE_COLOURS[self._palette].get(self.name, self._palette.text)
        where = ""
        if point is not None and self.name in ORTHOGONAL and not past:
            axis = ORTHOGONAL[self.name]
            where = f"&nbsp; {'xyz'[axis]} = {point[axis]:.0f}"
        room = NARROW_PX if self._size is None else self._size[0]
        note = escape(past or self.plane.caption) if room >= NARROW_PX or past else ""
        title = (
            f"<b style='color:{colour}'>{escape(self.name)}</b>{where}"
            f"&nbsp;&nbsp;<span style='color:{self._palette.muted}'>{note}</span>"
        )
        if title != self._title:
            self._title = title
            # Not by setTitle of the plot, which gives the title another height.
            self.plot.titleLabel.setText(title, color=self._palette.text, size="10pt")
            self.image.setOpacity(PAST_OPACITY if past else 1.0)

    def stretch(self, levels: Levels) -> None:
        """Change the contrast of the same picture."""
        if levels != self._levels:
            self._levels = levels
            self.bar.rounding = max(1e-12, (levels.high - levels.low) / 1000)
            self.bar.setLevels((levels.low, levels.high))

    def paint(self, map_name: str) -> None:
        self.bar.setColorMap(colour_map(map_name))

    def reset(self) -> None:
        """Show the whole picture again after zooming."""
        if self._rect is not None:
            self.plot.getViewBox().setRange(QRectF(*self._rect), padding=0)

    def scale_in(self, width: float, height: float) -> float:
        """Screen pixels per unit of the axes in a tile of this size."""
        if self._rect is None:
            return 0.0
        return max(0.0, min((width - EXTRA_WIDTH) / self._rect[2], (height - EXTRA_HEIGHT) / self._rect[3]))

    def fit(self, width: float, height: float) -> None:
        """Shrink to the size at which axes and colour bar enclose the picture tightly."""
        if self._rect is None:
            return
        scale = self.scale_in(width, height)
        size = (round(self._rect[2] * scale + EXTRA_WIDTH), round(self._rect[3] * scale + EXTRA_HEIGHT))
        if size != self._size:
            self._size = size
            self.plot.setMinimumSize(*size)
            self.plot.setMaximumSize(*size)
            self.plot.setPreferredSize(*size)
            self.reset()

    # Cross-hair, scale bar, measuring line.

    def cross(self, point: Point | None) -> None:
        """Show where the orthogonal planes cut this one, as lines in their colours; without a point none."""
        plane = self.plane
        for line in self._lines.values():
            line.setVisible(self._cross_shown and point is not None)
        if plane is None or plane.place is None or point is None or self.name not in ORTHOGONAL:
            return
        x, y = plane.on_axes(*pixel_of(plane.place, point))
        others = {"xy": ("yz", "xz"), "xz": ("yz", "xy"), "yz": ("xz", "xy")}[self.name]
        for angle, name, place in ((90, others[0], x), (0, others[1], y)):
            if name not in self._lines:
                pen = pg.mkPen(LINE_COLOURS[name] + "b0", width=1)
                self._lines[name] = pg.InfiniteLine(angle=angle, pen=pen, movable=False)
                self._lines[name].setVisible(self._cross_shown)
                self.plot.addItem(self._lines[name], ignoreBounds=True)
            if self._lines[name].value() != place:
                self._lines[name].setValue(place)

    def show_cross(self, shown: bool) -> None:
        self._cross_shown = shown
        for line in self._lines.values():
            line.setVisible(shown)
        self._scale.setVisible(shown)

    def _fit_scale(self) -> None:
        if self.plane is None:
            return
        size, text = scale_bar(self.plot.getViewBox().viewRect().width(), self.plane.axis_unit)
        if size and (text != self._bar_text or self._scale.size != size):
            self._bar_text = text
            self._scale.size = size
            self._scale.text.setText(text)
        self._scale.updateBar()

    def show_line(self, shown: bool) -> None:
        """Lay a line over the picture that can be dragged by its ends; its length and profile are measured."""
        if not shown and self.line is not None:
            self.plot.removeItem(self.line)
            self.line = None
        if shown and self.line is None and self._rect is not None:
            left, top, width, height = self._rect
            ends = [(left + 0.3 * width, top + 0.5 * height), (left + 0.7 * width, top + 0.5 * height)]
            self._lay_line(ends)
            self._measured()

    def _lay_line(self, ends: list[tuple[float, float]]) -> None:
        self.line = pg.LineSegmentROI(ends, pen=pg.mkPen(SCALE_COLOUR, width=2))
        self.line.sigRegionChanged.connect(lambda *_: self._measured())
        self.plot.addItem(self.line)

    @property
    def ends(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Both ends of the measuring line on the axes."""
        if self.line is None:
            return None
        points = [self.line.mapToParent(handle["pos"]) for handle in self.line.handles]
        return (points[0].x(), points[0].y()), (points[1].x(), points[1].y())

    def _measured(self) -> None:
        self.hand.measure(self.name)

    @property
    def length(self) -> str:
        """Length of the measuring line, in words; empty without one."""
        ends = self.ends
        return "" if self.plane is None or ends is None else f"{self.name}   length {length_text(self.plane, *ends)}"

    def readout(self, scene: QPointF) -> str:
        box = self.plot.getViewBox()
        if self.plane is None or not box.sceneBoundingRect().contains(scene):
            return ""
        place = box.mapSceneToView(scene)
        return self.plane.readout(place.x(), place.y())

    def _dragged(self, _bar: object) -> None:
        low, high = self.bar.levels()
        self._levels = None
        self.hand.levels(self.name, float(low), float(high))
