"""Headers in JSON: one text part of a message to a struct, with errors of one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from streamer.flow.wire import WireError
from streamer.schema import complaint, shown

MAX_JSON = 2**16
S = TypeVar("S", bound=msgspec.Struct)

_maps = msgspec.json.Decoder(dict[str, Any])


def decode_map(parts: Sequence[memoryview], what: str) -> dict[str, Any]:
    """The first part of a message as a map. Raises WireError."""
    if not parts:
        raise WireError("parts", f"{what} has no part")
    if parts[0].nbytes > MAX_JSON:
        raise WireError("header", f"{what} of {parts[0].nbytes} bytes, the limit is {MAX_JSON}")
    try:
        return _maps.decode(parts[0])
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise WireError("header", f"{what} is not a map in JSON: {shown(str(error))}") from error


def optional_map(parts: Sequence[memoryview], what: str) -> dict[str, Any]:
    """The first part as a map; empty when there is none, or when it is any other text of the user."""
    try:
        return decode_map(parts, what)
    except WireError:
        return {}


def as_struct(entries: dict[str, Any], kind: type[S], what: str) -> S:
    """A map as a struct. Raises WireError."""
    try:
        return msgspec.convert(entries, kind)
    except msgspec.ValidationError as error:
        raise WireError("header", f"{what}: {complaint(error, entries, kind)[1]}") from error


def other_keys(entries: Mapping[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The entries that the struct does not know."""
    return {key: value for key, value in entries.items() if key not in kind.__struct_encode_fields__}


def require_parts(parts: Sequence[memoryview], count: int, what: str) -> None:
    """Raises WireError("parts") unless the message has this number of parts."""
    if len(parts) != count:
        raise WireError("parts", f"{what} has {len(parts)} parts, expected {count}")


def sides(shape: Sequence[int], what: str) -> tuple[int, int]:
    """A shape of two numbers. Raises WireError("shape") for any other."""
    if len(shape) != 2:
        raise WireError("shape", f"{what} of {len(shape)} dimensions, expected 2")
    return shape[0], shape[1]
