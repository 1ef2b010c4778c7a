"""Colours that can be read in both themes, and a style for every label."""

from __future__ import annotations

import re
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication, QLabel

from streamer.frames import Decision
from streamer.gui.bars import Header
from streamer.gui.hand import SteeringHand
from streamer.gui.plots import MeasurePanel, TrendPanel
from streamer.gui.state.contrast import Levels
from streamer.gui.state.model import ViewModel
from streamer.gui.state.plane import PlanePicture
from streamer.gui.state.texts import Connection, Texts
from streamer.gui.theme import (
    COLOUR_MAPS,
    DARK,
    LIGHT,
    LINE_COLOURS,
    LINK_COLOURS,
    TITLE_COLOURS,
    VERDICT_STYLES,
    Palette,
    style_sheet,
)
from streamer.gui.tile import Tile, colour_map, pg
from streamer.gui.window import ViewerWindow

READABLE, SEEN = 4.5, 3.0
"""Contrast of small text and of signs, as WCAG 2 asks for."""

both = pytest.mark.parametrize("palette", [DARK, LIGHT], ids=["dark", "light"])


def luminance(colour: str) -> float:
    """Relative luminance of an sRGB colour, 0 to 1."""
    made = QColor(colour)
    parts = np.array([made.redF(), made.greenF(), made.blueF()])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@both
def test_words_can_be_read_on_every_ground(palette: Palette) -> None:
    for ground in (palette.background, palette.panel):
        for ink in (palette.text, palette.muted, palette.alarm, palette.accent):
            assert contrast(ink, ground) >= READABLE, (ink, ground)
    assert contrast(palette.text, palette.chosen) >= READABLE
    assert palette.alarm not in {palette.text, palette.muted, palette.accent}


def test_light_is_light_and_dark_is_dark() -> None:
    for field in fields(Palette):
        if field.name in {"background", "panel", "edge", "chosen"}:
            assert luminance(getattr(LIGHT, field.name)) > 0.6, field.name
            assert luminance(getattr(DARK, field.name)) < 0.1, field.name


@pytest.mark.parametrize("decision", [*Decision, None])
def test_every_verdict_can_be_read_and_has_a_sign_of_its_own(decision: Decision | None) -> None:
    look = VERDICT_STYLES[decision]
    assert contrast(look.ink, look.fill) >= READABLE
    assert [style.sign for style in VERDICT_STYLES.values()].count(look.sign) == 1


@both
def test_titles_can_be_read_and_dots_are_seen(palette: Palette) -> None:
    titles, dots = TITLE_COLOURS[palette], LINK_COLOURS[palette]
    assert (set(titles), set(dots)) == ({"xy", "xz", "yz", "free"}, set(Connection))
    for colour in titles.values():
        assert contrast(colour, palette.background) >= READABLE, colour
    for colour in dots.values():
        assert contrast(colour, palette.background) >= SEEN, colour
    assert len(set(titles.values())) == len(titles)


def test_a_title_and_its_line_in_the_other_planes_have_one_hue() -> None:
    for titles in TITLE_COLOURS.values():
        for name, colour in LINE_COLOURS.items():
            hues = QColor(titles[name]).hslHue(), QColor(colour).hslHue()
            assert abs(hues[0] - hues[1]) <= 25, (name, hues)
            assert contrast(colour, "#000000") >= SEEN, "pictures are dark where nothing is"


@both
def test_the_window_takes_the_colours_of_its_theme(qt: QApplication, palette: Palette) -> None:
    header, texts = Header(), Texts(ViewModel("tcp://127.0.0.1:1"))
    for each in (DARK, LIGHT, palette):
        header.dress(each)
        header.show_model(texts, 0.0)
    assert header._dot.styleSheet() == f"color: {LINK_COLOURS[palette][Connection.WAITING]};"
    tile = Tile("xz", SteeringHand(ViewModel(""), lambda: None, lambda: None, lambda _: None))
    tile.show(PlanePicture("xz", "s", "s", np.zeros((9, 9), np.float32), "1/cm", 1, 1), Levels(0.0, 1.0))
    for each in (DARK, LIGHT, palette):
        tile.dress(each)
        tile.entitle("", None)
    assert TITLE_COLOURS[palette]["xz"] in tile.plot.titleLabel.text
    trends, measures = TrendPanel(), MeasurePanel()
    for each in (DARK, LIGHT, palette):
        trends.dress(each)
        measures.dress(each)
    for curve in (trends.curve, measures.curve):
        assert contrast(curve.opts["pen"].color().name(), palette.panel) >= SEEN
    for curve in (trends.curve, trends.points):
        assert contrast(pg.mkBrush(curve.opts["symbolBrush"]).color().name(), palette.panel) >= SEEN


@both
def test_the_style_has_no_colours_of_its_own(palette: Palette) -> None:
    written = set(re.findall(r"#[0-9a-f]{3,8}\b", style_sheet(palette)))
    assert written <= set(astuple(palette))
    assert all(QColor(colour).isValid() for colour in astuple(palette))
    assert palette.background in written


def test_every_label_of_the_window_has_a_style(qt: QApplication, tmp_path: Path) -> None:
    window = ViewerWindow(ViewModel("tcp://127.0.0.1:1"), None, tmp_path)
    try:
        used = {each.objectName() for each in window.findChildren(QLabel) if each.objectName()}
        used = {name for name in used if not name.startswith("qt_")}
        assert {"caption", "value", "note", "word", "cursor"} <= used
        styled = set(re.findall(r"QLabel#(\w+)", style_sheet(DARK)))
        assert used == styled, "and no style is for a label that there is not"
    finally:
        window.close()
        window.deleteLater()


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_a_colour_map_grows_in_lightness_all_the_way(name: str) -> None:
    """So that a larger value is never darker; inverted it is never lighter."""
    made = colour_map(name)
    lightness = np.array([luminance(made.map(float(share), "qcolor").name()) for share in np.linspace(0.0, 1.0, 33)])
    if "inverted" in name:
        lightness = lightness[::-1]
    assert (np.diff(lightness) > 0).all()
    assert lightness[0] < 0.05
    assert lightness[-1] > 0.6
