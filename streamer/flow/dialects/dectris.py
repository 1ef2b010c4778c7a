"""What both streams of DECTRIS detectors share: the axis that turns, and values of the configuration as texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from streamer.flow.dialects.message import attributes_of

COMPRESSED = 56500
"""CBOR tag of ``[name, bytes per item, compressed bytes]``."""

ROTATION = "omega"
"""The axis that is taken when several turn."""


def turning(axes: Mapping[str, tuple[Any, Any]]) -> tuple[float, float] | None:
    """Start and step in degrees of the axis that turns, from start and increment of each; None when none does.

    An EIGER announces increments of 0 unless the control system sets them.
    """
    moving = {
        axis: (float(start), float(step))
        for axis, (start, step) in axes.items()
        if _is_number(start) and _is_number(step) and step != 0
    }
    if len(moving) == 1:
        return next(iter(moving.values()))
    return moving.get(ROTATION)


def texts(entries: Mapping[str, Any]) -> dict[str, str]:
    """The numbers and short texts among the values, as texts."""
    return {name: str(value) for name, value in attributes_of(entries).items()}


def series_number(series: str | None) -> int:
    """A series as a detector numbers it; 1 for a name that is no number."""
    return int(series) if series is not None and series.isdecimal() and len(series) < 19 else 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < 1e9
