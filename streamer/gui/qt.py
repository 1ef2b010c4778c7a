"""Workarounds that Qt needs before it is started. Imports nothing of Qt itself."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

IMMORTAL_COUNT = 1 << 40

PROBE_PROGRAM = "from PySide6.QtWidgets import QApplication; QApplication([])"
DISPLAYLESS_PLATFORMS = {"offscreen", "minimal", "vnc"}


PACKAGES = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxcb.so.1": "libxcb1",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libX11.so.6": "libx11-6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libdbus-1.so.3": "libdbus-1-3",
    "libglib-2.0.so.0": "libglib2.0-0",
}
"""The Debian package of each library that the plugin needs."""


def _ldd(library: Path) -> str:
    try:
        return subprocess.run(["ldd", library], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


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
    if missing := missing_libraries():
        packages = sorted({PACKAGES.get(name, name) for name in missing})
        way_out = f"on Debian and Ubuntu: apt install {' '.join(packages)}"
        return f"Qt cannot open a window: {', '.join(missing)} missing; {way_out}"
    said = [line.strip() for line in probe.stderr.splitlines() if line.strip()]
    return f"Qt cannot open a window: {said[0] if said else 'no reason given'}"


def missing_libraries(resolve: Callable[[Path], str] = _ldd) -> list[str]:
    """Libraries that Qt's plugin for X11 needs and the system lacks; Qt itself blames one of them, whichever it is.

    ``resolve`` gives what ldd says of a library.
    """
    package = find_spec("PySide6")
    if package is None or not package.submodule_search_locations:
        return []
    plugin = Path(package.submodule_search_locations[0], "Qt/plugins/platforms/libqxcb.so")
    said = resolve(plugin) if plugin.exists() else ""
    return [line.split()[0] for line in said.splitlines() if line.endswith("=> not found")]
