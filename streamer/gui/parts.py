"""The widgets around the pictures: verdict banner, cards with one number each, history."""

from __future__ import annotations

from html import escape

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from streamer.gui.model import ViewModel
from streamer.gui.theme import ALARM_COLOUR, KEY_HELP, MONO_FONTS, MUTED_COLOUR, TEXT_COLOUR, TEXT_FONTS, VERDICT_STYLES

HISTORY_SHOWN = 6


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


def base_font() -> QFont:
    font = QFont()
    font.setFamilies(list(TEXT_FONTS))
    return font


class Banner(QFrame):
    """The verdict: sign, word, reasons."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("banner")
        self.setFixedHeight(92)
        self.sign, self.word, self.reasons = label("sign"), label("word"), label("reasons")
        self.reasons.setWordWrap(True)
        self.sign.setFixedWidth(58)
        self.sign.setAlignment(Qt.AlignmentFlag.AlignCenter)
        row = QHBoxLayout(self)
        row.setContentsMargins(18, 4, 24, 6)
        row.setSpacing(16)
        row.addWidget(self.sign)
        row.addWidget(self.word)
        row.addSpacing(16)
        row.addWidget(self.reasons, 1)
        self._shown: object = ...

    def show_verdict(self, model: ViewModel) -> None:
        scan = model.scan
        set_text(self.word, model.verdict_text)
        set_text(self.reasons, model.reasons_text)
        if scan.decision is not self._shown:
            self._shown = scan.decision
            look = VERDICT_STYLES[scan.decision]
            set_text(self.sign, look.sign)
            self.setStyleSheet(
                f"QFrame#banner {{ background: {look.fill}; border-radius: 10px; }} QLabel {{ color: {look.ink}; }}"
            )


class Card(QFrame):
    """One quantity: caption, value, and a note or a bar under it."""

    def __init__(self, caption: str, bar: bool = False) -> None:
        super().__init__()
        self.setObjectName("card")
        self.value, self.note = label("value"), label("note")
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 8, 14, 10)
        column.setSpacing(4)
        column.addWidget(label("caption", caption.upper()))
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addWidget(self.value)
        row.addWidget(self.note, 1, Qt.AlignmentFlag.AlignBottom)
        column.addLayout(row)
        self.bar = QProgressBar() if bar else None
        if self.bar is not None:
            self.bar.setTextVisible(False)
            self.bar.setFixedHeight(8)
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
            self.value.setStyleSheet(f"color: {ALARM_COLOUR};" if alarm else "")


def history_html(model: ViewModel) -> str:
    """The last scans of this session, oldest first. The only text from the network in HTML, hence escaped."""
    entries = []
    for scan in list(model.history.values())[-HISTORY_SHOWN:]:
        look = VERDICT_STYLES[scan.decision]
        colour = look.fill if scan.decision else "#4a5563"
        word = scan.decision.value if scan.decision else scan.state
        ink = TEXT_COLOUR if scan.scan_id == model.scan.scan_id else MUTED_COLOUR
        entries.append(
            f"<span style='color:{colour}'>■</span>&nbsp;<span style='color:{ink}'>"
            f"{escape(scan.sample or scan.scan_id)}&nbsp;&nbsp;{escape(word)}</span>"
        )
    return "&nbsp;&nbsp;&nbsp;&nbsp; ".join(entries)


def help_html() -> str:
    return "&nbsp;&nbsp;&nbsp; ".join(f"<b style='color:{TEXT_COLOUR}'>{key}</b>&nbsp;{what}" for key, what in KEY_HELP)


def mono_font() -> QFont:
    font = QFont()
    font.setFamilies(list(MONO_FONTS))
    return font
