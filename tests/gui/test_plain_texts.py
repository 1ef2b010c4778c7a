"""Texts from the network are shown as they are, whatever they look like."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6 import QtGui
from PySide6.QtGui import QGuiApplication, QTextDocument
from PySide6.QtWidgets import QApplication, QLabel, QSystemTrayIcon, QWidget

from streamer.flow.scan import ScanState
from streamer.frames import Decision, Reason, ReasonCode, Verdict
from streamer.gui.desktop import Desktop
from streamer.gui.panels import BatchPanel, HistoryPanel
from streamer.gui.parts import Banner
from streamer.gui.state.model import ViewModel
from streamer.gui.state.notices import Notice
from streamer.gui.state.scan import ShownScan
from streamer.gui.state.texts import Texts
from streamer.gui.window import ViewerWindow

MARKUP = "<img src='x.png'> a < b &amp; <b>bold</b>"
REASON = Reason(ReasonCode.OTHER, MARKUP)


@pytest.fixture
def model(qt: QApplication) -> ViewModel:
    """Of a scan of which every text looks like HTML."""
    made = ViewModel("tcp://127.0.0.1:1")
    verdict = Verdict(Decision.RETAKE, (REASON,), final=True)
    made.scan = made.history["s1"] = ShownScan(
        "s1", MARKUP, ScanState.COMPLETE, verdict=verdict, raw_file=f"/raw/{MARKUP}", tomogram_file=f"/data/{MARKUP}"
    )
    return made


def read(tip: str) -> list[str]:
    """The lines that a person reads in a tooltip, which Qt takes for HTML when it looks like some."""
    document = QTextDocument()
    (document.setHtml if QtGui.Qt.mightBeRichText(tip) else document.setPlainText)(tip)
    return document.toPlainText().split("\n")


def test_the_banner_shows_markup_as_it_is(model: ViewModel) -> None:
    banner = Banner()
    banner.show_verdict(model, Texts(model))
    assert read(banner.toolTip())[0] == f"other: {MARKUP}"
    assert banner.reasons.text() == f"other: {MARKUP}"


def test_scans_and_files_show_markup_as_it_is(model: ViewModel) -> None:
    history, batch = HistoryPanel(lambda _: None), BatchPanel()
    history.show_model(model)
    assert read(history.list.item(0).toolTip())[-2:] == [f"/raw/{MARKUP}", f"/data/{MARKUP}"]
    batch.show_model(Texts(model))
    assert read(batch.files["tomogram"].toolTip()) == [f"/data/{MARKUP}"]
    model.scan = model.history["s1"] = replace(model.scan, tomogram_file="")
    batch.show_model(Texts(model))
    assert batch.files["tomogram"].toolTip() == "", "no empty box under the mouse"


def test_no_label_of_the_window_takes_its_text_for_html(model: ViewModel, tmp_path: Path) -> None:
    window = ViewerWindow(model, None, tmp_path)
    try:
        shown = [each for each in window.findChildren(QLabel) if "bold" in each.text()]
        assert {"title", "reasons"} <= {each.objectName() for each in shown}
        assert not [each.text() for each in shown if each.textFormat() is not each.textFormat().PlainText]
    finally:
        window.close()
        window.deleteLater()


def test_a_notice_on_the_desktop_has_no_markup(qt: QApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    def note(command: list[str], **_options: Any) -> None:
        called.append(command)

    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", lambda: False)
    monkeypatch.setattr(QGuiApplication, "platformName", lambda: "xcb")
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/notify-send")
    monkeypatch.setattr(subprocess, "Popen", note)
    Desktop(QWidget()).tell(Notice("a < b: RETAKE", "5 < 6 & <b>bold</b>"))
    assert [command[-2:] for command in called] == [["a < b: RETAKE", "5 &lt; 6 &amp; &lt;b&gt;bold&lt;/b&gt;"]]
