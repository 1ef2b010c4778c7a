"""``streamer reconstruct``: the daemon's pipeline, fed from a file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from streamer import __version__
from streamer.cli.terminal.arguments import add_options, add_verb, checked, read_options
from streamer.cli.terminal.outputs import check_outputs, write_json, writing
from streamer.cli.terminal.progress import Progress
from streamer.cli.terminal.scan_options import (
    add_file_options,
    add_scan_options,
    detector_rows,
    read_settings,
    spec_with_overrides,
)
from streamer.cli.terminal.words import say
from streamer.config import Compute
from streamer.core.arrays import Image
from streamer.core.backend.selection import backend_asked_in
from streamer.core.quality.artefacts import slice_figures
from streamer.frames import BadInput, Verdict
from streamer.io.archive import Archive, sections, write_archive
from streamer.io.layouts.layout import ReadOptions
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import TomogramFile
from streamer.pipeline.offline.reconstruction import OfflineReconstruction
from streamer.pipeline.offline.tv_tomogram import TvOptions
from streamer.pipeline.settings import ReconstructionOptions

ROWS_FOR_UPRIGHT_SLICES = 16
"""Fewest detector rows for which upright slices are drawn."""


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "reconstruct",
        "Reconstruct an NXtomo or DXchange file (/exchange/data, data_white, data_dark, theta) with the same steps and "
        "numbers as the daemon. The file is read in blocks, so it may be larger than the memory. The output is "
        "NXtomoproc, /entry/data/data, float32 (row, y, x).",
        {
            "reconstruct scan.nx -o t.h5": "centre, geometry and tilt are found",
            "reconstruct scan.nx -o t.h5 --rows 500:600 --png t.png": "some rows, and a picture",
            "reconstruct scan.nx -o t.h5 --stripes full --zingers 8": "against rings and bright spots",
            "reconstruct scan.nx -o t.h5 --method tv --bin 4": "few or noisy projections, binned",
            "reconstruct folder --engine ray --jobs 8": "all its scans that have no tomogram yet, on a cluster",
        },
    )
    parser.usage = "streamer reconstruct SCAN.h5 -o OUT.h5 [options]\n       streamer reconstruct FOLDER [options]"
    parser.add_argument("scan", type=Path, metavar="SCAN.h5", help="NXtomo or DXchange file, or a folder of them")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT.h5",
        help="tomogram to write; must not exist. For a folder: the folder for SCAN.tomogram.h5 (default: beside the "
        "scans)",
    )
    parser.add_argument("--png", type=Path, metavar="FILE", help="also write a picture of the three middle slices")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write centre, geometry, verdict, quality, artefacts and times to FILE",
    )
    add_file_options(parser)
    add_scan_options(parser)
    method = parser.add_argument_group("method")
    method.add_argument(
        "--method",
        choices=["fbp", "tv"],
        default="fbp",
        help="fbp: filtered backprojection (default). tv: least squares with total variation, for few, limited or "
        "noisy projections; begins with fbp and takes hundreds of times as long",
    )
    add_options(method, TvOptions)
    machine = parser.add_argument_group("machine")
    add_options(machine, ReconstructionOptions, ("backend", "threads", "memory_mb"))
    folder = parser.add_argument_group(
        "folder of scans", "A line for each, exit code 1 if one failed; those with a tomogram are skipped."
    )
    folder.add_argument(
        "--engine",
        choices=["processes", "ray"],
        default="processes",
        help="what starts the processes: this machine (default), or Ray (extra cluster), which all see the files by "
        "the same names",
    )
    add_options(folder, Compute, ("address",))
    folder.add_argument(
        "--jobs", type=checked(Annotated[int, Field(ge=1, le=1024)]), metavar="N",
        help="scans at a time (default: one for each GPU, or one)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.scan.is_dir():
        from streamer.cli.cluster import backlog

        return backlog.run(args)
    if args.output is None:
        raise BadInput("-o: say which file the tomogram is to be")
    backend, why = backend_asked_in(f"--backend {args.backend}", args.backend, args.threads)
    print(why)
    _check_places(args)
    began = time.perf_counter()
    settings, center = read_settings(args), None if args.center == "auto" else args.center
    tv = read_options(args, TvOptions) if args.method == "tv" else None
    with ScanFile.open(args.scan, read_options(args, ReadOptions)) as scan:
        notes = scan.info.notes
        for note in notes:
            print(f"note: {note}")
        rows, spec = detector_rows(args.rows, scan.info.rows), spec_with_overrides(args, scan.spec())
        offline = OfflineReconstruction(scan, spec, backend, settings, rows=rows, bin_=args.bin, center=center, tv=tv)
        with Progress(f"reading {scan.path.name}", offline.spec.frames) as bar:
            for count in offline.read(scan.usable(rows)):
                bar.at(count)
        quality, verdict = offline.judge()
        slices = _write(args, offline)
    pipeline, parameters = offline.pipeline, offline.parameters()
    write_archive(
        args.output,
        Archive(
            spec.scan_id,
            spec.sample,
            verdict,
            quality,
            unusable=pipeline.checks.by_cause(),
            settings=sections(settings),
            notes=notes,
        ),
    )
    result = {
        "version": __version__,
        "backend": backend.name,
        "scan": str(args.scan),
        "notes": list(notes),
        "output": str(args.output),
        "method": args.method,
        "shape": list(pipeline.shape),
        "unit": pipeline.unit,
        "bin": parameters["bin"],
        "center_px": parameters["center_px"],
        "center_binned_px": parameters["center_binned_px"],
        "center_confidence": quality.center_confidence if center is None else 1.0,
        **verdict.to_dict(),
        "quality": quality.to_dict(),
        "geometry": {name: parameters[name] for name in pipeline.layout.to_dict()},
        "artefacts": pipeline.artefacts() or slice_figures(slices["xy"]),
        "preparation": parameters,
        "seconds": time.perf_counter() - began,
    }
    asked = args.geometry != "auto" or args.tilt != "auto"
    for line in summary(result, given=center is not None, asked=asked):
        say(line)
    size = "×".join(map(str, pipeline.shape))
    took = f"{result['seconds']:.1f} s, {backend.name} with {backend.threads} threads"
    print(f"{args.output}: {size} in {pipeline.unit}, {took}")
    write_json(args.json, result)
    if args.png is not None:
        from streamer.io.picture import slices_picture  # matplotlib, which nothing else here needs

        with writing("--png", args.png):
            slices_picture(args.png, slices, spec.sample, pipeline.unit, offline.spec.pixel_size_m, [str(verdict)])
    return 0


def _check_places(args: argparse.Namespace) -> None:
    """Check the files before anything takes time. Raises BadInput."""
    if args.output.exists():
        raise BadInput(f"{args.output} exists already; remove it or choose another name")
    check_outputs({"-o": args.output, "--png": args.png, "--json": args.json}, inputs=[args.scan])


def _write(args: argparse.Namespace, offline: OfflineReconstruction) -> dict[str, Image]:
    """Write the tomogram block by block and return its middle slices."""
    spec, shape = offline.spec, offline.pipeline.shape
    middle = shape[2] // 2
    slices = {"xy": np.empty(shape[1:], np.float32)}
    if spec.rows >= ROWS_FOR_UPRIGHT_SLICES:
        slices |= {name: np.empty(shape[:2], np.float32) for name in ("xz", "yz")}
    with (
        TomogramFile.create(
            args.output,
            shape,
            spec,
            unit=offline.pipeline.unit,
            raw_file=args.scan,
            parameters=offline.parameters(),
        ) as volume,
        Progress("reconstructing rows" if args.method == "fbp" else "iterating", offline.steps) as bar,
    ):
        for first, block in offline.blocks(bar.at):
            volume.write_rows(first, block)
            last = first + len(block)
            if "xz" in slices:
                slices["xz"][first:last], slices["yz"][first:last] = block[:, middle], block[:, :, middle]
            if first <= spec.rows // 2 < last:
                slices["xy"][:] = block[spec.rows // 2 - first]
    return slices


COUNTED = {
    "nonfinite_pixels": "pixels without a number mended",
    "defect_pixels": "defective pixels mended",
    "zingers_removed": "zingers removed",
    "projections_left_with_zingers": "projections with too many zingers to remove",
    "stripe_columns": "pixels with a stripe",
    "drift_unknown": "projections whose beam is not known",
}
"""Counts of the preparation, and their names for people."""

SHARES = {"noise": "noise", "ring_index": "rings", "truncation": "bright rim", "cupping": "cupping"}
"""Artefacts that are reported as shares of the contrast."""


def summary(result: dict[str, Any], given: bool, asked: bool) -> list[str]:
    """Summarise the result of ``--json`` for people. ``given``: the centre was; ``asked``: geometry or tilt was."""
    known = "given" if given else f"confidence {result['center_confidence']:.2f}"
    lines = [f"centre of rotation {result['center_px']:.2f} px ({known})"]
    if result["bin"] > 1:
        lines[0] += f", {result['center_binned_px']:.2f} after binning by {result['bin']}"
    geometry, preparation, found = result["geometry"], result["preparation"], result["artefacts"]
    if asked or geometry["geometry"] != "plain" or geometry["extended_edges"] or geometry["axis_tilt_deg"]:
        lines.append(f"geometry {geometry['reason']}")
    counts = [f"{preparation[name]} {words}" for name, words in COUNTED.items() if preparation[name]]
    if preparation["flats_after_refused"]:
        counts.append(f"flats after the scan not used: {preparation['flats_after_refused']}")
    if counts:
        lines.append(f"preparation: {', '.join(counts)}")
    figures = []
    if result["quality"]["resolution_px"] is not None:
        figures.append(f"resolution {result['quality']['resolution_px']:.1f} px")
    if found:
        noise = {**found, "noise": found["noise"] / found["contrast"] if found["contrast"] else 0.0}
        figures += [f"{words} {100 * noise[name]:z.1f} %" for name, words in SHARES.items() if name in noise]
    if figures:
        lines.append(f"middle slice: {', '.join(figures)}{' of the contrast' if found else ''}")
    return [*lines, str(Verdict.from_dict(result))]
