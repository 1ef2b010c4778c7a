"""Several pictures side by side, as large as the room allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import QPointF, Qt
from PySide6.QtWidgets import QWidget

from streamer.gui.state.contrast import Contrast
from streamer.gui.state.plane import PlanePicture
from streamer.gui.state.steering import Point
from streamer.gui.theme import COLOUR_MAPS, DARK, Palette
from streamer.gui.tile import Hand, Tile, pg

TILE_SPACING = 10
FEWEST_ABREAST = 2

Drawn = tuple[str, int]


class Tiles:
    """One tile for each picture. ``on_cursor`` is called with what is under the mouse, in words."""

    def __init__(self, hand: Hand, on_cursor: Callable[[str], None]) -> None:
        self._hand, self._on_cursor = hand, on_cursor
        self._map, self._palette = COLOUR_MAPS[0], DARK
        self.tiles: dict[str, Tile] = {}
        self.under_mouse = ""
        self._crossed = True
        self._drawn: dict[str, Drawn] = {}
        self._room: object = None
        self._graphics = pg.GraphicsLayoutWidget()
        self._graphics.ci.setContentsMargins(0, 0, 0, 0)
        self._graphics.ci.layout.setSpacing(TILE_SPACING)
        self._graphics.scene().sigMouseMoved.connect(self._moved)
        self.dress(DARK)

    @property
    def widget(self) -> QWidget:
        graphics: QWidget = self._graphics
        return graphics

    def show(
        self,
        order: list[str],
        pictures: Mapping[str, PlanePicture],
        revisions: Mapping[str, int],
        contrast: Contrast,
        point: Point | None = None,
        past: str = "",
    ) -> None:
        """Show these pictures in this order; only those that changed are drawn."""
        self._keep(order)
        for name, tile in self.tiles.items():
            picture, levels = pictures[name], contrast.levels(name)
            drawn = (picture.scan_id, revisions.get(name, 0))
            if self._drawn.get(name) != drawn or tile.plane is None:
                self._drawn[name] = drawn
                tile.show(picture, levels)
            else:
                tile.stretch(levels)
        self.fit()
        for tile in self.tiles.values():
            tile.entitle(past, point)  # as long as the tile is wide
            tile.cross(point)

    def _keep(self, names: list[str]) -> None:
        """Keep one tile for each of these names, and no others."""
        if names != list(self.tiles):
            self.tiles = {name: self.tiles.get(name) or self._new(name) for name in names}
            self._drawn = {name: drawn for name, drawn in self._drawn.items() if name in self.tiles}
            self._room = None

    def fit(self) -> None:
        """Distribute the space among the tiles. Cheap when nothing changed, so that each refresh may call it."""
        rects = tuple(tile.plane.extent for tile in self.tiles.values() if tile.plane is not None)
        room = (self._graphics.width(), self._graphics.height(), rects)
        if not self.tiles or room == self._room:
            return
        self._room = room
        # The number of columns with the largest pictures.
        counts = range(min(FEWEST_ABREAST, len(self.tiles)), len(self.tiles) + 1)
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
        tile = Tile(name, self._hand)
        tile.dress(self._palette)
        tile.paint(self._map)
        tile.show_cross(self._crossed)
        return tile

    def paint(self, map_name: str) -> None:
        self._map = map_name
        for tile in self.tiles.values():
            tile.paint(map_name)

    def dress(self, palette: Palette) -> None:
        self._palette = palette
        self._graphics.setBackground(palette.background)
        for tile in self.tiles.values():
            tile.dress(palette)

    def cross(self, shown: bool) -> None:
        """Show cross-hair and scale bar, or not."""
        self._crossed = shown
        for tile in self.tiles.values():
            tile.show_cross(shown)

    def reset(self) -> None:
        for tile in self.tiles.values():
            tile.reset()

    def _moved(self, scene: QPointF) -> None:
        for name, tile in self.tiles.items():
            if text := tile.readout(scene):
                self.under_mouse = name
                self._on_cursor(text)
                return
        self._on_cursor("")
