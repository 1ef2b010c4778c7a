from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamer.io.layouts.units import ANGLES_DEG, DISTANCE, ENERGY, KEV, METRES, PIXEL_SIZE, quantity, scale_of


@pytest.mark.parametrize(
    ("words", "known", "scale"),
    [
        ("deg degs degree degrees Degrees DEG deg. [deg] ° º", ANGLES_DEG, 1.0),
        ("rad rads radian radians Radians", ANGLES_DEG, 180 / np.pi),
        ("mrad milliradians", ANGLES_DEG, 0.18 / np.pi),
        ("urad µrad μrad", ANGLES_DEG, 1.8e-4 / np.pi),
        ("mdeg millidegrees", ANGLES_DEG, 1e-3),
        ("rev turns", ANGLES_DEG, 360.0),
        ("m meter metres", METRES, 1.0),
        ("cm centimetre", METRES, 0.01),
        ("mm millimeters", METRES, 1e-3),
        ("um µm μm micron microns micrometre micrometers", METRES, 1e-6),
        ("nm", METRES, 1e-9),
        ("Å Angstrom", METRES, 1e-10),
        ("eV", KEV, 1e-3),
        ("keV kev", KEV, 1.0),
        ("MeV", KEV, 1e3),
    ],
)
def test_every_spelling(words: str, known: dict[str, float], scale: float) -> None:
    assert [scale_of(word, known) for word in words.split()] == pytest.approx([scale] * len(words.split()))


@pytest.mark.parametrize("unit", ["", "pixels", "counts", "s", "radium"])
def test_an_unknown_unit_is_not_guessed(unit: str) -> None:
    assert [scale_of(unit, known) for known in (ANGLES_DEG, METRES, KEV)] == [None] * 3


@pytest.mark.parametrize(
    ("kind", "number", "unit", "value", "note"),
    [
        (PIXEL_SIZE, 6.5, "µm", 6.5e-6, None),
        (PIXEL_SIZE, 6.5, None, None, "/x is 6.5: without a unit, so it is not used"),
        (PIXEL_SIZE, 6.5, "px", None, "/x is 6.5 px: that unit is not known, so it is not used"),
        (PIXEL_SIZE, 6.5, "m", None, "/x is 6.5 m, which cannot be: it is not used"),
        (PIXEL_SIZE, -6.5, "um", None, "/x is -6.5 um, which cannot be: it is not used"),
        (PIXEL_SIZE, 0.0, "um", None, None),
        (PIXEL_SIZE, np.nan, "um", None, None),
        (ENERGY, 25_000.0, "keV", None, "/x is 25000 keV, which cannot be: it is not used"),
        (ENERGY, 25_000.0, "eV", 25.0, None),
        (DISTANCE, 50.0, "cm", 0.5, None),
        (DISTANCE, 5e6, "m", None, "/x is 5e+06 m, which cannot be: it is not used"),
    ],
)
def test_what_is_not_used_is_noted(
    tmp_path: Path, kind: Any, number: float, unit: str | None, value: float | None, note: str | None
) -> None:
    notes: list[str] = []
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = [number]
        if unit is not None:
            file["x"].attrs["units"] = unit
        assert quantity(file["x"], kind, notes) == (None if value is None else pytest.approx(value))
    assert notes == ([] if note is None else [note])
