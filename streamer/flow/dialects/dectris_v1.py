"""DECTRIS SIMPLON stream v1 ("legacy"): JSON parts and pixels in one message of several parts.

Sources: DECTRIS SIMPLON API reference, areaDetector ADEiger (streamApi.cpp), dranspose (data/eiger_legacy.py),
tickit-devices. Shapes have the width first. What ``lz4`` compresses has no header, what bitshuffle compresses has that
of the HDF5 filter. ``start_time`` counts from when the detector was switched on: it is no date, and is not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from streamer.flow.dialects.dectris import ROTATION, series_number, texts, turning
from streamer.flow.dialects.json_header import as_struct, decode_map, optional_map, other_keys, sides
from streamer.flow.dialects.message import (
    PIXEL_NAMES,
    PIXEL_TYPES,
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
from streamer.flow.wire import WireError, checksum
from streamer.frames import MAX_SIDE, BadInput
from streamer.schema import Finite, shown

TRAITS = Traits(
    name="dectris-v1",
    spoken_by="DECTRIS SIMPLON, legacy stream (EIGER, EIGER2)",
    sockets=("pull",),
    detector_binds=True,
    port=9999,
    numbers_frames=True,
    announces=True,
    ends=True,
    sends_angles=True,
    compresses=True,
)

PARTS: Mapping[str, int] = {"none": 1, "basic": 2, "all": 8}
"""Parts of a start by its header detail, without the user's appendix."""

MASK = 4
"""Place of the header of the pixel mask in a start of all detail; the pixels of the mask follow."""

AXES = ("chi", "kappa", "omega", "phi", "two_theta")
LITTLE = "<"

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Start(Struct, frozen=True):
    htype: Literal["dheader-1.0"]
    series: Number
    header_detail: Literal["none", "basic", "all"] = "none"


class _Configuration(Struct, frozen=True):
    nimages: Number | None = None
    ntrigger: Number = 1
    bit_depth_image: int | None = None
    count_time: Finite | None = None
    countrate_correction_count_cutoff: Finite | None = None
    x_pixels_in_detector: Annotated[int, Meta(ge=1, le=MAX_SIDE)] | None = None
    y_pixels_in_detector: Annotated[int, Meta(ge=1, le=MAX_SIDE)] | None = None


class _Detail(Struct, frozen=True):
    shape: tuple[int, ...]
    type: str


class _Image(Struct, frozen=True):
    htype: Literal["dimage-1.0"]
    series: Number
    frame: Number


class _Pixels(Struct, frozen=True):
    shape: tuple[int, ...]
    type: str
    encoding: str = LITTLE


class _Times(Struct, frozen=True):
    real_time: Number | None = None


class _End(Struct, frozen=True):
    htype: Literal["dseries_end-1.0"]
    series: Number


def decode(parts: Sequence[memoryview]) -> Message:
    """A start, an image or an end. Raises WireError."""
    entries = decode_map(parts, "stream v1 message")
    match entries.get("htype"):
        case "dimage-1.0":
            return _image(as_struct(entries, _Image, "stream v1 image"), parts)
        case "dheader-1.0":
            return _start(as_struct(entries, _Start, "stream v1 start"), parts)
        case "dseries_end-1.0":
            return SeriesEnd(str(as_struct(entries, _End, "stream v1 end").series))
    raise WireError("unknown_kind", f"stream v1 message of unknown kind {shown(entries.get('htype'))}")


def _image(header: _Image, parts: Sequence[memoryview]) -> Image:
    _require(parts, 4, "stream v1 image")
    pixels = _part(parts, 1, _Pixels)
    times = _part(parts, 3, _Times)
    columns, rows = sides(pixels.shape, "stream v1 image")
    dtype = pixel_type(pixels.type)
    return checked(
        Image(
            shape=(rows, columns),
            dtype=dtype,
            data=parts[2],
            codec=_codec(pixels.encoding, dtype),
            series=str(header.series),
            number=header.frame,
            exposure_s=None if times.real_time is None else times.real_time / 1e9,
            attributes=attributes_of(optional_map(parts[4:], "appendix")),
        )
    )


def _codec(encoding: str, dtype: str) -> Codec:
    bits = 8 * np.dtype(dtype).itemsize
    known: Mapping[str, Codec] = {"": "none", "lz4": "lz4", f"bs{bits}-lz4": "bslz4-h5"}
    name = encoding.removesuffix(LITTLE)
    if name not in known:
        raise WireError("codec", f"stream v1 image of {dtype} compressed as {shown(encoding)}")
    return known[name]


