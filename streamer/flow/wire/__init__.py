"""The native wire format, version 1: messages ↔ multipart bytes. No sockets here.

A message of the frame stream is ``[header]`` or ``[header, payload]``. The header is one msgpack map of at most 4 KiB
with short keys; the payload of a frame is its pixels, row-major, as the dtype says. Unknown header keys are ignored, an
unknown major version is refused. The full table is in ``docs/protocol.md``.

Control requests and replies, events and previews go through ``pack`` and ``unpack`` too, so there is one bounded
decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
import xxhash
from msgspec import Meta, Struct

from streamer.frames import (
    DTYPES,
    MAX_FRAMES,
    MAX_SIDE,
    BadInput,
    Count,
    FrameKind,
    FrameMeta,
    Name,
    PixelType,
    ScanSpec,
)
from streamer.schema import Finite, complaint, shown

MAGIC_WORD: Literal["sr"] = "sr"
PROTOCOL_VERSION: Literal[1] = 1
MAX_HEADER = 4096
MAX_ANGLE_DEG = 1e6
MAX_CONTROL = 256 * 1024

Sequence = Annotated[int, Meta(ge=0, le=2**63 - 1)]
ShortText = Annotated[str, Meta(max_length=200)]
EndStatus = Literal["ok", "stopped", "aborted"]
S = TypeVar("S")
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]

KEY_REASONS = {"spec": "spec", "dtype": "dtype", "shape": "shape"}
"""Header keys with a reason of their own; the reason for all others is "header"."""


_PIXEL_BYTES = {dtype: np.dtype(dtype).itemsize for dtype in DTYPES}


class WireError(BadInput):
    """A peer sent something that is not a message of this format. ``reason`` is a metric label."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Header(Struct, frozen=True, kw_only=True, tag_field="t"):
    """Keys of every message of the frame stream. ``seq`` counts all messages of the source ``src``."""

    magic: Literal["sr"] = MAGIC_WORD
    v: Literal[1] = PROTOCOL_VERSION
    src: ShortText = ""
    seq: Sequence = 0


class Start(Header, frozen=True, tag="start"):
    """A scan begins. Idempotent: it may be resent."""

    spec: ScanSpec


class FrameHeader(
    Header,
    frozen=True,
    tag="frame",
    rename={
        "scan_id": "scan",
        "index": "i",
        "kind": "key",
        "angle_deg": "ang",
        "timestamp_ns": "ts",
        "exposure_s": "exp",
        "monitor": "mon",
        "checksum": "x3",
    },
):
    """A frame follows in the payload part. ``checksum`` is xxh3_64 of the payload, None when there is none.

    Raises WireError when ``size`` is not that of the shape and the pixel type, and for a projection without its angle.
    """

    scan_id: Name
    index: Annotated[int, Meta(ge=0, le=MAX_FRAMES - 1)]
    kind: FrameKind
    shape: tuple[Side, Side]
    dtype: PixelType
    size: Annotated[int, Meta(ge=0, le=2**40)]
    angle_deg: Annotated[float, Meta(ge=-MAX_ANGLE_DEG, le=MAX_ANGLE_DEG)] | None = None
    timestamp_ns: Sequence = 0
    exposure_s: Finite | None = None
    monitor: Finite | None = None
    codec: Literal["none"] = "none"
    checksum: Annotated[int, Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        rows, columns = self.shape
        expected = rows * columns * _PIXEL_BYTES[self.dtype]
        if self.size != expected:
            text = f"frame announces {self.size} bytes, {rows}×{columns} {self.dtype} has {expected}"
            raise WireError("truncated", text)
        if self.angle_deg is None and self.kind is FrameKind.PROJECTION:
            raise WireError("header", f"frame message: projection {self.index} has no angle (ang)")

    @property
    def meta(self) -> FrameMeta:
        """The frame's metadata, with defaults for what the source left out."""
        return FrameMeta(
            self.scan_id,
            self.index,
            self.kind,
            self.angle_deg or 0.0,
            self.seq,
            self.timestamp_ns,
            self.exposure_s or 0.0,
            1.0 if self.monitor is None else self.monitor,
            checksum=self.checksum or 0,
        )


class End(Header, frozen=True, tag="end", rename={"scan_id": "scan"}):
    """The source has sent its last frame. ``frames`` counts the distinct frame indices that it issued.

    ``status`` is "ok", "stopped" (ended early on purpose: frames never issued are not missing) or "aborted".
    """

    scan_id: Name
    frames: Count
    status: EndStatus = "ok"


class KeepAlive(Header, frozen=True, tag="ping"):
    """Keeps a connection alive; with ``paused`` also the scan, whose source will go on."""

    paused: bool = False


Message = Start | FrameHeader | End | KeepAlive


class _Envelope(Struct):
    """Required, and checked first: a later version may change everything else."""

    magic: Literal["sr"]
    v: Literal[1]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be sent")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_maps = msgspec.msgpack.Decoder(dict[str, Any])
_envelopes = msgspec.msgpack.Decoder(_Envelope)
_messages: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)

