"""Messages for those who look, and come late: single pictures and past scans, on request (``docs/protocol.md`` §2.1).

The tables there give the unit and the meaning of every field; a test compares them with these structs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.flow.wire import WireError
from streamer.flow.wire.control import Reply, Request
from streamer.flow.wire.daemon import PictureSide, PreviewHeader, Report, Value
from streamer.frames import Count, FrameKind, Name
from streamer.schema import Finite

MOST_LOOK_PX = 1024
"""Rows and columns of a picture in a reply, at most; larger ones are binned."""

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


LOOK_REQUESTS: tuple[type[Request[Any]], ...] = (Look, GetLatest, GetPast)
"""Requests to a daemon that change nothing, besides those in ``daemon``."""
