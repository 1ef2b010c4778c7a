"""The rows above and below the pictures: verdict, numbers of the scan, connection, how pictures are painted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtWidgets import QApplication

from streamer.flow.scan import ScanState
from streamer.frames import Decision, Reason, ReasonCode, Verdict
from streamer.gui.bars import Cards, Foot, Header
from streamer.gui.parts import Banner
from streamer.gui.state.model import ViewModel
from streamer.gui.state.scan import ShownScan
from streamer.gui.state.texts import Texts
from streamer.gui.theme import COLOUR_MAPS, DARK, LIGHT, VERDICT_STYLES

MOVED = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved by 3 px"),), final=True)


@pytest.fixture
def model(qt: QApplication) -> ViewModel:
    """Of a scan that runs; its last frame came at second 0."""
    made = ViewModel("tcp://127.0.0.1:1")
    made.scan = ShownScan("s1", "foam", ScanState.ACQUIRING, 30, 90, center_px=31.5)
    made.heard_s = made.data_s = 0.0
    return made


def test_cards_and_header_follow_the_scan(model: ViewModel) -> None:
    cards, header, texts = Cards(), Header(), Texts(model)
    model.scan = replace(model.scan, frame_rate_hz=4.0, resolution_px=2.44)
    cards.show_model(model, texts, 0.0)
    header.show_model(texts, 0.0)
    assert cards.progress.bar is not None
    assert (cards.progress.value.text(), cards.progress.note.text()) == ("30 of 90 angles", "33 %")
    assert cards.progress.bar.value() == 333
    assert (cards.rate.value.text(), cards.rate.note.text()) == ("4.0 frames/s", "15 s left")
    assert (cards.center.value.text(), cards.resolution.value.text()) == ("31.50 px", "2.4 px")
    assert (header.title.text(), header.link.text()) == ("foam   ·   scan s1", "live")
    header.show_model(texts, 3.0)
    assert header.link.text() == "no frame for 3 s"


def test_a_lost_frame_is_an_alarm_in_the_colours_of_the_theme(model: ViewModel) -> None:
    cards, texts = Cards(), Texts(model)
    cards.show_model(model, texts, 0.0)
    assert (cards.lost.value.text(), cards.lost.value.styleSheet()) == ("0 missing", "")
    model.scan = replace(model.scan, corrupt=1)
    cards.show_model(model, texts, 0.0)
    assert (cards.lost.value.text(), DARK.alarm in cards.lost.value.styleSheet()) == ("0 missing, 1 corrupt", True)
    cards.dress(LIGHT)
    assert LIGHT.alarm in cards.lost.value.styleSheet()
    assert cards.rate.value.styleSheet() == ""
    model.scan = ShownScan("s2")
    cards.show_model(model, texts, 0.0)
    assert cards.lost.value.styleSheet() == ""


def test_the_banner_takes_off_the_colour_of_the_verdict_before(model: ViewModel) -> None:
    banner, texts = Banner(), Texts(model)
    model.scan = replace(model.scan, verdict=MOVED)
    banner.show_verdict(model, texts)
    retake, none = VERDICT_STYLES[Decision.RETAKE], VERDICT_STYLES[None]
    assert (banner.sign.text(), banner.word.text()) == (retake.sign, "RETAKE")
    assert banner.reasons.text() == "motion: it moved by 3 px"
    assert retake.fill in banner.styleSheet()
    model.scan = ShownScan("s2")
    banner.show_verdict(model, texts)
    assert (banner.sign.text(), banner.word.text(), banner.advice.text()) == (none.sign, "NO VERDICT", "")
    assert none.fill in banner.styleSheet()
    assert retake.fill not in banner.styleSheet()


def test_the_foot_tells_the_contrast_and_goes_through_all_colour_maps(model: ViewModel) -> None:
    foot = Foot()
    foot.show_model(model, "xy   x +0.1 mm")
    assert (foot.text.text(), foot.auto.isChecked(), foot.linked.isChecked()) == ("xy   x +0.1 mm", True, False)
    model.contrast.measured("xy", 0.0, 1.0, "1/cm")
    model.contrast.set_levels("xy", 0.2, 0.5)
    model.contrast.linked = True
    foot.show_model(model, "")
    assert (foot.auto.isChecked(), foot.linked.isChecked()) == (False, True)
    names = []
    for _ in COLOUR_MAPS:
        names.append(foot.maps.currentText())
        foot.next_map()
    assert tuple(names) == COLOUR_MAPS
    assert foot.maps.currentText() == COLOUR_MAPS[0]
