"""A watched plane: where it lies in the tomogram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamer.frames import NAME, BadInput

MAX_SIDE = 16_384
MAX_PLANES = 16
MAX_PIXELS = 2**29
"""Of all watched planes together: 2 GB in float32."""

FLAT = 1e-7
"""Rise from pixel to pixel, in voxels, below which a plane counts as horizontal."""

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Plane:
    """A flat grid of pixels anywhere in the tomogram. Raises BadInput that names the plane and what is wrong with it.

    ``origin`` is (x, y, z) of pixel (0, 0) in voxels, ``u`` the step from column to column, ``v`` from row to row;
    ``shape`` is (rows, columns) of the image. z counts detector rows.
    """

    name: str
    origin: Vector
    u: Vector
    v: Vector
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise BadInput(f"plane name {self.name!r}: use letters, digits, '.', '_' and '-'")
        for field in ("origin", "u", "v"):
            value = getattr(self, field)
            if len(value) != 3 or not all(np.isfinite(value)) or max(map(abs, value)) > 1e6:
                raise BadInput(f"plane {self.name}: {field} is {value}, it must be three finite numbers (x, y, z)")
        # A cross product of nearly 0 means a zero step or two parallel ones: the plane would be a line.
        if float(np.linalg.norm(np.cross(self.u, self.v))) < 1e-6:
            raise BadInput(f"plane {self.name}: u {self.u} and v {self.v} do not span a plane")
        if len(self.shape) != 2 or not all(1 <= side <= MAX_SIDE for side in self.shape):
            raise BadInput(f"plane {self.name}: shape {self.shape} must be (rows, columns) from 1 to {MAX_SIDE}")

    @property
    def horizontal(self) -> bool:
        """True when the plane is perpendicular to the rotation axis, to thousandths of a voxel over its sides."""
        return max(abs(self.u[2]), abs(self.v[2])) < FLAT


def orthogonal_planes(rows: int, columns: int) -> tuple[Plane, Plane, Plane]:
    """The cuts through the middle of the tomogram: "xy" (one detector row), "xz" and "yz" (parallel to the axis)."""
    z, middle = float(rows // 2), float(columns // 2)
    return (
        Plane("xy", (0.0, 0.0, z), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (columns, columns)),
        Plane("xz", (0.0, middle, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (rows, columns)),
        Plane("yz", (middle, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (rows, columns)),
    )


NOTHING = Plane("nothing", (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1, 1))
"""One pixel, for whoever has to watch a plane and shows none."""


def check_planes(planes: Sequence[Plane]) -> None:
    """Raises BadInput for more than MAX_PLANES planes, more than MAX_PIXELS pixels in total, or equal names."""
    if len(planes) > MAX_PLANES:
        raise BadInput(f"{len(planes)} planes asked for, at most {MAX_PLANES} can be watched")
    pixels = sum(rows * columns for rows, columns in (plane.shape for plane in planes))
    if pixels > MAX_PIXELS:
        raise BadInput(f"planes of {pixels} pixels in total, at most {MAX_PIXELS} can be watched")
    names = [plane.name for plane in planes]
    if len(set(names)) != len(names):
        raise BadInput(f"two planes have the same name; the names are {', '.join(names)}")
