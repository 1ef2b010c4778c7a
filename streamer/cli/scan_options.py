"""Options of ``streamer reconstruct`` that the daemon has in its configuration, as words on the command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

from msgspec import structs

from streamer.core.alignment.tilt import MAX_TILT_RAD
from streamer.core.fbp.ramp_filter import WINDOWS
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.layout.layout import GEOMETRIES, LayoutOptions
from streamer.pipeline.preparation.beam_drift import MODES
from streamer.pipeline.preparation.options import STRIPES, PreparationOptions
from streamer.pipeline.settings import Settings

BINS = (1, 2, 4, 8)

LENGTHS = {"energy_kev": "--energy-kev", "distance_m": "--distance-m", "pixel_size_m": "--pixel-size-m"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The groups "geometry", "preparation" and "phase retrieval"; ``settings`` and ``told`` read them.

    Values are checked there and not by argparse, which would answer with the usage of everything.
    """
    geometry = parser.add_argument_group("geometry")
    geometry.add_argument(
        "--center",
        default="auto",
        metavar="auto|PX",
        help="detector column of the axis of rotation (default: find it)",
    )
    geometry.add_argument(
        "--geometry",
        default="auto",
        metavar="|".join(GEOMETRIES),
        help="half: a full turn about an axis near an edge of the detector; slices become up to twice as wide. "
        "auto (default): half where the sample demands it",
    )
    geometry.add_argument(
        "--tilt",
        default="auto",
        metavar="auto|off|DEG",
        help="of the axis in the plane of the detector; positive where its column grows from row to row "
        "(default: find it)",
    )
    geometry.add_argument("--rows", metavar="A:B", help="detector rows A … B-1 only")
    geometry.add_argument(
        "--bin",
        default="1",
        metavar="|".join(map(str, BINS)),
        help="mean over blocks of N × N pixels of each frame before anything else is done to it (default 1). --rows, "
        "--center, --pixel-size-m and what is reported stay in pixels of the detector; 1/pixel is then of the slices",
    )
    preparation = parser.add_argument_group("preparation of the projections")
    preparation.add_argument(
        "--stripes",
        default="off",
        metavar="|".join(STRIPES),
        help="against rings. live: offsets of detector columns; full: also rank by rank (default off)",
    )
    preparation.add_argument(
        "--zingers",
        default="0",
        metavar="SIGMAS",
        help="remove bright pixels so many standard deviations of the noise above their neighbours; 8 is a good value "
        "(default 0: off)",
    )
    preparation.add_argument(
        "--no-defects", action="store_true", help="do not mend the pixels that darks and flats show to be defective"
    )
    preparation.add_argument(
        "--flat-drift",
        default="off",
        metavar="|".join(MODES),
        help="where the change of the beam since the flats is read. margins: beside the sample; monitor: of each "
        "frame; eigen: patterns of the flats (default off)",
    )
    preparation.add_argument(
        "--window", choices=WINDOWS, default="linear", help="window of the ramp filter (default linear)"
    )
    phase = parser.add_argument_group(
        "phase retrieval (Paganin)", "The optics are taken from the file where they are not given here."
    )
    phase.add_argument("--delta-beta", metavar="X", help="δ/β of the sample (default: no phase retrieval)")
    phase.add_argument("--energy-kev", metavar="KEV", help="of the photons")
    phase.add_argument("--distance-m", metavar="M", help="from sample to detector")
    phase.add_argument("--pixel-size-m", metavar="M", help="of the detector; tomograms are in 1/cm where it is known")


def settings(args: argparse.Namespace) -> Settings:
    """How the scan is to be reconstructed. Raises BadInput naming the option that makes no sense."""
    delta_beta = None if args.delta_beta is None else number("--delta-beta", args.delta_beta, 0.0)
    return Settings(
        window=args.window,
        memory_bytes=int(number("--memory", args.memory, above=0.0) * 2**20),
        preparation=PreparationOptions(
            zingers=number("--zingers", args.zingers, 0.0),
            defects=not args.no_defects,
            flat_drift=choice("--flat-drift", args.flat_drift, MODES),
            stripes=choice("--stripes", args.stripes, STRIPES),
            delta_beta=delta_beta,
        ),
        layout=LayoutOptions(choice("--geometry", args.geometry, GEOMETRIES), _tilt(args.tilt)),
    )


def told(args: argparse.Namespace, spec: ScanSpec) -> ScanSpec:
    """The scan with the lengths and the energy that were given. Raises BadInput when phase retrieval lacks some."""
    given: dict[str, Any] = {
        name: number(option, getattr(args, name), above=0.0)
        for name, option in LENGTHS.items()
        if getattr(args, name) is not None
    }
    spec = structs.replace(spec, **given)
    missing = [option for name, option in LENGTHS.items() if getattr(spec, name) is None]
    if args.delta_beta is not None and missing:
        raise BadInput(f"--delta-beta needs what the file does not tell: give {', '.join(missing)}")
    return spec


def bin_factor(text: str) -> int:
    """Raises BadInput."""
    return int(choice("--bin", text, [str(factor) for factor in BINS]))


def center_column(text: str) -> float | None:
    """None for "auto". Raises BadInput."""
    return None if text == "auto" else number("--center", text, other="'auto'")


def _tilt(text: str) -> str | float:
    if text in ("auto", "off"):
        return text
    most = math.degrees(MAX_TILT_RAD)
    return number("--tilt", text, -most, most, "'auto', 'off'")


def choice(option: str, text: str, choices: Sequence[str]) -> str:
    """Raises BadInput."""
    if text not in choices:
        raise BadInput(f"{option} {text}: choose one of {', '.join(choices)}")
    return text


def number(
    option: str,
    text: str,
    low: float = -math.inf,
    high: float = math.inf,
    other: str = "",
    above: float = -math.inf,
) -> float:
    """A finite number from ``low`` to ``high``, greater than ``above``; ``other`` words that might have been given.

    Raises BadInput naming the option and what may be given.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and low <= value <= high and value > above:
        return value
    span = (
        f" from {low:g} to {high:g}" if math.isfinite(high) and math.isfinite(low)
        else f", {low:g} or more" if math.isfinite(low)
        else f" above {above:g}" if math.isfinite(above)
        else ""
    )  # fmt: skip
    raise BadInput(f"{option} {text}: give {f'{other} or ' if other else ''}a number{span}")


def detector_rows(text: str | None, rows: int) -> slice:
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
