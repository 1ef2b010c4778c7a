"""What a page asks of a tomogram: a box, and how many voxels the answer may have."""

from __future__ import annotations

import re
from collections.abc import Mapping

from streamer.frames import BadInput
from streamer.web.tomogram import Box

SIDE = 128
LONGEST_SIDE = 256
RANGE = re.compile(r"(\d{1,6}):(\d{1,6})")
AXES = ("z", "y", "x")


def read_box(query: Mapping[str, str], shape: tuple[int, ...]) -> Box | None:
    """The box of ``z``, ``y`` and ``x`` as FIRST:END, each the whole side where it lacks; None: all lack.

    Raises BadInput.
    """
    if not set(AXES) & set(query):
        return None
    z, y, x = (
        (0, side) if name not in query else _range(name, query[name]) for name, side in zip(AXES, shape, strict=True)
    )
    return z, y, x


def read_most(query: Mapping[str, str]) -> int:
    """``most``: the voxels that a side of the answer may have. Raises BadInput."""
    text = query.get("most", str(SIDE))
    if not text.isascii() or not text.isdigit() or not 8 <= int(text[:6]) <= LONGEST_SIDE:
        raise BadInput(f"most={text[:20]!r}: give a whole number from 8 to {LONGEST_SIDE}")
    return int(text)


def _range(name: str, text: str) -> tuple[int, int]:
    found = RANGE.fullmatch(text)
    if found is None:
        raise BadInput(f"{name}={text[:20]!r}: give FIRST:END")
    return int(found[1]), int(found[2])
