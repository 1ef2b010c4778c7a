"""``python -m streamer.sim``: start the virtual beamline."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import msgspec

from streamer.flow.wire.acknowledged import Transport
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
    parse.add_argument("--rate-limit", type=float, default=None, metavar="HZ", help="highest frame rate of the camera")
    parse.add_argument(
        "--flat-exposure",
        type=float,
        default=None,
        metavar="S",
        help="exposure at which the open beam has its usual level; others give more or less light (default: none does)",
    )
    parse.add_argument("--mount-s", type=float, default=None, help="time of the robot per sample it carries")
    parse.add_argument("--cache-mb", type=_whole(0, 65536), default=1024, help="memory for frames rendered ahead")
    parse.add_argument("--with-parent", action="store_true", help="end when the process that started it ends")


def main(argv: Sequence[str] | None = None) -> int:
    """Run until ended by a signal or by ``quit``. Exit code 2: bad input."""
    parse = parser()
    return start(parse.parse_args(argv), parse)


def start(args: argparse.Namespace, parse: argparse.ArgumentParser) -> int:
    """Run as the arguments say; ``parse.error`` tells what is wrong with them."""
    preset = PRESETS[args.preset]
    if args.mount_s is not None:
        if not 0 <= args.mount_s <= 3600:
            parse.error(f"--mount-s {args.mount_s}: must be from 0 to 3600 seconds")
        preset = dataclasses.replace(preset, mount_s=args.mount_s)
    rate = preset.max_rate_hz if args.rate_limit is None else args.rate_limit
    if not 1e-3 <= rate <= 1e6:
        parse.error(f"--rate-limit {rate}: must be from 0.001 to 1e6 Hz")
    if args.flat_exposure is not None and not 1e-6 <= args.flat_exposure <= 1e3:
        parse.error(f"--flat-exposure {args.flat_exposure}: must be from 1e-6 to 1000 seconds")
    for folder in (args.truth_dir, args.ready_file and args.ready_file.parent):
        if folder is not None and not folder.is_dir():
            try:
                folder.mkdir(parents=True)
            except OSError as error:
                parse.error(f"cannot make the folder {folder}: {error}")
    kinds = None
    if args.magazine is not None:
        try:
            kinds = msgspec.json.decode(args.magazine.read_bytes(), type=tuple[str, ...])
        except (OSError, msgspec.DecodeError) as error:
            parse.error(f"--magazine {args.magazine}: {error}; it is a JSON list of kinds")
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
    return serve(setup, addresses, args.cache_mb << 20)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text}: must be from {low} to {high}")
        return value

    return whole


if __name__ == "__main__":
    sys.exit(main())
