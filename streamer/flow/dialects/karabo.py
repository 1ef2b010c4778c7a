"""The Karabo bridge of the European XFEL, protocol 2.2: pairs of a msgpack header and its data, for one train.

Source: European-XFEL/karabo-bridge-py, serializer.py. Protocol 1.0, which may hold pickles, is refused. A train must
have one array of two dimensions: the image. Every number and text is an attribute, named ``source:property``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from msgspec import Struct

from streamer.flow.dialects.message import (
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
from streamer.flow.wire import WireError, decode_as, pack, unpack

TRAITS = Traits(
    name="karabo",
    spoken_by="Karabo bridge 2.2",
    sockets=("req", "sub", "pull"),
    detector_binds=True,
    port=4545,
    numbers_frames=True,
)

REQUEST = b"next"
MAX_HEADER = 2**16
MAX_DATA = 2**20
MAX_PARTS = 1000
SOURCE = "DETECTOR"
"""The source that the encoder names."""

S = TypeVar("S")


class _Header(Struct, frozen=True):
    source: str
    content: Literal["msgpack", "array"]
    metadata: Mapping[str, Any] = {}
    path: str = ""
    dtype: str = ""
    shape: tuple[int, ...] = ()


def decode(parts: Sequence[memoryview]) -> Image:
    """The image of a train. Raises WireError."""
    if len(parts) == 1:
        raise WireError(
            "version", "Karabo bridge message of one part: protocol 1.0, which may hold pickles, is not read"
        )
    if not parts or len(parts) % 2 or len(parts) > MAX_PARTS:
        raise WireError("parts", f"Karabo bridge message of {len(parts)} parts, expected pairs")
    attributes: dict[str, Any] = {}
    images: list[tuple[_Header, memoryview]] = []
    metadata: dict[str, Mapping[str, Any]] = {}
    for part, data in zip(parts[::2], parts[1::2], strict=True):
        header = decode_as(part, _Header, "Karabo bridge header", MAX_HEADER)
        if header.content == "msgpack":
            metadata[header.source] = header.metadata
            values = unpack(data, MAX_DATA)
            attributes |= {f"{header.source}:{name}": value for name, value in values.items()}
        elif len([length for length in header.shape if length != 1]) == 2:
            images.append((header, data))
    if len(images) != 1:
        found = ", ".join(f"{header.source}:{header.path}" for header, _data in images[:5]) or "none"
        raise WireError("shape", f"Karabo bridge train with {len(images)} images, expected one: {found[:500]!r}")
    header, data = images[0]
    return _image(header, data, metadata.get(header.source, {}), attributes)


def _image(header: _Header, data: memoryview, metadata: Mapping[str, Any], attributes: Mapping[str, Any]) -> Image:
    rows, columns = (length for length in header.shape if length != 1)
    train = metadata.get("timestamp.tid")
    return checked(
        Image(
            shape=(rows, columns),
            dtype=pixel_type(header.dtype),
            data=data,
            number=train if isinstance(train, int) else None,
            timestamp_ns=_nanoseconds(metadata),
            attributes=attributes_of(attributes),
        )
    )


def _nanoseconds(metadata: Mapping[str, Any]) -> int:
    """The train's time; 0 when it has none. Seconds and their fraction (attoseconds) come as texts."""
    seconds, fraction = (str(metadata.get(f"timestamp.{part}", "")) for part in ("sec", "frac"))
    digits = seconds + fraction
    if not (digits.isdecimal() and digits.isascii() and seconds and len(seconds) <= 10 and len(fraction) <= 18):
        return 0
    return int(seconds) * 10**9 + int(fraction.ljust(18, "0")[:9])


def encode_start(_start: SeriesStart) -> list[bytes]:
    return []


def encode_image(image: Image) -> list[bytes | memoryview]:
    """A train of one source. Raises BadInput for pixels that are compressed."""
    seconds, nanoseconds = divmod(image.timestamp_ns, 10**9)
    metadata = {
        "source": SOURCE,
        "timestamp": image.timestamp_ns * 1e-9,
        "timestamp.sec": str(seconds),
        "timestamp.frac": f"{nanoseconds:09d}".ljust(18, "0"),
        "timestamp.tid": image.number or 0,
    }
    array = {
        "source": SOURCE,
        "content": "array",
        "path": "data.image",
        "dtype": PIXEL_NAMES[image.dtype],
        "shape": image.shape,
    }
    return [
        pack({"source": SOURCE, "content": "msgpack", "metadata": metadata}),
        pack(dict(image.attributes)),
        pack(array),
        uncompressed(image, TRAITS.name),
    ]


def encode_end(_end: SeriesEnd) -> list[bytes]:
    return []
