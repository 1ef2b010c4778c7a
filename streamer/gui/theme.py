"""Colours, fonts and style of the window. Verdict colours differ for every kind of colour vision (Okabe and Ito) and in
lightness, and are always accompanied by a sign and the word. No Qt.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamer.frames import Decision
from streamer.gui.model import Connection

BACKGROUND_COLOUR = "#0e1116"
PANEL_COLOUR = "#161b22"
EDGE_COLOUR = "#272e38"
TEXT_COLOUR = "#e8ecf1"
MUTED_COLOUR = "#8d98a8"
ACCENT_COLOUR = "#56b4e9"
ALARM_COLOUR = "#ff6b4a"

COLOUR_MAPS = ("grey", "grey inverted", "viridis", "inferno", "magma", "cividis")

TEXT_FONTS = ("Inter", "Segoe UI", "SF Pro Text", "Helvetica Neue", "Noto Sans", "DejaVu Sans", "Sans Serif")
MONO_FONTS = ("JetBrains Mono", "Consolas", "Menlo", "DejaVu Sans Mono", "Monospace")


@dataclass(frozen=True)
class VerdictStyle:
    """How a verdict is shown."""

    sign: str
    fill: str
    ink: str


VERDICT_STYLES: dict[Decision | None, VerdictStyle] = {
    Decision.ENOUGH: VerdictStyle("✔", "#00805f", "#ffffff"),
    Decision.CONTINUE: VerdictStyle("▶", "#0067a8", "#ffffff"),
    Decision.RETAKE: VerdictStyle("↻", "#c84a00", "#ffffff"),
    Decision.REALIGN: VerdictStyle("⇄", "#f0c030", "#141414"),
    Decision.EMPTY: VerdictStyle("∅", "#cc79a7", "#141414"),
    Decision.UNKNOWN: VerdictStyle("?", "#566070", "#ffffff"),
    None: VerdictStyle("…", "#1c222b", "#aab4c2"),
}

LINK_COLOURS = {
    Connection.WAITING: "#f0c030",
    Connection.NO_SCAN: MUTED_COLOUR,
    Connection.LIVE: "#2ec4a0",
    Connection.STALLED: ALARM_COLOUR,
    Connection.FINISHED: ACCENT_COLOUR,
}

KEY_HELP = (
    ("F", "full screen"),
    ("A", "auto contrast"),
    ("L", "link contrast"),
    ("M", "colour map"),
    ("R", "reset view"),
    ("S", "save PNG"),
    ("Q", "quit"),
)

STYLE_SHEET = f"""
QWidget {{ background: {BACKGROUND_COLOUR}; color: {TEXT_COLOUR}; font-size: 13px; }}
QLabel {{ background: transparent; }}
QLabel#brand {{ font-size: 20px; font-weight: 700; }}
QLabel#title {{ font-size: 16px; color: {TEXT_COLOUR}; }}
QLabel#link {{ font-size: 14px; font-weight: 600; }}
QLabel#word {{ font-size: 50px; font-weight: 800; }}
QLabel#sign {{ font-size: 46px; font-weight: 800; }}
QLabel#reasons {{ font-size: 20px; }}
QFrame#card {{ background: {PANEL_COLOUR}; border: 1px solid {EDGE_COLOUR}; border-radius: 8px; }}
QLabel#caption {{ color: {MUTED_COLOUR}; font-size: 11px; font-weight: 600; }}
QLabel#value {{ font-size: 21px; font-weight: 600; }}
QLabel#note {{ color: {MUTED_COLOUR}; font-size: 13px; }}
QLabel#empty {{ color: {MUTED_COLOUR}; font-size: 22px; }}
QLabel#help, QLabel#history {{ color: {MUTED_COLOUR}; font-size: 12px; }}
QLabel#cursor {{ color: {TEXT_COLOUR}; font-size: 13px; }}
QProgressBar {{ background: {EDGE_COLOUR}; border: none; border-radius: 4px; }}
QProgressBar::chunk {{ background: {ACCENT_COLOUR}; border-radius: 4px; }}
QComboBox, QPushButton {{
  background: {EDGE_COLOUR}; border: 1px solid #36404d; border-radius: 5px; padding: 4px 10px;
}}
QComboBox:hover, QPushButton:hover {{ border-color: {ACCENT_COLOUR}; }}
QPushButton:checked {{ background: #1d4a66; border-color: {ACCENT_COLOUR}; }}
QComboBox::drop-down {{ border: none; width: 18px; }}
QComboBox QAbstractItemView {{
  background: {PANEL_COLOUR}; border: 1px solid {EDGE_COLOUR}; selection-background-color: #1d4a66;
}}
"""
