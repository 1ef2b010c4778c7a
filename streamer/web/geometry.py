"""Where the planes of the page lie in a tomogram, and the same read back from the planes that a daemon watches.

Coordinates are voxels as in ``docs/protocol.md``: x and y from 0 to columns - 1, z counts detector rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from streamer.flow.wire.daemon import PlaneSpec
from streamer.schema import Finite

Degrees = Annotated[float, Meta(ge=-360, le=360)]
Voxels = Annotated[float, Meta(ge=-1e5, le=1e5)]

MAX_SIDE = 16_384  # of a plane, by the protocol

FREE = "free"
ORTHOGONAL = ("xy", "xz", "yz")


class FreePlane(Struct, frozen=True, forbid_unknown_fields=True):
    """A plane of any direction. ``azimuth_deg`` turns it about the rotation axis; ``tilt_deg`` is 0 for a level plane
    and 90 for an upright one; ``offset`` is its distance from the middle of the tomogram, in voxels.
    """

    azimuth_deg: Degrees = 0.0
    tilt_deg: Degrees = 45.0
    offset: Voxels = 0.0


class Place(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the three orthogonal planes cross, and the free plane, if there is one."""

    x: Voxels
    y: Voxels
    z: Voxels
    free: FreePlane | None = None


@dataclass(frozen=True)
class Volume:
    """The voxels of a tomogram: ``rows`` slices of ``columns`` × ``columns``."""

    rows: int
    columns: int

    @property
    def middle(self) -> Place:
        """Where the planes are before anybody moves them."""
        return Place(float(self.columns // 2), float(self.columns // 2), float(self.rows // 2))

    def within(self, place: Place) -> Place:
        """The nearest place inside, at whole voxels."""
        x, y = (float(round(min(max(at, 0), self.columns - 1))) for at in (place.x, place.y))
        return Place(x, y, float(round(min(max(place.z, 0), self.rows - 1))), place.free)


def planes_at(volume: Volume, place: Place) -> list[PlaneSpec]:
    """The planes of the page at a place."""
    rows, columns = volume.rows, volume.columns
    planes = [
        PlaneSpec("xy", (0.0, 0.0, place.z), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (columns, columns)),
        PlaneSpec("xz", (0.0, place.y, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (rows, columns)),
        PlaneSpec("yz", (place.x, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (rows, columns)),
    ]
    return planes if place.free is None else [*planes, _free_plane(volume, place.free)]


def _free_plane(volume: Volume, free: FreePlane) -> PlaneSpec:
    """It is as large as the tomogram is along its directions."""
    azimuth, tilt = math.radians(free.azimuth_deg), math.radians(free.tilt_deg)
    across = (math.cos(azimuth), math.sin(azimuth), 0.0)
    down = (-math.sin(azimuth) * math.cos(tilt), math.cos(azimuth) * math.cos(tilt), math.sin(tilt))
    normal = _cross(across, down)
    height = max(1, round(abs(math.cos(tilt)) * volume.columns + abs(math.sin(tilt)) * volume.rows))
    shape = (min(height, MAX_SIDE), volume.columns)
    middle = _middle(volume)
    x, y, z = (
        middle[i] + free.offset * normal[i] - across[i] * (shape[1] - 1) / 2 - down[i] * (shape[0] - 1) / 2
        for i in range(3)
    )
    return PlaneSpec(FREE, (x, y, z), across, down, shape)


def volume_of(planes: Iterable[PlaneSpec]) -> Volume | None:
    """The tomogram that watched planes go through; None unless a level and an upright one are among them."""
    known = {plane.name: plane for plane in planes}
    level, upright = known.get("xy"), known.get("xz")
    if level is None or upright is None:
        return None
    rows, columns = upright.shape[0] * abs(upright.v[2]), level.shape[1] * abs(level.u[0])
    return Volume(round(rows), round(columns)) if rows >= 1 and columns >= 1 else None


def place_of(planes: Sequence[PlaneSpec]) -> Place | None:
    """Where watched planes lie; None unless the three orthogonal ones are among them. Inverse of ``planes_at``."""
    known, volume = {plane.name: plane for plane in planes}, volume_of(planes)
    if volume is None or "yz" not in known:
        return None
    free = None if FREE not in known else _read_free(volume, known[FREE])
    return Place(known["yz"].origin[0], known["xz"].origin[1], known["xy"].origin[2], free)


def _read_free(volume: Volume, plane: PlaneSpec) -> FreePlane:
    (ux, uy, _), (vx, vy, vz) = plane.u, plane.v
    azimuth = math.atan2(uy, ux)
    tilt = math.atan2(vz, vy * math.cos(azimuth) - vx * math.sin(azimuth))
    normal = _cross(plane.u, plane.v)
    length = math.hypot(*normal) or 1.0
    middle = _middle(volume)
    away = [
        plane.origin[i] + plane.u[i] * (plane.shape[1] - 1) / 2 + plane.v[i] * (plane.shape[0] - 1) / 2 - middle[i]
        for i in range(3)
    ]
    offset = sum(away[i] * normal[i] for i in range(3)) / length
    return FreePlane(math.degrees(azimuth), math.degrees(tilt), offset)


def _middle(volume: Volume) -> tuple[float, float, float]:
    half = (volume.columns - 1) / 2
    return half, half, (volume.rows - 1) / 2


def _cross(u: Sequence[Finite], v: Sequence[Finite]) -> tuple[float, float, float]:
    return u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
