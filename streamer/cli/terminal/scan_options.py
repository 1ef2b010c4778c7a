"""Arguments of ``streamer reconstruct`` about the scan; most are options of the daemon's configuration as well."""

from __future__ import annotations

import argparse
import re
from typing import Annotated, Literal

from msgspec import structs
from pydantic import BeforeValidator, Field

from streamer.cli.terminal.arguments import add_options, checked, read_options
from streamer.frames import BadInput, ScanSpec
from streamer.io.layouts.layout import ReadOptions
from streamer.options import Options
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.settings import ReconstructionOptions, Settings

Bins = Annotated[Literal[1, 2, 4, 8], BeforeValidator(int)]


class Optics(Options):
    """Energy and lengths that replace those in the file."""

    energy_kev: float | None = Field(None, gt=0)
    """energy of the photons, in keV"""
    distance_m: float | None = Field(None, gt=0)
    """distance from the sample to the detector, in m"""
    pixel_size_m: float | None = Field(None, gt=0)
    """size of a pixel of the detector, in m; tomograms are in 1/cm where it is known"""


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add the group "file"."""
    add_options(parser.add_argument_group("file", "What the file does not say, or says wrongly."), ReadOptions)


def add_scan_options(parser: argparse.ArgumentParser) -> None:
    """Add the groups "geometry", "preparation" and "phase retrieval"."""
    geometry = parser.add_argument_group("geometry")
    geometry.add_argument(
        "--center",
        type=checked(Literal["auto"] | float),
        default="auto",
        metavar="auto|PX",
        help="detector column of the rotation axis (default auto: find it)",
    )
    add_options(geometry, ReconstructionOptions, ("geometry", "tilt"))
    geometry.add_argument(
        "--rows", type=_row_range, default=(0, None), metavar="A:B", help="reconstruct only the detector rows A to B-1"
    )
    geometry.add_argument(
        "--bin",
        type=checked(Bins),
        default=1,
        metavar="1|2|4|8",
        help="replace blocks of N × N pixels of each frame by their mean before anything else (default 1). --rows, "
        "--center, --pixel-size-m and the report stay in detector pixels; values in 1/pixel are per binned pixel",
    )
    preparation = parser.add_argument_group("preparation of the projections")
    add_options(preparation, PreparationOptions, (n for n in PreparationOptions.model_fields if n != "delta_beta"))
    add_options(preparation, ReconstructionOptions, ("window",))
    phase = parser.add_argument_group("phase retrieval (Paganin)", "What is not given here is taken from the file.")
    add_options(phase, PreparationOptions, ("delta_beta",))
    add_options(phase, Optics)


def read_settings(args: argparse.Namespace) -> Settings:
    """How the scan is to be reconstructed."""
    return Settings(
        reconstruction=read_options(args, ReconstructionOptions), preparation=read_options(args, PreparationOptions)
    )


def spec_with_overrides(args: argparse.Namespace, spec: ScanSpec) -> ScanSpec:
    """The scan with the given optics. Raises BadInput when phase retrieval needs more."""
    spec = structs.replace(spec, **read_options(args, Optics).model_dump(exclude_none=True))
    missing = [f"--{name.replace('_', '-')}" for name in Optics.model_fields if getattr(spec, name) is None]
    if args.delta_beta is not None and missing:
        raise BadInput(f"--delta-beta: the file lacks what it needs; give {', '.join(missing)}")
    return spec


def _row_range(text: str) -> tuple[int, int | None]:
    found = re.fullmatch(r"(\d*):(\d*)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"give A:B with whole numbers, for example 100:200, not {text!r}")
    return int(found[1] or 0), int(found[2]) if found[2] else None


def detector_rows(chosen: tuple[int, int | None], rows: int) -> slice:
    """The chosen range as a slice. Raises BadInput unless it lies within the ``rows`` of the detector."""
    first, last = chosen[0], rows if chosen[1] is None else chosen[1]
    if not first < last <= rows:
        raise BadInput(f"--rows {first}:{last}: the scan has rows 0:{rows}")
    return slice(first, last)
