"""``streamer status``: shows what a daemon is doing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from streamer.cli.arguments import add_verb, checked
from streamer.cli.outputs import check_outputs, write_json
from streamer.config import Endpoint
from streamer.frames import Verdict
from streamer.io.control import request
from streamer.io.sockets import until_done

DEFAULT = "tcp://127.0.0.1:5581"


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
    parser.add_argument(
        "endpoint",
        type=checked(Endpoint),
        nargs="?",
        default=DEFAULT,
        metavar="ENDPOINT",
        help=f"control endpoint of the daemon (default {DEFAULT})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole answer to FILE")
    parser.add_argument(
        "--timeout",
        type=checked(Annotated[float, Field(gt=0, le=1e6)]),
        default=3.0,
        metavar="S",
        help="wait S seconds for the answer (default 3)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_outputs({"--json": args.json})
    with until_done() as context:
        reply = request(context, args.endpoint, "status", {}, args.timeout)
    for line in lines(reply):
        print(line)
    write_json(args.json, reply)
    return 0


def lines(reply: dict[str, Any]) -> list[str]:
    """The answer in words."""
    text = [f"streamer {reply['version']}, backend {reply['backend']}: {reply['state']}"]
    text += [f"  {name:8} {value}" for name, value in sorted(reply["endpoints"].items())]
    ring = reply["ring"]
    text.append(f"  ring     {ring['occupied']} of {ring['slots']} slots in use, at most {ring['high_water']} so far")
    scan = reply.get("scan")
    if scan:
        frames = scan["frames"]
        text.append(f"  scan     {scan['scan_id']} of {scan['sample']}: {scan['state']}")
        counts = ", ".join(f"{frames[name]} {name}" for name in ("missing", "duplicate", "late", "corrupt"))
        text.append(
            f"           {frames['received']} of {frames['expected']} frames, {counts}; {scan['written']} written"
        )
        text.append(f"  verdict  {Verdict.from_dict(scan)}")
    return text
