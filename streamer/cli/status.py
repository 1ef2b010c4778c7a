"""``streamer status``: shows what a daemon is doing."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from msgspec import structs, to_builtins

from streamer.cli.terminal.arguments import add_verb, read_key
from streamer.cli.terminal.daemon import add_daemon
from streamer.cli.terminal.outputs import check_outputs, write_json
from streamer.cli.terminal.words import folded, say
from streamer.client import Link
from streamer.flow.wire.daemon import DaemonStatus, GetStatus
from streamer.frames import BadInput
from streamer.io.messaging.sockets import until_done

WATCH_S = 1.0
HANG = 11
"""Columns before what a line says."""


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "status",
        "Ask a daemon what it is doing: its endpoints, how full the ring is, and the present or last scan with its "
        "frames and its verdict. Exit code 2 when no daemon answers.",
        {
            "status": "the daemon on this machine",
            "status --watch": "once a second, with rate and time left",
            "status tcp://beamline-7:5581 --json -": "a daemon elsewhere; the whole answer for a program",
        },
    )
    add_daemon(parser, timeout_s=3.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole answer to FILE; - is stdout")
    parser.add_argument("--watch", action="store_true", help="ask once a second, until Ctrl-C")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.watch and args.json is not None:
        raise BadInput("--json: not together with --watch, which never ends")
    check_outputs({"--json": args.json})
    with until_done() as context, Link(args.endpoint, "the daemon", args.timeout, context, read_key(args)) as link:
        if args.watch:
            return _watch(link)
        status = link.ask(GetStatus())
    for line in lines(status):
        say(line, HANG)
    write_json(args.json, to_builtins(status))
    return 0


def _watch(link: Link) -> int:
    """Show the answers one in the place of the other; on what is no terminal, one below the other."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console, before = Console(soft_wrap=True, highlight=False), None
    with Live(console=console, auto_refresh=False, screen=False) as screen:
        while True:
            status, moment = link.ask(GetStatus()), time.monotonic()
            text = [*lines(status), *pace(before, (moment, status))]
            before = (moment, status)
            if console.is_terminal:
                text = [folded(line, HANG, columns=console.width) for line in text]
                screen.update(Text("\n".join(text)), refresh=True)
            else:
                print("\n".join(text), flush=True)
            time.sleep(WATCH_S)


def pace(before: tuple[float, DaemonStatus] | None, now: tuple[float, DaemonStatus]) -> list[str]:
    """How fast the frames of a running scan come, and how long it will take; from two answers and their moments (s)."""
    if before is None or before[1].scan is None or now[1].scan is None:
        return []
    (earlier, first), (later, last) = (before[0], before[1].scan), (now[0], now[1].scan)
    if first.scan_id != last.scan_id or last.state.final or later <= earlier:
        return []
    rate = (last.frames.received - first.frames.received) / (later - earlier)
    left = max(0, last.frames.expected - last.frames.received)
    if rate <= 0:
        return [f"  pace     no frame in {later - earlier:.0f} s, {left} to come"]
    return [f"  pace     {rate:.1f} frames/s, {left} to come, {left / rate:.0f} s left"]


def _age(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.0f} h"


def lines(status: DaemonStatus) -> list[str]:
    """The answer in words."""
    text = [f"streamer {status.version}, backend {status.backend}: {status.state}, up for {_age(status.uptime_s)}"]
    if status.source_connected is not None:
        last = "" if status.last_frame_age_s is None else f", last frame {_age(status.last_frame_age_s)} ago"
        how = "connected" if status.source_connected else "not connected"
        if not status.source_connected and (status.scan is None or status.scan.state.final):
            how += ", as is usual between scans"  # a PULL socket leaves, see source.attach
        text.append(f"  detector {how}{last}")
    if status.disk_free_bytes is not None:
        text.append(f"  disk     {status.disk_free_bytes / 1e9:.1f} GB free")
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
