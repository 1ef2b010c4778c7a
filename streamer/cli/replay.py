"""``streamer replay``: sends a recorded scan as a detector does."""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from msgspec import structs
from pydantic import Field

from streamer.cli.scan_options import add_file_options
from streamer.cli.status import DEFAULT
from streamer.cli.terminal.arguments import add_key, add_verb, checked, read_key, read_options
from streamer.cli.terminal.progress import Progress
from streamer.client import Link, final_report
from streamer.config import Endpoint
from streamer.flow import wire
from streamer.flow.scan import ScanState
from streamer.flow.wire.acknowledged import Transport
from streamer.flow.wire.control import Ping
from streamer.flow.wire.daemon import Abort, Arm
from streamer.frames import BadInput, ScanSpec, StreamerError
from streamer.io import sockets
from streamer.io.layouts.layout import ReadOptions
from streamer.io.outlet import Outlet, open_outlet
from streamer.io.source_file import ScanFile
from streamer.keys import ClientKey

SPOOL_BYTES = 2**26
SPOOL_FRAMES = 64
SOURCE = "replay"
NOTES_LENGTH = 600
"""Characters that the header of a message has room for."""
ANSWER_S = 10.0
ARM_S = 150.0
"""The daemon may have to finish the scan before this one first."""


class NobodyListensError(StreamerError):
    """No daemon takes the frames."""


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "replay",
        "Send the frames of an NXtomo or DXchange file to a daemon with the angles of the file: darks first, flats "
        "first where all come after the projections, the rest in the order of the file. "
        "Binds ENDPOINT like a detector, since a daemon connects to its source; --connect is for a daemon with "
        "source.bind = true. The daemon is asked to arm the scan, and how it went: exit code 1 unless the scan is "
        "complete.",
        {
            "replay scan.nx": "as fast as the frames are taken",
            "replay scan.nx --rate 100 --scan-id test-1": "100 frames per second, as scan test-1",
            "replay scan.nx --to tcp://beamline-7:5580 --connect": "a daemon elsewhere, which binds its source",
        },
    )
    parser.add_argument("scan", type=Path, metavar="SCAN.h5", help="NXtomo or DXchange file")
    parser.add_argument(
        "--to",
        type=checked(Endpoint),
        default="tcp://127.0.0.1:5580",
        metavar="ENDPOINT",
        help="where the daemon expects its detector (default tcp://127.0.0.1:5580)",
    )
    parser.add_argument(
        "--control",
        type=checked(Literal["none"] | Endpoint),
        default=DEFAULT,
        metavar="ENDPOINT",
        help=f"control endpoint of the daemon; none: send, and ask nobody (default {DEFAULT})",
    )
    parser.add_argument("--connect", action="store_true", help="connect to ENDPOINT instead of binding it")
    parser.add_argument(
        "--rate",
        type=checked(Annotated[float, Field(gt=0)]),
        metavar="FPS",
        help="frames per second (default: as fast as they are taken)",
    )
    add_key(parser)
    parser.add_argument(
        "--transport",
        choices=get_args(Transport),
        default="push",
        help="as the daemon's source.transport: push, or acknowledged, which waits until the scan is safe",
    )
    parser.add_argument("--dialect", choices=["native"], default="native", help="wire format (default native)")
    parser.add_argument(
        "--scan-id", metavar="NAME", help="scan id (default: a new one, since a daemon takes each only once)"
    )
    parser.add_argument(
        "--timeout",
        type=checked(Annotated[float, Field(ge=0, le=1e6)]),
        default=30.0,
        metavar="S",
        help="give up after S seconds in which no frame is taken (default 30)",
    )
    add_file_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    with sockets.until_done() as context, ScanFile.open(args.scan, read_options(args, ReadOptions)) as scan:
        for note in scan.info.notes:
            print(f"note: {note}")
        scan_id = args.scan_id or f"replay-{uuid.uuid4().hex[:12]}"
        spec = structs.replace(scan.spec(), scan_id=scan_id)
        spec = structs.replace(spec, metadata={**spec.metadata, **_origin(scan)})
        key = read_key(args)
        guard = sockets.open_to_all if key is None else key.apply
        spool = max(SPOOL_BYTES, SPOOL_FRAMES * spec.frame_nbytes)
        outlet = open_outlet(args.transport, context, args.to, not args.connect, "--to", SOURCE, spool, guard)
        linger_s = 0.0
        try:
            with _armed(spec, args.control, context, key) as link:
                count = _send(outlet, scan, spec, args)
                linger_s = args.timeout
        finally:
            # Queued frames must reach the daemon, but must not wait for ever for one that died.
            delivered = outlet.close(linger_s)
        if not delivered:
            raise NobodyListensError(f"not everything was acknowledged within {args.timeout:g} s; see the daemon's log")
        print(f"{count} frames of {args.scan} sent to {args.to}")
        return 0 if link is None else _outcome(link, scan, scan_id, count)


