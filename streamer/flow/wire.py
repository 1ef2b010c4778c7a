"""The native wire format, version 1: messages ↔ multipart bytes. No sockets here.

A message is ``[header]`` or ``[header, payload]``. The header is one msgpack map of at most 4 KiB with short keys; the
payload of a frame is its pixels, row-major, as the dtype says. Unknown header keys are ignored, an unknown major
version is refused. The full table is in ``docs/protocol.md``.

Control requests and replies, events and previews use ``pack`` and ``unpack`` too, so there is one bounded decoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import xxhash

from streamer.frames import DTYPES, MAX_FRAMES, MAX_SIDE, NAME, BadInput, FrameKind, FrameMeta, ScanSpec

MAGIC = "sr"
VERSION = 1
MAX_HEADER = 4096
MAX_CONTROL = 256 * 1024


class WireError(BadInput):
    """A peer sent something that is not a message of this format. ``reason`` is a metric label."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Start:
    """A scan begins. Idempotent: it may be resent."""

    spec: ScanSpec
    seq: int = 0
    src: str = ""


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """A frame follows in the payload part. ``checksum`` is xxh3_64 of the payload, None when there is none."""

    meta: FrameMeta
    shape: tuple[int, int]
    dtype: str
    size: int
    checksum: int | None = None
    src: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """The source has sent its last frame. ``frames`` counts the distinct frame indices that it issued.

    ``status`` is "ok", "stopped" (ended early on purpose: frames never issued are not missing) or "aborted".
    """

    scan_id: str
    frames: int
    status: str = "ok"
    seq: int = 0
    src: str = ""


@dataclass(frozen=True, slots=True)
class Ping:
    src: str = ""
    seq: int = 0


Message = Start | FrameHeader | End | Ping


