"""``streamer trigger``: keeps the latest turns of a scan that turns on and on, and those that follow."""

from __future__ import annotations

import argparse
from typing import Any

from streamer.cli.terminal.arguments import add_verb, read_key
from streamer.cli.terminal.daemon import add_daemon
from streamer.client import Link
from streamer.flow.wire.daemon import GetStatus, Trigger
from streamer.frames import BadInput
from streamer.io.messaging.sockets import until_done


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "trigger",
        "Keep the latest turns of a scan that turns on and on (tomo_capture), and the turns that follow. Until then "
        "its projections pass by and are kept nowhere. Exit code 2 when no scan waits for it, or no daemon answers.",
        {
            "trigger": "the daemon on this machine",
            "trigger tcp://beamline-7:5581": "a daemon elsewhere",
        },
    )
    add_daemon(parser, timeout_s=10.0)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    with until_done() as context, Link(args.endpoint, "the daemon", args.timeout, context, read_key(args)) as link:
        scan = link.ask(GetStatus()).scan
        if scan is None or scan.state.final:
            raise BadInput("no scan is armed or running")
        link.ask(Trigger(scan.scan_id))
    print(f"scan {scan.scan_id} is triggered")
    return 0
