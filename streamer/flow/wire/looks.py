"""Messages for those who look, and come late: pictures, bricks and past scans, on request (``docs/protocol.md`` §2.1).

The tables there give the unit and the meaning of every field; a test compares them with these structs.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.flow.wire import WireError
from streamer.flow.wire.control import Reply, Request
from streamer.flow.wire.daemon import PictureSide, PreviewHeader, Report, Unit, Value, VolumeSide
from streamer.frames import Count, FrameKind, Name
from streamer.schema import Finite

MOST_LOOK_PX = 1024
"""Rows and columns of a picture in a reply, at most; larger ones are binned."""

MOST_BRICK = 128
"""Voxels along a side of a brick, at most; of a larger box, they are means."""

MOST_SCANS = 200

Subject = Literal["raw", "projection", "sinogram"]


def grey_values(pixels: bytes, shape: tuple[int, int], lo: float, hi: float) -> NDArray[np.float32]:
    """The picture (rows, columns) of uint16 ``pixels`` that run from ``lo`` to ``hi``."""
    image = np.frombuffer(pixels, "<u2").reshape(shape).astype(np.float32)
    image *= np.float32((hi - lo) / 65535)
    image += np.float32(lo)
    return image


class Looked(Reply, frozen=True, kw_only=True):
    """A picture of what the detector sees. Raises WireError when its pixels are not those of its shape."""

    scan_id: Name
    sample: Name
    subject: Subject
    shape: tuple[PictureSide, PictureSide]
    lo: Value
    hi: Value
    unit: str
    bin: Annotated[int, Meta(ge=1, le=65535)] = 1
    index: Count | None = None
    kind: FrameKind | None = None
    angle_deg: Finite | None = None
    row: Count | None = None
    count: Count = 0
    pixels: bytes

    def __post_init__(self) -> None:
        if self.lo > self.hi or len(self.pixels) != 2 * self.shape[0] * self.shape[1]:
            rows, columns = self.shape
            raise WireError("header", f"picture of {rows}×{columns} pixels with {len(self.pixels)} bytes")

    @property
    def image(self) -> NDArray[np.float32]:
        """(rows, columns) in ``unit``."""
        return grey_values(self.pixels, self.shape, self.lo, self.hi)


class Look(Request[Looked], frozen=True):
    """Request a picture of the newest frame, of the newest prepared projection, or of a sinogram."""

    verb = "look"
    reply = Looked
    subject: Subject
    row: Count | None = None


class LatestPlane(Reply, frozen=True):
    """The last preview of a plane."""

    header: PreviewHeader
    pixels: bytes


class GetLatest(Request[LatestPlane], frozen=True):
    """Request the last preview of a plane, of the running scan or the last one."""

    verb = "latest"
    reply = LatestPlane
    plane: Name


class PastScans(Reply, frozen=True):
    """Scans of this daemon that are over, the oldest first, and the planes that can be had as ``latest``."""

    scans: list[Report]
    planes: list[str]


class GetPast(Request[PastScans], frozen=True):
    """Request the scans that are over."""

    verb = "past"
    reply = PastScans
    most: Annotated[int, Meta(ge=0, le=MOST_SCANS)] = 50


Range = tuple[Count, Count]
"""The first voxel and the one after the last."""


class Brick(Reply, frozen=True, kw_only=True):
    """Voxels (z, y, x) of the tomogram so far. Raises WireError when they are not those of its shape."""

    scan_id: Name
    angles: Count
    of: Count
    whole: tuple[VolumeSide, VolumeSide, VolumeSide]
    box: tuple[Range, Range, Range]
    step: VolumeSide
    shape: tuple[PictureSide, PictureSide, PictureSide]
    lo: Value
    hi: Value
    unit: Unit
    pixel_size_m: Annotated[float, Meta(ge=1e-12, le=1)] | None = None
    voxels: bytes

    def __post_init__(self) -> None:
        if self.lo > self.hi or len(self.voxels) != math.prod(self.shape):
            raise WireError("header", f"brick of {self.shape} voxels with {len(self.voxels)} bytes")


class GetBrick(Request[Brick], frozen=True):
    """Request a box of the tomogram that grows while its scan runs; nil: all of it."""

    verb = "brick"
    reply = Brick
    box: tuple[Range, Range, Range] | None = None
    most: Annotated[int, Meta(ge=8, le=MOST_BRICK)] = 96


LOOK_REQUESTS: tuple[type[Request[Any]], ...] = (Look, GetLatest, GetPast, GetBrick)
"""Requests to a daemon that change nothing, besides those in ``daemon``."""
