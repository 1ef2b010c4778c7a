"""Where planes lie and where they are moved to: points, steps and angles in voxels. No Qt, no sockets.

A point is (x, y, z) in voxels of the tomogram, whose ``volume`` is (rows, y, x) as in the previews.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from streamer.flow.wire.daemon import PlaneSpec

Point = tuple[float, float, float]
Volume = tuple[int, int, int]

ORTHOGONAL = {"xy": 2, "xz": 1, "yz": 0}
"""The planes that every scan has, and the coordinate (of x, y, z) that is the same in all of their pixels."""

FREE = "free"


@dataclass(frozen=True)
class FreePlane:
    """A plane in any direction: its normal by azimuth and tilt, and how far it is from the middle, in voxels.

    With tilt 0 it is a slice like xy; with 90 it is upright, and azimuth turns it about the axis.
    """

    azimuth_deg: float = 30.0
    tilt_deg: float = 60.0
    offset: float = 0.0

    @property
    def normal(self) -> NDArray[np.float64]:
        a, t = math.radians(self.azimuth_deg), math.radians(self.tilt_deg)
        return np.array((math.sin(t) * math.cos(a), math.sin(t) * math.sin(a), math.cos(t)))

    def turned(self, azimuth_deg: float = 0.0, tilt_deg: float = 0.0) -> FreePlane:
        """Turned further; the tilt stays between 0 and 90°."""
        azimuth = (self.azimuth_deg + azimuth_deg + 180.0) % 360.0 - 180.0
        return replace(self, azimuth_deg=azimuth, tilt_deg=min(90.0, max(0.0, self.tilt_deg + tilt_deg)))

    def spec(self, volume: Volume) -> PlaneSpec:
        """The plane in a tomogram: its columns run horizontally, its rows down, and it covers all that is there."""
        rows, _, width = volume
        normal = self.normal
        a, t = math.radians(self.azimuth_deg), math.radians(self.tilt_deg)
        u = np.array((math.sin(a), -math.cos(a), 0.0))
        v = np.array((-math.cos(t) * math.cos(a), -math.cos(t) * math.sin(a), math.sin(t)))
        # Where the plane through the middle leaves the tomogram: at its sides or at its ends.
        height = max(1, round(min(width / max(math.cos(t), 1e-9), rows / max(math.sin(t), 1e-9))))
        origin = middle(volume) + self.offset * normal - (width - 1) / 2 * u - (height - 1) / 2 * v
        return PlaneSpec(FREE, _point(origin), _point(u), _point(v), (height, width))


class Steering:
    """The planes that this viewer wants to be watched, and the cross-hair in them."""

    def __init__(self) -> None:
        self.volume: Volume | None = None
        self.point: Point | None = None
        self.free: FreePlane | None = None

    def learn(self, place: PlaneSpec, volume: Volume | None) -> None:
        """Where a plane is that the daemon shows; the cross-hair goes through the orthogonal ones."""
        if volume is None:
            return
        if volume != self.volume:
            self.volume, self.point = volume, None
        if self.point is None:
            self.point = _point(np.rint(middle(volume)))
        if place.name in ORTHOGONAL:
            axis = ORTHOGONAL[place.name]
            self.point = _with(self.point, axis, place.origin[axis])

    def wanted(self) -> list[PlaneSpec]:
        """The planes to be watched; empty while nothing is known of the tomogram."""
        if self.volume is None or self.point is None:
            return []
        planes = [orthogonal(name, self.volume, self.point) for name in ORTHOGONAL]
        return planes if self.free is None else [*planes, self.free.spec(self.volume)]

    def go_to(self, point: Point) -> None:
        """Put the cross-hair, and with it the orthogonal planes, at a point within the tomogram."""
        if self.volume is not None:
            limits = np.array(self.volume[::-1]) - 1.0
            self.point = _point(np.clip(np.rint(point), 0.0, limits))

    def step(self, name: str, voxels: float) -> None:
        """Move a plane along its normal."""
        if self.point is None:
            return
        if name in ORTHOGONAL:
            axis = ORTHOGONAL[name]
            self.go_to(_with(self.point, axis, self.point[axis] + voxels))
        elif name == FREE and self.free is not None:
            self.free = replace(self.free, offset=self.free.offset + voxels)

    def to_middle(self) -> None:
        if self.volume is not None:
            rows, _, width = self.volume
            self.point = (float(width // 2), float(width // 2), float(rows // 2))
            if self.free is not None:
                self.free = replace(self.free, offset=0.0)


def middle(volume: Volume) -> NDArray[np.float64]:
    """The middle (x, y, z) of a tomogram."""
    return (np.array(volume[::-1]) - 1.0) / 2


def orthogonal(name: str, volume: Volume, point: Point) -> PlaneSpec:
    """The orthogonal plane of this name through a point."""
    rows, _, width = volume
    x, y, z = point
    match name:
        case "xy":
            return PlaneSpec(name, (0.0, 0.0, z), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (width, width))
        case "xz":
            return PlaneSpec(name, (0.0, y, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (rows, width))
    return PlaneSpec(name, (x, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (rows, width))


def point_at(place: PlaneSpec, row: float, column: float) -> Point:
    """The point under a pixel of a plane in full detail."""
    return _point(np.array(place.origin) + column * np.array(place.u) + row * np.array(place.v))


def pixel_of(place: PlaneSpec, point: Point) -> tuple[float, float]:
    """(row, column) of the pixel of a plane that is nearest to a point."""
    u, v = np.array(place.u), np.array(place.v)
    away = np.array(point) - np.array(place.origin)
    column, row = np.linalg.solve([[u @ u, u @ v], [u @ v, v @ v]], [u @ away, v @ away])
    return float(row), float(column)


def same_place(one: PlaneSpec, other: PlaneSpec) -> bool:
    """Whether two planes are at the same place, to a thousandth of a voxel."""
    return one.shape == other.shape and all(
        np.abs(np.subtract(a, b)).max() < 1e-3
        for a, b in zip(structs.astuple(one)[1:4], structs.astuple(other)[1:4], strict=True)
    )


def _with(point: Point, axis: int, value: float) -> Point:
    values = list(point)
    values[axis] = value
    return _point(np.array(values))


def _point(values: NDArray[np.float64]) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
