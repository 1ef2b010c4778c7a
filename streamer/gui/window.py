"""The viewer's window, which shows the state of a ViewModel.

It redraws only what changed, at most 20 times a second, faster while planes are moved, and less often when drawing
takes long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QSettings, QSize, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QGuiApplication, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QMainWindow, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from streamer.flow.wire.looks import Subject
from streamer.gui.bars import Cards, Foot, Header
from streamer.gui.client import Clock, ViewerClient
from streamer.gui.desktop import Desktop
from streamer.gui.hand import SteeringHand
from streamer.gui.movie import Recorder
from streamer.gui.parts import Banner, KeySheet, base_font, label, set_text
from streamer.gui.qt import hold_none
from streamer.gui.side import WIDTH_PX, Side
from streamer.gui.state.model import ViewModel
from streamer.gui.state.texts import Texts
from streamer.gui.theme import DARK, LIGHT, style_sheet
from streamer.gui.tile import Tile
from streamer.gui.tiles import Tiles
from streamer.io.batch_queue import QueueFile

TICK_MS, EAGER_TICK_MS = 50, 3
EAGER_S = 0.4
"""For so long after planes were moved their pictures are awaited."""

PANELS_EVERY_S = 0.2
MESSAGE_S = 6.0

SIZE = (1600, 900)
SUBJECTS: tuple[Subject, ...] = ("raw", "projection", "sinogram")
HINT = "point at a plane to read its values   ·   F1 or ? shows all keys"


class ViewerWindow(QMainWindow):
    """Shows ``model``, fed by ``client``. Snapshots and movies go to ``folder``; ``settings`` remember the window."""

    def __init__(
        self,
        model: ViewModel,
        client: ViewerClient | None,
        folder: Path | None = None,
        clock: Clock = time.monotonic,
        settings: QSettings | None = None,
        queue: QueueFile | None = None,
    ) -> None:
        hold_none()
        super().__init__()
        self.model, self.client, self.texts = model, client, Texts(model)
        self._clock, self._settings, self._queue = clock, settings, queue
        self._message: tuple[str, float] = ("", 0.0)
        self._cursor = ""
        self._eager_until = self._panels_s = self._refreshed_s = -1e9
        folder = Path.cwd() if folder is None else folder
        self.recorder = Recorder(folder, lambda: self.texts.snapshot_name, self._tell, self._tell_later)
        self._measured = ""
        self._crossed = True
        self.desktop = Desktop(self)
        self.hand = SteeringHand(model, lambda: self.client, self._steered, self._line_moved)
        self.setWindowTitle("Streamer")
        self.setFont(base_font())
        self._build()
        self._bind_keys()
        self._restore()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._tick)
        self.refresh()
        self._timer.start(TICK_MS)

    def _build(self) -> None:
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(12, 8, 12, 6)
        column.setSpacing(6)
        self.header, self.banner, self.cards, self.foot = Header(), Banner(), Cards(), Foot()
        self.tiles, self.detector = Tiles(self.hand, self._point), Tiles(self.hand, self._point)
        self.empty, self.nothing_seen = label("empty"), label("empty")
        for words in (self.empty, self.nothing_seen):
            words.setAlignment(Qt.AlignmentFlag.AlignCenter)
            words.setWordWrap(True)
        self._pages = QStackedWidget()
        for page in (self.empty, self.tiles.widget, self.nothing_seen, self.detector.widget):
            self._pages.addWidget(page)
        self.side = Side(self.model, self.texts, self.hand, self._open)
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(self._pages)
        split.addWidget(self.side)
        split.setStretchFactor(0, 1)
        split.setStretchFactor(1, 0)
        split.setSizes([SIZE[0] - WIDTH_PX, WIDTH_PX])
        split.setCollapsible(0, False)
        column.addWidget(self.header)
        column.addWidget(self.banner)
        column.addWidget(split, 1)
        column.addWidget(self.cards)
        column.addWidget(self.foot)
        self.setCentralWidget(centre)
        self.header.detector.clicked.connect(self.refresh)
        self.header.help.clicked.connect(self._show_keys)
        self.side.currentChanged.connect(self._panels_now)
        self.side.measure.line.clicked.connect(self._toggle_line)
        self.side.measure.keep.clicked.connect(self._keep_contrast)
        self.side.measure.auto.clicked.connect(self._auto_contrast)
        self.side.trends.measure.currentIndexChanged.connect(self._panels_now)
        self.foot.maps.currentTextChanged.connect(self._paint)
        self.foot.auto.clicked.connect(self._auto_contrast)
        self.foot.linked.clicked.connect(self._link_contrast)

    def _bind_keys(self) -> None:
        hand = self.hand
        actions: dict[str, Callable[[], object]] = {
            "F": self._full_screen, "Esc": self.showNormal, "A": self._auto_contrast, "L": self._link_contrast,
            "M": self.foot.next_map, "R": self._reset, "S": self._save, "Q": self.close, "K": self._keep_contrast,
            "T": self._other_theme, "P": self._toggle_side, "D": self.header.detector.click, "X": self._toggle_cross,
            "B": self._toggle_line, "V": self.recorder.toggle_movie, "N": hand.toggle_free, "0": hand.to_middle,
            "Home": lambda: self._open(""), "F1": self._show_keys, "?": self._show_keys,
            "Up": lambda: hand.scroll(self._under_mouse, 1), "Down": lambda: hand.scroll(self._under_mouse, -1),
            "PgUp": lambda: hand.scroll(self._under_mouse, 10), "PgDown": lambda: hand.scroll(self._under_mouse, -10),
            "[": lambda: hand.turn(-5, 0), "]": lambda: hand.turn(5, 0),
            "{": lambda: hand.turn(0, -5), "}": lambda: hand.turn(0, 5),
            ",": lambda: hand.nudge(-0.5), ".": lambda: hand.nudge(0.5), "<": lambda: hand.nudge(-0.1),
            ">": lambda: hand.nudge(0.1), "C": lambda: hand.fix_center(None),
        }  # fmt: skip
        for key, action in actions.items():
            QShortcut(QKeySequence(key), self).activated.connect(action)

    def _restore(self) -> None:
        """Size, theme and panel as they were, within the screen that is there."""
        kept = self._settings
        before = None if kept is None else kept.value("size")
        self.resize(before if isinstance(before, QSize) else QSize(*SIZE))
        if QGuiApplication.platformName() != "offscreen":  # whose screen is made up
            screen = QGuiApplication.primaryScreen().availableGeometry()
            self.resize(min(self.width(), screen.width()), min(self.height(), screen.height()))
        self._palette = LIGHT if kept is not None and kept.value("theme") == "light" else DARK
        self.side.setVisible(kept is None or kept.value("side") != "hidden")
        self._dress()

    def _dress(self) -> None:
        self.setStyleSheet(style_sheet(self._palette))
        for part in (self.tiles, self.detector, self.side, self.header, self.cards):
            part.dress(self._palette)

    # Timer and drawing.

    def _tick(self) -> None:
        began, heard = self._clock(), False
        if self.client is not None:
            self.client.looking = set(SUBJECTS) if self.header.detector.isChecked() else set()
            heard = self.client.poll()
        if self._queue is not None:
            self._queue.poll(began)
        if heard or began - self._refreshed_s >= TICK_MS / 1000:
            self.refresh()
        while self.model.notices:
            self.desktop.tell(self.model.notices.pop(0))
        now = self._clock()
        # Where drawing is slow (a large plane, a remote display) at least half of the time remains for the user.
        eager = now < self._eager_until
        self._timer.start(max(EAGER_TICK_MS if eager else TICK_MS, int((1000 if eager else 2000) * (now - began))))

    def refresh(self) -> None:
        """Draw what has changed since the last call."""
        now, model, texts = self._clock(), self.model, self.texts
        self._refreshed_s = now
        self._refresh_pictures(now)
        self.header.show_model(texts, now)
        self.banner.show_verdict(model, texts)
        self.cards.show_model(model, texts, now)
        message, until = self._message
        self.foot.show_model(model, message if now < until else self._cursor or model.refused or HINT)
        if now - self._panels_s >= PANELS_EVERY_S:
            self._refresh_panels(now)
        self.recorder.take(self._pages, now)

    def _refresh_pictures(self, now: float) -> None:
        model = self.model
        if self.header.detector.isChecked():
            seen = [subject for subject in SUBJECTS if subject in model.looks]
            self._pages.setCurrentIndex(3 if seen else 2)
            why = next(iter(model.look_errors.values()), "waiting for the first picture of the detector")
            set_text(self.nothing_seen, why)
            self.detector.show(list(seen), model.looks, model.revisions, model.contrast)
            return
        set_text(self.empty, self.texts.empty(now))
        self._pages.setCurrentIndex(1 if model.shown_planes else 0)
        point = None if model.shows_past else model.steering.point
        self.tiles.show(model.plane_order, model.shown_planes, model.revisions, model.contrast, point, self.texts.past)

    def _refresh_panels(self, now: float) -> None:
        self._panels_s = now
        self.side.show_model(self._tile, self._queue)

    def _panels_now(self) -> None:
        self._refresh_panels(self._clock())

    @property
    def _shown_tiles(self) -> Tiles:
        return self.detector if self.header.detector.isChecked() else self.tiles

    @property
    def _under_mouse(self) -> str:
        return self._shown_tiles.under_mouse or "xy"

    @property
    def _tile(self) -> Tile | None:
        """The tile that is measured: the one with the line, else the one under the mouse, else the first."""
        tiles = self._shown_tiles.tiles
        for name in (self._measured, self._under_mouse, *tiles):
            if name in tiles:
                return tiles[name]
        return None

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        super().resizeEvent(event)
        self.tiles.fit()
        self.detector.fit()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        self._timer.stop()
        if self._settings is not None:
            self._settings.setValue("size", self.size())
            self._settings.setValue("theme", "light" if self._palette is LIGHT else "dark")
            self._settings.setValue("side", "hidden" if self.side.isHidden() else "shown")
        if self.client is not None:
            self.client.close()
            self.client = None
        self.hide()  # writing a movie may last
        self.recorder.finish()
        event.accept()

    # Actions of the user.

    def save_png(self, path: Path) -> bool:
        """Save the window as a PNG; False when it cannot be written."""
        return bool(self.grab().save(str(path), "PNG"))

    def _save(self) -> None:
        self.recorder.snapshot(self.save_png)

    def _tell(self, message: str) -> None:
        self._tell_later(message)
        self.refresh()

    def _tell_later(self, message: str) -> None:
        """From any thread: the next refresh shows it."""
        self._message = (message, self._clock() + MESSAGE_S)

    def _point(self, readout: str) -> None:
        self._cursor = readout
        if self._clock() >= self._message[1]:
            set_text(self.foot.text, readout or HINT)

    def _steered(self) -> None:
        """Planes or centre were changed: the cross-hair follows at once, the pictures in a moment."""
        now = self._clock()
        self._eager_until = now + EAGER_S
        if self._timer.isActive() and self._timer.remainingTime() > EAGER_TICK_MS:
            self._timer.start(EAGER_TICK_MS)
        self._refresh_pictures(now)

    def _line_moved(self, name: str) -> None:
        self._measured = name
        tile = self._shown_tiles.tiles.get(name)
        if tile is not None and self.side.currentWidget() is self.side.measure:
            self.side.measure.show_line(tile)
        if tile is not None:
            self._cursor = tile.length

    def _toggle_line(self) -> None:
        tile = self._tile
        if tile is None:
            return
        if tile.line is None:
            self.side.setVisible(True)
            self.side.setCurrentWidget(self.side.measure)
            tile.show_line(True)
        else:
            tile.show_line(False)
            self._measured = ""
        self._panels_now()

    def _open(self, scan_id: str) -> None:
        if not self.model.open(scan_id):
            scan = self.model.history.get(scan_id)
            where = f"; its tomogram: {scan.tomogram_file}" if scan is not None and scan.tomogram_file else ""
            self._tell(f"the pictures of this scan are not kept any more{where}")
        self._panels_now()
        self.refresh()

    def _auto_contrast(self) -> None:
        self.model.contrast.auto_levels()
        self.refresh()

    def _keep_contrast(self) -> None:
        self.model.contrast.keep_levels()
        self._tell("the contrast stays as it is, until A is pressed")

    def _link_contrast(self) -> None:
        self.model.contrast.linked = not self.model.contrast.linked
        self.refresh()

    def _paint(self, map_name: str) -> None:
        for part in (self.tiles, self.detector, self.side.measure):
            part.paint(map_name)

    def _reset(self) -> None:
        self.tiles.reset()
        self.detector.reset()

    def _other_theme(self) -> None:
        self._palette = LIGHT if self._palette is DARK else DARK
        self._dress()
        self.refresh()

    def _toggle_side(self) -> None:
        self.side.setVisible(self.side.isHidden())
        self.refresh()

    def _toggle_cross(self) -> None:
        self._crossed = not self._crossed
        self.tiles.cross(self._crossed)
        self.detector.cross(self._crossed)

    def _show_keys(self) -> None:
        self.keys = KeySheet(self)
        self.keys.show()

    def _full_screen(self) -> None:
        (self.showNormal if self.isFullScreen() else self.showFullScreen)()