def _origin(scan: ScanFile) -> dict[str, str]:
    """Where the frames come from and what of the file is not used, for the daemon's raw file."""
    notes = "; ".join(scan.info.notes)[:NOTES_LENGTH]
    return {"replayed": scan.path.name[:NOTES_LENGTH], **({"notes": notes} if notes else {})}


@contextmanager
def _armed(spec: ScanSpec, control: str, context: sockets.Context, key: ClientKey | None) -> Iterator[Link | None]:
    """Have the daemon arm the scan, and abort it when it cannot be sent. None when no daemon is to be asked."""
    if control == "none":
        yield None
        return
    link = Link(control, "the daemon", ANSWER_S, context, key)
    link.ask(Ping())  # soon says that no daemon is there, while arming may take its time
    link.ask(Arm(spec), ARM_S)
    try:
        yield link
    except BaseException:
        with suppress(BadInput):
            link.ask(Abort(spec.scan_id, "the replay failed or was interrupted"))
        raise


def _outcome(link: Link, scan: ScanFile, scan_id: str, sent: int) -> int:
    """Say how the scan went. The exit code."""
    report = final_report(link, scan_id)
    print(f"scan {scan_id} is {report.state}, {report.judgement}")
    wanted = ScanState.INCOMPLETE if scan.missing else ScanState.COMPLETE
    if report.state is wanted and report.frames.received == sent:
        return 0
    problems = (f"{report.written} of {sent} frames are in the daemon's file", report.error, report.note)
    print(f"streamer replay: {'; '.join(filter(None, problems))}", file=sys.stderr)
    return 1


def _send(outlet: Outlet, scan: ScanFile, spec: ScanSpec, args: argparse.Namespace) -> int:
    """Send start, frames at their times, and end; return the number of frames."""
    scan_id = spec.scan_id
    start = wire.encode(wire.Start(spec, src=SOURCE))
    if not outlet.offer(start, 0.0):
        print(f"waiting for a daemon at {args.to}", file=sys.stderr)
        _post(outlet, start, args.timeout)
    began, count = time.monotonic(), 0
    with Progress(f"replaying {args.scan.name}", spec.frames) as bar:
        for count, frame in enumerate(scan.usable(), start=1):
            if args.rate is not None:
                time.sleep(max(0.0, began + (count - 1) / args.rate - time.monotonic()))
            meta = structs.replace(frame.meta, scan_id=scan_id, seq=count, timestamp_ns=time.time_ns())
            header, payload = wire.encode_frame(meta, frame.pixels, SOURCE)
            _post(outlet, [header, payload], args.timeout)
            bar.at(count, f"{count / max(time.monotonic() - began, 1e-9):.0f} frames/s")
    # A scan that was stopped lacks its last projections, too, but nobody misses them.
    status: wire.EndStatus = "ok" if count + scan.missing == spec.frames else "stopped"
    _post(outlet, wire.encode(wire.End(scan_id, count, status, seq=count + 1, src=SOURCE)), args.timeout)
    return count


def _post(outlet: Outlet, parts: Sequence[Any], timeout_s: float) -> None:
    if not outlet.offer(parts, timeout_s):
        raise NobodyListensError(
            f"nobody took a frame for {timeout_s:g} s; start a daemon whose source.endpoint is this endpoint"
        )
