"""Options of the user, each defined once: as a field of an ``Options`` class, with type, bounds, default, description.

The sections of the configuration file are such classes: it is written from their fields, and so are command-line
arguments.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from inspect import getdoc
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, ValidationInfo, field_validator

from streamer.frames import BadInput

WIDTH = 120


class Options(BaseModel):
    """Base of all option classes. Instances are frozen; the docstring of a field is its description for users.

    Raises BadInput, one line that names the option, its rule and the value, when a value is not allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            section = _section(type(self), name)
            if section is not None and isinstance(value, Mapping):
                try:
                    values[name] = section(**value)
                except BadInput as error:
                    raise BadInput(f"{name}.{error}") from error
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise BadInput(self._complaint(error)) from error

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false as numbers, and numbers as true and false. Texts come from the environment and pass."""
        assert info.field_name is not None
        wanted = cls.model_fields[info.field_name].annotation is bool
        if not isinstance(value, str) and isinstance(value, bool) is not wanted:
            raise ValueError("wrong type")
        return value

    @classmethod
    def _complaint(cls, error: ValidationError) -> str:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        if problem["type"] == "extra_forbidden":
            return f"{name}: no such option; known here: {', '.join(cls.model_fields)}"
        return f"{name}: give {rule(field_type(cls, name))}, not {problem['input']!r}"


def _section(options: type[Options], name: str) -> type[Options] | None:
    """The class of a field that holds options itself."""
    field = options.model_fields.get(name)
    kind = None if field is None else field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Options) else None


def field_type(options: type[Options], name: str) -> Any:
    """Type of a field, with its bounds."""
    field = options.model_fields[name]
    return Annotated[field.annotation, field]


def rule(kind: Any) -> str:
    """What a value of a type must be, in words: "a number from 0 to 1", "auto, off or a number above 0"."""
    words = alternatives(kind)
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def alternatives(kind: Any) -> list[str]:
    """What a value of a type may be: choices as they are, everything else in words."""
    return _alternatives(TypeAdapter(kind).json_schema())


def _alternatives(schema: dict[str, Any]) -> list[str]:
    if "rule" in schema:
        return [schema["rule"]]
    if "anyOf" in schema:
        return [words for part in schema["anyOf"] for words in _alternatives(part)]
    if "const" in schema or "enum" in schema:
        return [str(value) for value in schema.get("enum", [schema.get("const")])]
    match schema.get("type"):
        case "null":
            return []
        case "boolean":
            return ["true", "false"]
        case "string":
            return ["a path" if schema.get("format") == "path" else "a text"]
        case "integer" | "number" as kind:
            return [("a whole number" if kind == "integer" else "a number") + _bounds(schema)]
    return ["a section"]


def _bounds(schema: dict[str, Any]) -> str:
    low, high, above = (schema.get(name) for name in ("minimum", "maximum", "exclusiveMinimum"))
    if above is not None:
        return f" above {above:.12g}" + ("" if high is None else f", at most {high:.12g}")
    if low is not None:
        return f", {low:.12g} or more" if high is None else f" from {low:.12g} to {high:.12g}"
    return "" if high is None else f", at most {high:.12g}"


def toml_lines(name: str, section: Options) -> Iterator[str]:
    """A section of a TOML file; every option has its description, rule and default. One that is unset is commented
    out."""
    yield f"[{name}]"
    yield from _comment(getdoc(type(section)) or "")
    for key, field in type(section).model_fields.items():
        value, default = getattr(section, key), field.default
        yield from ("", *_comment(f"{field.description} ({rule(field_type(type(section), key))})"))
        if value is None:
            yield f"# {key} = {_toml((field.examples or ['…'])[0])}"
        else:
            yield f"{key} = {_toml(value)}" + ("" if value == default else f" # default: {_toml(default)}")


def _comment(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), WIDTH, initial_indent="# ", subsequent_indent="# ")


def _toml(value: Any) -> str:
    """A value in TOML, which writes texts, numbers and truth values as JSON does."""
    if value is None:
        return "unset"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
