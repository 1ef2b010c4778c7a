"""NTNDArray of EPICS over PVAccess, as areaDetector's NDPluginPva serves it. The structure comes decoded.

Sources: the normative types of EPICS 7; areaDetector ADCore, ntndArrayConverter.cpp: the width comes first, the size of
an image is ``dimension``, and what a codec packed is of the type ``codec.parameters``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from streamer.flow.dialects.message import AREA_DETECTOR_CODECS, Codec, Image, Traits, attributes_of, checked
from streamer.flow.wire import WireError
from streamer.frames import DTYPES
from streamer.schema import shown

TRAITS = Traits(
    name="pva",
    spoken_by="areaDetector NDPluginPva, pvaPy",
    sockets=("pva",),
    detector_binds=True,
    port=5075,
    numbers_frames=True,
    compresses=True,
)

SCALAR_TYPES: Mapping[int, str] = {5: "|u1", 6: "<u2", 7: "<u4", 9: "<f4"}
"""pvData's numbers of the types that Streamer takes."""

HDF5_FRAMED: Mapping[Codec, Codec] = {"lz4": "lz4-h5", "bslz4": "bslz4-h5"}


class NTNDArray(Struct, frozen=True):
    """What of the structure counts. ``value`` (n,) is None when the union is empty."""

    value: NDArray[Any] | None
    dimensions: tuple[int, ...]  # columns, rows
    unique_id: int
    codec: str = ""
    parameters: object = None
    compressed_bytes: int = 0
    seconds: int = 0
    nanoseconds: int = 0
    attributes: Mapping[str, Any] = {}


def image_of(array: NTNDArray) -> Image:
    """Raises WireError for anything but one grey image."""
    if array.value is None or len(array.dimensions) != 2:
        raise WireError("shape", f"NTNDArray of {len(array.dimensions)} dimensions, expected 2")
    codec = AREA_DETECTOR_CODECS.get(array.codec)
    if codec is None:
        raise WireError("codec", f"NTNDArray compressed as {shown(array.codec)}")
    value = np.ascontiguousarray(array.value)
    dtype: str | None = value.dtype.newbyteorder("<").str
    if codec != "none":
        dtype = SCALAR_TYPES.get(array.parameters) if isinstance(array.parameters, int) else None
    if dtype not in DTYPES:
        raise WireError("dtype", f"NTNDArray of {value.dtype}, known are {', '.join(DTYPES)}")
    data = value.data.cast("B") if value.size else memoryview(b"")
    if codec != "none":
        data = data[: max(0, array.compressed_bytes)]
    columns, rows = array.dimensions
    image = Image(
        shape=(rows, columns),
        dtype=dtype,
        data=data,
        codec=codec,
        number=array.unique_id,
        timestamp_ns=max(0, array.seconds) * 10**9 + array.nanoseconds,
        attributes=attributes_of(array.attributes),
    )
    return checked(structs.replace(image, codec=_framed(image)))


def _framed(image: Image) -> Codec:
    """The codec with its framing. pvaPy sends chunks of HDF5 as they lie in the file, under the codec's short name.

    Such a chunk begins with the size of the pixels in 8 bytes. Nothing that areaDetector packs does: neither a block of
    LZ4 nor one of bitshuffle begins with four zeros.
    """
    framed = HDF5_FRAMED.get(image.codec)
    return framed if framed is not None and int.from_bytes(image.data[:8], "big") == image.nbytes else image.codec
