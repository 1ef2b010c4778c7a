"""Command-line arguments: checked when they are parsed, and mostly generated from ``Options``."""

from __future__ import annotations

import argparse
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from streamer.cli.terminal.words import folded
from streamer.frames import BadInput
from streamer.keys import ClientKey, client_key
from streamer.options import Options, alternatives, field_type, rule

AnyOptions = TypeVar("AnyOptions", bound=Options)

HELP_WIDTH = 80
"""Columns of a terminal that nobody made wider."""

UNITS = ("mb", "px", "deg", "kev", "m", "s")
"""Units that end the name of an option."""


class Parser(argparse.ArgumentParser):
    """Raises BadInput, one line, where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        words = message.removeprefix("unrecognized arguments: ")
        if words != message and not words.startswith("-"):
            raise BadInput(f"one argument too many: {words}; does a * stand for several files? --help has examples")
        raise BadInput(message.removeprefix("argument "))


def add_verb(verbs: Any, name: str, description: str, examples: Mapping[str, str], more: str = "") -> Any:
    """Add the parser of a verb. ``examples`` map command lines, without ``streamer``, to what they do."""
    return verbs.add_parser(
        name,
        description=_paragraphs(description),
        epilog="\n".join(["examples:", *_examples(examples), *([] if not more else ["", _paragraphs(more)])]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _paragraphs(text: str) -> str:
    return "\n\n".join(_filled(part) for part in text.strip().split("\n\n"))


def _filled(part: str) -> str:
    """A paragraph. Of one with indented lines each line stays a line: a heading, and below it what a table says."""
    lines = part.split("\n")
    if not any(line.startswith(" ") for line in lines):
        return textwrap.fill(part, HELP_WIDTH, break_on_hyphens=False)
    return "\n".join(folded(line, _second_column(line), columns=HELP_WIDTH) for line in lines)


def _second_column(line: str) -> int:
    """Where the text begins that two spaces or more set off from the first words."""
    found = re.match(r" *\S.*? {2,}(?=\S)", line)
    return len(found[0]) if found else len(line) - len(line.lstrip(" "))


def _examples(examples: Mapping[str, str]) -> list[str]:
    """A line for each, or two where it would be too long: the command, and below it what it does."""
    width = max(map(len, examples))
    lines = [f"  streamer {command:{width}}   {effect}" for command, effect in examples.items()]
    if max(map(len, lines)) <= HELP_WIDTH:
        return lines
    return [line for command, effect in examples.items() for line in (f"  streamer {command}", f"      {effect}")]


def checked(kind: Any) -> Callable[[str], Any]:
    """Make the ``type`` of an argument: it converts a text to ``kind``, a type with bounds, for example
    ``Annotated[int, Field(ge=1)]``.
    """
    adapter = TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))

    def parse(text: str) -> Any:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"give {rule(kind)}, not {text!r}") from error

    return parse


def add_options(group: Any, options: type[Options], names: Iterable[str] | None = None) -> None:
    """Add an argument for each field, or for those named, with its type, default and description."""
    for name in options.model_fields if names is None else names:
        field, kind = options.model_fields[name], field_type(options, name)
        flag, text = f"--{name.replace('_', '-')}", " ".join((field.description or "").split()).replace("%", "%%")
        if field.annotation is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default, help=text)
            continue
        suffix = name.rpartition("_")[2]
        number = suffix.upper() if suffix in UNITS else "TEXT" if "a text" in alternatives(kind) else "N"
        group.add_argument(
            flag,
            type=checked(kind),
            default=field.default,
            metavar="|".join(number if " " in words else words for words in alternatives(kind)),
            help=text if field.default is None else f"{text} (default {_plain(field.default)})",
        )


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def add_key(parser: argparse.ArgumentParser) -> None:
    """Add ``--key``, which ``read_key`` reads."""
    text = "file with the key of this client, for a daemon with keys (default: the one that STREAMER_KEY names)"
    parser.add_argument("--key", type=Path, metavar="FILE", help=text)


def read_key(args: argparse.Namespace) -> ClientKey | None:
    """The key of ``--key`` or STREAMER_KEY. Raises BadInput."""
    return client_key(args.key, os.environ)


def read_options(args: argparse.Namespace, options: type[AnyOptions]) -> AnyOptions:
    """Read the options whose arguments ``add_options`` added; the others keep their defaults."""
    return options(**{name: getattr(args, name) for name in options.model_fields if hasattr(args, name)})
