"""KIT Concert: ``[JSON header, pixels]`` for each image, then ``{"end": true}``. Images have no number.

Source: ufo-kit/concert, concert/networking/base.py. Its sender drops what does not fit into its queue, and no gap shows
it: a scan whose images were lost looks like a shorter one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from streamer.flow.dialects.json_header import as_struct, decode_map, other_keys, require_parts, sides
from streamer.flow.dialects.message import (
    PIXEL_NAMES,
    Image,
    Message,
    SeriesEnd,
    SeriesStart,
    Traits,
    attributes_of,
    checked,
    pixel_type,
    uncompressed,
)
from streamer.flow.wire import WireError

TRAITS = Traits(
    name="concert",
    spoken_by="KIT Concert",
    sockets=("pull", "sub"),
    detector_binds=True,
    port=None,
    ends=True,
)


class _Header(Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    mirror: bool = False
    rotate: int = 0  # quarter turns


def decode(parts: Sequence[memoryview]) -> Message:
    """An image or the end. Raises WireError."""
    entries = decode_map(parts, "Concert message")
    if "end" in entries:
        return SeriesEnd()
    header = as_struct(entries, _Header, "Concert message")
    require_parts(parts, 2, "Concert image")
    if header.mirror or header.rotate:
        raise WireError("shape", "Concert image that is to be mirrored or turned; switch mirror and rotate off")
    return checked(
        Image(
            shape=sides(header.shape, "Concert image"),
            dtype=pixel_type(header.dtype),
            data=parts[1],
            attributes=attributes_of(other_keys(entries, _Header)),
        )
    )


def encode_start(_start: SeriesStart) -> list[bytes]:
    return []


def encode_image(image: Image) -> list[bytes | memoryview]:
    """Header and pixels. Raises BadInput for pixels that are compressed."""
    header = {**image.attributes, "dtype": PIXEL_NAMES[image.dtype], "shape": image.shape}
    return [msgspec.json.encode(header), uncompressed(image, TRAITS.name)]


def encode_end(_end: SeriesEnd) -> list[bytes]:
    return [msgspec.json.encode({"end": True})]
