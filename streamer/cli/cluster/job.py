"""The program that reconstructs one scan of a backlog, in a process of its own."""

from __future__ import annotations

import argparse
import base64
import io
import os
import pickle
import signal
import sys
import threading
import time
from _thread import interrupt_main
from contextlib import redirect_stderr, redirect_stdout
from typing import NoReturn

from streamer.cluster.engines.lifeline import ToScout
from streamer.cluster.messages import Ready
from streamer.frames import StreamerError

LOOK_S = 0.1
LEAVE_S = 15.0
"""For which a kernel may go on after whoever wants the tomogram is gone."""


def start(scout: ToScout) -> NoReturn:
    """Do it, say in one line how it went, and end."""
    args = argparse.Namespace(**unpack(scout.setup().config))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_watch, args=(scout,), daemon=True).start()
    said, failed = io.StringIO(), ""
    try:
        with redirect_stdout(said), redirect_stderr(io.StringIO()):
            from streamer.cli import reconstruct

            reconstruct.run(args)
    except StreamerError as error:
        failed = str(error)
    except KeyboardInterrupt:
        failed = "interrupted"
    except Exception as error:
        failed = f"{type(error).__name__}: {error}"
    lines = said.getvalue().splitlines()
    text = failed or " ".join(lines[-2:-1])  # the verdict, above the name of the file
    scout.say_ready(Ready("", text=" ".join(text.split())[:500], failed=bool(failed)))
    sys.stdout.flush()
    os._exit(1 if failed else 0)


def pack(args: argparse.Namespace) -> str:
    """Arguments of ``streamer reconstruct`` as a text; ``unpack`` is only for what our own scout has said."""
    values = {name: value for name, value in vars(args).items() if name != "run"}
    return base64.b64encode(pickle.dumps(values)).decode("ascii")


def unpack(text: str) -> dict[str, object]:
    values: dict[str, object] = pickle.loads(base64.b64decode(text))
    return values


def _watch(scout: ToScout) -> None:
    """Give up, as for Ctrl-C, when nobody waits for the result any more: what is half done is removed."""
    while not scout.gone:
        time.sleep(LOOK_S)
    interrupt_main()
    time.sleep(LEAVE_S)
    os._exit(1)
