"""One plane in the window: picture, axes, colour bar. The only module that touches pyqtgraph, which has no types."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from importlib import import_module
from typing import Any

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QWidget

from streamer.gui.model import Levels
from streamer.gui.plane import PlanePicture
from streamer.gui.theme import BACKGROUND_COLOUR, COLOUR_MAPS, MUTED_COLOUR, TEXT_COLOUR, TEXT_FONTS

# Loaded after PySide6, which makes pyqtgraph use the same Qt.
pg: Any = import_module("pyqtgraph")

TILES_ABREAST = 3
TILE_SPACING = 14
LEFT_AXIS, RIGHT_MARGIN, TITLE_HEIGHT, BOTTOM_AXIS, BAR_GAP, BAR_HEIGHT = 54, 10, 30, 40, 10, 54
"""Pixels around the picture in a tile: axis, margin, title, axis, distance, colour bar."""

EXTRA_WIDTH, EXTRA_HEIGHT = LEFT_AXIS + RIGHT_MARGIN, TITLE_HEIGHT + BOTTOM_AXIS + BAR_GAP + BAR_HEIGHT

OnLevels = Callable[[str, float, float], None]


def colour_map(name: str) -> Any:
    """A colour map of pyqtgraph by one of the names in theme.COLOUR_MAPS."""
    if name.startswith("grey"):
        ends = ["#000000", "#ffffff"]
        return pg.ColorMap([0.0, 1.0], ends[::-1] if "inverted" in name else ends)
    return pg.colormap.get(name)


class Tile:
    """Shows the picture of a plane. ``on_levels(name, low, high)`` is called while the user drags the colour bar."""

    def __init__(self, name: str, on_levels: OnLevels) -> None:
        self.name = name
        self.plane: PlanePicture | None = None
        self._on_levels = on_levels
        self._rect: tuple[float, float, float, float] | None = None
        self._labels: tuple[str, ...] = ()
        self._levels: Levels | None = None
        self._size: tuple[int, int] | None = None
        self.plot = pg.PlotItem()
        self.plot.setAspectLocked(True)
        self.plot.invertY(True)
        self.plot.hideButtons()
        self.plot.setMenuEnabled(False)
        self.plot.setMinimumSize(0, 0)
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
        self.bar.sigLevelsChanged.connect(self._dragged)
        self._dress()

    def _dress(self) -> None:
        font = QFont()
        font.setFamilies(list(TEXT_FONTS))
        font.setPixelSize(12)
        for axis in (*(self.plot.getAxis(side) for side in ("left", "bottom")), self.bar.axis):
            axis.setPen(pg.mkPen("#4a5563"))
            axis.setTextPen(pg.mkPen(TEXT_COLOUR))
            axis.setStyle(tickFont=font, tickLength=-4, autoExpandTextSpace=False, maxTextLevel=0)
            axis.enableAutoSIPrefix(False)
        self.plot.getAxis("left").setWidth(LEFT_AXIS)
        self.plot.getAxis("bottom").setHeight(BOTTOM_AXIS)
        self.bar.axis.setHeight(BAR_HEIGHT - 14)
        self.plot.layout.setContentsMargins(0, 0, RIGHT_MARGIN, 0)
        self.plot.titleLabel.setMaximumHeight(TITLE_HEIGHT)
        self.plot.layout.setRowFixedHeight(0, TITLE_HEIGHT)

    def show(self, plane: PlanePicture, levels: Levels) -> None:
        """Show a new picture."""
        self.plane = plane
        self.image.setImage(plane.image, autoLevels=False, levels=(levels.low, levels.high))
        if plane.rect != self._rect:
            self._rect = plane.rect
            self.image.setRect(QRectF(*plane.rect))
            self.reset()
        across, down = plane.axis_names
        labels = (f"{across} ({plane.axis_unit})", f"{down} ({plane.axis_unit})", plane.unit)
        if labels != self._labels:
            self._labels = labels
            self.plot.setLabel("bottom", labels[0], color=MUTED_COLOUR)
            self.plot.setLabel("left", labels[1], color=MUTED_COLOUR)
            self.bar.setLabel("bottom", f"attenuation ({escape(plane.unit)})", color=MUTED_COLOUR)
        share = f"<span style='color:{MUTED_COLOUR}'>{plane.angles} of {plane.of} angles</span>"
        self.plot.setTitle(f"<b>{plane.name}</b>&nbsp;&nbsp;{share}", color=TEXT_COLOUR, size="11pt")
        self.stretch(levels)

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

    def readout(self, scene: QPointF) -> str:
        box = self.plot.getViewBox()
        if self.plane is None or not box.sceneBoundingRect().contains(scene):
            return ""
        place = box.mapSceneToView(scene)
        return self.plane.readout(place.x(), place.y())

    def _dragged(self, _bar: object) -> None:
        low, high = self.bar.levels()
        self._levels = None
        self._on_levels(self.name, float(low), float(high))


class Tiles:
    """All planes, at least three in a row."""

    def __init__(self, on_levels: OnLevels, on_cursor: Callable[[str], None]) -> None:
        self._on_levels, self._on_cursor = on_levels, on_cursor
        self._map = COLOUR_MAPS[0]
        self.tiles: dict[str, Tile] = {}
        self._room: object = None
        self._graphics = pg.GraphicsLayoutWidget()
        self._graphics.setBackground(BACKGROUND_COLOUR)
        self._graphics.ci.setContentsMargins(0, 0, 0, 0)
        self._graphics.ci.layout.setSpacing(TILE_SPACING)
        self._graphics.scene().sigMouseMoved.connect(self._moved)

    @property
    def widget(self) -> QWidget:
        graphics: QWidget = self._graphics
        return graphics

    def keep(self, names: list[str]) -> None:
        """Keep one tile for each of these planes, and no others."""
        if names != list(self.tiles):
            self.tiles = {name: self.tiles.get(name) or self._new(name) for name in names}
            self._room = None

    def fit(self) -> None:
        """Distribute the space among the tiles. Cheap when nothing changed, so that each refresh may call it."""
        rects = tuple(tile.plane.rect for tile in self.tiles.values() if tile.plane is not None)
        room = (self._graphics.width(), self._graphics.height(), rects)
        if not self.tiles or room == self._room:
            return
        self._room = room
        # The number of columns with the largest pictures, at least three.
        counts = range(min(TILES_ABREAST, len(self.tiles)), len(self.tiles) + 1)
        across = max(counts, key=lambda count: min(tile.scale_in(*self._cell(count)) for tile in self.tiles.values()))
        width, height = self._cell(across)
        layout = self._graphics.ci.layout
        self._graphics.clear()
        for number, tile in enumerate(self.tiles.values()):
            tile.fit(width, height)
            self._graphics.addItem(tile.plot, *divmod(number, across))
            layout.setAlignment(tile.plot, Qt.AlignmentFlag.AlignCenter)
        for column in range(layout.columnCount()):
            layout.setColumnFixedWidth(column, width if column < across else 0)

    def _cell(self, across: int) -> tuple[float, float]:
        down = -(-len(self.tiles) // across)
        width = (self._graphics.width() - TILE_SPACING * (across - 1)) / across
        height = (self._graphics.height() - TILE_SPACING * (down - 1)) / down
        return width - 4, height - 4

    def _new(self, name: str) -> Tile:
        tile = Tile(name, self._on_levels)
        tile.paint(self._map)
        return tile

    def paint(self, map_name: str) -> None:
        self._map = map_name
        for tile in self.tiles.values():
            tile.paint(map_name)

    def reset(self) -> None:
        for tile in self.tiles.values():
            tile.reset()

    def _moved(self, scene: QPointF) -> None:
        self._on_cursor(next((text for tile in self.tiles.values() if (text := tile.readout(scene))), ""))
