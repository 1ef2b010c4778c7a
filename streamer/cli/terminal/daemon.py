"""Arguments of the verbs that speak to a daemon."""

from __future__ import annotations

import argparse
from typing import Annotated

from pydantic import Field

from streamer.cli.terminal.arguments import add_key, checked
from streamer.config import Endpoint

DEFAULT = "tcp://127.0.0.1:5581"


def add_daemon(parser: argparse.ArgumentParser, timeout_s: float | None = None) -> None:
    """Add ``endpoint`` and ``--key``, and ``--timeout`` where it has a default."""
    parser.add_argument(
        "endpoint",
        type=checked(Endpoint),
        nargs="?",
        default=DEFAULT,
        metavar="ENDPOINT",
        help=f"control endpoint of the daemon (default {DEFAULT})",
    )
    add_key(parser)
    if timeout_s is not None:
        parser.add_argument(
            "--timeout",
            type=checked(Annotated[float, Field(gt=0, le=1e6)]),
            default=timeout_s,
            metavar="S",
            help=f"wait S seconds for each answer (default {timeout_s:g})",
        )
