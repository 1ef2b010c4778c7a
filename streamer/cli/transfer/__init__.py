"""``streamer transfer``: copies finished scans to other storage, with checksums."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from streamer.cli.terminal.arguments import add_verb, checked
from streamer.cli.terminal.logs import add_log_options, start_log
from streamer.io.transfer.copying import Stopped
from streamer.io.transfer.queue import Queue
from streamer.io.transfer.transfer import Rules, Transfer

log = logging.getLogger(__name__)

LOOK_S = 5.0
DAY_S = 86400.0
SETTLE_S = 30.0


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "transfer",
        "Copy finished raw files and tomograms from SOURCE to TARGET, where they are processed, and go on with those "
        "to come until Ctrl-C. A copy has its name only when it was read back and has the checksum of the original; "
        "one that was interrupted goes on where it was. The queue is a file: nothing is forgotten and nothing is "
        "copied twice when this, or the computer, is killed.",
        {
            "transfer /data/bl07 /storage/bl07 --queue queue.sqlite": "until Ctrl-C",
            "transfer /data/bl07 /storage/bl07 --queue queue.sqlite --once": "what is there now, and end",
            "transfer /data/bl07 /storage/bl07 --queue queue.sqlite --keep-days 7": "and make room at the source",
            "transfer /data/bl07 /storage/bl07 --queue queue.sqlite --status": "what is copied, and what is not",
            "transfer /data/bl07 /storage/bl07 --queue queue.sqlite --sums": "for sha256sum -c",
        },
        "exit code 1 when --once or --status leaves files that are not copied.",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder that the daemon writes to")
    parser.add_argument("target", type=Path, metavar="TARGET", help="folder of the copies; it must be there")
    parser.add_argument(
        "--queue", type=Path, required=True, metavar="FILE", help="file of the queue, made when missing"
    )
    parser.add_argument(
        "--settle-s",
        type=checked(Annotated[float, Field(ge=0, le=1e6)]),
        default=SETTLE_S,
        metavar="S",
        help=f"seconds for which a file must be unchanged (default {SETTLE_S:g})",
    )
    parser.add_argument(
        "--keep-days",
        type=checked(Annotated[float, Field(ge=0, le=1e5)]),
        metavar="DAYS",
        help="remove files at the source so many days after they were copied, if their copy is still sound",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="copy what is finished now, and end")
    what.add_argument("--status", action="store_true", help="say what is copied and what is not, and end")
    what.add_argument("--sums", action="store_true", help="print checksum and name of each copy, and end")
    add_log_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    queue = Queue(args.queue, work=not (args.sums or args.status))
    try:
        if args.sums:
            for entry in queue.entries():
                if entry.copied_s is not None:
                    print(f"{entry.sha256}  {entry.path}")
            return 0
        if args.status:
            return _status(queue)
        start_log(args)
        keep_s = None if args.keep_days is None else args.keep_days * DAY_S
        transfer = Transfer(args.source, args.target, queue, Rules(args.settle_s, keep_s), log.info)
        return _work(transfer, queue, args.once)
    finally:
        queue.close()


def _work(transfer: Transfer, queue: Queue, once: bool) -> int:
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())

    def go_on() -> bool:
        return not stopped.is_set()

    try:
        while go_on():
            transfer.look(time.time())
            transfer.copy(time.time, go_on)
            transfer.remove(time.time(), go_on)
            if once:
                return 1 if queue.waiting() else 0
            stopped.wait(LOOK_S)
    except Stopped:
        log.info("stopped; what was being copied goes on next time")
    return 0


def _status(queue: Queue) -> int:
    entries = list(queue.entries())
    copied = [entry for entry in entries if entry.copied_s is not None]
    waiting = [entry for entry in entries if entry.copied_s is None]
    removed = sum(entry.removed_s is not None for entry in entries)
    print(f"{len(copied)} files copied ({sum(e.size for e in copied) / 1e9:.2f} GB), {removed} of them removed here")
    print(f"{len(waiting)} files wait ({sum(e.size for e in waiting) / 1e9:.2f} GB)")
    for entry in waiting:
        print(f"  {entry.path}{f': {entry.error} ({entry.failures} attempts)' if entry.error else ''}")
    return 1 if waiting else 0
