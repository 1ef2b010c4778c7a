"""Deferred corrections of attenuation that lies on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from streamer.core.arrays import Image
from streamer.core.backend.engine import DeviceOutOfMemory, Engine
from streamer.core.backend.on_device import OnDevice, add_late, fill_dead
from streamer.pipeline.preparation.late_corrections import DeferredCorrections

Term: TypeAlias = OnDevice | None
"""An image (rows, columns); None where the terms have no such."""


class DeviceCorrections:
    """Applies ``DeferredCorrections`` without drift and eigen-flats, which are of projections that the CPU prepares.

    May be used by two threads: what the device has of which terms is one value.
    """

    def __init__(self) -> None:
        self._there: tuple[DeferredCorrections, Term, Term] | None = None

    def apply(
        self, terms: DeferredCorrections, source: OnDevice, fractions: Sequence[float], rows: slice
    ) -> OnDevice | None:
        """What ``terms.apply`` makes of the detector rows ``rows`` of images (n, rows, cols), at ``fractions`` (n,) of
        the scan. None if the device has no memory for it.
        """
        if not (terms and len(source)):
            return source
        try:
            return self._apply(terms, source, fractions, rows.start or 0)
        except DeviceOutOfMemory:
            return None

    def _apply(self, terms: DeferredCorrections, source: OnDevice, fractions: Sequence[float], top: int) -> OnDevice:
        there = self._there
        if there is None or there[0] is not terms:
            pattern = None if terms.pair is None else terms.pair.pattern
            there = self._there = terms, _upload(source.engine, terms.static), _upload(source.engine, pattern)
        pairs = [(0.0, 0.0) if terms.pair is None else terms.pair.shares(fraction) for fraction in fractions]
        base, share = np.array(pairs, np.float32).T.copy()
        out = add_late(source, top, *there[1:], base, share)
        height = source.shape[1]
        if terms.dead is not None and len(dead := terms.dead.rows(slice(top, top + height))):
            fill_dead(out, np.repeat(np.arange(height), np.diff(dead.first)), dead.places, dead.share)
        return out


def _upload(engine: Engine, image: Image | None) -> Term:
    return None if image is None else OnDevice(engine, engine.upload(np.ascontiguousarray(image)))
