"""Output files of a verb: checked before the work, written after it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

from streamer.frames import BadInput, StreamerError, system_reason

STDOUT = Path("-")
_json_stream: ContextVar[TextIO | None] = ContextVar("json_stream", default=None)


class OutputError(StreamerError):
    """A file could not be written after the work was done; the message is one line."""


def check_outputs(outputs: Mapping[str, Path | None], inputs: Sequence[Path] = ()) -> None:
    """Check, before anything takes time, that ``outputs`` (by option) can be written and overwrite no other file.

    Raises BadInput when a folder is missing or not writable, or when an output is an input or another output.
    """
    taken = {path.resolve(): "the file that is read" for path in inputs}
    for option, path in outputs.items():
        if path is None or path == STDOUT:
            continue
        folder = path.absolute().parent
        if not folder.is_dir():
            raise BadInput(f"{option} {path}: there is no folder {folder}")
        if path.is_dir():
            raise BadInput(f"{option} {path}: is a folder; give the name of a file")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise BadInput(f"{option} {path}: this user may not write to the folder {folder}")
        if path.resolve() in taken:
            raise BadInput(f"{option} {path}: is {taken[path.resolve()]} as well; choose another name")
        taken[path.resolve()] = f"that of {option}"


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Turn errors of the file system into OutputError, which names the option."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{option} {path}: cannot be written ({system_reason(error).lower()})") from error


@contextmanager
def json_alone(path: Path | None) -> Iterator[None]:
    """With ``--json -`` whatever is printed goes to stderr, so that stdout has the JSON alone."""
    if path != STDOUT:
        yield
        return
    token = _json_stream.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _json_stream.reset(token)


def write_json(path: Path | None, content: Any, option: str = "--json") -> None:
    """Write the file of ``--json``, if there is a path; ``-`` is stdout. Raises OutputError."""
    if path == STDOUT:
        print(json.dumps(content, indent=2), file=_json_stream.get() or sys.stdout)
    elif path is not None:
        with writing(option, path):
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
