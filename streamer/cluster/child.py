"""What the programs of a cluster have in common: how they are told what to be, and that they work."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import msgspec

from streamer.cluster.messages import Ready, Setup
from streamer.config import Config
from streamer.daemon.supervision import show_name
from streamer.frames import StreamerError


def begin(name: str) -> tuple[Setup, Config]:
    """Read the set-up from the standard input. SIGINT, which a terminal sends to the whole group, is the scout's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    show_name(name)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format=f"%(asctime)s %(levelname)s {name}: %(message)s"
    )
    setup = msgspec.json.decode(sys.stdin.buffer.read(), type=Setup)
    return setup, Config.model_validate_json(setup.config)


def say_ready(ready: Ready) -> None:
    """Say so on the standard output, which nobody reads after that."""
    sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
    sys.stdout.flush()


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


def orphaned(setup: Setup) -> bool:
    """Whether the scout is gone."""
    return os.getppid() != setup.parent


def as_json(config: Config) -> str:
    """The configuration as ``begin`` reads it."""
    return config.model_dump_json(exclude_none=True)
