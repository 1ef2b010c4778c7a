"""A night at the beamline: which sample has which fault, and when beam, daemon and session are lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SHARES: Mapping[str, float] = {"slippery": 0.03, "empty": 0.02, "slips": 0.03, "loose": 0.02, "wide": 0.02}
"""Kinds of the virtual beamline's magazine; what moves is "slips" (once) or "loose" (always)."""

USEFUL = ("good", "slippery", "slips")
"""Kinds of which a tomogram can be had."""


@dataclass(frozen=True)
class Night:
    """``kinds`` by slot. The others are slots in whose scan something happens."""

    kinds: tuple[str, ...]
    dumps: tuple[int, ...] = ()
    daemon_killed: int | None = None
    session_killed: int | None = None

    @classmethod
    def short(cls) -> Night:
        """Every fault once, as short as can be."""
        return cls(("good", "slippery", "empty", "good", "slips", "good", "wide", "good"), (0,), 3, 5)

    @classmethod
    def drawn(cls, samples: int, seed: int, dumps: int = 2, shares: Mapping[str, float] = SHARES) -> Night:
        """Faults of every kind, at least one each, in random slots; the other events hit good samples."""
        rng = np.random.default_rng([seed, samples])
        kinds = ["good"] * samples
        for kind, share in shares.items():
            free = [slot for slot, held in enumerate(kinds) if held == "good"]
            for slot in rng.choice(free, max(1, round(share * samples)), replace=False):
                kinds[slot] = kind
        good = [slot for slot, kind in enumerate(kinds) if kind == "good"]
        hit = sorted(int(slot) for slot in rng.choice(good, dumps + 2, replace=False))
        order = rng.permutation(len(hit))
        daemon, session, *rest = (hit[k] for k in order)
        return cls(tuple(kinds), tuple(sorted(rest)), daemon, session)
