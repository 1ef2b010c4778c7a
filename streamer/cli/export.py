"""``streamer export``: writes a tomogram or a raw scan in the format of other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from streamer.cli.terminal.arguments import add_verb, checked
from streamer.cli.terminal.extras import need
from streamer.cli.terminal.progress import Progress
from streamer.frames import BadInput
from streamer.io.export.volume import open_volume

FORMATS = {
    "ome-zarr": "OME-Zarr 0.5, a folder: napari, neuroglancer, any program for Zarr",
    "tiff": "a folder of one TIFF a slice: ImageJ, Fiji, Avizo, Dragonfly",
    "bigtiff": "one OME-BigTIFF: Fiji (Bio-Formats), QuPath",
    "dxchange": "raw scan as DXchange (HDF5): tomopy, tomocupy",
}
LIBRARIES = {"ome-zarr": "zarr", "tiff": "tifffile", "bigtiff": "tifffile"}


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "export",
        "Write a tomogram, or with --to dxchange a raw scan, in the format of other programs. Pixel sizes and units "
        "are kept. The volume may be larger than the memory. Nothing is overwritten; OUT gets its name when it is "
        "whole, and nothing is left when the export fails or is interrupted.",
        {
            "export scan.tomogram.h5 --to ome-zarr scan.ome.zarr": "in several resolutions",
            "export scan.tomogram.h5 --to tiff slices": "float32, one file a slice",
            "export scan.tomogram.h5 --to tiff out --dtype uint16 --range -0.5 3": "-0.5 to 3 1/cm in 16 bits",
            "export scan.nx --to dxchange scan.dx.h5": "the raw scan, for tomopy",
        },
        "\n".join(["formats:", *(f"  {name:9} {text}" for name, text in FORMATS.items())]),
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="tomogram; for dxchange any scan that reconstruct reads"
    )
    parser.add_argument("--to", choices=FORMATS, required=True, help="format")
    parser.add_argument("output", type=Path, metavar="OUT", help="file or folder to be made")
    parser.add_argument(
        "--dtype",
        choices=["float32", "uint16"],
        default="float32",
        help="of TIFF; the scaling of uint16 is written down with it (default float32)",
    )
    parser.add_argument(
        "--range",
        type=checked(float),
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="values that become 0 and 65535 of uint16 (default: the smallest and the largest of the volume)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    is_tiff = args.to in ("tiff", "bigtiff")
    if args.dtype == "uint16" and not is_tiff:
        raise BadInput(f"--dtype uint16 is for TIFF; {args.to} keeps the type")
    if args.range and args.dtype != "uint16":
        raise BadInput("--range is for --dtype uint16")
    library = LIBRARIES.get(args.to)
    if library:
        need("export", f"--to {args.to}", library)
    with Progress() as bar:
        _export(args, bar)
    print(f"{args.output} written")
    return 0


def _export(args: argparse.Namespace, bar: Progress) -> None:
    """Only the library of the format is imported."""

    def progress(label: str) -> Any:
        begun = False

        def tell(done: int, total: int) -> None:
            nonlocal begun
            if not begun:
                bar.begin(label, total)
                begun = True
            bar.at(done)

        return tell

    tell = progress(f"writing {args.output.name}")
    if args.to == "dxchange":
        from streamer.io.export.dxchange import write_dxchange
        from streamer.io.source_file import ScanFile

        with ScanFile.open(args.file) as scan:
            write_dxchange(scan, args.output, tell)
        return
    with open_volume(args.file) as volume:
        if args.to == "ome-zarr":
            from streamer.io.export.ome_zarr import write_ome_zarr

            write_ome_zarr(volume, args.output, tell)
            return
        from streamer.io.export.tiff import Scaling, range_of, write_bigtiff, write_tiff_stack

        scaling = None
        if args.dtype == "uint16":
            scaling = Scaling.of_range(*args.range) if args.range else range_of(volume, progress("finding the range"))
        write = write_tiff_stack if args.to == "tiff" else write_bigtiff
        write(volume, args.output, scaling, tell)
