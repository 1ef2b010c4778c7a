"""STINS of MAX IV ("stream1"): a header, images and an end, numbered one after the other; JSON and pixels.

Sources: maxiv-science/streaming-receiver, dranspose (data/stream1.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from streamer.flow.dialects.json_header import as_struct, decode_map, other_keys, require_parts, sides
from streamer.flow.dialects.message import (
    PIXEL_NAMES,
    Codec,
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
from streamer.schema import shown

TRAITS = Traits(
    name="stins",
    spoken_by="MAX IV STINS, dranspose",
    sockets=("pull",),
    detector_binds=True,
    port=9999,
    numbers_frames=True,
    announces=True,
    ends=True,
    compresses=True,
)

CODECS: Mapping[str, Codec] = {"none": "none", "bslz4": "bslz4-h5"}
"""What is called bslz4 is passed on from EIGER detectors, with the header of the HDF5 filter."""

Number = Annotated[int, Meta(ge=0)]


class _Start(Struct, frozen=True):
    htype: Literal["header"]
    msg_number: Number
    filename: str = ""


class _Image(Struct, frozen=True):
    htype: Literal["image"]
    msg_number: Number
    frame: Number
    shape: tuple[int, ...]
    type: str
    compression: str = "none"


class _End(Struct, frozen=True):
    htype: Literal["series_end"]
    msg_number: Number = 0


def decode(parts: Sequence[memoryview]) -> Message:
    """A header, an image or an end. Raises WireError."""
    entries = decode_map(parts, "STINS message")
    kind = entries.get("htype")
    if kind == "image":
        return _image(entries, parts)
    if kind == "header":
        start = as_struct(entries, _Start, "STINS header")
        # A series has no name: the number of its first message is none of any other series.
        return SeriesStart(str(start.msg_number), metadata={"filename": start.filename} if start.filename else {})
    if kind == "series_end":
        as_struct(entries, _End, "STINS end")
        return SeriesEnd()
    raise WireError("unknown_kind", f"STINS message of unknown kind {shown(kind)}")


def _image(entries: dict[str, Any], parts: Sequence[memoryview]) -> Image:
    header = as_struct(entries, _Image, "STINS image")
    require_parts(parts, 2, "STINS image")
    if header.compression not in CODECS:
        raise WireError("codec", f"STINS image compressed as {shown(header.compression)}")
    return checked(
        Image(
            shape=sides(header.shape, "STINS image"),
            dtype=pixel_type(header.type),
            data=parts[1],
            codec=CODECS[header.compression],
            number=header.frame,
            attributes=attributes_of(other_keys(entries, _Image)),
        )
    )


def encode_start(start: SeriesStart) -> list[bytes]:
    filename = start.metadata.get("filename", start.series)
    return [msgspec.json.encode({"htype": "header", "msg_number": 0, "filename": filename})]


def encode_image(image: Image) -> list[bytes | memoryview]:
    """Header and pixels. Raises BadInput for pixels that are compressed."""
    frame = image.number or 0
    header = {
        **image.attributes,
        "htype": "image",
        "msg_number": frame + 1,
        "frame": frame,
        "shape": image.shape,
        "type": PIXEL_NAMES[image.dtype],
        "compression": "none",
    }
    return [msgspec.json.encode(header), uncompressed(image, TRAITS.name)]


def encode_end(end: SeriesEnd) -> list[bytes]:
    return [msgspec.json.encode({"htype": "series_end", "msg_number": (end.frames or 0) + 1})]
