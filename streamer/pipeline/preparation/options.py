"""What is to be done to raw frames: choices of the user, checked as far as they can be without a scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from streamer.core.preprocessing.paganin import Paganin
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.preparation.beam_drift import MODES

STRIPES = ("off", "live", "full")


@dataclass(frozen=True)
class PreparationOptions:
    """``zingers``: standard deviations of photon noise above which a bright pixel is one; 8 is a good value, 0 is off,
    as it costs more than all that is on by default. ``defects``: mend pixels that darks and flats show to be dead, hot,
    stuck or noisy. ``flat_drift``: where the change of the beam since the flats is read, "off", "margins" (columns
    beside the sample), "monitor" (of each frame), "eigen" (eigen-flats). ``stripes``: "off", "live" (offsets of
    columns), "full" (those, and rank by rank when blocks are finished). ``delta_beta``: δ/β of the sample for Paganin's
    phase retrieval, None for none. Raises BadInput naming the field.
    """

    zingers: float = 0.0
    defects: bool = True
    flat_drift: str = "off"
    stripes: str = "off"
    delta_beta: float | None = None

    def __post_init__(self) -> None:
        _check_number("zingers", self.zingers)
        if not isinstance(self.defects, bool):
            raise BadInput(f"preparation: defects is {self.defects!r}; it must be true or false")
        for name, choices in (("flat_drift", MODES), ("stripes", STRIPES)):
            if getattr(self, name) not in choices:
                raise BadInput(f"preparation: {name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}")
        if self.delta_beta is not None:
            _check_number("delta_beta", self.delta_beta)

    def to_dict(self) -> dict[str, Any]:
        """As TOML or JSON would have it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PreparationOptions:
        """Inverse of ``to_dict``; what is left out takes its default. Unknown keys are BadInput."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(data) - set(known)):
            raise BadInput(f"preparation has the unknown key {unknown[0]!r}; known keys: {', '.join(known)}")
        return cls(**data)


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < np.inf:
        raise BadInput(f"preparation: {name} is {value!r}; it must be a number, 0 or more")


def scan_optics(spec: ScanSpec, delta_beta: float | None) -> Paganin | None:
    """Optics of a scan for phase retrieval; None when none is wanted. Raises BadInput when the scan lacks a number."""
    if delta_beta is None:
        return None
    missing = [name for name in ("energy_kev", "distance_m", "pixel_size_m") if getattr(spec, name) is None]
    if missing:
        raise BadInput(f"scan {spec.scan_id}: phase retrieval (delta_beta) needs {', '.join(missing)} of the scan")
    assert spec.energy_kev is not None
    assert spec.distance_m is not None
    assert spec.pixel_size_m is not None
    return Paganin(delta_beta, 1e3 * spec.energy_kev, spec.distance_m, spec.pixel_size_m)
