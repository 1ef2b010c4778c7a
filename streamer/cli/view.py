"""``streamer view``: opens the window, or saves a picture of it. Qt is imported only when the verb runs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from streamer.cli.terminal.arguments import add_key, add_verb, checked, read_key
from streamer.cli.terminal.outputs import OutputError, check_outputs
from streamer.config import Endpoint
from streamer.frames import BadInput, StreamerError
from streamer.keys import ClientKey

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from streamer.gui.window import ViewerWindow

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5581"
NEEDED = ("PySide6.QtWidgets", "pyqtgraph")

MORE = """\
in the window:
  F  full screen         A  automatic contrast      L  one contrast for all planes
  M  next colour map     R  show the whole plane    S  save a PNG in this folder     Q  quit
  Drag the two handles of a colour bar to set the contrast by hand; turn the wheel to zoom; point to read values.

exit codes: 0 closed or saved; 1 no plane came before the snapshot was due, or it could not be written;
2 bad input, no display, or no GUI packages
"""


class NoSnapshotError(StreamerError):
    """There was no plane to save."""


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "view",
        "Watch a scan while it runs: three planes of the sample that fill in as the angles arrive, the verdict with "
        "its reasons, the centre of rotation, and every frame that was lost.\n\n"
        "The viewer only looks. It asks the daemon at ENDPOINT where its previews are, finds it again when it "
        "restarts, and can never slow it: a window that cannot keep up skips pictures, and no frame is lost.",
        {
            "view": "the daemon on this machine",
            "view tcp://beamline-7:5581": "a daemon elsewhere",
            "view --snapshot now.png --after 3": "no display needed: watch for 3 s, save a picture, exit",
        },
        MORE,
    )
    parser.add_argument(
        "endpoint", type=checked(Endpoint), nargs="?", default=DEFAULT_ENDPOINT, metavar="ENDPOINT",
        help="control endpoint of the daemon (default %(default)s)",
    )  # fmt: skip
    add_key(parser)
    parser.add_argument("--snapshot", type=Path, metavar="FILE", help="save the window as a PNG instead of opening it")
    parser.add_argument(
        "--after", type=checked(Annotated[float, Field(ge=0, le=1e6)]), default=5.0, metavar="S",
        help="seconds to watch before the snapshot is taken (default %(default)g)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Open the window, or take the snapshot."""
    check_outputs({"--snapshot": args.snapshot})
    if not all(_installed(name) for name in NEEDED):
        raise BadInput("the viewer needs its GUI packages: pip install 'tomo-streamer[gui]'")
    from streamer.gui.qt import cannot_open

    if args.snapshot is not None:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    elif (reason := cannot_open()) is not None:
        raise BadInput(f"{reason}; a picture without a display: streamer view --snapshot FILE")
    _show(args.endpoint, args.snapshot, args.after, read_key(args))
    return 0


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _show(endpoint: str, snapshot: Path | None, after_s: float, key: ClientKey | None) -> None:
    from PySide6.QtCore import qInstallMessageHandler
    from PySide6.QtWidgets import QApplication

    from streamer.gui.client import ViewerClient
    from streamer.gui.model import ViewModel
    from streamer.gui.qt import hold_none
    from streamer.gui.window import ViewerWindow

    hold_none()
    qInstallMessageHandler(_qt_says)
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(["streamer"])
    model = ViewModel(endpoint)
    window = ViewerWindow(model, ViewerClient(endpoint, model, key=key))
    window.show()
    before = signal.signal(signal.SIGINT, lambda _number, _frame: app.quit())
    try:
        if snapshot is None:
            app.exec()  # the window's timer lets Python run, so that Ctrl-C works
        else:
            _snapshot(app, window, snapshot, after_s)
    finally:
        _restore(before)
        window.close()
        window.deleteLater()
        app.processEvents()


def _qt_says(_kind: object, _context: object, message: str) -> None:
    """Print Qt's messages, except for one that its offscreen plugin writes about every window."""
    if "propagateSizeHints" not in message:
        print(message, file=sys.stderr)


def _restore(handler: signal.Handlers | int | Any) -> None:
    if handler is not None:  # None: not set from Python, which cannot restore it
        signal.signal(signal.SIGINT, handler)


def _snapshot(app: QApplication, window: ViewerWindow, path: Path, after_s: float) -> None:
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
        raise NoSnapshotError("stopped before the snapshot was taken")
    if not window.model.planes:
        raise NoSnapshotError(f"no plane came within {after_s:g} s: {window.model.link_text(time.monotonic())}")
    window.refresh()
    app.processEvents()  # a tile that is new is laid out here
    if not window.save_png(path):
        raise OutputError(f"--snapshot {path}: cannot be written")
    print(f"{path}: {window.model.status_line(time.monotonic())}")
