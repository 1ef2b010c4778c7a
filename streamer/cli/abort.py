"""``streamer abort``: ends the scan that a daemon has in hand."""

from __future__ import annotations

import argparse
from typing import Any

from streamer.cli.terminal.arguments import add_verb, read_key
from streamer.cli.terminal.daemon import add_daemon
from streamer.client import Link, final_report
from streamer.flow.wire.daemon import Abort, GetStatus
from streamer.io.messaging.sockets import until_done


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "abort",
        "End the scan that a daemon has in hand, armed or running. The frames that came are kept in its raw file. "
        "Waits until the daemon can take the next scan. Exit code 2 when no daemon answers.",
        {
            "abort": "the daemon on this machine",
            "abort tcp://beamline-7:5581 --reason 'sample fell off'": "a daemon elsewhere; the raw file says why",
        },
    )
    add_daemon(parser, timeout_s=10.0)
    parser.add_argument("--scan-id", metavar="NAME", help="only if this scan is in hand (default: whichever)")
    parser.add_argument(
        "--reason", default="aborted from the command line", metavar="TEXT", help="why; goes into the raw file"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    with until_done() as context, Link(args.endpoint, "the daemon", args.timeout, context, read_key(args)) as link:
        scan_id = args.scan_id
        if scan_id is None:
            scan = link.ask(GetStatus()).scan
            if scan is None or scan.state.final:
                print("no scan is armed or running")
                return 0
            scan_id = scan.scan_id
        link.ask(Abort(scan_id, args.reason))
        report = final_report(link, scan_id)
    print(f"scan {scan_id} is {report.state}: {report.frames.received} frames are in {report.raw_file}")
    return 0
