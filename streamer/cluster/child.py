"""What the programs of a cluster have in common: how they are told what to be, and how they end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from streamer.cluster.engines.lifeline import ToScout
from streamer.cluster.messages import Setup
from streamer.config import Config
from streamer.daemon.supervision import show_name
from streamer.frames import StreamerError


def begin(name: str, scout: ToScout) -> tuple[Setup, Config]:
    """Hear from the scout what to be. SIGINT, which a terminal sends to the whole group, is the scout's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    show_name(name)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format=f"%(asctime)s %(levelname)s {name}: %(message)s"
    )
    setup = scout.setup()
    return setup, Config.model_validate_json(setup.config)


def end_with(main: Callable[[], None], name: str) -> NoReturn:
    """Run the program and end the process, whatever threads are left; of what went wrong, one line on stderr."""
    code = 1
    try:
        main()
        code = 0
    except StreamerError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)


def as_json(config: Config) -> str:
    """The configuration as ``begin`` reads it."""
    return config.model_dump_json(exclude_none=True)
