"""Which dialect somebody speaks, from some messages. No sockets here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from streamer.flow import wire
from streamer.flow.dialects import DIALECTS
from streamer.flow.dialects.message import Dialect, Message
from streamer.frames import BadInput

NATIVE = "native"

Parts = Sequence[memoryview]


class Recognised(Struct, frozen=True):
    """A dialect (None: none fits; "native": Streamer's own), and what it makes of the messages.

    ``refused`` is what is wrong with a message, by its number; when no dialect fits, what each says of the first one.
    """

    dialect: str | None
    messages: Sequence[Message | None] = ()
    refused: Mapping[int | str, str] = {}


def recognise(messages: Sequence[Parts]) -> Recognised:
    """The dialect that takes most of the messages. Of several, one that numbers frames.

    PSI's array-1.0 and ADZMQ differ in little: attributes of an NDArray mean ADZMQ.
    """
    native = _native(messages)
    found = {name: _decoded(dialect, messages) for name, dialect in DIALECTS.items()}
    attributes = any(b'"ndattr"' in bytes(parts[0]) for parts in messages)

    def rank(name: str) -> tuple[int, bool, bool]:
        return found[name].taken, DIALECTS[name].TRAITS.numbers_frames, attributes and name == "adzmq"

    name = max(found, key=rank)
    best = found[name]
    if len(messages) - len(native) > best.taken:
        return Recognised(NATIVE, refused=native)
    if best.taken:
        return Recognised(name, best.messages, best.refused)
    return Recognised(None, refused={name: each.refused.get(0, "says nothing") for name, each in found.items()})


class _Decoded(Struct):
    messages: list[Message | None]
    refused: dict[int | str, str]

    @property
    def taken(self) -> int:
        return sum(message is not None for message in self.messages)


def _decoded(dialect: Dialect, messages: Sequence[Parts]) -> _Decoded:
    found = _Decoded([], {})
    for number, parts in enumerate(messages):
        message = None
        try:
            message = dialect.decode(parts)
        except wire.WireError as error:
            found.refused[number] = str(error)
        found.messages.append(message)
    return found


def _native(messages: Sequence[Parts]) -> dict[int | str, str]:
    """What is wrong with messages when they are taken for Streamer's own, by their number."""
    refused: dict[int | str, str] = {}
    for number, parts in enumerate(messages):
        try:
            wire.decode(parts[0])
        except BadInput as error:
            refused[number] = str(error)
    return refused