def _start(header: _Start, parts: Sequence[memoryview]) -> SeriesStart:
    expected = PARTS[header.header_detail]
    _require(parts, expected, f"stream v1 start ({header.header_detail})")
    entries = decode_map(parts[1:2], "stream v1 configuration") if expected > 1 else {}
    said = as_struct(entries, _Configuration, "stream v1 configuration")
    shape = None
    if said.x_pixels_in_detector is not None and said.y_pixels_in_detector is not None:
        shape = said.y_pixels_in_detector, said.x_pixels_in_detector
    axes = {axis: (entries.get(f"{axis}_start"), entries.get(f"{axis}_increment")) for axis in AXES}
    start_deg, step_deg = turning(axes) or (None, None)
    return SeriesStart(
        str(header.series),
        frames=None if said.nimages is None else said.nimages * said.ntrigger,
        shape=shape,
        dtype=PIXEL_TYPES.get(f"uint{said.bit_depth_image}"),
        start_deg=start_deg,
        step_deg=step_deg,
        exposure_s=said.count_time,
        saturation=said.countrate_correction_count_cutoff,
        mask=_mask(parts) if header.header_detail == "all" else None,
        metadata=texts({**other_keys(entries, _Configuration), **optional_map(parts[expected:], "appendix")}),
    )


def _mask(parts: Sequence[memoryview]) -> NDArray[Any]:
    # By its place: the names in these headers differ between versions of the firmware.
    header = _part(parts, MASK, _Detail)
    columns, rows = sides(header.shape, "stream v1 pixel mask")
    data = parts[MASK + 1]
    if header.type != "uint32" or min(rows, columns) < 1 or rows * columns * 4 != data.nbytes:
        raise WireError("shape", f"pixel mask of {data.nbytes} bytes, expected {shown((rows, columns))} uint32")
    return np.frombuffer(data, "<u4").reshape(rows, columns)


def _require(parts: Sequence[memoryview], count: int, what: str) -> None:
    if len(parts) not in (count, count + 1):
        raise WireError("parts", f"{what} has {len(parts)} parts, expected {count}, or {count + 1} with the appendix")


def _part(parts: Sequence[memoryview], place: int, kind: type[Any]) -> Any:
    what = f"part {place} of a stream v1 message"
    return as_struct(decode_map(parts[place : place + 1], what), kind, what)


def encode_start(start: SeriesStart) -> list[bytes]:
    """With the pixel mask in all detail, else in basic detail. Raises BadInput for a mask without the shape."""
    shape = start.shape
    if start.mask is not None and (shape is None or start.mask.shape != shape):
        raise BadInput(f"the mask is {start.mask.shape}, the images are {shape}")
    configuration = {
        "nimages": start.frames,
        "ntrigger": 1,
        "trigger_mode": "ints",
        "bit_depth_image": 8 * np.dtype(start.dtype).itemsize if start.dtype else None,
        "count_time": start.exposure_s,
        "countrate_correction_count_cutoff": start.saturation,
        "y_pixels_in_detector": shape and shape[0],
        "x_pixels_in_detector": shape and shape[1],
        f"{ROTATION}_start": start.start_deg,
        f"{ROTATION}_increment": start.step_deg,
    }
    known = {name: value for name, value in configuration.items() if value is not None}
    detail = "basic" if start.mask is None else "all"
    header = {"htype": "dheader-1.0", "series": series_number(start.series), "header_detail": detail}
    parts = [msgspec.json.encode(header), msgspec.json.encode(known)]
    if start.mask is not None:
        flat, table = np.ones(start.mask.shape, "<f4"), np.zeros((2, 2), "<f4")
        parts += _detail("dflatfield-1.0", flat)
        parts += _detail("dpixelmask-1.0", start.mask.astype("<u4"))
        parts += _detail("dcountrate_table-1.0", table)
    return [*parts, *_appendix(start.metadata)]


def _appendix(entries: Mapping[str, Any]) -> list[bytes]:
    """The user's part of a message; a detector leaves it out when nothing is set."""
    return [msgspec.json.encode(dict(entries))] if entries else []


def _detail(htype: str, values: NDArray[Any]) -> list[bytes]:
    header = {"htype": htype, "shape": values.shape[::-1], "type": values.dtype.name}
    return [msgspec.json.encode(header), values.tobytes()]


def encode_image(image: Image) -> list[bytes | memoryview]:
    """Raises BadInput for pixels in a framing that the dialect does not have."""
    bits = 8 * np.dtype(image.dtype).itemsize
    encodings = {"lz4": "lz4", "bslz4-h5": f"bs{bits}-lz4"}
    data = image.data if image.codec in encodings else uncompressed(image, TRAITS.name)
    series = series_number(image.series)
    # A detector sends an MD5, which would take longer than all the rest.
    header = {"htype": "dimage-1.0", "series": series, "frame": image.number or 0, "hash": f"{checksum(data):032x}"}
    pixels = {
        "htype": "dimage_d-1.0",
        "shape": image.shape[::-1],
        "type": PIXEL_NAMES[image.dtype],
        "encoding": encodings.get(image.codec, "") + LITTLE,
        "size": data.nbytes,
    }
    real_time = round((image.exposure_s or 0.0) * 1e9)
    times = {"htype": "dconfig-1.0", "real_time": real_time, "start_time": 0, "stop_time": real_time}
    before = [msgspec.json.encode(part) for part in (header, pixels)]
    return [*before, data, msgspec.json.encode(times), *_appendix(image.attributes)]


def encode_end(end: SeriesEnd) -> list[bytes]:
    return [msgspec.json.encode({"htype": "dseries_end-1.0", "series": series_number(end.series)})]
