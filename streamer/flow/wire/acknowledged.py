"""Messages of the acknowledged transport that go beside those of the frame stream (``docs/protocol.md`` §1.5)."""

from __future__ import annotations

import struct
from typing import Annotated, Literal

from msgspec import Meta, Struct

from streamer.flow.wire import MAX_HEADER, PROTOCOL_VERSION, ShortText, decode_as

Transport = Literal["push", "acknowledged"]
"""How the frame stream travels."""

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]

_NUMBER = struct.Struct("<Q")


class Hello(Struct, frozen=True, kw_only=True):
    """The producer is there, for the first time or again. ``daemon`` and ``round`` are of the last credit it got."""

    v: Literal[1] = PROTOCOL_VERSION
    src: ShortText = ""
    run: Number
    first: Number
    daemon: Number = 0
    round: Number = 0


class Credit(Struct, frozen=True, kw_only=True):
    """How far the daemon is, and how far the producer may go. With ``run`` 0 the daemon asks for a hello."""

    v: Literal[1] = PROTOCOL_VERSION
    run: Number
    daemon: Number
    round: Number = 0
    next: Number = 0
    acked: Number = 0
    limit: Number = 0
    held: Annotated[str, Meta(max_length=400)] = ""


def encode_number(number: int) -> bytes:
    """The first part of a numbered message."""
    return _NUMBER.pack(number)


def decode_number(part: bytes) -> int | None:
    """The number of a message; None when the part holds none."""
    return _NUMBER.unpack(part)[0] if len(part) == _NUMBER.size else None


def decode_hello(data: bytes) -> Hello:
    """Raises WireError, one line."""
    return decode_as(data, Hello, "hello", MAX_HEADER)


def decode_credit(data: bytes) -> Credit:
    """Raises WireError, one line."""
    return decode_as(data, Credit, "credit", MAX_HEADER)
