"""Notices on the desktop, by whatever way there is."""

from __future__ import annotations

import shutil
import subprocess
from html import escape

from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

from streamer.gui.state.notices import Notice

SHOWN_MS = 15_000


class Desktop:
    """Tells a notice: by the tray, else by ``notify-send``; the entry in the task bar blinks in any case."""

    def __init__(self, window: QWidget) -> None:
        self._window = window
        self._tray: QSystemTrayIcon | None = None
        self.told: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)
        QApplication.alert(self._window, SHOWN_MS)
        if QSystemTrayIcon.isSystemTrayAvailable() and QSystemTrayIcon.supportsMessages():
            if self._tray is None:
                self._tray = QSystemTrayIcon(self._window.windowIcon(), self._window)
                self._tray.show()
            self._tray.showMessage(notice.title, notice.text, QSystemTrayIcon.MessageIcon.Warning, SHOWN_MS)
        elif (program := shutil.which("notify-send")) is not None and QApplication.platformName() != "offscreen":
            subprocess.Popen(
                # The text may hold markup, by the specification of such notices; the title may not.
                [program, "--app-name=Streamer", "--urgency=critical", "--", notice.title, escape(notice.text, False)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