_KINDS: dict[str, type] = {"start": Start, "frame": FrameHeader, "end": End, "ping": KeepAlive}


def pack(value: Mapping[str, Any] | Struct) -> bytes:
    """One map or struct to bytes. NumPy scalars are allowed, arrays are not."""
    return _encoder.encode(value)


def unpack(data: bytes | memoryview, limit: int = MAX_CONTROL) -> dict[str, Any]:
    """Bytes of a peer to one map with text keys, of any content. Raises WireError("header")."""
    if len(data) > limit:
        raise WireError("header", f"message of {len(data)} bytes, the limit is {limit}")
    try:
        return _maps.decode(data)
    except msgspec.ValidationError as error:
        raise WireError("header", f"message is not a map with text keys: {error}") from error
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise WireError("header", f"message is not msgpack: {type(error).__name__}: {error}") from error


def decode_as(data: bytes | memoryview, kind: type[S], what: str, limit: int = MAX_CONTROL) -> S:
    """Bytes of a peer to a struct. Raises WireError, naming ``what`` this should be and the key that is wrong.

    Raises the BadInput of a struct that checks itself as it is.
    """
    expected: Any = kind
    if len(data) > limit:
        raise WireError("header", f"{what} of {len(data)} bytes, the limit is {limit}")
    try:
        decoded: S = _decoder(expected).decode(data)
        return decoded
    except BadInput:
        raise
    except (ValueError, RecursionError) as error:
        text = complaint(error, unpack(data, limit), kind)[1]
        raise WireError("header", f"{what}: {text}") from error


@cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def encode(message: Start | End | KeepAlive) -> list[bytes]:
    """The parts of a message without payload. Raises BadInput when a spec is too long for a header."""
    header = pack(message)
    if len(header) > MAX_HEADER:
        raise BadInput(f"the header has {len(header)} bytes, the limit is {MAX_HEADER}; shorten the spec's metadata")
    return [header]


def encode_frame(meta: FrameMeta, pixels: np.ndarray[Any, Any], src: str = "") -> tuple[bytes, memoryview]:
    """Header and payload of one frame (rows, columns); the payload shares memory with a contiguous ``pixels``.

    Raises BadInput for pixels of a type that the format does not have.
    """
    pixels = np.ascontiguousarray(pixels)
    dtype = pixels.dtype.str
    if dtype not in DTYPES:
        raise BadInput(f"pixels of dtype {dtype} cannot be sent, known are {', '.join(DTYPES)}")
    payload: memoryview = pixels.data.cast("B")
    rows, columns = pixels.shape
    header = FrameHeader(
        meta.scan_id,
        meta.index,
        meta.kind,
        (rows, columns),
        dtype,
        len(payload),
        meta.angle_deg,
        meta.timestamp_ns,
        meta.exposure_s,
        meta.monitor,
        checksum=checksum(payload),
        src=src,
        seq=meta.seq,
    )
    return pack(header), payload


def checksum(payload: memoryview | bytes) -> int:
    return xxhash.xxh3_64_intdigest(payload)


def decode(header: bytes | memoryview) -> Message:
    """The header part of a message. Raises WireError with one line that names the key and its rule."""
    if len(header) > MAX_HEADER:
        raise WireError("header", f"header of {len(header)} bytes, the limit is {MAX_HEADER}")
    try:
        _envelopes.decode(header)
        return _messages.decode(header)
    except WireError:
        raise
    except BadInput as error:
        raise WireError("spec", str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _explained(header, error) from error


def _explained(header: bytes | memoryview, error: Exception) -> WireError:
    """Why a header cannot be decoded. Slow, and only called for an error."""
    entries = unpack(header)  # raises for bytes that are no map
    if entries.get("magic") != MAGIC_WORD:
        return WireError("header", "not a Streamer message (no magic 'sr')")
    version, kind = entries.get("v"), entries.get("t")
    if isinstance(version, bool) or version != PROTOCOL_VERSION:
        return WireError(
            "version", f"message of format version {shown(version)}, this daemon reads version {PROTOCOL_VERSION}"
        )
    struct = _KINDS.get(kind) if isinstance(kind, str) else None
    if struct is None:
        return WireError("unknown_kind", f"message of unknown kind {shown(kind)}")
    name, text = complaint(error, entries, struct)
    return WireError(KEY_REASONS.get(name.partition(".")[0], "header"), f"{kind} message: {text}")
