"""The live view of odin-data: ``[JSON header, pixels]`` for each image that it shows; published, never held back.

Sources: odin-detector/odin-data, LiveViewPlugin.cpp and doc/Live_View_Spec.md. The specification says that the width
comes first; the plugin passes on the dimensions of the dataset, and its readers take the first one as rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from streamer.flow.dialects.json_header import as_struct, decode_map, other_keys, require_parts, sides
from streamer.flow.dialects.message import (
    PIXEL_NAMES,
    Codec,
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
    name="odin",
    spoken_by="odin-data's live view",
    sockets=("sub",),
    detector_binds=True,
    port=5020,
    numbers_frames=True,
    compresses=True,
)

CODECS: Mapping[str, Codec] = {"none": "none", "unset": "none", "unknown": "none", "lz4": "lz4-h5", "bslz4": "bslz4-h5"}
"""A compressed image is the chunk that odin writes to HDF5. Where a plugin does not say it, the length tells."""

Length = Annotated[str, Meta(pattern=r"\A[0-9]{1,9}\Z")] | int


class _Header(Struct, frozen=True):
    frame_num: Annotated[int, Meta(ge=0)]
    dtype: str
    shape: tuple[Length, ...]  # the plugin writes numbers as texts
    acquisition_id: str = ""
    compression: str = "none"
    dataset: str = ""
    dsize: int = 0


def decode(parts: Sequence[memoryview]) -> Image:
    """One image. Raises WireError."""
    entries = decode_map(parts, "odin message")
    header = as_struct(entries, _Header, "odin message")
    require_parts(parts, 2, "odin message")
    codec = CODECS.get(header.compression.lower())
    if codec is None:
        raise WireError("codec", f"odin image compressed as {shown(header.compression)}")
    return checked(
        Image(
            shape=sides([int(length) for length in header.shape], "odin image"),
            dtype=pixel_type("float32" if header.dtype == "float" else header.dtype),
            data=parts[1],
            codec=codec,
            series=header.acquisition_id or None,
            number=header.frame_num,
            attributes=attributes_of(other_keys(entries, _Header)),
            channel=header.dataset,
        )
    )


def encode_start(_start: SeriesStart) -> list[bytes]:
    return []


def encode_image(image: Image) -> list[bytes | memoryview]:
    """Header and pixels. Raises BadInput for pixels that are compressed."""
    header = {
        **image.attributes,
        "frame_num": image.number or 0,
        "acquisition_id": image.series or "",
        "dtype": "float" if image.dtype == "<f4" else PIXEL_NAMES[image.dtype],
        "dsize": image.nbytes,
        "dataset": image.channel,
        "compression": "none",
        "shape": [str(length) for length in image.shape],
    }
    return [msgspec.json.encode(header), uncompressed(image, TRAITS.name)]


def encode_end(_end: SeriesEnd) -> list[bytes]:
    return []
