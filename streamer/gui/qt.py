"""Workarounds that Qt needs before it is started. Imports nothing of Qt itself."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

IMMORTAL_COUNT = 1 << 40

PROBE_PROGRAM = "from PySide6.QtWidgets import QApplication; QApplication([])"
DISPLAYLESS_PLATFORMS = {"offscreen", "minimal", "vnc"}


def hold_none() -> None:
    """Make None immortal on Python 3.11, as every later Python does by itself.

    PySide6 6.12.0 releases a reference to None with each call of a Qt method that returns nothing, without having
    taken one (measured: 1000 calls of QLabel.setText cost 1000 references). Python 3.11 then aborts after minutes with
    "deallocating None". 6.11.3 and older are correct.
    """
    if sys.version_info < (3, 12) and sys.implementation.name == "cpython":
        count = ctypes.c_ssize_t.from_address(id(None))
        if count.value < IMMORTAL_COUNT:
            count.value += IMMORTAL_COUNT


def cannot_open() -> str | None:
    """Why no window can be opened, in one line; None when one can.

    Without a display Qt aborts the process instead of raising. So a child process tries first.
    """
    platform = os.environ.get("QT_QPA_PLATFORM", "").partition(":")[0]
    if platform in DISPLAYLESS_PLATFORMS or not sys.platform.startswith("linux"):
        return None
    if not platform and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "no display (DISPLAY and WAYLAND_DISPLAY are not set)"
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE_PROGRAM], capture_output=True, text=True, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return "the display does not answer"
    if probe.returncode == 0:
        return None
    said = [line.strip() for line in probe.stderr.splitlines() if line.strip()]
    return f"Qt cannot open a window: {said[0] if said else 'no reason given'}"
