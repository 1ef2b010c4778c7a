"""A program of a cluster for the tests of engines: it says what it was told, and leaves a mark when nobody wants it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NoReturn

from streamer.cluster.engines.lifeline import ToScout
from streamer.cluster.messages import Ready

SILENT = "silent"
"""As configuration: never to be ready."""


def start(scout: ToScout) -> NoReturn:
    setup = scout.setup()
    if setup.config != SILENT:
        scout.say_ready(Ready(setup.host, setup.config, text=f"{setup.threads} threads of {os.getpid()}"))
    while not scout.gone:
        time.sleep(0.01)
    if setup.scout:
        Path(setup.scout).write_text("not wanted any more", encoding="utf-8")
    os._exit(0)
