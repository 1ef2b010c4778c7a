"""Motion of a sample during a scan: an affine map that depends on the scan's progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NO_SHIFT = (0.0, 0.0, 0.0)
NO_STRAIN = (0.0,) * 9


@dataclass(frozen=True, slots=True)
class Knot:
    """State at one progress (share of the planned projections, 0…1): shift in mm and strain (3×3, row-major)."""

    progress: float
    shift_mm: tuple[float, float, float] = NO_SHIFT
    strain: tuple[float, ...] = NO_STRAIN


@dataclass(frozen=True, slots=True)
class Motion:
    """p → (1 + strain)·p + shift in the frame of the sample, linear between knots and constant outside them.

    With ``last`` only the last so many bodies of the sample move; 0: all.
    """

    knots: tuple[Knot, ...] = ()
    last: int = 0

    @property
    def still(self) -> bool:
        """Whether the sample keeps one state for the whole scan."""
        return len({(k.shift_mm, k.strain) for k in self.knots}) <= 1

    def state(self, progress: float) -> tuple[Floats, Floats]:
        """Shift (3,) in mm and strain (3, 3) at a progress."""
        if not self.knots:
            return np.zeros(3), np.zeros((3, 3))
        at = [k.progress for k in self.knots]
        values = np.array([(*k.shift_mm, *k.strain) for k in self.knots])
        now = np.array([np.interp(progress, at, column) for column in values.T])
        return now[:3], now[3:].reshape(3, 3)

    def rest(self) -> Motion:
        """The sample after this motion: at rest in the state of the last knot."""
        return Motion(self.knots and (Knot(0.0, self.knots[-1].shift_mm, self.knots[-1].strain),), self.last)

    def to_dict(self) -> dict[str, Any]:
        knots = [{"progress": k.progress, "shift_mm": list(k.shift_mm), "strain": list(k.strain)} for k in self.knots]
        return {"knots": knots, "last": self.last}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Motion:
        knots = tuple(Knot(k["progress"], tuple(k["shift_mm"]), tuple(k["strain"])) for k in data["knots"])
        return cls(knots, data.get("last", 0))


def slip(progress: float, shift_mm: tuple[float, float, float], duration: float = 0.005) -> Motion:
    """A sudden slip at ``progress`` that takes ``duration`` (shares of the scan)."""
    return Motion((Knot(progress), Knot(progress + duration, shift_mm)))
