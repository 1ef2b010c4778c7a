"""``streamer status``: shows what a daemon is doing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated, Any

from msgspec import structs, to_builtins
from pydantic import Field

from streamer.cli.terminal.arguments import add_key, add_verb, checked, read_key
from streamer.cli.terminal.outputs import check_outputs, write_json
from streamer.client import Link
from streamer.config import Endpoint
from streamer.flow.wire.daemon import DaemonStatus, GetStatus
from streamer.io.sockets import until_done

DEFAULT = "tcp://127.0.0.1:5581"


def add_daemon(parser: argparse.ArgumentParser, timeout_s: float) -> None:
    """Arguments of a verb that asks a daemon: ``endpoint``, ``--key`` and ``--timeout``."""
    parser.add_argument(
        "endpoint",
        type=checked(Endpoint),
        nargs="?",
        default=DEFAULT,
        metavar="ENDPOINT",
        help=f"control endpoint of the daemon (default {DEFAULT})",
    )
    add_key(parser)
    parser.add_argument(
        "--timeout",
        type=checked(Annotated[float, Field(gt=0, le=1e6)]),
        default=timeout_s,
        metavar="S",
        help=f"wait S seconds for each answer (default {timeout_s:g})",
    )


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "status",
        "Ask a daemon what it is doing: its endpoints, how full the ring is, and the present or last scan with its "
        "frames and its verdict. Exit code 2 when no daemon answers.",
        {
            "status": "the daemon on this machine",
            "status tcp://beamline-7:5581 --json s.json": "a daemon elsewhere; the whole answer for a program",
        },
    )
    add_daemon(parser, timeout_s=3.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole answer to FILE")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_outputs({"--json": args.json})
    with until_done() as context, Link(args.endpoint, "the daemon", args.timeout, context, read_key(args)) as link:
        status = link.ask(GetStatus())
    for line in lines(status):
        print(line)
    write_json(args.json, to_builtins(status))
    return 0


def lines(status: DaemonStatus) -> list[str]:
    """The answer in words."""
    text = [f"streamer {status.version}, backend {status.backend}: {status.state}"]
    endpoints = structs.asdict(status.endpoints)
    text += [f"  {name:8} {endpoint}" for name, endpoint in sorted(endpoints.items()) if endpoint is not None]
    ring, scan = status.ring, status.scan
    text.append(f"  ring     {ring.occupied} of {ring.slots} slots in use, at most {ring.high_water} so far")
    if scan is not None:
        frames = scan.frames
        kinds = {kind: getattr(frames, f"missing_{kind}") for kind in ("projections", "flats", "darks")}
        which = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        lost = f"{frames.missing} missing" + (f" ({which})" if which else "")
        lost += f", {frames.duplicate} duplicate, {frames.late} late, {frames.corrupt} corrupt"
        lost += "".join(f", {count} unusable ({cause})" for cause, count in scan.quality.unusable_counts.items())
        text.append(f"  scan     {scan.scan_id} of {scan.sample}: {scan.state}")
        text.append(f"           {frames.received} of {frames.expected} frames, {lost}; {scan.written} written")
        if scan.writer != "ok":
            text.append(f"  writer   {scan.writer}: {scan.writer_note}")
        text.append(f"  verdict  {scan.judgement}")
    return text
