"""Lines that fit the terminal: broken between words, and continued below their beginning."""

from __future__ import annotations

import os
import sys
import textwrap
from typing import TextIO

NARROWEST = 30
"""Columns below which a line is left to the terminal."""


def folded(text: str, hang: int = 2, *, columns: int | None) -> str:
    """``text`` in lines of at most ``columns``, all but the first indented by ``hang``. Without ``columns`` it stays
    as it is. A word that is too long, as a path may be, is not broken.
    """
    if columns is None or columns < NARROWEST:
        return text
    return textwrap.fill(
        text,
        columns,
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def columns_of(stream: TextIO) -> int | None:
    """Columns of the terminal that ``stream`` writes to; None where it is no terminal, as other programs read lines."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def say(text: str, hang: int = 2, stream: TextIO | None = None) -> None:
    """Print a line, folded where it goes to a terminal."""
    stream = sys.stdout if stream is None else stream
    print(folded(text, hang, columns=columns_of(stream)), file=stream)
