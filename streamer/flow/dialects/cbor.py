"""CBOR (RFC 8949) as DECTRIS detectors use it: bytes ↔ values, byte strings without a copy.

The usual library copies each frame and turns tags into objects by hooks whose arguments differ between its versions.
This reads what a detector sends: no bignums, no shared values; tags stay tags. Its judge is cbor2, in the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from streamer.flow.wire import WireError

DATE, ARRAY, ANY = 0, 40, 55799
"""Tags: a time in ISO 8601, an array of rows and columns, anything at all (it says no more than that this is CBOR)."""

MAX_ITEMS = 10_000
MAX_DEPTH = 16

_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_SIZES = {24: 1, 25: 2, 26: 4, 27: 8}
_INDEFINITE = 31


class Tag(Struct, frozen=True):
    """A value with a number that says what it means."""

    number: int
    value: Any


class _Break(Struct, frozen=True):
    """Ends a list or a map whose length was not announced."""


_BREAK = _Break()


def decode(data: memoryview) -> Any:
    """The one value in ``data``: maps have text keys, byte strings are views of ``data``. Raises WireError."""
    reader = _Reader(data)
    value = reader.item(0)
    if value is _BREAK or reader.at != data.nbytes:
        raise WireError("header", f"CBOR ends after {reader.at} of {data.nbytes} bytes")
    return value


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._items = 0
        self.at = 0

    def _take(self, count: int) -> memoryview:
        start, self.at = self.at, self.at + count
        if self.at > self._data.nbytes:
            raise WireError("truncated", f"CBOR of {self._data.nbytes} bytes ends in the middle of a value")
        return self._data[start : self.at]

    def item(self, depth: int) -> Any:
        self._items += 1
        if self._items > MAX_ITEMS or depth > MAX_DEPTH:
            raise WireError("header", f"CBOR of more than {MAX_ITEMS} values, or nested deeper than {MAX_DEPTH}")
        kind, detail = divmod(self._take(1)[0], 32)
        if kind == 7:
            return self._simple(detail)
        if detail == _INDEFINITE and kind in (4, 5):
            return self._map(None, depth) if kind == 5 else self._list(None, depth)
        number = self._number(detail)
        match kind:
            case 0:
                return number
            case 1:
                return -1 - number
            case 2:
                return self._take(number)
            case 3:
                return self._text(number)
            case 4:
                return self._list(number, depth)
            case 5:
                return self._map(number, depth)
        return Tag(number, self._value(depth))

    def _number(self, detail: int) -> int:
        if detail < 24:
            return detail
        if detail not in _SIZES:
            raise WireError("header", f"CBOR with a length of the kind {detail}, which is not read")
        return int.from_bytes(self._take(_SIZES[detail]))

    def _simple(self, detail: int) -> Any:
        if detail in _FLOATS:
            return _FLOATS[detail].unpack(self._take(_FLOATS[detail].size))[0]
        if detail == _INDEFINITE:
            return _BREAK
        if detail not in _SIMPLE:
            raise WireError("header", f"CBOR with the simple value {detail}, which is not read")
        return _SIMPLE[detail]

    def _text(self, length: int) -> str:
        try:
            return str(self._take(length), "utf-8")
        except UnicodeDecodeError as error:
            raise WireError("header", "CBOR text is not UTF-8") from error

    def _value(self, depth: int) -> Any:
        value = self.item(depth + 1)
        if value is _BREAK:
            raise WireError("header", "CBOR has an end where a value is expected")
        return value

    def _list(self, length: int | None, depth: int) -> list[Any]:
        values: list[Any] = []
        while length is None or len(values) < length:
            value = self.item(depth + 1) if length is None else self._value(depth)
            if value is _BREAK:
                break
            values.append(value)
        return values

    def _map(self, length: int | None, depth: int) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        read = 0
        while length is None or read < length:
            key = self.item(depth + 1) if length is None else self._value(depth)
            if key is _BREAK:
                break
            if not isinstance(key, str):
                raise WireError("header", "CBOR map with a key that is no text")
            entries[key] = self._value(depth)
            read += 1
        return entries


def encode(value: Any) -> bytes:
    """One value: None, bool, int of 64 bits, float, text, bytes, lists, maps and tags of these."""
    parts: list[bytes | memoryview] = []
    _write(value, parts)
    return b"".join(parts)


def _head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes([kind * 32 + number])
    detail = next(detail for detail, size in _SIZES.items() if number < 256**size)
    return bytes([kind * 32 + detail]) + number.to_bytes(_SIZES[detail])


def _write(value: Any, parts: list[bytes | memoryview]) -> None:
    match value:
        case None:
            parts.append(b"\xf6")
        case bool():
            parts.append(b"\xf5" if value else b"\xf4")
        case int():
            parts.append(_head(0, value) if value >= 0 else _head(1, -1 - value))
        case float():
            parts += [b"\xfb", _FLOATS[27].pack(value)]
        case str():
            text = value.encode()
            parts += [_head(3, len(text)), text]
        case bytes() | memoryview():
            parts += [_head(2, len(value)), value]
        case Tag():
            parts.append(_head(6, value.number))
            _write(value.value, parts)
        case Mapping():
            parts.append(_head(5, len(value)))
            for key, entry in value.items():
                _write(key, parts)
                _write(entry, parts)
        case Sequence():
            parts.append(_head(4, len(value)))
            for entry in value:
                _write(entry, parts)
        case _:
            raise TypeError(f"a {type(value).__name__} cannot be sent")
