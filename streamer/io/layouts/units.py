"""Units as people write them, and sizes that cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

REAL = "uif"  # kinds of dtypes

DEGREE_WORDS = ("deg", "degree", "°", "º")
RADIAN_WORDS = ("rad", "radian")

ANGLES_DEG: dict[str, float] = {
    **dict.fromkeys(DEGREE_WORDS, 1.0),
    **dict.fromkeys(("mdeg", "millidegree"), 1e-3),
    **dict.fromkeys(RADIAN_WORDS, 180 / np.pi),
    **dict.fromkeys(("mrad", "millirad", "milliradian"), 0.18 / np.pi),
    **dict.fromkeys(("urad", "microrad", "microradian"), 0.18e-3 / np.pi),
    **dict.fromkeys(("turn", "rev", "revolution"), 360.0),
}
"""Degrees in a unit of angle."""

_METRES: dict[tuple[str, ...], float] = {
    ("m", "meter", "metre"): 1.0,
    ("cm", "centimeter", "centimetre"): 1e-2,
    ("mm", "millimeter", "millimetre"): 1e-3,
    ("um", "micron", "micrometer", "micrometre"): 1e-6,
    ("nm", "nanometer", "nanometre"): 1e-9,
    ("å", "angstrom", "ångström"): 1e-10,
}
METRES: dict[str, float] = {word: scale for words, scale in _METRES.items() for word in words}
"""Metres in a unit of length."""

KEV: dict[str, float] = {"ev": 1e-3, "kev": 1.0, "mev": 1e3, "gev": 1e6}
"""keV in a unit of energy."""


@dataclass(frozen=True)
class Quantity:
    """A length or an energy in a file: its units, in SI or keV, and the values between which it can be."""

    units: Mapping[str, float]
    least: float
    most: float


PIXEL_SIZE = Quantity(METRES, 1e-9, 5e-3)
DISTANCE = Quantity(METRES, 1e-6, 1e3)
ENERGY = Quantity(KEV, 0.1, 2e3)


def unit_of(dataset: h5py.Dataset) -> str:
    """The attribute ``units`` as it is written; empty when there is none."""
    unit: Any = np.ravel(dataset.attrs.get("units", ""))
    first = unit[0] if unit.size else ""
    return (first.decode(errors="replace") if isinstance(first, bytes) else str(first)).strip()


def scale_of(unit: str, known: Mapping[str, float]) -> float | None:
    """What a number in ``unit`` is to be multiplied by, None when the unit is not known.

    Case, brackets, a final dot and the plural do not matter, nor which of the two letters µ it is.
    """
    word = unit.strip().strip("[]().").strip().lower().replace("\u00b5", "u").replace("\u03bc", "u")
    return known.get(word, known.get(word.removesuffix("s")))


def quantity(dataset: Any, kind: Quantity, notes: list[str]) -> float | None:
    """A positive number in SI units or keV. None when it is not known, with a note when the file has one of no use."""
    if not isinstance(dataset, h5py.Dataset) or dataset.size != 1 or dataset.dtype.kind not in REAL:
        return None
    number, unit = float(np.ravel(dataset[()])[0]), unit_of(dataset)
    if not np.isfinite(number) or number == 0:
        return None  # what is not known is often written as 0 or NaN
    scale = scale_of(unit, kind.units)
    written = f"{dataset.name} is {number:g}{f' {unit}' if unit else ''}"
    if scale is None:
        notes.append(f"{written}: {'that unit is not known' if unit else 'without a unit'}, so it is not used")
        return None
    value = number * scale
    if not kind.least <= value <= kind.most:
        notes.append(f"{written}, which cannot be: it is not used")
        return None
    return value
