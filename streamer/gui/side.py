"""The tabs beside the pictures. Only the one that is seen is kept up to date."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QTabWidget

from streamer.gui.hand import SteeringHand
from streamer.gui.panels import BatchPanel, HistoryPanel, PlanesPanel
from streamer.gui.plots import MeasurePanel, TrendPanel
from streamer.gui.state.model import ViewModel
from streamer.gui.state.texts import Texts
from streamer.gui.theme import Palette
from streamer.gui.tile import Tile
from streamer.io.batch_queue import QueueFile

WIDTH_PX = 310


class Side(QTabWidget):
    """Planes and centre, past scans, measures, quality over time, batch and files."""

    def __init__(self, model: ViewModel, texts: Texts, hand: SteeringHand, open_scan: Callable[[str], None]) -> None:
        super().__init__()
        self._model, self._texts = model, texts
        self.setDocumentMode(True)
        self.tabBar().setDrawBase(False)  # a stray line right of the last tab
        self.tabBar().setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setMinimumWidth(WIDTH_PX)
        self.setUsesScrollButtons(False)
        self.planes = PlanesPanel(model.steering, hand)
        self.history = HistoryPanel(open_scan)
        self.measure, self.trends, self.batch = MeasurePanel(), TrendPanel(), BatchPanel()
        for panel, name in (
            (self.planes, "Planes"),
            (self.history, "Scans"),
            (self.measure, "Measure"),
            (self.trends, "Quality"),
            (self.batch, "Batch"),
        ):
            self.addTab(panel, name)

    def show_model(self, tile: Tile | None, queue: QueueFile | None) -> None:
        """``tile`` is the one that is measured."""
        if not self.isVisible():
            return
        match self.currentWidget():
            case self.planes:
                self.planes.show_model(self._model, self._texts)
            case self.history:
                self.history.show_model(self._model)
            case self.measure:
                self.measure.show_tile(tile, self._model)
            case self.trends:
                self.trends.show_model(self._model)
            case self.batch:
                self.batch.show_model(self._texts)
                if queue is not None:
                    self.batch.show_queue(queue.queue)

    def dress(self, palette: Palette) -> None:
        self.measure.dress(palette)
        self.trends.dress(palette)
