"""Keys of the window: the sheet tells those that there are, and each does what the sheet says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QShortcut
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import PreviewHeader
from streamer.gui.state.contrast import Levels
from streamer.gui.state.model import ViewModel
from streamer.gui.state.scan import ShownScan
from streamer.gui.state.steering import orthogonal
from streamer.gui.theme import COLOUR_MAPS, KEY_HELP
from streamer.gui.window import HINT, MESSAGE_S, ViewerWindow

VOLUME = (48, 64, 64)
MOUSE = {"drag", "right", "wheel,", "middle", "Ctrl", "+"}
"""Words for what is done with the mouse."""

ARROWS = {"↑": "Up", "↓": "Down"}


@pytest.fixture
def now() -> list[float]:
    """The clock of the window."""
    return [100.0]


@pytest.fixture
def window(qt: QApplication, tmp_path: Path, now: list[float]) -> Iterator[ViewerWindow]:
    """A window without a daemon, on the three planes of a scan."""
    model = ViewModel("tcp://127.0.0.1:1")
    for name in ("xy", "xz", "yz"):
        header(model, name, 4.0)
    made = ViewerWindow(model, None, tmp_path, clock=lambda: now[0])
    made.show()
    qt.processEvents()
    yield made
    made.close()
    made.deleteLater()
    qt.processEvents()


def header(model: ViewModel, name: str, high: float) -> None:
    """A ramp from 0 to ``high`` in 1/cm in this plane."""
    place = orthogonal(name, VOLUME, (32.0, 32.0, 24.0))
    preview = PreviewHeader(
        scan_id="s1", sample="foam", plane=name, angles=30, of=90, shape=place.shape, lo=0.0, hi=high, unit="1/cm",
        pixel_size_m=1e-5, center_px=31.5, place=place, volume=VOLUME,
    )  # fmt: skip
    model.preview(preview, np.linspace(0, 65535, place.shape[0] * place.shape[1]).astype("<u2").tobytes(), 100.0)


def press(window: QWidget, key: Any) -> None:
    if isinstance(key, str):
        QTest.keyClicks(window, key)
    else:
        QTest.keyClick(window, key)


def test_the_sheet_tells_every_key_and_no_other(window: ViewerWindow) -> None:
    bound = {each.key().toString().replace("PgDown", "PgDn") for each in window.findChildren(QShortcut)}
    told = set()
    for keys, what in KEY_HELP:
        told |= {ARROWS.get(word, word) for word in keys.split() if word not in MOUSE}
        told |= set(re.findall(r"PgUp|PgDn", what))
    assert told == bound - {"Esc"}, "Esc leaves the full screen everywhere"
    assert len(window.findChildren(QShortcut)) == len(bound), "a key that is bound twice does nothing"


def test_x_takes_cross_hair_and_scale_bar_away_and_brings_them_back(window: ViewerWindow) -> None:
    tile = window.tiles.tiles["xy"]
    drawn = [*tile._lines.values(), tile._scale]
    assert len(drawn) == 3
    for shown in (True, False, True):
        window.refresh()
        assert [each.isVisible() for each in drawn] == 3 * [shown]
        press(window, "x")


def test_r_shows_all_of_every_plane(window: ViewerWindow) -> None:
    box = window.tiles.tiles["xz"].plot.getViewBox()
    whole = box.viewRect()
    box.setRange(QRectF(-0.05, -0.05, 0.1, 0.1), padding=0)
    assert box.viewRect().width() < 0.5 * whole.width()
    press(window, "r")
    assert box.viewRect().width() == pytest.approx(whole.width())


def test_k_keeps_the_contrast_for_what_comes_and_a_gives_it_up(window: ViewerWindow, now: list[float]) -> None:
    kept = window.model.contrast.levels("xy")
    press(window, "k")
    assert window.foot.text.text() == "the contrast stays as it is, until A is pressed"
    header(window.model, "xy", 40.0)
    assert window.model.contrast.levels("xy") == Levels(kept.low, kept.high, auto=False)
    assert not window.foot.auto.isChecked()
    now[0] += MESSAGE_S + 0.1
    window.refresh()
    assert window.foot.text.text() == HINT, "a message goes by itself"
    press(window, "a")
    assert window.model.contrast.levels("xy").high > 39.0
    assert window.foot.auto.isChecked()


def test_m_paints_all_pictures_in_the_next_colours(window: ViewerWindow) -> None:
    press(window, "mm")
    assert window.foot.maps.currentText() == COLOUR_MAPS[2] == "viridis"
    for tile in window.tiles.tiles.values():
        assert tile.bar.colorMap().map(0.0).tolist() == [68, 1, 84, 255]
    window.side.setCurrentWidget(window.side.measure)
    assert window.side.measure.levels.gradient.getColor(0.0).getRgb() == (68, 1, 84, 255)


def test_arrows_move_the_plane_under_the_mouse(window: ViewerWindow) -> None:
    steering = window.model.steering
    assert window.tiles.under_mouse == "", "no plane yet: xy"
    press(window, Qt.Key.Key_Up)
    assert steering.point == (32.0, 32.0, 25.0)
    window.tiles.under_mouse = "yz"
    press(window, Qt.Key.Key_PageDown)
    assert steering.point == (22.0, 32.0, 25.0)
    assert window.tiles.tiles["yz"].plot.titleLabel.text.count("x = 22") == 1, "the title follows at once"
    press(window, "0")
    assert steering.point == (32.0, 32.0, 24.0)


def test_in_a_number_box_the_arrows_change_the_number(window: ViewerWindow) -> None:
    window.tiles.under_mouse = "yz"
    window.side.setCurrentWidget(window.side.planes)
    window._panels_now()
    box = window.side.planes.axes["z"]
    box.setFocus()
    for key, z in (("Up", 25), ("PageUp", 35), ("Down", 34), ("PageDown", 24)):
        press(box, getattr(Qt.Key, f"Key_{key}"))
        assert (box.value(), window.model.steering.point) == (z, (32.0, 32.0, float(z)))
    box.clearFocus()
    press(window, Qt.Key.Key_Up)
    assert window.model.steering.point == (33.0, 32.0, 24.0), "and outside of it they move the plane"


@pytest.mark.parametrize(("key", "turned"), [("[", (25, 60)), ("]", (35, 60)), ("{", (30, 55)), ("}", (30, 65))])
def test_brackets_turn_the_free_plane(window: ViewerWindow, key: str, turned: tuple[int, int]) -> None:
    press(window, key)
    before = window.model.steering.free
    assert before is None
    press(window, "n" + key)
    free = window.model.steering.free
    assert free is not None
    assert (free.azimuth_deg, free.tilt_deg) == turned


def test_p_and_t_change_how_the_window_looks(window: ViewerWindow) -> None:
    assert window.side.isVisible()
    dark = window.styleSheet()
    press(window, "pt")
    assert not window.side.isVisible()
    assert window.styleSheet() != dark
    press(window, "pt")
    assert window.side.isVisible()
    assert window.styleSheet() == dark


def test_a_scan_whose_pictures_are_gone_is_not_opened_but_its_file_is_named(window: ViewerWindow) -> None:
    window.model.history["s0"] = ShownScan("s0", "tooth", ScanState.COMPLETE, tomogram_file="/data/s0.h5")
    window._open("s0")
    words = "the pictures of this scan are not kept any more; its tomogram: /data/s0.h5"
    assert window.foot.text.text() == words
    assert window.model.opened == ""
