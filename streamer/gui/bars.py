"""The rows above and below the pictures: title and connection, cards, foot."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QWidget

from streamer.gui.parts import Card, label, mono_font, set_text
from streamer.gui.state.model import ViewModel
from streamer.gui.state.texts import Texts
from streamer.gui.theme import COLOUR_MAPS, DARK, LINK_COLOURS, Palette


def _row(owner: QWidget, spacing: int) -> QHBoxLayout:
    row = QHBoxLayout(owner)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(spacing)
    return row


def button(words: str, checkable: bool = False) -> QPushButton:
    """A button that leaves letters to the shortcuts."""
    made = QPushButton(words)
    made.setCheckable(checkable)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return made


class Header(QWidget):
    """Sample, scan and connection."""

    def __init__(self) -> None:
        super().__init__()
        self._palette = DARK
        self.title, self.link, self._dot = label("title"), label("link"), label("link", "●")
        self.title.setMinimumWidth(10)
        self.detector, self.help = button("detector (D)", checkable=True), button("keys (F1)")
        row = _row(self, 12)
        row.addWidget(label("brand", "Streamer"))
        row.addWidget(self.title, 1)
        for widget in (self.detector, self.help, self._dot, self.link):
            row.addWidget(widget)

    def show_model(self, texts: Texts, now: float) -> None:
        set_text(self.title, texts.title)
        set_text(self.link, texts.link_text(now))
        colour = f"color: {LINK_COLOURS[self._palette][texts.link(now)]};"
        if self._dot.styleSheet() != colour:
            self._dot.setStyleSheet(colour)

    def dress(self, palette: Palette) -> None:
        """Take the colours of a palette, with the next ``show_model``."""
        self._palette = palette


class Cards(QWidget):
    """One number each: angles, rate, centre, losses, resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Card("Angles", bar=True)
        self.rate, self.center, self.lost = Card("Frame rate"), Card("Centre of rotation"), Card("Frames lost")
        self.resolution = Card("Resolution")
        self._widths = {self.progress: 5, self.rate: 4, self.center: 4, self.lost: 3, self.resolution: 3}
        row = _row(self, 8)
        for card, width in self._widths.items():
            row.addWidget(card, width)

    def show_model(self, model: ViewModel, texts: Texts, now: float) -> None:
        self.progress.show_value(texts.angles, f"{100 * texts.fraction:.0f} %" if model.scan.of else "")
        if self.progress.bar is not None:
            self.progress.bar.setValue(round(1000 * texts.fraction))
        self.rate.show_value(texts.rate(now), texts.left(now))
        self.center.show_value(texts.center, texts.confidence)
        self.lost.show_value(texts.lost, alarm=model.scan.lost > 0)
        self.resolution.show_value(texts.resolution, texts.resolution_length)

    def dress(self, palette: Palette) -> None:
        for card in self._widths:
            card.dress(palette)


class Foot(QWidget):
    """What is under the mouse, and how the pictures are painted."""

    def __init__(self) -> None:
        super().__init__()
        self.text = label("cursor")
        self.text.setFont(mono_font())
        self.text.setMinimumWidth(10)
        self.maps = QComboBox()
        self.maps.addItems(list(COLOUR_MAPS))
        self.maps.setAccessibleName("colour map")
        self.maps.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.auto, self.linked = button("auto contrast", checkable=True), button("link planes", checkable=True)
        row = _row(self, 8)
        row.addWidget(self.text, 1)
        for widget in (label("note", "colour map"), self.maps, self.auto, self.linked):
            row.addWidget(widget)

    def next_map(self) -> None:
        self.maps.setCurrentIndex((self.maps.currentIndex() + 1) % len(COLOUR_MAPS))

    def show_model(self, model: ViewModel, words: str) -> None:
        set_text(self.text, words)
        self.auto.setChecked(not model.contrast.manual)
        self.linked.setChecked(model.contrast.linked)
