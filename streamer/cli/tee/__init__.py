"""``streamer tee``: gives one detector's frames to several receivers."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from typing import Annotated, Any, get_args

from pydantic import Field

from streamer.cli.tee.counts import HOST, lines, serve_metrics
from streamer.cli.terminal.arguments import add_verb, checked
from streamer.cli.terminal.listening import port
from streamer.flow.row_cut import RowCut
from streamer.flow.wire.acknowledged import Transport
from streamer.frames import BadInput
from streamer.io.messaging.sockets import keep_message_memory, until_done
from streamer.io.senders.branches import Branch
from streamer.io.senders.tee import Tee
from streamer.io.senders.tee_acknowledged import AcknowledgedTee

HIGH_WATER_MARK = 8
SAY_S = 10.0


class _To(argparse.Action):
    """``--to`` begins a branch."""

    def __call__(self, _parser: Any, namespace: Any, value: Any, _option: str | None = None) -> None:
        namespace.branches = [*namespace.branches, Branch(value)]


class _Rows(argparse.Action):
    """``--rows`` belongs to the ``--to`` before it."""

    def __call__(self, _parser: Any, namespace: Any, value: Any, _option: str | None = None) -> None:
        if not namespace.branches:
            raise BadInput("--rows: belongs to the --to before it; give --to ENDPOINT first")
        first, colon, end = value.partition(":")
        if not (colon and first.isdecimal() and end.isdecimal()):
            raise BadInput(f"--rows: give the first row and the one behind the last, such as 0:512, not {value!r}")
        namespace.branches[-1].cut = RowCut(int(first), int(end))


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "tee",
        "Give one detector's frames to several receivers: a PUSH socket deals its messages out to all that connect, so "
        "that each would get a part of them.\n\nThe first receiver gets everything, and holds the detector back when "
        "it is behind. The others never slow it down: what they do not take in time is dropped, and counted. Runs "
        "until Ctrl-C. The sockets of --to are bound; receivers connect to them.",
        {
            "tee tcp://detector:9999 --to tcp://*:6001 --to tcp://*:6002": "the writer first, then a daemon",
            "tee tcp://eiger:5580 --to tcp://*:6001 --to tcp://*:6002 --rows 0:512": "the upper rows for the second",
        },
        "--rows is for frames in Streamer's own format.",
    )
    parser.add_argument("source", metavar="SOURCE", help="the detector's socket, tcp://HOST:PORT")
    parser.add_argument(
        "--transport",
        choices=get_args(Transport),
        default="push",
        help="of SOURCE: push (a PUSH socket), or acknowledged: the first receiver is a daemon with "
        "source.transport = acknowledged, and alone acknowledges; the others have PULL sockets in any case",
    )
    parser.add_argument("--bind", action="store_true", help="bind SOURCE; the detector connects to it")
    parser.add_argument(
        "--to", action=_To, metavar="ENDPOINT", help="socket for a receiver; once for each, the lossless one first"
    )
    parser.add_argument("--rows", action=_Rows, metavar="A:B", help="rows A to B − 1 for the receiver of the last --to")
    parser.add_argument(
        "--high-water-mark",
        type=checked(Annotated[int, Field(ge=1)]),
        default=HIGH_WATER_MARK,
        metavar="N",
        help=f"messages that wait for each receiver (default {HIGH_WATER_MARK})",
    )
    parser.add_argument("--metrics", type=port, metavar="PORT", help=f"serve Prometheus metrics at {HOST}:PORT")
    parser.set_defaults(run=run, branches=[])


def run(args: argparse.Namespace) -> int:
    if not args.branches:
        raise BadInput("--to: give a socket for each receiver, such as --to tcp://*:6001")
    keep_message_memory()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with until_done() as context:
        kind = Tee if args.transport == "push" else AcknowledgedTee
        tee = kind(context, args.source, args.bind, args.branches, args.high_water_mark)
        server = None if args.metrics is None else serve_metrics(tee, args.metrics)
        try:
            print(f"from {tee.source} to {', '.join(branch.endpoint for branch in tee.branches)}", flush=True)
            tee.run(_until(stopped, tee))
        finally:
            if server is not None:
                server.close()
    for line in lines(tee):
        print(line)
    return 0


def _until(stopped: threading.Event, tee: Tee | AcknowledgedTee) -> Any:
    """Whether to stop; says every 10 s what is dropped."""
    said, last = [0] * len(tee.branches), [time.monotonic()]

    def ask() -> bool:
        if time.monotonic() - last[0] >= SAY_S:
            last[0] = time.monotonic()
            now = [branch.dropped + branch.refused.total() for branch in tee.branches]
            for number, line in enumerate(lines(tee)[1:]):
                if now[number] != said[number]:
                    print(line, file=sys.stderr, flush=True)
            said[:] = now
        return stopped.is_set()

    return ask
