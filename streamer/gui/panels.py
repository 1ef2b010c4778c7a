"""The tabs beside the pictures that have no plots: history, planes and centre, batch and files."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QImage, QKeyEvent, QPainter, QPixmap
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from streamer.gui.hand import SteeringHand
from streamer.gui.parts import label, set_text, set_tip
from streamer.gui.state.model import ViewModel
from streamer.gui.state.results import THUMBNAIL_PX, Result
from streamer.gui.state.scan import ShownScan
from streamer.gui.state.steering import FreePlane, Steering
from streamer.gui.state.texts import Texts, duration
from streamer.gui.theme import VERDICT_STYLES
from streamer.io.batch_queue import OPEN, SCANNING, Queue

SCAN_ID = Qt.ItemDataRole.UserRole
STEP_KEYS = {Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown}
QUEUE_SIGNS = {OPEN: "○", SCANNING: "▶", "accept": "✔", "reject": "✘"}


class HistoryPanel(QWidget):
    """The scans of the session, the newest on top; a click shows one again."""

    def __init__(self, open_scan: Callable[[str], None]) -> None:
        super().__init__()
        self.list = QListWidget()
        self.list.setIconSize(QSize(THUMBNAIL_PX, THUMBNAIL_PX))
        self.list.setWordWrap(True)
        self.list.setAccessibleName("scans of this session")
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # letters stay shortcuts
        self.list.itemClicked.connect(lambda item: open_scan(item.data(SCAN_ID)))
        self.back = QPushButton("back to the running scan (Home)")
        self.back.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.back.clicked.connect(lambda: open_scan(""))
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.addWidget(self.list, 1)
        column.addWidget(self.back)
        self._shown: list[tuple[str, bool]] = []

    def show_model(self, model: ViewModel) -> None:
        scans = [scan for scan in model.history.values() if scan.scan_id]
        wanted = [(_line(scan), _picture(model.results[scan.scan_id]) is not None) for scan in reversed(scans)]
        self.back.setEnabled(bool(model.opened))
        if wanted == self._shown:
            return
        self._shown = wanted
        self.list.clear()
        for scan in reversed(scans):
            item = QListWidgetItem(_line(scan))
            item.setData(SCAN_ID, scan.scan_id)
            item.setIcon(_icon(scan, model.results[scan.scan_id]))
            known = (scan.scan_id, str(scan.verdict or ""), scan.raw_file, scan.tomogram_file)
            set_tip(item, "\n".join(filter(None, known)))
            self.list.addItem(item)


def _line(scan: ShownScan) -> str:
    word = scan.decision.value if scan.decision else ""
    state = f"{word}  {scan.state}" if word and scan.state.final else word or str(scan.state)
    why = str(scan.verdict.reasons[0].text) if scan.verdict is not None and scan.verdict.reasons else scan.error
    return f"{scan.sample or scan.scan_id}   {state}\n{why[:90]}".rstrip()


def _picture(result: Result | None) -> object:
    return None if result is None else result.thumbnail


def _icon(scan: ShownScan, result: Result | None) -> QIcon:
    """The thumbnail, or a field in the colour of the verdict, framed in that colour."""
    pixmap = QPixmap(THUMBNAIL_PX, THUMBNAIL_PX)
    colour = QColor(VERDICT_STYLES[scan.decision].fill)
    pixmap.fill(colour)
    if result is not None and result.thumbnail is not None:
        rows, columns = result.thumbnail.shape
        image = QImage(result.thumbnail.tobytes(), columns, rows, columns, QImage.Format.Format_Grayscale8)
        painter = QPainter(pixmap)
        inner = image.scaled(THUMBNAIL_PX - 6, THUMBNAIL_PX - 6, Qt.AspectRatioMode.KeepAspectRatio)
        painter.drawImage((THUMBNAIL_PX - inner.width()) // 2, (THUMBNAIL_PX - inner.height()) // 2, inner)
        painter.end()
    return QIcon(pixmap)


class PlanesPanel(QWidget):
    """Numbers of the planes and of the centre of rotation."""

    def __init__(self, steering: Steering, hand: SteeringHand) -> None:
        super().__init__()
        self._steering, self._hand = steering, hand
        self._filling = False
        self.axes = {axis: _number(0, 1e6, 1.0, 0, " voxel") for axis in "xyz"}
        self.free = QCheckBox("free plane (N)")
        self.azimuth = _number(-180, 180, 5.0, 1, "°")
        self.tilt = _number(0, 90, 5.0, 1, "°")
        self.offset = _number(-1e6, 1e6, 1.0, 0, " voxel")
        self.middle = QPushButton("through the middle (0)")
        self.center = _number(-1e5, 1e6, 0.5, 2, " px")
        self.auto = QPushButton("find it automatically (C)")
        self.said = label("note")
        self.said.setWordWrap(True)
        form = QFormLayout(self)
        form.setContentsMargins(10, 10, 10, 10)
        for axis, box in self.axes.items():
            form.addRow(f"{axis} of the cross-hair", box)
            box.valueChanged.connect(self._went)
        form.addRow(self.free)
        for name, box in (("azimuth", self.azimuth), ("tilt", self.tilt), ("offset", self.offset)):
            form.addRow(name, box)
            box.valueChanged.connect(self._turned)
        form.addRow(self.middle)
        form.addRow(label("caption", "CENTRE OF ROTATION"))
        form.addRow("column (, .)", self.center)
        form.addRow(self.auto)
        form.addRow(self.said)
        self.free.toggled.connect(self._freed)
        self.middle.clicked.connect(hand.to_middle)
        self.center.valueChanged.connect(self._nudged)
        self.auto.clicked.connect(lambda: hand.fix_center(None))
        for widget in (self.free, self.middle, self.auto):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def show_model(self, model: ViewModel, texts: Texts) -> None:
        self._filling = True
        steering = self._steering
        known = steering.volume is not None and steering.point is not None and self._hand.steers
        if steering.volume is not None and steering.point is not None:
            for (axis, box), value, size in zip(self.axes.items(), steering.point, steering.volume[::-1], strict=True):
                box.setMaximum(size - 1)
                _fill(box, value)
                box.setAccessibleName(f"{axis} of the cross-hair")
        free = steering.free or FreePlane()
        self.free.setChecked(steering.free is not None)
        for box, value in ((self.azimuth, free.azimuth_deg), (self.tilt, free.tilt_deg), (self.offset, free.offset)):
            _fill(box, value)
            box.setEnabled(steering.free is not None and self._hand.steers)
        for widget in (*self.axes.values(), self.free, self.middle):
            widget.setEnabled(known)
        if model.scan.center_px is not None:
            _fill(self.center, model.scan.center_px)
        self.center.setEnabled(model.scan.center_px is not None)
        self.auto.setEnabled(model.center_fixed)
        set_text(self.said, model.refused or ("held by hand" if model.center_fixed else texts.confidence))
        self._filling = False

    def _went(self) -> None:
        if not self._filling and self._hand.steers:
            x, y, z = (box.value() for box in self.axes.values())
            self._steering.go_to((x, y, z))
            self._hand.watch({"xy", "xz", "yz"})

    def _freed(self, on: bool) -> None:
        if not self._filling and self._hand.steers:
            self._steering.free = FreePlane() if on else None
            self._hand.set_free()

    def _turned(self) -> None:
        if not self._filling and self._hand.steers and self._steering.free is not None:
            self._steering.free = FreePlane(self.azimuth.value(), self.tilt.value(), self.offset.value())
            self._hand.watch({"free"})

    def _nudged(self, column: float) -> None:
        if not self._filling:
            self._hand.fix_center(column)


class NumberBox(QDoubleSpinBox):
    """A box for a number that keeps the keys that step it from the shortcuts of the window."""

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() is QEvent.Type.ShortcutOverride and event.key() in STEP_KEYS:
            event.accept()
            return True
        return super().event(event)


def _number(low: float, high: float, step: float, decimals: int, suffix: str) -> QDoubleSpinBox:
    box = NumberBox()
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setDecimals(decimals)
    box.setSuffix(suffix)
    box.setKeyboardTracking(False)  # not at every keystroke
    box.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.PlusMinus)
    box.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    return box


def _fill(box: QDoubleSpinBox, value: float) -> None:
    if not box.hasFocus() and box.value() != value:
        box.setValue(value)


class BatchPanel(QWidget):
    """The samples of the batch, and where the files of the shown scan are."""

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 8, 10, 10)
        self.said = label("note", "No batch is followed: start the viewer with --batch FOLDER.")
        self.said.setWordWrap(True)
        self.list = QListWidget()
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setAccessibleName("samples of the batch")
        self.list.hide()
        column.addWidget(label("caption", "SAMPLES"))
        column.addWidget(self.said)
        column.addWidget(self.list, 1)
        column.addWidget(label("caption", "FILES, ON THE MACHINE OF THE DAEMON"))
        self.files = {what: QLineEdit() for what in ("raw frames", "tomogram")}
        for what, field in self.files.items():
            field.setReadOnly(True)
            field.setPlaceholderText(f"no {what} yet")
            field.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
            row = QHBoxLayout()
            row.addWidget(field, 1)
            copy = QPushButton("copy")
            copy.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            copy.clicked.connect(lambda _checked=False, field=field: (field.selectAll(), field.copy()))
            row.addWidget(copy)
            column.addWidget(label("note", what))
            column.addLayout(row)
        self.disk = label("note")
        column.addWidget(self.disk)
        column.addStretch(0)
        self._lines: list[str] = []

    def show_model(self, texts: Texts) -> None:
        files = dict(texts.files)
        for what, field in self.files.items():
            if field.text() != files.get(what, ""):
                field.setText(files.get(what, ""))
                set_tip(field, files.get(what, ""))
        set_text(self.disk, f"disk: {texts.disk}" if texts.disk else "")

    def show_queue(self, queue: Queue) -> None:
        if not queue.samples:
            return
        left = queue.left_s
        about = "" if left is None else f", about {duration(left)} left"
        note = f" – {queue.note}" if queue.note else ""
        set_text(self.said, f"{queue.done} of {len(queue.samples)} done{about}{note}")
        lines = [
            f"{QUEUE_SIGNS.get(sample.state, '•')}  {sample.name}   slot {sample.slot}   {sample.state}"
            + (f"   {sample.verdict}" if sample.verdict else "")
            + (f"   {sample.attempts} scans" if sample.attempts > 1 else "")
            for sample in queue.samples.values()
        ]
        if lines != self._lines:
            self._lines = lines
            self.list.clear()
            self.list.addItems(lines)
            self.list.show()
            now = next((k for k, sample in enumerate(queue.samples.values()) if sample.state == SCANNING), queue.done)
            self.list.scrollToItem(self.list.item(min(now, len(lines) - 1)))
