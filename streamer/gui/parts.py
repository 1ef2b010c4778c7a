"""The widgets around the pictures: verdict banner, cards with one number each, sheet of the keys."""

from __future__ import annotations

from html import escape

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidgetItem,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from streamer.gui.state.model import ViewModel
from streamer.gui.state.texts import Texts
from streamer.gui.theme import DARK, KEY_HELP, MONO_FONTS, TEXT_FONTS, VERDICT_STYLES, Palette


def label(name: str, words: str = "", parent: QWidget | None = None) -> QLabel:
    """A label styled by its name. Its text is never interpreted as HTML, because parts of it are from the network."""
    made = QLabel(words, parent)
    made.setObjectName(name)
    made.setTextFormat(Qt.TextFormat.PlainText)
    return made


def set_text(where: QLabel, words: str) -> None:
    """Set a text only when it differs: a label repaints even for the same text."""
    if where.text() != words:
        where.setText(words)


def set_tip(where: QWidget | QListWidgetItem, words: str) -> None:
    """Set a tooltip, in which nothing is interpreted as HTML; Qt would, where it looks like some."""
    tip = f"<qt>{escape(words)}</qt>".replace("\n", "<br>") if words else ""
    if where.toolTip() != tip:
        where.setToolTip(tip)


def base_font() -> QFont:
    font = QFont()
    font.setFamilies(list(TEXT_FONTS))
    return font


def mono_font() -> QFont:
    font = QFont()
    font.setFamilies(list(MONO_FONTS))
    return font


class Banner(QFrame):
    """The verdict: sign, word, reasons, what to do."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("banner")
        self.setFixedHeight(76)
        self.sign, self.word = label("sign"), label("word")
        self.reasons, self.advice = label("reasons"), label("advice")
        self.reasons.setWordWrap(True)
        self.sign.setFixedWidth(44)
        self.sign.setAlignment(Qt.AlignmentFlag.AlignCenter)
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 2, 18, 4)
        row.setSpacing(12)
        row.addWidget(self.sign)
        row.addWidget(self.word)
        row.addSpacing(8)
        why = QVBoxLayout()
        why.setSpacing(0)
        why.addStretch(1)
        why.addWidget(self.reasons)
        why.addWidget(self.advice)
        why.addStretch(1)
        row.addLayout(why, 1)
        self._shown: object = ...

    def show_verdict(self, model: ViewModel, texts: Texts) -> None:
        set_text(self.word, texts.verdict)
        set_text(self.reasons, texts.reasons)
        set_text(self.advice, texts.advice)
        set_tip(self, f"{texts.reasons}\n{texts.advice}".rstrip())
        if model.scan.decision is not self._shown:
            self._shown = model.scan.decision
            look = VERDICT_STYLES[model.scan.decision]
            set_text(self.sign, look.sign)
            self.setStyleSheet(
                f"QFrame#banner {{ background: {look.fill}; border-radius: 10px; }} QLabel {{ color: {look.ink}; }}"
            )


class Card(QFrame):
    """One quantity: caption, value, and a note or a bar under it."""

    def __init__(self, caption: str, bar: bool = False) -> None:
        super().__init__()
        self.setObjectName("card")
        self._palette = DARK
        self.value, self.note = label("value"), label("note")
        self.value.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Preferred)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 5, 10, 6)
        column.setSpacing(2)
        column.addWidget(label("caption", caption.upper()))
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.value)
        row.addWidget(self.note, 1, Qt.AlignmentFlag.AlignBottom)
        column.addLayout(row)
        self.bar = QProgressBar() if bar else None
        if self.bar is not None:
            self.bar.setTextVisible(False)
            self.bar.setFixedHeight(6)
            self.bar.setRange(0, 1000)
            column.addWidget(self.bar)
        else:
            column.addStretch(1)
        self._alarm = False

    def show_value(self, value: str, note: str = "", alarm: bool = False) -> None:
        set_text(self.value, value)
        set_text(self.note, note)
        if alarm is not self._alarm:
            self._alarm = alarm
            self._colour()

    def dress(self, palette: Palette) -> None:
        self._palette = palette
        self._colour()

    def _colour(self) -> None:
        self.value.setStyleSheet(f"color: {self._palette.alarm};" if self._alarm else "")


class KeySheet(QDialog):
    """What keys and mouse do."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Streamer: keys and mouse")
        rows = "".join(
            f"<tr><td style='padding:3px 22px 3px 0'><b>{escape(key)}</b></td><td>{escape(what)}</td></tr>"
            for key, what in KEY_HELP
        )
        self.sheet = QLabel(f"<table>{rows}</table>")
        column = QVBoxLayout(self)
        column.setContentsMargins(22, 16, 22, 16)
        column.addWidget(self.sheet)
