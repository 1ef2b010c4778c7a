"""The viewer's window, which shows the state of a ViewModel.

It redraws only what changed, at most 20 times a second, and less often when drawing takes long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from streamer.gui.client import Clock, ViewerClient
from streamer.gui.model import ViewModel
from streamer.gui.parts import Banner, Card, base_font, help_html, history_html, label, mono_font, set_text
from streamer.gui.qt import hold_none
from streamer.gui.theme import COLOUR_MAPS, LINK_COLOURS, STYLE_SHEET
from streamer.gui.tile import Tiles

TICK_MS = 50
MESSAGE_S = 6.0


class ViewerWindow(QMainWindow):
    """Shows ``model``, fed by ``client``. Snapshots go to ``folder``."""

    def __init__(
        self, model: ViewModel, client: ViewerClient | None, folder: Path | None = None, clock: Clock = time.monotonic
    ) -> None:
        hold_none()
        super().__init__()
        self.model, self.client = model, client
        self._folder = Path.cwd() if folder is None else folder
        self._clock = clock
        self._drawn: dict[str, int] = {}
        self._message: tuple[str, float] = ("", 0.0)
        self._cursor = ""
        self.setWindowTitle("Streamer")
        self.setFont(base_font())
        self.setStyleSheet(STYLE_SHEET)
        self.resize(1600, 900)
        self._build()
        self._bind_keys()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._tick)
        self.refresh()
        self._timer.start(TICK_MS)

    def _build(self) -> None:
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(18, 12, 18, 10)
        column.setSpacing(10)
        self.banner = Banner()
        self.tiles = Tiles(self._levels_by_hand, self._point)
        self._empty = label("empty")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._pages = QStackedWidget()
        self._pages.addWidget(self._empty)
        self._pages.addWidget(self.tiles.widget)
        column.addLayout(self._header())
        column.addWidget(self.banner)
        column.addWidget(self._pages, 1)
        column.addLayout(self._cards())
        column.addLayout(self._foot())
        self.setCentralWidget(centre)

    def _header(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(16)
        self._title, self._link, self._dot = label("title"), label("link"), label("link", "●")
        row.addWidget(label("brand", "Streamer"))
        row.addWidget(self._title)
        row.addStretch(1)
        row.addWidget(self._dot)
        row.addWidget(self._link)
        return row

    def _cards(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(10)
        self.progress = Card("Angles", bar=True)
        self.rate, self.center, self.lost = Card("Frame rate"), Card("Centre of rotation"), Card("Frames lost")
        self.resolution = Card("Resolution")
        for card, width in (
            (self.progress, 5), (self.rate, 3), (self.center, 4), (self.lost, 3), (self.resolution, 2),
        ):  # fmt: skip
            row.addWidget(card, width)
        return row

    def _foot(self) -> QVBoxLayout:
        self._history, self._foot_text, keys = QLabel(), label("cursor"), QLabel(help_html())
        self._history.setObjectName("history")
        keys.setObjectName("help")
        self._foot_text.setFont(mono_font())
        self.maps = QComboBox()
        self.maps.addItems(list(COLOUR_MAPS))
        self.maps.currentTextChanged.connect(self.tiles.paint)
        self.auto, self.linked = QPushButton("auto contrast"), QPushButton("link planes")
        for button, slot in ((self.auto, self._auto_contrast), (self.linked, self._link_contrast)):
            button.setCheckable(True)
            button.clicked.connect(slot)
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(self._foot_text, 1)
        for widget in (label("note", "colour map"), self.maps, self.auto, self.linked):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # letters stay shortcuts
            first.addWidget(widget)
        second.addWidget(self._history, 1)
        second.addWidget(keys)
        both = QVBoxLayout()
        both.setSpacing(8)
        both.addLayout(first)
        both.addLayout(second)
        return both

    def _bind_keys(self) -> None:
        actions: dict[str, Callable[[], object]] = {
            "F": self._full_screen, "Esc": self.showNormal, "A": self._auto_contrast, "L": self._link_contrast,
            "M": self._next_map, "R": self.tiles.reset, "S": self._save, "Q": self.close,
        }  # fmt: skip
        for key, action in actions.items():
            QShortcut(QKeySequence(key), self).activated.connect(action)

    # Timer and drawing.

    def _tick(self) -> None:
        began = self._clock()
        if self.client is not None:
            self.client.poll()
        self.refresh()
        # Where drawing is slow (a large plane, a remote display) at least half of the time remains for the user.
        self._timer.start(max(TICK_MS, int(2000 * (self._clock() - began))))

    def refresh(self) -> None:
        """Draw what has changed since the last call."""
        now, model = self._clock(), self.model
        self._refresh_planes()
        link = model.link(now)
        set_text(self._title, model.title_text)
        set_text(self._link, model.link_text(now))
        colour = f"color: {LINK_COLOURS[link]};"
        if self._dot.styleSheet() != colour:
            self._dot.setStyleSheet(colour)
        set_text(self._empty, model.empty_text(now))
        self.banner.show_verdict(model)
        self.progress.show_value(model.angles_text, f"{100 * model.fraction:.0f} %" if model.scan.of else "")
        if self.progress.bar is not None:
            self.progress.bar.setValue(round(1000 * model.fraction))
        self.rate.show_value(model.rate_text(now))
        self.center.show_value(model.center_text, model.confidence_text)
        self.lost.show_value(model.lost_text, alarm=model.scan.lost > 0)
        self.resolution.show_value(model.resolution_text)
        set_text(self._history, history_html(model))
        self.auto.setChecked(not model.manual)
        self.linked.setChecked(model.linked)
        message, until = self._message
        set_text(self._foot_text, message if now < until else self._cursor or "point at a plane to read its values")

    def _refresh_planes(self) -> None:
        model = self.model
        self.tiles.keep(model.plane_order)
        self._pages.setCurrentIndex(1 if model.planes else 0)
        for name, tile in self.tiles.tiles.items():
            if self._drawn.get(name) != model.revisions[name] or tile.plane is None:
                self._drawn[name] = model.revisions[name]
                tile.show(model.planes[name], model.levels(name))
            else:
                tile.stretch(model.levels(name))
        self.tiles.fit()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 (Qt's name)
        self._timer.stop()
        if self.client is not None:
            self.client.close()
            self.client = None
        event.accept()

    # Actions of the user.

    def save_png(self, path: Path) -> bool:
        """Save the window as a PNG; False when it cannot be written."""
        return bool(self.grab().save(str(path), "PNG"))

    def _save(self) -> None:
        path = self._folder / self.model.snapshot_name
        number = 1
        while path.exists():
            number += 1
            path = path.with_stem(f"{Path(self.model.snapshot_name).stem}-{number}")
        self._tell(f"saved {path}" if self.save_png(path) else f"cannot write {path}")

    def _tell(self, message: str) -> None:
        self._message = (message, self._clock() + MESSAGE_S)
        self.refresh()

    def _point(self, readout: str) -> None:
        self._cursor = readout
        if self._clock() >= self._message[1]:
            set_text(self._foot_text, readout or "point at a plane to read its values")

    def _levels_by_hand(self, name: str, low: float, high: float) -> None:
        self.model.set_levels(name, low, high)

    def _auto_contrast(self) -> None:
        self.model.auto_levels()
        self.refresh()

    def _link_contrast(self) -> None:
        self.model.linked = not self.model.linked
        self.refresh()

    def _next_map(self) -> None:
        self.maps.setCurrentIndex((self.maps.currentIndex() + 1) % len(COLOUR_MAPS))

    def _full_screen(self) -> None:
        if self.isFullScreen():
            self.showNormal()
        else:
            self.showFullScreen()
