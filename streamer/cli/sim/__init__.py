"""``streamer sim``: the virtual beamline alone."""

from __future__ import annotations

import argparse
from typing import Any

from streamer.cli.terminal.arguments import add_verb
from streamer.sim.__main__ import add_arguments, start

FRAMES, CONTROL = "tcp://127.0.0.1:5580", "tcp://127.0.0.1:5590"


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "sim",
        "Start a virtual beamline: shutter, rotation, sample changer and camera, with samples whose truth is known. "
        "Its sockets are where `streamer run` and the examples look for them. Runs until Ctrl-C.",
        {
            "sim": "a camera of 256×256, four samples",
            "sim --size 512 --samples 8 --rate-limit 50": "a larger and slower one",
            "sim --transport acknowledged": "for a daemon with source.transport acknowledged",
        },
    )
    add_arguments(parser, FRAMES, CONTROL)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    start(args, lambda ends: print(f"frames {ends.frames}, control {ends.control}; Ctrl-C ends it", flush=True))
    print("the virtual beamline has ended", flush=True)
    return 0
