"""``streamer recover``: makes what a crash left of a scan plainly readable."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from streamer.cli.terminal.arguments import add_verb
from streamer.frames import StreamerError
from streamer.io.raw.segments import seal, segments_of


class FramesLost(StreamerError):
    """Frames that the files once held cannot be read any more."""


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "recover",
        "Make the raw files of a scan that ended in a crash readable for every program, compare each frame with its "
        "checksum, join the segments, and list the frames that are lacking. The segments are kept, and nothing is "
        "overwritten; it does no harm to do it again.\n\n"
        "Exit code 1 when a frame is damaged or lost; 2 when nothing can be read, or the scan is still running.",
        {
            "recover scan.nx": "also when only its segments scan+0.nx, scan+1.nx, … are left",
            "recover data/*.nx": "all scans of a folder",
        },
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="raw file under the name of its scan")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    lost = 0
    for path in args.files:
        path = path.parent.resolve() / path.name
        if "+" in path.name and path.exists() and segments_of(path) == [path]:
            continue  # a segment: it is recovered under the name of its scan
        sealed = seal(path)
        parts = "" if sealed.segments == 1 else f" in {sealed.segments} segments"
        print(f"{path}: {sealed.written} frames are right{parts}; {len(sealed.lost)} are lost")
        for problem in sealed.problems:
            print(f"  {problem}")
        lost += len(sealed.lost)
    if lost:
        raise FramesLost(f"damaged or lost frames: {lost}; the files list them in /entry/streamer/lost_frames")
    return 0
