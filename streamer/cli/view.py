"""``streamer view``: opens the window, or saves a picture of it. Qt is imported only when the verb runs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from streamer.cli.terminal.arguments import add_verb, checked, read_key
from streamer.cli.terminal.daemon import add_daemon
from streamer.cli.terminal.extras import need
from streamer.cli.terminal.outputs import OutputError, check_outputs
from streamer.frames import BadInput, StreamerError
from streamer.keys import ClientKey

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from streamer.gui.window import ViewerWindow

NEEDED = ("PySide6.QtWidgets", "pyqtgraph")

MORE = """\
in the window:
  drag            put the cross-hair: the other planes follow; the daemon makes them anew, from all angles
  Ctrl + wheel    move the plane under the mouse (also arrows, PgUp, PgDn, right drag)
  N               a free plane more; [ ] { } turn and tilt it, as does a right drag in it
  , . and C       nudge the centre of rotation by half a pixel; find it automatically again
  D               what the detector sees: raw frame, projection, sinogram
  F1 or ?         all keys

Side panel: numbers of planes and centre, past scans (a click shows one again), histogram, profile and distance,
quality over time, samples of a batch, paths of the files.

Moving planes or the centre is for everybody who watches, and needs the role steer where the daemon has keys.

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
        "It asks the daemon at ENDPOINT where its previews are, finds it again when it restarts, shows the last result "
        "when it comes late, and can never slow it: a window that cannot keep up skips pictures, and no frame is lost.",
        {
            "view": "the daemon on this machine",
            "view tcp://beamline-7:5581": "a daemon elsewhere",
            "view --batch night-12": "with the samples of the batch in this folder",
            "view --snapshot now.png --after 3": "no display needed: watch for 3 s, save a picture, exit",
        },
        MORE,
    )
    add_daemon(parser)
    parser.add_argument("--snapshot", type=Path, metavar="FILE", help="save the window as a PNG instead of opening it")
    parser.add_argument(
        "--after", type=checked(Annotated[float, Field(ge=0, le=1e6)]), default=5.0, metavar="S",
        help="seconds to watch before the snapshot is taken (default %(default)g)",
    )  # fmt: skip
    parser.add_argument("--batch", type=Path, metavar="FOLDER", help="follow the batch with its journal in this folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Open the window, or take the snapshot."""
    check_outputs({"--snapshot": args.snapshot})
    need("gui", "the viewer", *NEEDED)
    from streamer.gui.qt import cannot_open

    if args.snapshot is not None:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    elif (reason := cannot_open()) is not None:
        raise BadInput(f"{reason}; a picture without a display: streamer view --snapshot FILE")
    _show(args.endpoint, args.snapshot, args.after, read_key(args), args.batch)
    return 0


def _show(endpoint: str, snapshot: Path | None, after_s: float, key: ClientKey | None, batch: Path | None) -> None:
    from PySide6.QtCore import QSettings, QTimer, qInstallMessageHandler
    from PySide6.QtWidgets import QApplication

    from streamer.gui.client import ViewerClient
    from streamer.gui.qt import hold_none
    from streamer.gui.state.model import ViewModel
    from streamer.gui.window import ViewerWindow
    from streamer.io.batch_queue import QueueFile

    hold_none()
    qInstallMessageHandler(_qt_says)
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(["streamer"])
    model = ViewModel(endpoint)
    window = ViewerWindow(
        model,
        ViewerClient(endpoint, model, key=key),
        settings=QSettings("streamer", "viewer") if snapshot is None else None,
        queue=None if batch is None else QueueFile(batch),
    )
    window.show()
    # A signal may come while the window paints itself, which must not be closed then: the event loop quits.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: QTimer.singleShot(0, app.quit))
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
    if not window.model.shown_planes:
        raise NoSnapshotError(f"no plane came within {after_s:g} s: {window.texts.link_text(time.monotonic())}")
    window.refresh()
    app.processEvents()  # a tile that is new is laid out here
    if not window.save_png(path):
        raise OutputError(f"--snapshot {path}: cannot be written")
    print(f"{path}: {window.texts.status_line(time.monotonic())}")
