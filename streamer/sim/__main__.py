"""``python -m streamer.sim``: start the virtual beamline."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import msgspec

from streamer.flow.wire.acknowledged import Transport
from streamer.flow.wire.beamline import BeamlineEndpoints
from streamer.frames import BadInput
from streamer.sim.presets import PRESETS
from streamer.sim.scene.samples import KINDS
from streamer.sim.server import Addresses, serve
from streamer.sim.station import Setup

ANYWHERE = "tcp://127.0.0.1:*"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parse = argparse.ArgumentParser(prog="python -m streamer.sim", description="A virtual tomography beamline.")
    add_arguments(parse, ANYWHERE, ANYWHERE)
    return parse


def add_arguments(parse: argparse.ArgumentParser, frames: str, control: str) -> None:
    """Add all arguments; ``frames`` and ``control`` are the endpoints unless others are asked for."""
    parse.add_argument("--frames", default=frames, help=f"where to bind the frame socket (default {frames})")
    parse.add_argument("--transport", choices=get_args(Transport), default="push", help="how frames are sent")
    parse.add_argument("--control", default=control, help=f"where to bind the control socket (default {control})")
    parse.add_argument("--size", type=_whole(16, 4096), default=256, help="detector columns, and rows unless --rows")
    parse.add_argument("--rows", type=_whole(1, 4096), default=None, help="detector rows (default: as --size)")
    parse.add_argument("--preset", choices=sorted(PRESETS), default="demo", help="kind of beamline (default demo)")
    parse.add_argument("--samples", type=_whole(1, 80), default=4, help="slots of the magazine")
    parse.add_argument(
        "--magazine", type=Path, default=None, help=f"JSON list with the kind of each slot: {', '.join(KINDS)}"
    )
    parse.add_argument("--seed", type=_whole(0, 2**31), default=1, help="of noise and faults (default 1)")
    parse.add_argument("--truth-dir", type=Path, default=None, help="folder for the truth files")
    parse.add_argument("--ready-file", type=Path, default=None, help="JSON written when the sockets are bound")
    parse.add_argument(
        "--rate-limit", type=_number(1e-3, 1e6), default=None, metavar="HZ", help="highest frame rate of the camera"
    )
    parse.add_argument(
        "--flat-exposure",
        type=_number(1e-6, 1e3),
        default=None,
        metavar="S",
        help="exposure at which the open beam has its usual level; others give more or less light (default: none does)",
    )
    parse.add_argument(
        "--mount-s", type=_number(0, 3600), default=None, metavar="S", help="time of the robot per sample it carries"
    )
    parse.add_argument("--cache-mb", type=_whole(0, 65536), default=1024, help="memory for frames rendered ahead")
    parse.add_argument("--with-parent", action="store_true", help="end when the process that started it ends")


def main(argv: Sequence[str] | None = None) -> int:
    """Run until ended by a signal or by ``quit``. Exit code 2: bad input."""
    try:
        start(parser().parse_args(argv))
    except BadInput as error:
        print(f"streamer.sim: {error}", file=sys.stderr)
        return 2
    return 0


def start(args: argparse.Namespace, tell: Callable[[BeamlineEndpoints], object] = lambda _endpoints: None) -> None:
    """Run as the arguments say; ``tell`` is called when the sockets are bound. Raises BadInput."""
    preset = PRESETS[args.preset]
    if args.mount_s is not None:
        preset = dataclasses.replace(preset, mount_s=args.mount_s)
    rate = preset.max_rate_hz if args.rate_limit is None else args.rate_limit
    for folder in (args.truth_dir, args.ready_file and args.ready_file.parent):
        if folder is not None and not folder.is_dir():
            try:
                folder.mkdir(parents=True)
            except OSError as error:
                raise BadInput(f"{folder}: no folder can be made there: {(error.strerror or '').lower()}") from error
    kinds = None
    if args.magazine is not None:
        try:
            kinds = msgspec.json.decode(args.magazine.read_bytes(), type=tuple[str, ...])
        except (OSError, msgspec.DecodeError) as error:
            raise BadInput(f"--magazine {args.magazine}: {error}; it is a JSON list of kinds") from error
    setup = Setup(
        preset,
        args.rows or args.size,
        args.size,
        args.samples,
        args.seed,
        args.truth_dir,
        rate,
        kinds,
        args.flat_exposure,
    )
    addresses = Addresses(args.frames, args.control, args.ready_file, args.transport, args.with_parent)
    serve(setup, addresses, args.cache_mb << 20, tell=tell)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not (text.removeprefix("-").isdecimal() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"give a whole number from {low} to {high}, not {text!r}")
        return int(text)

    return whole


def _number(low: float, high: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"give a number from {low:g} to {high:g}, not {text!r}")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
