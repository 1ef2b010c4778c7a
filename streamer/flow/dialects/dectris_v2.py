"""DECTRIS SIMPLON stream v2: one CBOR map for the start, each image and the end of a series.

Sources: dectris/documentation (stream_v2, cbor/dectris-compression-tag), and messages of an EIGER2 16M that
tickit-devices brings along. Older firmware does not announce the pixel type. An image has one array for each threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from streamer.flow.codecs import decompressed
from streamer.flow.dialects import cbor, dectris
from streamer.flow.dialects.cbor import Tag
from streamer.flow.dialects.dectris import ROTATION, series_number, texts, turning
from streamer.flow.dialects.json_header import as_struct, optional_map, other_keys, require_parts
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
    uncompressed,
)
from streamer.flow.wire import WireError
from streamer.frames import MAX_SIDE
from streamer.schema import Finite, shown

TRAITS = Traits(
    name="dectris-v2",
    spoken_by="DECTRIS SIMPLON 1.8 and later, stream v2 (EIGER2, PILATUS4, SELUN)",
    sockets=("pull",),
    detector_binds=True,
    port=31001,
    numbers_frames=True,
    announces=True,
    ends=True,
    sends_angles=True,
    compresses=True,
)

TYPED: Mapping[int, str] = {64: "|u1", 68: "|u1", 69: "<u2", 70: "<u4", 85: "<f4"}
CODECS: Mapping[str, Codec] = {"bslz4": "bslz4-h5", "lz4": "lz4-h5"}
TAGS: Mapping[str, int] = {"|u1": 64, "<u2": 69, "<u4": 70, "<f4": 85}
CHANNEL = "threshold_1"

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Ratio = tuple[Number, Annotated[int, Meta(gt=0, le=2**63 - 1)]]


class _Start(Struct, frozen=True):
    type: Literal["start"]
    series_id: Number
    series_unique_id: str = ""
    number_of_images: Number | None = None
    image_dtype: str | None = None
    image_size_x: Annotated[int, Meta(ge=1, le=MAX_SIDE)] | None = None
    image_size_y: Annotated[int, Meta(ge=1, le=MAX_SIDE)] | None = None
    channels: list[str] = []
    count_time: Finite | None = None
    saturation_value: Finite | None = None
    goniometer: dict[str, Any] = {}
    pixel_mask: dict[str, Any] = {}
    user_data: Any = None


class _Image(Struct, frozen=True):
    type: Literal["image"]
    series_id: Number
    image_id: Number
    data: dict[str, Any]
    real_time: Ratio | None = None
    start_time: Ratio | None = None
    series_date: Any = None
    user_data: Any = None


class _End(Struct, frozen=True):
    type: Literal["end"]
    series_id: Number


class _Array(Struct, frozen=True):
    """Row-major numbers, compressed or not."""

    shape: tuple[int, int]
    dtype: str
    codec: Codec
    data: memoryview


def decode(parts: Sequence[memoryview], channel: str = "") -> Message:
    """A start, an image or an end. ``channel``: the threshold to take, "" for the first. Raises WireError."""
    require_parts(parts, 1, "stream v2 message")
    entries = cbor.decode(parts[0])
    if isinstance(entries, Tag) and entries.number == cbor.ANY:
        entries = entries.value
    if not isinstance(entries, dict):
        raise WireError("header", f"stream v2 message is no map: {type(entries).__name__}")
    match entries.get("type"):
        case "image":
            return _image(as_struct(entries, _Image, "stream v2 image"), channel)
        case "start":
            return _start(entries, channel)
        case "end":
            return SeriesEnd(str(as_struct(entries, _End, "stream v2 end").series_id))
    raise WireError("unknown_kind", f"stream v2 message of unknown kind {shown(entries.get('type'))}")


def _image(message: _Image, channel: str) -> Image:
    name = _chosen(message.data, channel, "image")
    array = _array(message.data[name], f"stream v2 image {name!r:.40}")
    return checked(
        Image(
            shape=array.shape,
            dtype=array.dtype,
            data=array.data,
            codec=array.codec,
            series=str(message.series_id),
            number=message.image_id,
            timestamp_ns=_begun_ns(message),
            exposure_s=None if message.real_time is None else message.real_time[0] / message.real_time[1],
            attributes=attributes_of(_user(message.user_data)),
            channel=name,
        )
    )


def _user(data: Any) -> dict[str, Any]:
    """What the user adds to a message: a map, or one as a text in JSON; whatever else it is, is not read."""
    if isinstance(data, dict):
        return data
    return optional_map([memoryview(data.encode())] if isinstance(data, str) else [], "user data")


def _chosen(by_channel: Mapping[str, Any], channel: str, what: str) -> str:
    if channel and channel not in by_channel:
        raise WireError("channel", f"stream v2 {what} without channel {channel!r}; it has {shown(list(by_channel))}")
    if not by_channel:
        raise WireError("channel", f"stream v2 {what} without any channel")
    return channel or next(iter(by_channel))


def _array(value: Any, what: str) -> _Array:
    match value:
        case Tag(cbor.ARRAY, [[int(rows), int(columns)], Tag(number, content)]) if number in TYPED:
            dtype = TYPED[number]
            match content:
                case memoryview():
                    return _Array((rows, columns), dtype, "none", content)
                case Tag(dectris.COMPRESSED, [str(name), int(itemsize), memoryview() as data]) if name in CODECS:
                    if itemsize != np.dtype(dtype).itemsize and name == "bslz4":
                        raise WireError("codec", f"{what}: {dtype} compressed as items of {shown(itemsize)} bytes")
                    return _Array((rows, columns), dtype, CODECS[name], data)
            raise WireError("codec", f"{what} is compressed in an unknown way")
        case Tag(cbor.ARRAY, [[int(), int()], Tag(number, _)]):
            raise WireError("dtype", f"{what} has the number type of tag {number}, known are {', '.join(PIXEL_NAMES)}")
    raise WireError("header", f"{what} is no array of rows and columns")


def _begun_ns(message: _Image) -> int:
    """When the exposure began, ns since 1970; 0 when the message does not say it."""
    date = message.series_date
    if message.start_time is None or not (
        isinstance(date, Tag) and date.number == cbor.DATE and isinstance(date.value, str)
    ):
        return 0
    try:
        series = datetime.fromisoformat(date.value) - EPOCH
    except (ValueError, TypeError, OverflowError):  # no date, or one without its zone
        return 0
    ticks, per_second = message.start_time
    began = series // timedelta(microseconds=1) * 1000 + ticks * 10**9 // per_second
    return began if 0 <= began < 2**63 else 0


def _start(entries: dict[str, Any], channel: str) -> SeriesStart:
    message = as_struct(entries, _Start, "stream v2 start")
    shape = None
    if message.image_size_x is not None and message.image_size_y is not None:
        shape = message.image_size_y, message.image_size_x
    axes = {
        axis: (entry.get("start"), entry.get("increment"))
        for axis, entry in message.goniometer.items()
        if isinstance(entry, dict)
    }
    start_deg, step_deg = turning(axes) or (None, None)
    return SeriesStart(
        str(message.series_id),
        frames=message.number_of_images,
        shape=shape,
        dtype=PIXEL_TYPES.get(message.image_dtype or ""),
        start_deg=start_deg,
        step_deg=step_deg,
        exposure_s=message.count_time,
        saturation=message.saturation_value,
        mask=_mask(message, shape, channel),
        metadata=texts({**other_keys(entries, _Start), **_user(message.user_data)}),
    )


def _mask(message: _Start, shape: tuple[int, int] | None, channel: str) -> NDArray[Any] | None:
    """The defects of the chosen channel; None where the detector sends none, as with little header detail."""
    name = channel or (message.channels[0] if message.channels else next(iter(message.pixel_mask), ""))
    value = message.pixel_mask.get(name)
    if not isinstance(value, Tag):
        return None
    array = _array(value, "stream v2 pixel mask")
    if array.shape != shape:
        raise WireError("shape", f"pixel mask of {shown(array.shape)}, the image is {shape}")
    dtype = np.dtype(array.dtype)
    nbytes = array.shape[0] * array.shape[1] * dtype.itemsize
    return decompressed(array.codec, array.data, nbytes, dtype.itemsize).view(dtype).reshape(array.shape)


def encode_start(start: SeriesStart) -> list[bytes]:
    message: dict[str, Any] = {
        "type": "start",
        "series_id": series_number(start.series),
        "series_unique_id": start.series,
        "channels": [CHANNEL],
        "number_of_images": start.frames,
        "image_dtype": PIXEL_NAMES[start.dtype] if start.dtype else None,
        "count_time": start.exposure_s,
        "saturation_value": start.saturation,
        "user_data": dict(start.metadata),
    }
    if start.shape is not None:
        message |= {"image_size_y": start.shape[0], "image_size_x": start.shape[1]}
    if start.start_deg is not None and start.step_deg is not None:
        message["goniometer"] = {ROTATION: {"start": start.start_deg, "increment": start.step_deg}}
    if start.mask is not None:
        mask = np.ascontiguousarray(start.mask, "<u4")
        message["pixel_mask"] = {CHANNEL: _tagged(start.mask.shape, "<u4", "none", mask.data.cast("B"))}
    return [_message(message)]


def encode_image(image: Image) -> list[bytes | memoryview]:
    """Raises BadInput for pixels in a framing that the dialect does not have."""
    message: dict[str, Any] = {
        "type": "image",
        "series_id": series_number(image.series),
        "series_unique_id": image.series or "",
        "image_id": image.number or 0,
        "series_date": Tag(cbor.DATE, (EPOCH + timedelta(microseconds=image.timestamp_ns // 1000)).isoformat()),
        "start_time": [image.timestamp_ns % 1000, 10**9],
        "data": {image.channel or CHANNEL: _tagged(image.shape, image.dtype, image.codec, image.data)},
        "user_data": dict(image.attributes),
    }
    if image.exposure_s is not None:
        message["real_time"] = [round(image.exposure_s * 1e9), 10**9]
    return [_message(message)]


def encode_end(end: SeriesEnd) -> list[bytes]:
    return [_message({"type": "end", "series_id": series_number(end.series), "series_unique_id": end.series or ""})]


def _message(entries: Mapping[str, Any]) -> bytes:
    known = {name: value for name, value in entries.items() if value is not None}
    return cbor.encode(Tag(cbor.ANY, known))


def _tagged(shape: Sequence[int], dtype: str, codec: Codec, data: memoryview) -> Tag:
    names = {codec: name for name, codec in CODECS.items()}
    content: Any = data
    if codec in names:
        content = Tag(dectris.COMPRESSED, [names[codec], np.dtype(dtype).itemsize, data])
    else:
        content = uncompressed(Image((shape[0], shape[1]), dtype, data, codec), TRAITS.name)
    return Tag(cbor.ARRAY, [list(shape), Tag(TAGS[dtype], content)])
