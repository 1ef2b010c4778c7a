"""``streamer run``: starts the daemon, or prints its configuration."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from streamer.cli.terminal.arguments import add_verb
from streamer.cli.terminal.logs import ScanInHand, add_log_options, start_log
from streamer.cli.terminal.outputs import check_outputs
from streamer.config import Config, load, render
from streamer.io.messaging.sockets import keep_message_memory
from streamer.io.place import set_file_mode
from streamer.io.service_manager import service_manager

if TYPE_CHECKING:
    from streamer.cluster.scout import Scout

log = logging.getLogger(__name__)


SWITCH_S = 0.001
"""After so long a thread lets another one run that waits for Python. Frames wait for pictures and looks several times
in a batch: with Python's 5 ms they would do so for longer than it takes to fold the batch in."""


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
        help="write the endpoints to FILE, as JSON, once the daemon is ready",
    )
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started the daemon ends")
    add_log_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    config = load(args.config, os.environ)
    if args.print_config:
        print(render(config), end="")
        return 0
    check_outputs({"--ready-file": args.ready_file})
    return serve_forever(config, args.ready_file, args.with_parent, start_log(args))


def _shared_out(config: Config) -> tuple[Config, Scout | None]:
    """Start the shards that the configuration wants."""
    from streamer.cluster.scout import Scout, engine_of, shards_of, shared_out

    if config.compute.shards == 1:
        return config, None
    engine = engine_of(config)
    try:
        if (count := shards_of(config, engine.gpus)) == 1:
            engine.close()
            return config, None
        config = shared_out(config)
        log.info("%d shards are started", count)
        return config, Scout(config, count, time.monotonic, engine)
    except BaseException:
        engine.close()
        raise


def serve_forever(config: Config, ready_file: Path | None, with_parent: bool, scan: ScanInHand) -> int:
    """Run a daemon until SIGTERM, SIGINT or SIGHUP; the exit code is 1 when it failed. A second signal exits at once.

    The ready file is removed at the end. ``scan`` learns which one is in hand.
    """
    parent = os.getppid()  # before the long start: a parent that ends during it would not be missed
    from streamer.daemon.app import Daemon

    if config.writer.mode is not None:
        set_file_mode(config.writer.mode)
    keep_message_memory()
    sys.setswitchinterval(SWITCH_S)
    config, elsewhere = _shared_out(config)
    try:
        daemon = Daemon(config, elsewhere=elsewhere)
    except BaseException:
        if elsewhere is not None:
            elsewhere.close()
        raise
    scan.ask = daemon.scan_in_hand
    asked = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            os._exit(1)
        asked.set()
        threading.Thread(target=daemon.stop, name="stop").start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it, and it stays so
        signal.signal(signal.SIGHUP, on_signal)
    log.info("listening: %s", ", ".join(f"{name} {value}" for name, value in daemon.endpoints.items()))
    try:
        announce = (lambda: None) if ready_file is None else partial(daemon.announce, ready_file)
        daemon.run(lambda: with_parent and os.getppid() != parent, announce, service_manager(os.environ))
    finally:
        if elsewhere is not None:
            elsewhere.close()
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
    return 1 if daemon.failure else 0
