"""Colours, fonts and style of the window, dark and light. Verdict colours differ for every kind of colour vision (Okabe
and Ito) and in lightness, and are always accompanied by a sign and the word. No Qt.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamer.frames import Decision
from streamer.gui.state.texts import Connection


@dataclass(frozen=True)
class Palette:
    """The colours of one theme."""

    background: str
    panel: str
    edge: str
    text: str
    muted: str
    accent: str
    alarm: str
    chosen: str


DARK = Palette("#0e1116", "#161b22", "#272e38", "#e8ecf1", "#9aa5b4", "#56b4e9", "#ff6b4a", "#1d4a66")
LIGHT = Palette("#f6f7f9", "#ffffff", "#d5dae1", "#171c22", "#566070", "#0067a8", "#b83214", "#cfe5f5")

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
    None: VerdictStyle("…", "#3a4452", "#e8ecf1"),
}

LINE_COLOURS = {"xy": "#56b4e9", "xz": "#e69f00", "yz": "#2ec4a0", "free": "#cc79a7"}
"""Of a plane in the others. They lie on pictures, which are as dark in either theme."""

TITLE_COLOURS = {
    DARK: LINE_COLOURS,
    LIGHT: {"xy": "#0067a8", "xz": "#8a5a00", "yz": "#00775c", "free": "#a03c75"},
}
"""Of a plane's title: the hues of the lines, so that they can be read on the window."""

LINK_COLOURS = {
    DARK: {
        Connection.WAITING: "#d8a800",
        Connection.NO_SCAN: "#8d98a8",
        Connection.LIVE: "#2ec4a0",
        Connection.STALLED: "#d8a800",
        Connection.FINISHED: "#56b4e9",
    },
    LIGHT: {
        Connection.WAITING: "#9a7000",
        Connection.NO_SCAN: "#6b7686",
        Connection.LIVE: "#008a6b",
        Connection.STALLED: "#9a7000",
        Connection.FINISHED: "#0067a8",
    },
}

MEASURE_COLOURS = {DARK: "#f0c030", LIGHT: "#9a7000"}
"""Of the profile along the measuring line."""

KEY_HELP = (
    ("F1  ?", "this sheet"),
    ("drag", "put the cross-hair: the other planes follow"),
    ("Ctrl + wheel,  ↑ ↓", "move the plane under the mouse by a voxel (PgUp, PgDn: by 10)"),
    ("right drag", "move the plane along its normal; turn and tilt the free one"),
    ("wheel,  middle drag", "zoom, shift"),
    ("N", "free plane on, off"),
    ("[  ]     {  }", "turn, tilt the free plane by 5°"),
    ("0", "planes through the middle"),
    (",  .     <  >", "centre of rotation by 0.5, by 0.1 px"),
    ("C", "centre found automatically again"),
    ("D", "what the detector sees: raw, projection, sinogram"),
    ("P", "side panel on, off"),
    ("B", "line for distance and profile on, off"),
    ("X", "cross-hair and scale bar on, off"),
    ("A     K", "contrast automatic; keep it as it is"),
    ("L     M", "one contrast for all planes; next colour map"),
    ("R", "show whole planes"),
    ("Home", "back to the running scan"),
    ("S     V", "save a PNG; begin and end a movie (GIF)"),
    ("T     F     Q", "light or dark; full screen; quit"),
)


def style_sheet(p: Palette) -> str:
    """The window's style in a palette."""
    return f"""
QWidget {{ background: {p.background}; color: {p.text}; font-size: 13px; }}
QLabel, QCheckBox {{ background: transparent; }}
QLabel#brand {{ font-size: 18px; font-weight: 700; }}
QLabel#title {{ font-size: 15px; color: {p.text}; }}
QLabel#link {{ font-size: 13px; font-weight: 600; }}
QLabel#word {{ font-size: 34px; font-weight: 800; }}
QLabel#sign {{ font-size: 32px; font-weight: 800; }}
QLabel#reasons {{ font-size: 15px; }}
QLabel#advice {{ font-size: 15px; font-weight: 700; }}
QDialog {{ border: 1px solid {p.muted}; }}
QFrame#card {{ background: {p.panel}; border: 1px solid {p.edge}; border-radius: 8px; }}
QLabel#caption {{ color: {p.muted}; font-size: 11px; font-weight: 600; }}
QLabel#value {{ font-size: 18px; font-weight: 600; }}
QLabel#note {{ color: {p.muted}; font-size: 12px; }}
QLabel#empty {{ color: {p.muted}; font-size: 20px; }}
QLabel#cursor {{ color: {p.text}; font-size: 12px; }}
QProgressBar {{ background: {p.edge}; border: none; border-radius: 3px; }}
QProgressBar::chunk {{ background: {p.accent}; border-radius: 3px; }}
QCheckBox::indicator {{ width: 13px; height: 13px; border: 1px solid {p.muted}; border-radius: 3px; }}
QCheckBox::indicator:checked {{ background: {p.accent}; border-color: {p.accent}; }}
QComboBox, QPushButton, QDoubleSpinBox, QSpinBox, QLineEdit {{
  background: {p.panel}; border: 1px solid {p.edge}; border-radius: 5px; padding: 3px 8px; min-height: 18px;
}}
QComboBox:hover, QPushButton:hover {{ border-color: {p.accent}; }}
QPushButton:checked {{ background: {p.chosen}; border-color: {p.accent}; }}
QPushButton:disabled {{ color: {p.muted}; }}
QComboBox::drop-down {{ border: none; width: 18px; }}
QComboBox QAbstractItemView, QListWidget, QTableWidget {{
  background: {p.panel}; border: 1px solid {p.edge}; selection-background-color: {p.chosen};
  selection-color: {p.text};
}}
QTabWidget::pane {{ border: 1px solid {p.edge}; border-radius: 6px; }}
QTabBar::tab {{ background: {p.background}; color: {p.muted}; padding: 5px 6px; border: none; font-size: 12px; }}
QTabBar::tab:selected {{ color: {p.text}; border-bottom: 2px solid {p.accent}; }}
QHeaderView::section {{ background: {p.panel}; color: {p.muted}; border: none; padding: 3px; }}
QToolTip {{ background: {p.panel}; color: {p.text}; border: 1px solid {p.edge}; }}
"""
