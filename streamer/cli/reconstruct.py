"""``streamer reconstruct``: the daemon's pipeline, fed from a file."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer import __version__
from streamer.cli.few_angles import FewAngles, check_tv
from streamer.cli.progress import Progress
from streamer.core.backend import Backend, BackendError, select_backend
from streamer.core.filters import WINDOWS
from streamer.core.iterative import ITERATIONS
from streamer.core.quality import Limits
from streamer.flow.pipeline import ScanPipeline, Settings
from streamer.frames import BadInput, ScanSpec
from streamer.io.picture import slices_picture
from streamer.io.source_file import ScanFile, usable
from streamer.io.tomogram import TomogramFile

WORTH_A_LOOK = 16
"""Detector rows from which on a picture of an upright slice shows anything."""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "reconstruct",
        description="Reconstruct an NXtomo or DXchange file (/exchange/data, data_white, data_dark, theta) with the "
        "same steps and numbers as the daemon. The file is read in blocks: it may be larger than the memory. The "
        "output is NXtomoproc, /entry/reconstruction/results/data, float32 (row, y, x).",
    )
    parser.add_argument("scan", type=Path, metavar="SCAN.h5", help="NXtomo or DXchange file")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.h5", help="tomogram to write; must not exist"
    )
    parser.add_argument(
        "--center", default="auto", metavar="auto|PX", help="column of the axis of rotation (default: find it)"
    )
    parser.add_argument("--rows", metavar="A:B", help="detector rows A … B-1 only")
    parser.add_argument(
        "--method",
        choices=["fbp", "tv"],
        default="fbp",
        help="fbp: filtered backprojection (default). tv: least squares with total variation, for few, limited or "
        "noisy projections; begins with fbp and takes hundreds of times as long",
    )
    parser.add_argument(
        "--iterations", type=int, default=ITERATIONS, metavar="N", help=f"of tv, at most (default {ITERATIONS})"
    )
    parser.add_argument(
        "--strength", type=float, default=1.0, metavar="X", help="of tv's prior; more is smoother (default 1)"
    )
    parser.add_argument(
        "--window", choices=WINDOWS, default="linear", help="window of the ramp filter (default linear)"
    )
    parser.add_argument(
        "--backend", choices=["auto", "numba", "cupy"], default="auto", help="who computes (default auto)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores")
    parser.add_argument(
        "--memory", type=float, default=4096.0, metavar="MB", help="memory for projections (default 4096)"
    )
    parser.add_argument("--png", type=Path, metavar="FILE", help="also write a picture of the three middle slices")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write centre, quality and times here")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        backend, why = select_backend(args.backend, args.threads)
    except BackendError as error:
        raise BadInput(f"--backend {args.backend}: {error}") from error
    print(why)
    center = parse_center(args.center)
    check_tv(args.iterations, args.strength)
    if args.output.exists():
        raise BadInput(f"{args.output} exists already; remove it or choose another name")
    began = time.perf_counter()
    with ScanFile.open(args.scan) as scan:
        for note in (*scan.info.notes, *(f"{name} is not here" for name in scan.info.missing_files)):
            print(f"note: {note}")
        rows = parse_rows(args.rows, scan.info.rows)
        spec = replace(scan.held(), rows=rows.stop - rows.start)
        settings = Settings(args.window, int(args.memory * 2**20))
        pipeline = ScanPipeline(spec, backend, settings, Limits(), fixed_center=center)
        _feed(pipeline, scan, rows, spec)
        pipeline.refine_center()
        quality, verdict = pipeline.judge(missing=0, corrupt=0, final=True)
        slices = _write(args, pipeline, scan, rows, spec, backend)
    seconds = time.perf_counter() - began
    result = {
        "version": __version__,
        "backend": backend.name,
        "scan": str(args.scan),
        "output": str(args.output),
        "method": args.method,
        "shape": list(pipeline.shape),
        "unit": pipeline.unit,
        "center_px": pipeline.center,
        "center_confidence": 1.0 if center is not None else quality.center_confidence,
        "verdict": verdict.decision.value,
        "reasons": list(verdict.reasons),
        "quality": quality.to_dict(),
        "seconds": seconds,
    }
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=2), encoding="utf-8")
    if args.png is not None:
        lines = [f"{verdict.decision.value}: {'; '.join(verdict.reasons)}"]
        slices_picture(args.png, slices, spec.sample, pipeline.unit, spec.pixel_size_m, lines)
    known = "given" if center is not None else f"confidence {quality.center_confidence:.2f}"
    print(f"centre of rotation {pipeline.center:.2f} px ({known})")
    print(f"{verdict.decision.value}: {'; '.join(verdict.reasons)}")
    size = "×".join(map(str, pipeline.shape))
    print(f"{args.output}: {size} in {pipeline.unit}, {seconds:.1f} s, {backend.name} with {backend.threads} threads")
    return 0


def _feed(pipeline: ScanPipeline, scan: ScanFile, rows: slice, spec: ScanSpec) -> None:
    with Progress(f"reading {scan.path.name}", spec.frames) as bar:
        for frame in usable(scan, rows):
            pipeline.push(frame.meta, frame.pixels)
            bar.at(frame.meta.index + 1)


def _write(
    args: argparse.Namespace, pipeline: ScanPipeline, scan: ScanFile, rows: slice, spec: ScanSpec, backend: Backend
) -> dict[str, NDArray[np.float32]]:
    """Write the tomogram block by block; the three middle slices."""

    def read(first: int, last: int) -> tuple[NDArray[np.float64], NDArray[Any]]:
        return np.deg2rad(scan.angles_deg), scan.rows(rows.start + first, rows.start + last)

    parameters, steps, what = {**pipeline.parameters(), "first_row": rows.start}, spec.rows, "reconstructing rows"
    blocks: Iterable[tuple[int, NDArray[np.float32]]] = pipeline.tomogram(read)
    if args.method == "tv":
        found = FewAngles(backend, pipeline, scan, rows, args.iterations, args.strength, int(args.memory * 2**20))
        parameters |= found.parameters()
        steps, what = found.steps, "iterating"

    shape = pipeline.shape
    middle = shape[2] // 2
    slices = {"xy": np.empty(shape[1:], np.float32)}
    if spec.rows >= WORTH_A_LOOK:
        slices |= {name: np.empty(shape[:2], np.float32) for name in ("xz", "yz")}
    with (
        TomogramFile.create(
            args.output,
            shape,
            sample=spec.sample,
            pixel_size_m=spec.pixel_size_m,
            unit=pipeline.unit,
            raw_file=args.scan,
            parameters=parameters,
        ) as volume,
        Progress(what, steps) as bar,
    ):
        if args.method == "tv":
            blocks = found.blocks(bar.at)
        for first, block in blocks:
            volume.write_rows(first, block)
            last = first + len(block)
            if "xz" in slices:
                slices["xz"][first:last], slices["yz"][first:last] = block[:, middle], block[:, :, middle]
            if first <= spec.rows // 2 < last:
                slices["xy"][:] = block[spec.rows // 2 - first]
            bar.at(steps * last // spec.rows)
    return slices


def parse_center(text: str) -> float | None:
    """None for "auto". Raises BadInput."""
    if text == "auto":
        return None
    try:
        center = float(text)
    except ValueError as error:
        raise BadInput(f"--center {text}: give a detector column, or 'auto'") from error
    if not np.isfinite(center):
        raise BadInput(f"--center {text}: give a finite detector column, or 'auto'")
    return center


def parse_rows(text: str | None, rows: int) -> slice:
    """``A:B`` as a slice with both ends inside 0 … rows. Raises BadInput."""
    if text is None:
        return slice(0, rows)
    first, colon, last = text.partition(":")
    try:
        chosen = slice(int(first or 0), int(last or rows))
    except ValueError as error:
        raise BadInput(f"--rows {text}: give A:B with whole numbers, for example 100:200") from error
    if not colon or not 0 <= chosen.start < chosen.stop <= rows:
        raise BadInput(f"--rows {text}: the scan has rows 0:{rows}")
    return chosen
