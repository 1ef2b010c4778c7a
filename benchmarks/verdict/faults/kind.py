"""What a kind of fault is: sizes, what it changes in a scan, and which verdicts are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdict.scans import Draft
from streamer.frames import Decision

Array = NDArray[Any]
Change = Callable[[Draft, float, np.random.Generator], None]

RETAKE, UNKNOWN, REALIGN = Decision.RETAKE, Decision.UNKNOWN, Decision.REALIGN
SPOILED = frozenset({RETAKE, UNKNOWN})


@dataclass(frozen=True)
class Fault:
    """``always``: counts whatever the error of the tomogram; ``needs_limit``: only a wanted resolution can show it."""

    name: str
    unit: str
    sizes: tuple[float, ...]
    change: Change
    right: frozenset[Decision] = SPOILED
    always: bool = False
    needs_limit: bool = False


FAULTS: dict[str, Fault] = {}


def fault(unit: str, *sizes: float, **more: Any) -> Callable[[Change], Change]:
    """Enter a kind of fault under its function's name."""

    def enter(change: Change) -> Change:
        FAULTS[change.__name__] = Fault(change.__name__, unit, sizes, change, **more)
        return change

    return enter


def moved(d: Draft, **shift: Array) -> None:
    d.pose = replace(d.pose, **{name: getattr(d.pose, name) + by for name, by in shift.items()})


def in_plane(d: Draft, path: Array, rng: np.random.Generator) -> None:
    phi = rng.uniform(0, 2 * np.pi)
    moved(d, ux=path * np.cos(phi), uy=path * np.sin(phi))


def later(d: Draft, rng: np.random.Generator) -> Array:
    """1 from a moment in the middle part of the scan on."""
    return (d.when > rng.uniform(0.2, 0.8)).astype(float)


def some(d: Draft, share: float, rng: np.random.Generator) -> slice:
    """A part of the projections that came one after the other."""
    length = max(1, round(share * d.count))
    first = int(rng.integers(2, d.count - length - 1))
    return slice(first, first + length)
