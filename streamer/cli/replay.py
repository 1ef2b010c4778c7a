"""``streamer replay``: sends a recorded scan as a detector does."""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Annotated, Any, Literal, get_args

from msgspec import structs
from pydantic import Field

from streamer.cli.detector.messages import SOURCE, Outgoing, Pace, foreign_messages, native_messages, with_order
from streamer.cli.terminal.arguments import add_key, add_verb, checked, read_key, read_options
from streamer.cli.terminal.daemon import DEFAULT
from streamer.cli.terminal.progress import Progress
from streamer.cli.terminal.scan_options import add_file_options
from streamer.client import Link, final_report
from streamer.config import NATIVE, PVA, Endpoint, Source, SourceEndpoint, check_source
from streamer.flow.dialects import DIALECTS
from streamer.flow.scan import ScanState
from streamer.flow.wire.acknowledged import Transport
from streamer.flow.wire.control import Ping
from streamer.flow.wire.daemon import Abort, Arm, GetStatus
from streamer.frames import BadInput, ScanSpec, StreamerError
from streamer.io.layouts.layout import ReadOptions
from streamer.io.messaging import sockets
from streamer.io.runs import find_scan
from streamer.io.senders.outlet import Outlet, PlainOutlet, open_outlet
from streamer.io.senders.pv import PvMessages, PvOutlet
from streamer.io.source_file import ScanFile
from streamer.keys import ClientKey

SPOOL_BYTES = 2**26
SPOOL_FRAMES = 64
NOTES_LENGTH = 600
"""Characters that the header of a message has room for."""
ANSWER_S = 10.0
ARM_S = 150.0
"""The daemon may have to finish the scan before this one first."""


class NobodyListensError(StreamerError):
    """No daemon takes the frames."""


