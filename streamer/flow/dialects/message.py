"""What the messages of a foreign detector say, whatever its dialect; and the traits by which dialects differ.

No sockets here. Bytes of a peer become one of these values, or a WireError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from streamer.flow.wire import WireError
from streamer.frames import DTYPES, MAX_SIDE, BadInput
from streamer.schema import shown

Codec = Literal["none", "lz4", "lz4-h5", "bslz4", "bslz4-h5"]
"""How pixels are compressed, and in which framing.

``lz4`` is one bare LZ4 block, ``bslz4`` what bitshuffle's ``compress_lz4`` makes; the ones of HDF5's filters (``-h5``)
begin with the raw size and the block size (12 bytes).
"""

AREA_DETECTOR_CODECS: Mapping[str, Codec] = {
    "": "none",
    "none": "none",
    "lz4": "lz4",
    "lz4hdf5": "lz4-h5",
    "bslz4": "bslz4",
}
"""The codecs of areaDetector's NDPluginCodec by their names; bslz4 has no header of the HDF5 filter."""

SocketKind = Literal["pull", "sub", "req", "pva"]
"""The daemon's end of the connection: PULL, SUB and REQ of ZeroMQ, or a PV over PVAccess."""

MAX_ATTRIBUTES = 256
MAX_ATTRIBUTE_TEXT = 1000
LIMIT = 2**63

PIXEL_TYPES: Mapping[str, str] = {np.dtype(dtype).name: dtype for dtype in DTYPES}
"""Pixel types as most dialects name them: NumPy's name → the name in ``frames.DTYPES``."""

PIXEL_NAMES: Mapping[str, str] = {dtype: name for name, dtype in PIXEL_TYPES.items()}

_ITEM_BYTES = {dtype: np.dtype(dtype).itemsize for dtype in DTYPES}

Attribute = int | float | str


class SeriesStart(Struct, frozen=True):
    """A detector announces a series of images. None: the message does not say it."""

    series: str
    frames: int | None = None
    shape: tuple[int, int] | None = None  # rows, columns
    dtype: str | None = None  # one of ``frames.DTYPES``
    start_deg: float | None = None
    step_deg: float | None = None
    exposure_s: float | None = None
    saturation: float | None = None
    mask: NDArray[Any] | None = None  # (rows, columns), nonzero: a defect
    metadata: Mapping[str, str] = field(default_factory=dict)


class Image(Struct, frozen=True):
    """One image. ``data`` may be longer than the compressed pixels that it holds: what follows them is ignored."""

    shape: tuple[int, int]  # rows, columns
    dtype: str  # one of ``frames.DTYPES``
    data: memoryview
    codec: Codec = "none"
    series: str | None = None  # None: the dialect has no series
    number: int | None = None  # trigger or frame number; None: the dialect has none
    timestamp_ns: int = 0
    exposure_s: float | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    channel: str = ""  # of a detector that sends several images for a trigger, as one for each threshold

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels when they are not compressed."""
        return self.shape[0] * self.shape[1] * _ITEM_BYTES[self.dtype]


class SeriesEnd(Struct, frozen=True):
    """The detector has sent its last image."""

    series: str | None = None
    frames: int | None = None


Message = SeriesStart | Image | SeriesEnd


class Traits(Struct, frozen=True):
    """What a dialect can say, and how its sockets are used."""

    name: str  # as in ``source.dialect``
    spoken_by: str
    sockets: tuple[SocketKind, ...]  # the first one is used unless the configuration says another
    detector_binds: bool
    port: int | None  # the detector's usual one
    numbers_frames: bool = False  # so that a lost image leaves a gap
    announces: bool = False  # a message precedes the images
    ends: bool = False  # a message follows the images
    sends_angles: bool = False
    sends_kinds: bool = False
    compresses: bool = False


class Dialect(Protocol):
    """A module of this folder."""

    TRAITS: Traits

    def decode(self, parts: Sequence[memoryview]) -> Message | None:
        """The parts of one message. None when it says nothing. Raises WireError, whatever the bytes."""

    def encode_start(self, start: SeriesStart) -> list[bytes]:
        """The parts of a message; none when the dialect has no such message."""

    def encode_image(self, image: Image) -> list[bytes | memoryview]: ...

    def encode_end(self, end: SeriesEnd) -> list[bytes]: ...


def checked(image: Image) -> Image:
    """The image itself. Raises WireError when sizes, numbers or attributes are beyond all reason.

    Compressed data are not looked into.
    """
    rows, columns = image.shape
    if not (1 <= rows <= MAX_SIDE and 1 <= columns <= MAX_SIDE):
        raise WireError("shape", f"image of {shown(rows)} rows and {shown(columns)} columns")
    if image.number is not None and not 0 <= image.number < LIMIT:
        raise WireError("header", f"image number {shown(image.number)}, expected 0 to 2**63 - 1")
    if not 0 <= image.timestamp_ns < LIMIT:
        raise WireError("header", f"image of the time {shown(image.timestamp_ns)} ns")
    if image.exposure_s is not None and not math.isfinite(image.exposure_s):
        raise WireError("header", f"image with an exposure of {image.exposure_s} s")
    if image.codec == "none" and image.data.nbytes != image.nbytes:
        reason = "truncated" if image.data.nbytes < image.nbytes else "oversize"
        text = f"image of {image.data.nbytes} bytes, {rows}×{columns} {image.dtype} has {image.nbytes}"
        raise WireError(reason, text)
    return image


def pixel_type(name: str) -> str:
    """A pixel type by NumPy's name for it. Raises WireError("dtype") for one that Streamer does not take."""
    try:
        return PIXEL_TYPES[name]
    except KeyError:
        raise WireError("dtype", f"image of {shown(name)}, known are {', '.join(PIXEL_TYPES)}") from None


def attributes_of(values: Mapping[str, Any]) -> dict[str, Attribute]:
    """The attributes that are a number or a short text; the others are left out. At most 256."""
    found: dict[str, Attribute] = {}
    for name, value in values.items():
        if len(found) == MAX_ATTRIBUTES:
            break
        if len(name) <= MAX_ATTRIBUTE_TEXT and _is_attribute(value):
            found[name] = value
    return found


def _is_attribute(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ATTRIBUTE_TEXT
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) < LIMIT


def uncompressed(image: Image, dialect: str) -> memoryview:
    """The pixels of an image that is to be sent in a dialect without compression. Raises BadInput otherwise."""
    if image.codec != "none":
        raise BadInput(f"the dialect {dialect} cannot send pixels compressed as {image.codec}")
    return image.data.cast("B") if image.data.ndim != 1 or image.data.format != "B" else image.data
