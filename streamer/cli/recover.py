"""``streamer recover``: makes what a crash left of a scan plainly readable."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from streamer.cli.terminal.arguments import add_verb
from streamer.cluster.master import parts_folder, recover_rows
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
            "recover shared-out.nx": "a scan of which only its shards' files in shared-out.shards are left",
        },
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="raw file under the name of its scan")
    parser.set_defaults(run=run)


def _recover_rows(path: Path) -> int:
    """Join what the shards of a scan have left. Returns the frames of which some rows lack."""
    joined = recover_rows(path)
    torn = len({int(frame) for frame in joined.missing_rows[:, 0]})
    print(f"{path}: {len(joined.whole)} frames are whole; rows of {torn} lack")
    for problem in joined.problems:
        print(f"  {problem}")
    return torn


def run(args: argparse.Namespace) -> int:
    lost = 0
    for path in args.files:
        path = path.parent.resolve() / path.name
        if "+" in path.name and path.exists() and segments_of(path) == [path]:
            continue  # a segment: it is recovered under the name of its scan
        if parts_folder(path).is_dir():
            lost += _recover_rows(path)
            continue
        sealed = seal(path)
        parts = "" if sealed.segments == 1 else f" in {sealed.segments} segments"
        print(f"{path}: {sealed.written} frames are right{parts}; {len(sealed.lost)} are lost")
        for problem in sealed.problems:
            print(f"  {problem}")
        lost += len(sealed.lost)
    if lost:
        raise FramesLost(f"damaged or lost frames: {lost}; the files list them in /entry/streamer/lost_frames")
    return 0
