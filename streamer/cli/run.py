"""``streamer run``: starts the daemon, or prints its configuration."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import Any

from streamer.cli.terminal.arguments import add_verb
from streamer.config import load, render


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "run",
        "Start the daemon: take frames, reconstruct, judge. Options that CONFIG.toml does not set have their defaults; "
        "STREAMER_SECTION__KEY in the environment overrides one. Ctrl-C or SIGTERM ends the daemon: a running scan is "
        "closed as aborted, and its file stays readable.",
        {
            "run --print-config > beamline.toml": "a configuration to begin with, every option explained",
            "run beamline.toml": "the daemon",
            "run beamline.toml --print-config": "what that configuration, with the environment, amounts to",
        },
    )
    parser.add_argument(
        "config",
        nargs="?",
        type=Path,
        metavar="CONFIG.toml",
        help="configuration (default: the default of each option)",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the whole configuration, with a description and the default of each option, and exit",
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help="write the endpoints to FILE, as JSON, once all sockets are bound",
    )
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started the daemon ends")
    parser.add_argument("-v", "--verbose", action="store_true", help="also log what helps to find a fault")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    config = load(args.config, os.environ)
    if args.print_config:
        print(render(config), end="")
        return 0
    from streamer.daemon.app import serve_forever

    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("numba").setLevel(logging.WARNING)
    return serve_forever(config, args.ready_file, args.with_parent)