def pack(value: Mapping[str, Any]) -> bytes:
    """One map to bytes. NumPy scalars are allowed, arrays are not."""
    packed: bytes = msgpack.packb(value, default=_plain, use_bin_type=True)
    return packed


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def unpack(data: bytes | memoryview, limit: int = MAX_CONTROL) -> dict[str, Any]:
    """Bytes of a peer to one map, with every length bounded. Raises WireError("header")."""
    if len(data) > limit:
        raise WireError("header", f"header of {len(data)} bytes, the limit is {limit}")
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_str_len=limit,
            max_bin_len=limit,
            max_array_len=limit,
            max_map_len=1024,
            max_ext_len=0,
        )
    except Exception as error:  # msgpack raises ValueError, its own classes, UnicodeDecodeError and RecursionError
        raise WireError("header", f"header is not msgpack: {type(error).__name__}: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise WireError("header", "header is not a map with text keys")
    return value


def encode_start(message: Start) -> list[bytes]:
    """Raises BadInput when the spec is too long for a header; only ``metadata`` can make it so."""
    spec = message.spec
    header = _header("start", scan=spec.scan_id, src=message.src, seq=message.seq, spec=spec.to_dict())
    if len(header) > MAX_HEADER:
        size = f"{len(header)} bytes, the limit is {MAX_HEADER}"
        raise BadInput(f"scan {spec.scan_id}: its start message has {size}; shorten metadata")
    return [header]


def encode_end(message: End) -> list[bytes]:
    return [
        _header(
            "end",
            scan=message.scan_id,
            src=message.src,
            seq=message.seq,
            frames=message.frames,
            status=message.status,
        )
    ]


def encode_ping(message: Ping) -> list[bytes]:
    return [_header("ping", src=message.src, seq=message.seq)]


def encode_frame(meta: FrameMeta, pixels: np.ndarray[Any, Any], src: str = "") -> tuple[bytes, memoryview]:
    """Header and payload of one frame (rows, columns); the payload shares memory with a contiguous ``pixels``."""
    pixels = np.ascontiguousarray(pixels)
    payload: memoryview = pixels.data.cast("B")
    header = _header(
        "frame",
        scan=meta.scan_id,
        src=src,
        seq=meta.seq,
        i=meta.index,
        key=int(meta.kind),
        ang=meta.angle_deg,
        ts=meta.timestamp_ns,
        exp=meta.exposure_s,
        mon=meta.monitor,
        shape=list(pixels.shape),
        dtype=pixels.dtype.str,
        codec="none",
        size=len(payload),
        x3=checksum(payload),
    )
    return header, payload


def checksum(payload: memoryview | bytes) -> int:
    return xxhash.xxh3_64_intdigest(payload)


def _header(kind: str, **entries: Any) -> bytes:
    return pack({"magic": MAGIC, "v": VERSION, "t": kind, **entries})


def decode(header: bytes | memoryview) -> Message:
    """The header part of a message. Raises WireError; its ``reason`` names what was wrong."""
    entries = unpack(header, MAX_HEADER)
    if entries.get("magic") != MAGIC:
        raise WireError("header", "not a Streamer message (no magic 'sr')")
    version = entries.get("v")
    if isinstance(version, bool) or version != VERSION:
        raise WireError("version", f"message of format version {version!r}, this daemon reads version {VERSION}")
    kind = entries.get("t")
    src = _text(entries, "src", default="")
    seq = _whole(entries, "seq", 0, 2**63 - 1, default=0)
    if kind == "frame":
        return _decode_frame(entries, seq, src)
    if kind == "start":
        spec = entries.get("spec")
        if not isinstance(spec, dict):
            raise WireError("header", "start message without a spec map")
        return Start(_spec(spec), seq, src)
    if kind == "end":
        return End(
            _scan(entries), _whole(entries, "frames", 0, MAX_FRAMES), _text(entries, "status", default="ok"), seq, src
        )
    if kind == "ping":
        return Ping(src, seq)
    raise WireError("unknown_kind", f"message of unknown kind {kind!r}")


def _decode_frame(entries: dict[str, Any], seq: int, src: str) -> FrameHeader:
    dtype = entries.get("dtype")
    if dtype not in DTYPES:
        raise WireError("dtype", f"frame of dtype {dtype!r}, known are {', '.join(DTYPES)}")
    shape = entries.get("shape")
    if not (
        isinstance(shape, list)
        and len(shape) == 2
        and all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= MAX_SIDE for n in shape)
    ):
        raise WireError("shape", f"frame of shape {shape!r}, expected [rows, columns]")
    if entries.get("codec", "none") != "none":
        raise WireError("header", f"frame with codec {entries['codec']!r}, this daemon reads 'none'")
    size = _whole(entries, "size", 0, 2**40)
    expected = shape[0] * shape[1] * np.dtype(dtype).itemsize
    if size != expected:
        raise WireError("truncated", f"frame announces {size} bytes, {shape[0]}×{shape[1]} {dtype} has {expected}")
    key = _whole(entries, "key", 0, 3)
    x3 = _whole(entries, "x3", 0, 2**64 - 1) if entries.get("x3") is not None else None
    meta = FrameMeta(
        scan_id=_scan(entries),
        index=_whole(entries, "i", 0, MAX_FRAMES - 1),
        kind=FrameKind(key),
        angle_deg=_real(entries, "ang", 0.0),
        seq=seq,
        timestamp_ns=_whole(entries, "ts", 0, 2**63 - 1, default=0),
        exposure_s=_real(entries, "exp", 0.0),
        monitor=_real(entries, "mon", 1.0),
    )
    return FrameHeader(meta, (shape[0], shape[1]), dtype, size, x3, src)


def _spec(entries: dict[str, Any]) -> ScanSpec:
    try:
        return ScanSpec.from_dict(entries)
    except BadInput as error:
        raise WireError("spec", str(error)) from error


def _scan(entries: dict[str, Any]) -> str:
    scan = entries.get("scan")
    if not isinstance(scan, str) or not NAME.fullmatch(scan):
        raise WireError("header", f"scan id {scan!r} is not a name")
    return scan


def _text(entries: dict[str, Any], key: str, default: str) -> str:
    value = entries.get(key, default)
    if not isinstance(value, str) or len(value) > 200:
        raise WireError("header", f"{key!r} is not a short text")
    return value


def _whole(entries: dict[str, Any], key: str, low: int, high: int, default: int | None = None) -> int:
    value = entries.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise WireError("header", f"{key!r} is {value!r}, expected a whole number from {low} to {high}")
    return value


def _real(entries: dict[str, Any], key: str, default: float) -> float:
    value = entries.get(key)
    if value is None:
        return default
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise WireError("header", f"{key!r} is {value!r}, expected a finite number")
    return float(value)
