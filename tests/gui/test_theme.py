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
from streamer.gui.state.model import ViewModel
from streamer.gui.state.texts import Connection
from streamer.gui.theme import (
    COLOUR_MAPS,
    DARK,
    LIGHT,
    LINK_COLOURS,
    PLANE_COLOURS,
    VERDICT_STYLES,
    Palette,
    style_sheet,
)
from streamer.gui.tile import colour_map
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


def test_signs_are_seen_in_the_dark() -> None:
    assert set(LINK_COLOURS) == set(Connection)
    for colour in (*LINK_COLOURS.values(), *PLANE_COLOURS.values()):
        assert contrast(colour, DARK.background) >= SEEN, colour
    assert len(set(PLANE_COLOURS.values())) == len(PLANE_COLOURS)


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
        assert used <= styled
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
