"""The tabs beside the pictures that have plots: histogram and profile of a picture, quality over time."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QPushButton, QVBoxLayout, QWidget

from streamer.gui.parts import label, set_text
from streamer.gui.state.figures import number_text
from streamer.gui.state.measure import length_text, profile
from streamer.gui.state.model import ViewModel
from streamer.gui.state.trends import MEASURES, Curve
from streamer.gui.theme import DARK, MEASURE_COLOURS, Palette
from streamer.gui.tile import Tile, colour_map, pg


class MeasurePanel(QWidget):
    """Histogram with the levels of the chosen picture, and the profile along its line."""

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        self.name = label("caption")
        self.histogram: Any = pg.HistogramLUTWidget(orientation="horizontal", gradientPosition="bottom")
        self.histogram.item.gradient.hide()
        self.levels: Any = self.histogram.item
        self.levels.sigLevelsChanged.connect(self._dragged)
        self.range = label("note")
        self.range.setWordWrap(True)
        self.line = QPushButton("line for distance and profile (B)")
        self.line.setCheckable(True)
        self.keep, self.auto = QPushButton("keep contrast (K)"), QPushButton("automatic contrast (A)")
        self.length = label("value", "–")
        self.profile = _plot("distance", "")
        self.curve = self.profile.plot()
        for button in (self.line, self.keep, self.auto):
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        for widget in (self.name, self.histogram, self.range, self.auto, self.keep, self.line, self.length):
            column.addWidget(widget)
        column.addWidget(self.profile, 1)
        self._tile: Tile | None = None
        self._filling = False
        self.dress(DARK)

    def show_tile(self, tile: Tile | None, model: ViewModel) -> None:
        """Show the histogram of what the tile shows, and the profile along its line."""
        if tile is None or tile.plane is None:
            return
        levels = model.contrast.levels(tile.name)
        self._filling = True
        if tile is not self._tile:
            self._tile = tile
            self.levels.setImageItem(tile.image)
        self.levels.setLevels(levels.low, levels.high)
        self._filling = False
        set_text(self.name, f"{tile.name.upper()}, {tile.plane.unit}")
        image = tile.plane.image
        whole, shown = (float(image.min()), float(image.max())), (levels.low, levels.high)
        there, seen = (" … ".join(map(number_text, pair)) for pair in (whole, shown))
        set_text(self.range, f"{there}   shown: {seen}, {'automatic' if levels.auto else 'by hand, kept'}")
        self.show_line(tile)

    def show_line(self, tile: Tile) -> None:
        self.line.setChecked(tile.line is not None)
        if tile.plane is None or (ends := tile.ends) is None:
            set_text(self.length, "–")
            self.curve.setData([], [])
            return
        distance, values = profile(tile.plane, *ends)
        set_text(self.length, length_text(tile.plane, *ends))
        self.curve.setData(distance, values)
        self.profile.setLabel("bottom", f"distance ({'px' if tile.plane.pixel_m is None else 'µm'})")

    def dress(self, palette: Palette) -> None:
        self.histogram.setBackground(palette.background)
        self.levels.axis.setPen(pg.mkPen(palette.muted))
        self.levels.axis.setTextPen(pg.mkPen(palette.text))
        self.curve.setPen(pg.mkPen(MEASURE_COLOURS[palette], width=2))
        _dress(self.profile, palette)

    def paint(self, map_name: str) -> None:
        self._filling = True
        self.levels.gradient.setColorMap(colour_map(map_name))
        self._filling = False

    def _dragged(self) -> None:
        if not self._filling and self._tile is not None:
            low, high = self.levels.getLevels()
            self._tile.hand.levels(self._tile.name, float(low), float(high))


class TrendPanel(QWidget):
    """A number of the quality over the running scan, and its last word over the scans of the session."""

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        self.measure = QComboBox()
        for name, measure in MEASURES.items():
            self.measure.addItem(measure.label + (f" ({measure.unit})" if measure.unit else ""), name)
        self.measure.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.within, self.over = _plot("projections", ""), _plot("scan of the session", "")
        self.curve = self.within.plot(symbol="o", symbolSize=3, symbolPen=None)
        self.points = self.over.plot(symbol="o", symbolSize=6)
        self.now = label("note")
        for widget in (self.measure, label("caption", "OVER THIS SCAN"), self.within, self.now):
            column.addWidget(widget)
        column.addWidget(label("caption", "OVER THE SCANS"))
        column.addWidget(self.over)
        self._shown: tuple[Curve, Curve] | None = None
        self.dress(DARK)

    def show_model(self, model: ViewModel) -> None:
        name = str(self.measure.currentData())
        curves = model.trends.within(model.shown_scan.scan_id, name), model.trends.over_scans(name)
        if curves == self._shown:
            return
        self._shown = curves
        for curve, points in zip((self.curve, self.points), curves, strict=True):
            curve.setData([x for x, _ in points], [y for _, y in points])
        set_text(self.now, f"now {MEASURES[name].words(curves[0][-1][1])}" if curves[0] else "not measured yet")

    def dress(self, palette: Palette) -> None:
        self.curve.setPen(pg.mkPen(palette.accent, width=2))
        self.points.setPen(pg.mkPen(palette.accent + "80"))
        for curve in (self.curve, self.points):
            curve.setSymbolBrush(palette.accent)
        for plot in (self.within, self.over):
            _dress(plot, palette)


def _plot(bottom: str, left: str) -> Any:
    plot = pg.PlotWidget()
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.setLabel("bottom", bottom)
    plot.setLabel("left", left)
    for side in ("left", "bottom"):
        plot.getAxis(side).enableAutoSIPrefix(False)
    plot.getAxis("left").setWidth(48)
    plot.setMinimumHeight(90)
    _dress(plot, DARK)
    return plot


def _dress(plot: Any, palette: Palette) -> None:
    plot.setBackground(palette.panel)
    for side in ("left", "bottom"):
        axis = plot.getAxis(side)
        axis.setPen(pg.mkPen(palette.muted))
        axis.setTextPen(pg.mkPen(palette.text))
