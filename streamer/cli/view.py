"""``streamer view``: the window, or one picture of it. Qt is imported only when the verb runs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from streamer.frames import StreamerError

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from streamer.gui.window import Window

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5581"
NEEDED = ("PySide6.QtWidgets", "pyqtgraph")
MAX_AFTER_S = 1e6

DESCRIPTION = """\
Watch a scan while it runs: three planes of the sample that fill in as the angles arrive, the verdict with its
reasons, the centre of rotation, and every frame that was lost.

The viewer only looks. It asks the daemon at ENDPOINT where its previews are, finds it again when it restarts, and
can never slow it: when this window cannot keep up, pictures are skipped, not frames.
"""

EPILOG = """\
in the window:
  F  full screen         A  automatic contrast      L  one contrast for all planes
  M  next colour map     R  show the whole plane    S  save a PNG in this folder     Q  quit
  Drag the two handles of a colour bar to set the contrast by hand; turn the wheel to zoom; point to read values.

examples:
  streamer view                                    the daemon on this machine
  streamer view tcp://beamline-7:5581              a daemon elsewhere
  streamer view --snapshot now.png --after 3       no display needed: watch for 3 s, save a picture, exit

exit codes: 0 closed or saved; 1 no plane came before the snapshot was due; 2 bad input, no display, or no GUI packages
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Register the verb. The parsed arguments carry ``run``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "view",
        help="watch a running scan in a window",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "endpoint", nargs="?", default=DEFAULT_ENDPOINT, metavar="ENDPOINT",
        help="control endpoint of the daemon (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--snapshot", type=Path, metavar="FILE", help="save the window as a PNG instead of opening it")
    parser.add_argument(
        "--after", type=float, default=5.0, metavar="S",
        help="seconds to watch before the snapshot is taken (default %(default)g)",
    )  # fmt: skip
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Open the window, or take the snapshot; returns the exit code."""
    snapshot: Path | None = args.snapshot
    if snapshot is not None and not 0 <= args.after <= MAX_AFTER_S:
        return _complain(f"--after {args.after}: give the seconds to watch, 0 or more", 2)
    if snapshot is not None and not snapshot.absolute().parent.is_dir():
        return _complain(f"--snapshot {snapshot}: there is no folder {snapshot.absolute().parent}", 2)
    if not all(_installed(name) for name in NEEDED):
        return _complain("the viewer needs its GUI packages: pip install 'tomo-streamer[gui]'", 2)
    from streamer.gui.qt import cannot_open

    if snapshot is not None:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    elif (reason := cannot_open()) is not None:
        return _complain(f"{reason}; a picture without a display: streamer view --snapshot FILE", 2)
    try:
        return _show(args.endpoint, snapshot, args.after)
    except StreamerError as error:
        return _complain(str(error), 2)


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _complain(line: str, code: int) -> int:
    print(f"streamer view: {line}", file=sys.stderr)
    return code


def _show(endpoint: str, snapshot: Path | None, after_s: float) -> int:
    from PySide6.QtCore import qInstallMessageHandler
    from PySide6.QtWidgets import QApplication

    from streamer.gui.client import Client
    from streamer.gui.model import ViewModel
    from streamer.gui.qt import hold_none
    from streamer.gui.window import Window

    hold_none()
    qInstallMessageHandler(_qt_says)
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(["streamer"])
    model = ViewModel(endpoint)
    window = Window(model, Client(endpoint, model))
    window.show()
    before = signal.signal(signal.SIGINT, lambda _number, _frame: app.quit())
    try:
        if snapshot is None:
            app.exec()  # the window's timer gives Python its turn, so that Ctrl-C is heard
            return 0
        return _snapshot(app, window, snapshot, after_s)
    finally:
        _restore(before)
        window.close()
        window.deleteLater()
        app.processEvents()


def _qt_says(_kind: object, _context: object, message: str) -> None:
    """Qt's own words to stderr, but for what its display-less plugin says of every window."""
    if "propagateSizeHints" not in message:
        print(message, file=sys.stderr)


def _restore(handler: signal.Handlers | int | Any) -> None:
    if handler is not None:  # None: it was not set by Python, so Python cannot set it again
        signal.signal(signal.SIGINT, handler)


def _snapshot(app: QApplication, window: Window, path: Path, after_s: float) -> int:
    from PySide6.QtCore import QEventLoop, QTimer

    # A loop of its own: app.quit would close the window before its picture is taken.
    loop = QEventLoop()
    stopped = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        loop.quit()

    signal.signal(signal.SIGINT, stop)
    QTimer.singleShot(round(1000 * after_s), loop.quit)
    loop.exec()
    if stopped:
        return _complain("stopped before the snapshot was taken", 1)
    if not window.model.planes:
        return _complain(f"no plane came within {after_s:g} s: {window.model.link_text(time.monotonic())}", 1)
    window.refresh()
    app.processEvents()  # a tile that is new is laid out here
    if not window.save_png(path):
        return _complain(f"--snapshot {path}: cannot be written", 2)
    print(f"{path}: {window.model.status_line(time.monotonic())}")
    return 0
