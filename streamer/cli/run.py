"""``streamer run``: the daemon."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import Any

from streamer.config import load


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "run",
        description="Start the daemon: take frames, reconstruct, judge. Without a file every setting has its default; "
        "STREAMER_SECTION__KEY in the environment overrides one setting. Ends on Ctrl-C or SIGTERM: a scan that runs "
        "is closed as aborted and stays readable.",
    )
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG.toml", help="configuration (see deploy/streamer.toml)"
    )
    parser.add_argument(
        "--ready-file", type=Path, metavar="PATH", help="write the endpoints here, as JSON, once all are bound"
    )
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one ends")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from streamer.daemon.app import serve_forever

    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("numba").setLevel(logging.WARNING)
    return serve_forever(load(args.config, os.environ), args.ready_file, args.with_parent)