NO_MASK = "let the daemon's source.defects be FILE::/entry/instrument/detector/pixel_mask, or give --dialect dectris-v2"


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "replay",
        "Send the frames of a recorded scan (NXtomo or DXchange) to a daemon with the angles of the file: darks "
        "first, flats first where all come after the projections, the rest in the order of the file. "
        "Binds ENDPOINT like a detector, since a daemon connects to its source; --connect is for a daemon with "
        "source.bind = true. The daemon is asked to arm the scan, and how it went: exit code 1 unless the scan is "
        "complete. In a foreign dialect, each image has the attributes angle and image_key where the dialect has room "
        "for attributes; a daemon that does not read them takes the angles as announced, evenly spaced.",
        {
            "replay scan.nx": "as fast as the frames are taken",
            "replay scan.nx --rate 100 --scan-id test-1": "100 frames per second, as scan test-1",
            "replay data --as-recorded": "the newest scan of a folder, with its pauses",
            "replay 8f1c22a4-… --tiled http://beamline-7:8000": "the scan of a Bluesky run in Tiled",
            "replay scan.nx --to tcp://beamline-7:5580 --connect": "a daemon elsewhere, which binds its source",
            "replay scan.nx --dialect stins --as-recorded": "as a detector of MAX IV, at the speed of the scan",
            "replay scan.nx --dialect pva --to pva://13SIM1:Pva1:Image": "as a PV of areaDetector",
        },
    )
    parser.add_argument(
        "scan",
        metavar="SCAN",
        help="NXtomo or DXchange file, a folder for its newest scan, or with --tiled the uid of a run",
    )
    parser.add_argument(
        "--tiled",
        metavar="URL",
        help="Tiled server that knows the run SCAN, and the path of its catalogue; its files must be readable here. "
        "TILED_API_KEY in the environment is the key",
    )
    parser.add_argument(
        "--to",
        type=checked(SourceEndpoint),
        default="tcp://127.0.0.1:5580",
        metavar="ENDPOINT",
        help="where the daemon expects its detector (default tcp://127.0.0.1:5580); pva://NAME for --dialect pva",
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
    parser.add_argument("--as-recorded", action="store_true", help="send each frame at its time in the scan")
    add_key(parser)
    parser.add_argument(
        "--transport",
        choices=get_args(Transport),
        default="push",
        help="as the daemon's source.transport: push, or acknowledged, which waits until the scan is safe",
    )
    parser.add_argument(
        "--dialect",
        choices=(NATIVE, *DIALECTS, PVA),
        default=NATIVE,
        help=f"as the daemon's source.dialect: {', '.join((NATIVE, *DIALECTS, PVA))} (default {NATIVE})",
        metavar="NAME",
    )
    parser.add_argument(
        "--socket",
        choices=("pull", "sub", "req"),
        help="as the daemon's source.socket (default: the dialect's usual one)",
    )
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
    _check(args)
    options = read_options(args, ReadOptions)
    path, found = find_scan(args.scan, args.tiled, options)
    if found:
        print(f"note: {found}")
    with sockets.until_done() as context, ScanFile.open(path, options) as scan:
        for note in scan.info.notes:
            print(f"note: {note}")
        scan_id = args.scan_id or f"replay-{uuid.uuid4().hex[:12]}"
        spec = structs.replace(scan.spec(), scan_id=scan_id)
        spec = structs.replace(spec, metadata={**spec.metadata, **_origin(scan)})
        if args.as_recorded and not scan.timed:
            raise BadInput(f"{path}: does not say when its frames were taken; give --rate FPS")
        if args.dialect == NATIVE:
            messages = native_messages(scan, spec)
            if scan.mask is not None:
                print(f"note: the mask of pixels is not sent: {NO_MASK}")
        else:
            spec = with_order(spec, scan)
            encoder = PvMessages() if args.dialect == PVA else DIALECTS[args.dialect]
            messages = foreign_messages(encoder, scan, spec)
        key = read_key(args)
        outlet = _open(context, args, spec, key)
        linger_s = 0.0
        try:
            with _armed(spec, args.control, context, key) as link:
                count = _send(outlet, messages, spec, args)
                linger_s = args.timeout
        finally:
            # Queued frames must reach the daemon, but must not wait for ever for one that died.
            delivered = outlet.close(linger_s)
        if not delivered:
            raise NobodyListensError(f"not everything was acknowledged within {args.timeout:g} s; see the daemon's log")
        print(f"{count} frames of {path} sent to {args.to}")
        return 0 if link is None else _outcome(link, scan, scan_id, count)


def _check(args: argparse.Namespace) -> None:
    """Raises BadInput for options that contradict each other."""
    if args.dialect == PVA and args.control == "none":
        raise BadInput("--control none: a PV drops what nobody takes in time; give the daemon's endpoint, to ask it")
    if args.dialect == PVA and args.connect:
        raise BadInput("--connect: a PV is served, and the daemon connects; leave it out")
    if args.rate is not None and args.as_recorded:
        raise BadInput("--as-recorded: not together with --rate")
    try:
        check_source(Source(endpoint=args.to, dialect=args.dialect, socket=args.socket, transport=args.transport))
    except BadInput as error:
        raise BadInput(str(error).replace("source.endpoint", "--to").replace("source.", "--")) from error


def _open(context: sockets.Context, args: argparse.Namespace, spec: ScanSpec, key: ClientKey | None) -> Outlet:
    guard = sockets.open_to_all if key is None else key.apply
    if args.dialect == PVA:
        link = Link(args.control, "the daemon", ANSWER_S, context, key)
        return PvOutlet(args.to, partial(_counted, link, spec.scan_id))
    if args.dialect != NATIVE:
        peer = args.socket or DIALECTS[args.dialect].TRAITS.sockets[0]
        return PlainOutlet(context, args.to, not args.connect, "--to", guard, peer)
    spool = max(SPOOL_BYTES, SPOOL_FRAMES * spec.frame_nbytes)
    return open_outlet(args.transport, context, args.to, not args.connect, "--to", SOURCE, spool, guard)


def _counted(link: Link, scan_id: str) -> int:
    """How many frames of a scan the daemon has seen."""
    report = link.ask(GetStatus(scan_id)).scan
    return 0 if report is None else report.frames.received + report.frames.corrupt


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


def _send(outlet: Outlet, messages: Iterator[Outgoing], spec: ScanSpec, args: argparse.Namespace) -> int:
    """Send all messages, frames at their times; return the number of frames."""
    frame, parts = next(messages)
    if not outlet.offer(parts, 0.0):
        print(f"waiting for a daemon at {args.to}", file=sys.stderr)
        _post(outlet, parts, args.timeout)
    pace, count = Pace(args.rate, args.as_recorded), 0
    if frame is not None:
        pace.wait(frame)
        count = 1
    with Progress(f"replaying {spec.metadata['replayed']}", spec.frames) as bar:
        for frame, parts in messages:
            if frame is not None:
                pace.wait(frame)
                count += 1
            _post(outlet, parts, args.timeout)
            bar.at(count, f"{pace.frames_per_s:.0f} frames/s")
    return count


def _post(outlet: Outlet, parts: Sequence[Any], timeout_s: float) -> None:
    if not outlet.offer(parts, timeout_s):
        raise NobodyListensError(
            f"nobody took a frame for {timeout_s:g} s; start a daemon whose source.endpoint is this endpoint"
        )
