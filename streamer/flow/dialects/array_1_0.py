"""``array-1.0`` of PSI: ``[JSON header, pixels]`` for each image, nothing else.

Sources: paulscherrerinstitute/htypes (array-1.0), std_detector_buffer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from streamer.flow.dialects.json_header import as_struct, decode_map, require_parts, sides
from streamer.flow.dialects.message import (
    AREA_DETECTOR_CODECS,
    PIXEL_NAMES,
    Image,
    SeriesEnd,
    SeriesStart,
    Traits,
    attributes_of,
    checked,
    pixel_type,
    uncompressed,
)
from streamer.flow.wire import WireError
from streamer.schema import shown

TRAITS = Traits(
    name="array-1.0",
    spoken_by="PSI std_live_stream",
    sockets=("sub", "pull"),
    detector_binds=True,
    port=None,
    numbers_frames=True,
    compresses=True,
)


class Header(Struct, frozen=True):
    """The first part. "endianess" is how the specification spells it.

    ADZMQ before 1.4 sends ``htype`` as a list, and the width first. ``timeStamp`` is not read: it counts from 1990 with
    areaDetector, from 1970 with others.
    """

    htype: Literal["array-1.0"] | tuple[Literal["array-1.0"]]
    shape: tuple[int, ...]
    type: str
    frame: Annotated[int, Meta(ge=0)]
    encoding: str | None = None
    endianness: str = "little"
    endianess: str = "little"
    ndattr: Mapping[str, Any] = {}


def decode(parts: Sequence[memoryview]) -> Image:
    """One image. Raises WireError."""
    return image_of(decode_map(parts, "array-1.0 message"), parts)


def image_of(entries: dict[str, Any], parts: Sequence[memoryview]) -> Image:
    """The image of a decoded header. Raises WireError."""
    header = as_struct(entries, Header, "array-1.0 message")
    require_parts(parts, 2, "array-1.0 message")
    shape = sides(header.shape, "array-1.0 image")
    if "big" in (header.endianness, header.endianess) and header.type != "uint8":
        raise WireError("dtype", "array-1.0 image with the most significant byte first")
    codec = AREA_DETECTOR_CODECS.get(header.encoding or "")
    if codec is None:
        raise WireError("codec", f"array-1.0 image compressed as {shown(header.encoding)}")
    return checked(
        Image(
            shape=shape if isinstance(header.htype, str) else shape[::-1],
            dtype=pixel_type(header.type),
            data=parts[1],
            codec=codec,
            number=header.frame,
            attributes=attributes_of(header.ndattr),
        )
    )


def encode_start(_start: SeriesStart) -> list[bytes]:
    return []


def encode_image(image: Image) -> list[bytes | memoryview]:
    """Header and pixels. Raises BadInput for pixels that are compressed."""
    header = {
        "htype": "array-1.0",
        "shape": image.shape,
        "type": PIXEL_NAMES[image.dtype],
        "frame": image.number or 0,
        "endianness": "little",
        "ndattr": dict(image.attributes),
    }
    return [msgspec.json.encode(header), uncompressed(image, TRAITS.name)]


def encode_end(_end: SeriesEnd) -> list[bytes]:
    return []
