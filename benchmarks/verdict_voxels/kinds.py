"""The register of faults: what each is called, how large it is made, and whether it is a fault however small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.verdict_voxels.setup import Setup

Apply = Callable[[Setup, float, np.random.Generator], None]


@dataclass(frozen=True)
class Kind:
    """A kind of fault. ``sizes`` go from barely visible to gross, in ``unit``.

    ``moves``: the tomogram may be right at another pose, so the damage is taken at the best one. ``always``: an alarm
    is right whatever the error is.
    """

    name: str
    group: str
    apply: Apply
    sizes: tuple[float, ...]
    unit: str
    moves: bool = False
    always: bool = False


KINDS: dict[str, Kind] = {}


def kind(
    group: str, sizes: tuple[float, ...], unit: str, *, moves: bool = False, always: bool = False
) -> Callable[[Apply], Apply]:
    """Register a function (setup, amount, rng) that spoils a setup."""

    def register(apply: Apply) -> Apply:
        name = apply.__name__
        KINDS[name] = Kind(name, group, apply, sizes, unit, moves, always)
        return apply

    return register


def some_frames(count: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Numbers of random frames, at least one."""
    return np.sort(rng.choice(count, max(1, round(share * count)), replace=False))


def block(count: int, share: float, rng: np.random.Generator) -> slice:
    """Neighbouring frames somewhere in the scan, at least one."""
    length = max(1, round(share * count))
    first = int(rng.integers(0, max(count - length, 1)))
    return slice(first, first + length)


def later(count: int, rng: np.random.Generator) -> slice:
    """The rest of the scan from somewhere in its middle half."""
    return slice(int(rng.integers(count // 4, 3 * count // 4)), None)
