"""Messages between the page and its server, over one WebSocket.

The server sends JSON texts with a ``type``, and pictures: four bytes (little-endian) with the length of a JSON header,
the header, then the picture as JPEG. The page sends JSON maps that say with ``do`` what they want.
"""

from __future__ import annotations

import io
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray
from PIL import Image

from streamer.flow.wire.daemon import PreviewHeader
from streamer.flow.wire.looks import Brick, Looked
from streamer.frames import BadInput, Name
from streamer.schema import Finite
from streamer.web.geometry import Place

LONGEST = 4096
"""Bytes of a message of the page, at most."""

JPEG_QUALITY = 90
THUMBNAIL_PX = 96


class Wish(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    """Base of what a page may want. ``steers``: it changes something for everybody."""

    @property
    def steers(self) -> bool:
        return True


class Enter(Wish, frozen=True, forbid_unknown_fields=True, tag="enter"):
    """The first message: a token, or an empty one. It decides what the page may do from then on."""

    token: Annotated[str, Meta(max_length=LONGEST)] = ""

    @property
    def steers(self) -> bool:
        return False


class Drawn(Wish, frozen=True, forbid_unknown_fields=True, tag="drawn"):
    """A picture is on the screen, or was passed over: the next may come."""

    @property
    def steers(self) -> bool:
        return False


class Move(Wish, frozen=True, forbid_unknown_fields=True, tag="move"):
    """Watch the planes at this place, from now on."""

    place: Place


class FixTheCenter(Wish, frozen=True, forbid_unknown_fields=True, tag="center"):
    """Hold the centre of rotation at a column; nil: find it automatically."""

    px: Finite | None


class Stop(Wish, frozen=True, forbid_unknown_fields=True, tag="stop"):
    """End a running scan: with what came as a good one, or as aborted."""

    scan_id: Name
    abort: bool = False


class Open(Wish, frozen=True, forbid_unknown_fields=True, tag="open"):
    """Show the last pictures of a past scan again, to this page alone."""

    scan_id: Name

    @property
    def steers(self) -> bool:
        return False


class Cut(Wish, frozen=True, forbid_unknown_fields=True, tag="cut"):
    """Cut planes out of the tomogram of a past scan, for this page alone."""

    scan_id: Name
    place: Place

    @property
    def steers(self) -> bool:
        return False


class See(Wish, frozen=True, forbid_unknown_fields=True, tag="see"):
    """Send pictures of what the detector sees, to this page; or no longer."""

    detector: bool

    @property
    def steers(self) -> bool:
        return False


AnyWish = Enter | Drawn | Move | FixTheCenter | Stop | Open | Cut | See
_DECODER: msgspec.json.Decoder[AnyWish] = msgspec.json.Decoder(AnyWish)
_ENCODER = msgspec.json.Encoder()


def read_wish(text: str) -> AnyWish:
    """Raises BadInput, one line, for anything that a page does not send."""
    if len(text) > LONGEST:
        raise BadInput(f"a message of {len(text)} letters, at most {LONGEST} are taken")
    try:
        return _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadInput(f"a message that no page sends: {error}") from error


def to_text(kind: str, **content: Any) -> str:
    """A JSON message of a type."""
    return _ENCODER.encode({"type": kind, **content}).decode()


def with_picture(header: dict[str, Any], picture: bytes) -> bytes:
    """A message with a picture."""
    words = _ENCODER.encode(header)
    return len(words).to_bytes(4, "little") + words + picture


def split_picture(message: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and picture of a message; inverse of ``with_picture``."""
    length = int.from_bytes(message[:4], "little")
    return msgspec.json.decode(message[4 : 4 + length]), message[4 + length :]


def plane_header(preview: PreviewHeader) -> dict[str, Any]:
    """What the page needs to know of a picture."""
    return {
        "plane": preview.plane,
        "scan_id": preview.scan_id,
        "sample": preview.sample,
        "angles": preview.angles,
        "of": preview.of,
        "shape": preview.shape,
        "lo": preview.lo,
        "hi": preview.hi,
        "unit": preview.unit,
        "bin": preview.bin,
        "coarse": preview.coarse,
        "pixel_size_m": preview.pixel_size_m,
        "version": preview.version,
        "place": None if preview.place is None else msgspec.to_builtins(preview.place),
    }


def look_header(looked: Looked) -> dict[str, Any]:
    """What the page needs to know of a picture of the detector."""
    note = {
        "raw": f"{'frame' if looked.kind is None else looked.kind.name.lower()} {looked.index}",
        "projection": f"projection {looked.count}",
        "sinogram": f"row {looked.row}, {looked.count} angles",
    }
    return {
        "look": looked.subject,
        "plane": looked.subject,
        "scan_id": looked.scan_id,
        "sample": looked.sample,
        "note": note[looked.subject],
        "angle_deg": looked.angle_deg,
        "shape": looked.shape,
        "lo": looked.lo,
        "hi": looked.hi,
        "unit": looked.unit,
        "bin": looked.bin,
        "pixel_size_m": None,
    }


def brick_header(brick: Brick) -> dict[str, Any]:
    """What the page needs to know of a brick of the tomogram that grows."""
    names = ("scan_id", "angles", "of", "shape", "whole", "box", "step", "lo", "hi", "unit", "pixel_size_m")
    return {"grows": True, **{name: getattr(brick, name) for name in names}}


def jpeg(grey: NDArray[np.uint8], quality: int = JPEG_QUALITY) -> bytes:
    """A picture (rows, columns) from 0 to 255."""
    sink = io.BytesIO()
    Image.fromarray(grey).save(sink, "JPEG", quality=quality)
    return sink.getvalue()


def eight_bits(payload: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The upper bytes of a preview's uint16 pixels."""
    return np.ascontiguousarray(np.frombuffer(payload, np.uint8).reshape(*shape, 2)[:, :, 1])


def thinned(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every second (third …) row and column of a picture: as small as a thumbnail."""
    step = max(1, -(-max(grey.shape) // THUMBNAIL_PX))
    return np.ascontiguousarray(grey[::step, ::step])


def thumbnail(grey: NDArray[np.uint8]) -> bytes:
    """A small JPEG of a picture."""
    return jpeg(thinned(grey), 75)
