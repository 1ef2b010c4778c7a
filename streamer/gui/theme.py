"""Colours, sizes and words of the window. Verdict colours stay apart for every kind of colour vision (Okabe and Ito),
differ in lightness too, and never stand alone: a sign and the word go with them. No Qt.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamer.frames import Decision
from streamer.gui.model import Connection

BACKGROUND = "#0e1116"
PANEL = "#161b22"
EDGE = "#272e38"
TEXT = "#e8ecf1"
MUTED = "#8d98a8"
ACCENT = "#56b4e9"
ALARM = "#ff6b4a"

COLOUR_MAPS = ("grey", "grey inverted", "viridis", "inferno", "magma", "cividis")

FONTS = ("Inter", "Segoe UI", "SF Pro Text", "Helvetica Neue", "Noto Sans", "DejaVu Sans", "Sans Serif")
MONO = ("JetBrains Mono", "Consolas", "Menlo", "DejaVu Sans Mono", "Monospace")


@dataclass(frozen=True)
class Look:
    """How a verdict is shown."""

    sign: str
    fill: str
    ink: str


LOOKS: dict[Decision | None, Look] = {
    Decision.ENOUGH: Look("✔", "#00805f", "#ffffff"),
    Decision.CONTINUE: Look("▶", "#0067a8", "#ffffff"),
    Decision.RETAKE: Look("↻", "#c84a00", "#ffffff"),
    Decision.REALIGN: Look("⇄", "#f0c030", "#141414"),
    Decision.EMPTY: Look("∅", "#cc79a7", "#141414"),
    Decision.UNKNOWN: Look("?", "#566070", "#ffffff"),
    None: Look("…", "#1c222b", "#aab4c2"),
}

LINK_COLOURS = {
    Connection.WAITING: "#f0c030",
    Connection.NO_SCAN: MUTED,
    Connection.LIVE: "#2ec4a0",
    Connection.STALLED: ALARM,
    Connection.FINISHED: ACCENT,
}

KEYS = (
    ("F", "full screen"),
    ("A", "auto contrast"),
    ("L", "link contrast"),
    ("M", "colour map"),
    ("R", "reset view"),
    ("S", "save PNG"),
    ("Q", "quit"),
)

STYLE = f"""
QWidget {{ background: {BACKGROUND}; color: {TEXT}; font-size: 13px; }}
QLabel {{ background: transparent; }}
QLabel#brand {{ font-size: 20px; font-weight: 700; }}
QLabel#title {{ font-size: 16px; color: {TEXT}; }}
QLabel#link {{ font-size: 14px; font-weight: 600; }}
QLabel#word {{ font-size: 50px; font-weight: 800; }}
QLabel#sign {{ font-size: 46px; font-weight: 800; }}
QLabel#reasons {{ font-size: 20px; }}
QFrame#card {{ background: {PANEL}; border: 1px solid {EDGE}; border-radius: 8px; }}
QLabel#caption {{ color: {MUTED}; font-size: 11px; font-weight: 600; }}
QLabel#value {{ font-size: 21px; font-weight: 600; }}
QLabel#note {{ color: {MUTED}; font-size: 13px; }}
QLabel#empty {{ color: {MUTED}; font-size: 22px; }}
QLabel#help, QLabel#history {{ color: {MUTED}; font-size: 12px; }}
QLabel#cursor {{ color: {TEXT}; font-size: 13px; }}
QProgressBar {{ background: {EDGE}; border: none; border-radius: 4px; }}
QProgressBar::chunk {{ background: {ACCENT}; border-radius: 4px; }}
QComboBox, QPushButton {{ background: {EDGE}; border: 1px solid #36404d; border-radius: 5px; padding: 4px 10px; }}
QComboBox:hover, QPushButton:hover {{ border-color: {ACCENT}; }}
QPushButton:checked {{ background: #1d4a66; border-color: {ACCENT}; }}
QComboBox::drop-down {{ border: none; width: 18px; }}
QComboBox QAbstractItemView {{ background: {PANEL}; border: 1px solid {EDGE}; selection-background-color: #1d4a66; }}
"""
