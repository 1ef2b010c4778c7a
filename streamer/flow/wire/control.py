"""Requests, replies and refusals, common to all control sockets (``docs/protocol.md`` §2). No sockets here.

A request is a struct whose fields are the arguments; its class has the verb and the type of the reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar, cast

from msgspec import Raw, Struct

from streamer.flow.wire import MAX_CONTROL, PROTOCOL_VERSION, WireError, decode_as, pack
from streamer.frames import BadInput
from streamer.schema import shown

MAX_REPLY = 16 * MAX_CONTROL


class Refused(BadInput):
    """A request that is not served; ``code`` tells programs why."""

    code = "bad_input"


class Busy(Refused):
    """The request is fine, but not now."""

    code = "busy"


class UnknownVerb(Refused):
    """The server has no such verb."""

    code = "unknown_verb"


class Forbidden(Refused):
    """The client may not do this."""

    code = "forbidden"


class Reply(Struct, frozen=True, kw_only=True):
    """Base of all replies."""

    v: int = PROTOCOL_VERSION
    ok: bool = True


class Done(Reply, frozen=True):
    """The command is accepted."""


class Pong(Reply, frozen=True):
    """The server is alive; ``version`` is that of its program."""

    version: str


class Refusal(Struct, frozen=True, kw_only=True):
    """The answer to a request that is not served: one line, and a code.

    The code is bad_input, busy, forbidden, unknown_verb or failed.
    """

    v: int = PROTOCOL_VERSION
    ok: bool = False
    error: str = "no reason given"
    code: str = "failed"


R = TypeVar("R", bound=Reply)


class Request(Struct, Generic[R], frozen=True):
    """A request with a reply of type R. The class has the verb, its fields are the arguments."""

    verb: ClassVar[str]
    reply: ClassVar[type[Reply]]


class Ping(Request[Pong], frozen=True):
    """Ask whether the server is alive."""

    verb = "ping"
    reply = Pong


class _RequestEnvelope(Struct):
    v: object = None
    verb: object = None
    args: Raw = Raw(b"\x80")


class _ReplyEnvelope(Struct):
    v: object = None
    ok: object = None


def pack_request(request: Request[Any]) -> bytes:
    return pack({"v": PROTOCOL_VERSION, "verb": request.verb, "args": request})


def read_request(body: bytes, known: Mapping[str, type[Request[Any]]]) -> Request[Any]:
    """Decode a request. Raises UnknownVerb, or another BadInput that names what is wrong."""
    envelope = decode_as(body, _RequestEnvelope, "request")
    if envelope.v != PROTOCOL_VERSION or isinstance(envelope.v, bool):
        raise WireError("version", f"request of version {shown(envelope.v)}, this server speaks {PROTOCOL_VERSION}")
    kind = known.get(envelope.verb) if isinstance(envelope.verb, str) else None
    if kind is None:
        raise UnknownVerb(f"unknown verb {shown(envelope.verb)}; known: {', '.join(sorted(known))}")
    args = bytes(envelope.args)
    return decode_as(b"\x80" if args == b"\xc0" else args, kind, kind.verb)


def refusal(error: Exception) -> Refusal:
    """The refusal that an error means."""
    text = " ".join(str(error).split())
    if isinstance(error, BadInput):
        return Refusal(error=text, code=error.code if isinstance(error, Refused) else "bad_input")
    return Refusal(error=f"{type(error).__name__}: {text}", code="failed")


def read_reply(data: bytes, request: Request[R]) -> R | Refusal:
    """Decode an answer. Raises WireError when it is neither a reply of this type nor a refusal."""
    outcome = decode_as(data, _ReplyEnvelope, "reply", MAX_REPLY)
    if outcome.v != PROTOCOL_VERSION or isinstance(outcome.v, bool):
        raise WireError("version", f"reply of version {shown(outcome.v)}, this client speaks {PROTOCOL_VERSION}")
    if outcome.ok is not True:
        return decode_as(data, Refusal, "refusal", MAX_REPLY)
    return cast(R, decode_as(data, request.reply, f"reply to {request.verb}", MAX_REPLY))
