"""Rules of the fields of structs, in words, and one line for a value that breaks its rule.

The rules are the annotations of ``msgspec.Struct`` classes. msgspec checks what it decodes, not what Python constructs:
``first_wrong`` does that. The same words stand in errors and in ``docs/protocol.md``. Lists of numbers in words, too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import cache
from typing import Annotated, Any, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta, inspect

Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
Positive = Annotated[float, Meta(gt=0, le=sys.float_info.max)]
Share = Annotated[float, Meta(ge=0, le=1)]

MAX_LISTED = 10
"""More values of an enumeration than this are not listed in its rule."""

MAX_SHOWN = 80
"""Longest text of a wrong value in an error."""


def rules(struct: type) -> dict[str, str]:
    """The rule of each field of a Struct or dataclass in words, by its name on the wire."""
    return {field.encode_name: rule(field.type) for field in _fields(inspect.type_info(struct))}


def rule(kind: inspect.Type) -> str:
    """What a value of this type must be, in words: "a whole number from 0 to 3", "a finite number, or nil"."""
    match kind:
        case inspect.Metadata(type=inner, extra=extra):
            return str(extra["rule"]) if extra and "rule" in extra else rule(inner)
        case inspect.UnionType(types=types):
            known = [rule(each) for each in types if not isinstance(each, inspect.NoneType)]
            return ", or ".join([*known, "nil"] if len(known) < len(types) else known)
        case inspect.IntType(ge=low, le=high):
            return f"a whole number{_range(low, high)}"
        case inspect.FloatType(gt=above, ge=low, le=high):
            if above == 0:
                return "a positive number"
            return "a finite number" if high == sys.float_info.max else f"a number{_range(low, high)}"
        case inspect.StrType(max_length=longest):
            return "a text" if longest is None else f"a text of at most {longest} characters"
        case inspect.LiteralType(values=values):
            return " or ".join(repr(value) for value in values)
        case inspect.EnumType(cls=enum) if len(enum) > MAX_LISTED:
            return f"a {enum.__name__}"
        case inspect.EnumType(cls=enum):
            return " or ".join(f"{e.value} {e.name.lower()}" if issubclass(enum, IntEnum) else e.value for e in enum)
        case (
            inspect.ListType(item_type=item)
            | inspect.VarTupleType(item_type=item)
            | inspect.FrozenSetType(item_type=item)
        ):
            return f"a list, each {rule(item)}"
        case inspect.TupleType(item_types=items):
            same = len({rule(item) for item in items}) == 1
            return f"a list of {len(items)}, each {rule(items[0])}" if same else f"[{', '.join(map(rule, items))}]"
        case inspect.DictType(value_type=value):
            return f"a map of texts to {rule(value)}" if not isinstance(value, inspect.AnyType) else "a map"
        case inspect.StructType(cls=cls) | inspect.DataclassType(cls=cls):
            return f"a {cls.__name__} map"
        case inspect.BoolType():
            return "true or false"
        case inspect.BytesType():
            return "bytes"
        case inspect.NoneType():
            return "nil"
    return "anything"


def first_wrong(value: msgspec.Struct) -> tuple[str, str] | None:
    """Name and rule of the first field that violates its annotation; None when all are valid."""
    for name, hint in _hints(type(value)).items():
        held = getattr(value, name)
        try:
            msgspec.convert(held.item() if isinstance(held, np.generic) else held, hint)
        except msgspec.ValidationError:
            return name, next(rule(f.type) for f in _fields(inspect.type_info(type(value))) if f.name == name)
    return None


def complaint(error: Exception, data: object, kind: type) -> tuple[str, str]:
    """The field that a validation error is about (dotted, "" for the whole), and one line that explains it.

    ``data`` are the same bytes decoded without a type; ``kind`` is the type that was expected.
    """
    text, _, place = str(error).partition(" - at ")
    words = re.findall(r"`([^`]*)`", text)
    steps = re.findall(r"\.([^.\[\]`]+)", place)
    info: inspect.Type = inspect.type_info(kind)
    path: list[str] = []
    for step in steps:
        if step not in (known := {field.encode_name: field.type for field in _fields(info)}):
            break
        path, info = [*path, step], known[step]
        data = data.get(step) if isinstance(data, Mapping) else None
    name = ".".join(path)
    if text.startswith("Object missing required field"):
        return ".".join([*path, words[0]]), f"{'.'.join([*path, words[0]])} is missing"
    if text.startswith("Object contains unknown field"):
        known_keys = ", ".join(sorted(field.encode_name for field in _fields(info)))
        return name, f"unknown key {shown('.'.join([*path, words[0]]))}; known keys: {known_keys}"
    return name, f"{name or 'the message'} is {shown(data)}, expected {rule(info)}"


def shown(value: object) -> str:
    """A value for an error message: one line of limited length."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def runs(numbers: Iterable[int], most: int | None = None) -> str:
    """Numbers as "70-72, 80"; the first ``most`` runs."""
    found: list[list[int]] = []
    for value in sorted(numbers):
        if found and value == found[-1][1] + 1:
            found[-1][1] = value
        else:
            found.append([value, value])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in found[:most]]
    return ", ".join(words) + (", …" if len(words) < len(found) else "")


def _range(low: float | None, high: float | None) -> str:
    given = (("from", low), ("to", high))
    words = (
        f" {word} {bound if isinstance(bound, int) else f'{bound:g}'}" for word, bound in given if bound is not None
    )
    return "".join(words)


def _fields(kind: inspect.Type) -> tuple[inspect.Field, ...]:
    """Fields of a struct, or of the struct in "struct or nil"; none for other types."""
    match kind:
        case inspect.StructType(fields=fields) | inspect.DataclassType(fields=fields):
            return fields
        case inspect.Metadata(type=inner):
            return _fields(inner)
        case inspect.UnionType(types=types):
            return next((found for each in types if (found := _fields(each))), ())
    return ()


@cache
def _hints(struct: type) -> dict[str, Any]:
    return get_type_hints(struct, include_extras=True)
