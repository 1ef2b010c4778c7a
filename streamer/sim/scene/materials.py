"""Attenuation coefficients of the materials that phantoms are made of.

Source of the numbers: xraydb 4.5.8 (MIT licence), Elam and Chantler tables, total attenuation µ in 1/cm at the five
energies of ``ENERGIES_KEV``. None of the materials has an absorption edge between 10 and 30 keV, so interpolation
of log µ over log E is good to about 1 %.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from streamer.frames import BadInput

ENERGIES_KEV = (10.0, 15.0, 20.0, 25.0, 30.0)

ATTENUATION_PER_CM = MappingProxyType(
    {
        "water": (5.33, 1.67, 0.810, 0.508, 0.376),
        "pmma": (4.00, 1.31, 0.680, 0.459, 0.361),
        "paraffin": (1.87, 0.669, 0.388, 0.289, 0.244),
        "chitin": (4.89, 1.58, 0.801, 0.529, 0.408),
        "amber": (2.69, 0.92, 0.508, 0.362, 0.296),
        "hydroxyapatite": (149.0, 47.2, 20.7, 11.0, 6.63),
        "aluminium": (70.8, 21.5, 9.29, 4.96, 3.05),
        "iron": (1343.0, 449.0, 202.0, 108.0, 64.4),
        "magnesium": (36.6, 11.1, 4.81, 2.59, 1.62),
        "silica": (41.8, 12.8, 5.60, 3.05, 1.92),
    }
)
"""Name → µ in 1/cm at ``ENERGIES_KEV``."""


def attenuation_per_cm(material: str, energy_kev: float) -> float:
    """µ of a material in 1/cm at one energy between 10 and 30 keV; "air" is 0. Raises BadInput."""
    if material == "air":
        return 0.0
    if material not in ATTENUATION_PER_CM:
        raise BadInput(f"material {material!r} is not known; known are air, {', '.join(sorted(ATTENUATION_PER_CM))}")
    if not ENERGIES_KEV[0] <= energy_kev <= ENERGIES_KEV[-1]:
        raise BadInput(f"energy {energy_kev!r} keV is outside the table of materials, 10 to 30 keV")
    table = np.log(ATTENUATION_PER_CM[material])
    return float(np.exp(np.interp(np.log(energy_kev), np.log(ENERGIES_KEV), table)))
