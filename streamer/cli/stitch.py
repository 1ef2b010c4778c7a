"""``streamer stitch``: joins scans of a field that is wider than the detector to one scan."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from streamer.cli.terminal.arguments import add_verb, checked
from streamer.cli.terminal.outputs import check_outputs
from streamer.cli.terminal.progress import Progress
from streamer.core.arrays import Image, Values
from streamer.frames import BadInput, ScanSpec
from streamer.io.source_file import ScanFile
from streamer.io.stitched import Attenuation, same_angles, write_joined
from streamer.pipeline.offline.wide_field import Tile, blended, laid_side_by_side, padded_from_overview

BLOCK = 16  # projections at once

SAME_PIXEL = 1e-3
"""Relative difference of pixel sizes that moves no tile by a pixel."""


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "stitch",
        "Join scans to one that reconstruct takes: the tiles of tomo_mosaic to a wide field, or with --overview the "
        "magnified part of tomo_zoom, which its overview continues on both sides, so that nothing is cut off. Where "
        "each scan was taken is in its file; all have the same angles.",
        {
            "stitch tile1.nx tile2.nx -o wide.nx": "then: reconstruct wide.nx -o t.h5",
            "stitch part.nx --overview all.nx -o padded.nx": "then: reconstruct padded.nx --center C -o t.h5",
        },
    )
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN.nx", help="tiles, or the magnified part")
    parser.add_argument("--overview", type=Path, metavar="ALL.nx", help="scan of the whole sample")
    parser.add_argument(
        "--overview-center",
        type=checked(float),
        metavar="PX",
        help="column of the axis in the overview (default: its middle), as reconstruct or the verdict has it",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.nx", help="must not exist")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.output.exists():
        raise BadInput(f"{args.output} exists already; remove it or choose another name")
    if args.overview is not None and len(args.scans) != 1:
        raise BadInput(f"--overview continues one scan, not {len(args.scans)}")
    check_outputs({"-o": args.output})
    with ExitStack() as files:
        scans = [files.enter_context(ScanFile.open(path)) for path in args.scans]
        if args.overview is None:
            stitch_tiles(scans, args.output)
        else:
            overview = files.enter_context(ScanFile.open(args.overview))
            axis = pad(scans[0], overview, args.overview_center, args.output)
            print(f"centre of rotation {axis:.2f} px")
    print(args.output)
    return 0


def stitch_tiles(scans: list[ScanFile], output: Path) -> None:
    """Write one scan of all tiles. Raises BadInput."""
    if len(scans) < 2:
        raise BadInput("give two tiles or more, or a scan and its --overview")
    spec, angles = scans[0].spec(), same_angles(scans)
    pixel = _pixel_mm(scans[0])
    for scan in scans[1:]:
        _check_alike(scan, scans[0])
    places = [(_told(scan, "tile_x_mm"), _told(scan, "tile_z_mm")) for scan in scans]
    # A sample that is moved by +x shows, at the same column, what lies at -x.
    tiles, shape = laid_side_by_side([Tile(-z / pixel, -x / pixel) for x, z in places], spec.rows, spec.columns)
    sources = [Attenuation(scan) for scan in scans]

    def blocks() -> Iterator[Image]:
        for first in range(0, len(angles), BLOCK):
            last = min(len(angles), first + BLOCK)
            yield blended([source.some(first, last) for source in sources], tiles, shape)

    _write(output, spec, blocks(), angles, (len(angles), *shape), f"{len(scans)} tiles")


def pad(part: ScanFile, overview: ScanFile, overview_center: float | None, output: Path) -> float:
    """Write the magnified part, continued by the overview. Returns the column of its axis. Raises BadInput."""
    spec, angles = part.spec(), same_angles([part, overview])
    small, large = _pixel_mm(part), _pixel_mm(overview)
    zoom, middle = large / small, (overview.info.columns - 1) / 2
    overview_axis = middle if overview_center is None else overview_center
    inner_axis = (spec.columns - 1) / 2 + zoom * (overview_axis - middle)
    x, y, z = (_told(part, f"box_{axis}_mm") / large for axis in "xyz")
    sources = (Attenuation(part), Attenuation(overview))

    def padded(first: int) -> tuple[Image, int]:
        last = min(len(angles), first + BLOCK)
        inner, outer = (source.some(first, last) for source in sources)
        return padded_from_overview(
            inner, outer, np.deg2rad(angles[first:last]), zoom=zoom, inner_axis=inner_axis,
            overview_axis=overview_axis, box_px=(x, y, z),
        )  # fmt: skip

    start, begin = padded(0)
    rest = (padded(first)[0] for first in range(BLOCK, len(angles), BLOCK))
    shape = (len(angles), *start.shape[1:])
    _write(output, spec, chain([start], rest), angles, shape, "continued by an overview")
    return inner_axis + begin


def _write(output: Path, spec: ScanSpec, blocks: Any, angles: Values, shape: tuple[int, int, int], note: str) -> None:
    with Progress(f"joining to {shape[1]}×{shape[2]}", len(angles)) as bar:

        def shown() -> Iterator[Image]:
            done = 0
            for block in blocks:
                done += len(block)
                bar.at(done)
                yield block

        named = structs.replace(spec, rows=shape[1], columns=shape[2])
        write_joined(output, named, shown(), angles, shape, f"{spec.scan_id}: {note}")


def _pixel_mm(scan: ScanFile) -> float:
    size = scan.info.pixel_size_m
    if size is None:
        raise BadInput(f"{scan.path}: has no pixel size, which is needed to join scans")
    return size * 1e3


def _check_alike(scan: ScanFile, first: ScanFile) -> None:
    """Raises BadInput for a tile that has not the size, or the pixels, of the first one."""
    (rows, columns), wanted = (scan.info.rows, scan.info.columns), (first.info.rows, first.info.columns)
    if (rows, columns) != wanted:
        raise BadInput(f"{scan.path}: {rows}×{columns} pixels, {first.path} has {wanted[0]}×{wanted[1]}")
    pixel, same = _pixel_mm(scan), _pixel_mm(first)
    if abs(pixel - same) > SAME_PIXEL * same:
        raise BadInput(f"{scan.path}: pixels of {1e3 * pixel:g} µm, {first.path} has {1e3 * same:g} µm")


def _told(scan: ScanFile, name: str) -> float:
    """A length that the plan wrote into the metadata of the scan."""
    text = scan.spec().metadata.get(name)
    if text is None:
        raise BadInput(f"{scan.path}: says nothing of {name}; tomo_mosaic and tomo_zoom write it")
    try:
        length = float(text)
    except ValueError:
        length = np.nan
    if not np.isfinite(length):
        raise BadInput(f"{scan.path}: {name} is {text!r}, which is no length in mm")
    return length
