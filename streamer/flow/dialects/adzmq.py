"""areaDetector's ADZMQ (NDPluginZMQ): PSI's array-1.0, with the attributes of the NDArray under ``ndattr``.

Source: paulscherrerinstitute/ADZMQ, NDPluginZMQ.cpp. The plugin writes JSON by hand: an attribute that is NaN, that has
no value (a PV is disconnected), or whose text holds a quote or a backslash makes a header that is no JSON.

Compressed pixels are followed by what the buffer held before: a payload is always as long as the pixels without
compression.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from streamer.flow.dialects import array_1_0
from streamer.flow.dialects.array_1_0 import encode_end, encode_start
from streamer.flow.dialects.json_header import MAX_JSON, decode_map
from streamer.flow.dialects.message import PIXEL_NAMES, Attribute, Image, Traits, uncompressed
from streamer.flow.wire import WireError

TRAITS = Traits(
    name="adzmq",
    spoken_by="areaDetector ADZMQ",
    sockets=("sub", "pull"),
    detector_binds=True,
    port=None,
    numbers_frames=True,
    compresses=True,
)

__all__ = ["TRAITS", "decode", "encode_end", "encode_image", "encode_start"]

ATTRIBUTES = b'"ndattr":{'
"""What precedes the attributes, which are the last entry of a header."""

NAME = re.compile(rb'(?:^|,)"([^"]{1,256})":')


def decode(parts: Sequence[memoryview]) -> Image:
    """One image. Raises WireError."""
    try:
        entries = decode_map(parts, "ADZMQ message")
    except WireError:
        if not parts or parts[0].nbytes > MAX_JSON or not (text := bytes(parts[0])).endswith(b"}}"):
            raise
        head, _, attributes = text[:-2].partition(ATTRIBUTES)
        entries = decode_map([memoryview(head + ATTRIBUTES + b"}}")], "ADZMQ message")
        entries["ndattr"] = _readable(attributes)
    return array_1_0.image_of(entries, parts)


def _readable(attributes: bytes) -> Mapping[str, Attribute]:
    """Those that can be read of attributes that are no JSON: ``"A":1,"B":"text"``."""
    names = list(NAME.finditer(attributes))
    ends = [name.start() for name in names] + [len(attributes)]
    found: dict[str, Attribute] = {}
    for name, end in zip(names, ends[1:], strict=True):
        text = attributes[name.end() : end].rstrip(b",").decode(errors="replace")
        if len(text) > 1 and text[0] == text[-1] == '"':
            found[name[1].decode(errors="replace")] = text[1:-1]
        else:
            with suppress(ValueError):
                found[name[1].decode(errors="replace")] = msgspec.json.decode(text, type=int | float)
    return found


def encode_image(image: Image) -> list[bytes | memoryview]:
    """Header and pixels. Raises BadInput for pixels that are compressed."""
    header = {
        "htype": "array-1.0",
        "type": PIXEL_NAMES[image.dtype],
        "shape": image.shape,
        "frame": image.number or 0,
        "timeStamp": 0.0,
        "encoding": "",
        "ndattr": dict(image.attributes),
    }
    return [msgspec.json.encode(header), uncompressed(image, TRAITS.name)]
