"""Drift of the beam since the flats, subtracted from each projection and remembered for rows that are read again."""

from __future__ import annotations

import numpy as np

from streamer.core.arrays import Array, Image
from streamer.core.jit import as_input
from streamer.core.preprocessing.beam_drift import (
    BeamDrift,
    drift_from_margins,
    drift_from_monitor,
    open_margins,
    remove_drift,
)
from streamer.core.preprocessing.defects import PixelStatistics
from streamer.core.preprocessing.eigen_flats import MOST_FLATS, EigenFlats, add_weighted

SINGLES_BYTES = 512 * 2**20
"""Memory for the single flats from which eigen-flats are made."""


class MeanFrame:
    """Flats or darks of one part of the scan: their statistics, what the monitor said, when they came."""

    def __init__(self, threads: int) -> None:
        self.pixels = PixelStatistics(threads)
        self._monitor = self._number = 0.0

    def add(self, pixels: Array, monitor: float, number: int) -> None:
        """Add one frame (rows, columns) that was taken after the projection of this index."""
        self.pixels.add(pixels)
        self._monitor += monitor
        self._number += number

    @property
    def count(self) -> int:
        return self.pixels.count

    @property
    def monitor(self) -> float:
        """Mean reading; 0 before the first frame."""
        return self._monitor / max(1, self.count)

    @property
    def number(self) -> float:
        """Mean number of the projection before."""
        return self._number / max(1, self.count)


class BeamDriftCorrection:
    """``mode`` is the option ``flat_drift``. ``last`` is the latest offset, or the largest weight of an eigen-flat
    (attenuation).
    ``unknown`` counts the projections without a measurable drift, which get that of the one before.
    """

    def __init__(self, mode: str, projections: int, threads: int) -> None:
        self.mode, self._threads = mode, threads
        self.eigen: EigenFlats | None = None
        self.last, self.unknown = 0.0, 0
        self._singles: list[Array] = []
        self._reference = 0.0
        self._margins: tuple[int, int] | None = None
        self._now = np.zeros(2)
        self._taken = np.full((projections, 2), np.nan)

    @property
    def margins(self) -> tuple[int, int]:
        """Columns on the left and right that the sample has left free so far."""
        return (0, 0) if self._margins is None else self._margins

    @property
    def reference(self) -> float:
        """Reading of the monitor without drift; 0 before it is known."""
        return self._reference

    def flat(self, pixels: Array) -> None:
        """A flat before the projections."""
        if self.mode == "eigen" and len(self._singles) < min(MOST_FLATS, SINGLES_BYTES // max(1, pixels.nbytes)):
            self._singles.append(pixels.copy())

    def begin(self, dark: Image | None, reference: float) -> None:
        """Fix the mean dark and the mean reading of the monitor; again when there are more flats."""
        self._reference = reference
        if len(self._singles) >= 3:
            net = np.stack(self._singles).astype(np.float32)
            self.eigen = EigenFlats(net if dark is None else net - dark, threads=self._threads)
            self._taken = np.full((len(self._taken), len(self.eigen.components)), np.nan)
            self._now = np.zeros(len(self.eigen.components))

    def correct(self, attenuation: Image, number: int, monitor: float) -> None:
        """Subtract the drift from a whole projection (rows, cols), in place, and remember it."""
        if self.mode == "off":
            return
        if self.mode == "eigen":
            self._singles = []
            if self.eigen is None:
                self.unknown += 1
                return
            self._now = self.eigen.apply(attenuation)
            self.last = float(np.abs(self._now).max(initial=0.0))
        else:
            drift = self._from_margins(attenuation) if self.mode == "margins" else self._from_monitor(monitor)
            if drift is None:
                self.unknown += 1
            else:
                self._now = np.array([drift.offset, drift.slope])
            remove_drift(attenuation, BeamDrift(self._now[0], self._now[1], 0.0))
            self.last = float(self._now[0])
        self._taken[number] = self._now

    def repeat(self, attenuation: Image, number: int, rows: slice) -> None:
        """Subtract the same from the detector rows ``rows`` of that projection, in place."""
        taken = self._taken[number]
        if self.mode == "off" or not taken.size or np.isnan(taken).any():
            return
        if self.eigen is None:
            remove_drift(attenuation, BeamDrift(taken[0], taken[1], 0.0))
        else:
            stack = as_input(self.eigen.components[:, rows])
            add_weighted(attenuation, stack, as_input(taken, np.float32), self._threads)

    def _from_margins(self, attenuation: Image) -> BeamDrift | None:
        found = open_margins(attenuation, known=min(self.margins) > 0)
        if found is None:
            return None
        left, right = found
        if self._margins is not None:
            left, right = min(left, self._margins[0]), min(right, self._margins[1])
        self._margins = (left, right)
        return drift_from_margins(attenuation, left, right) if left or right else None

    def _from_monitor(self, monitor: float) -> BeamDrift | None:
        if not (np.isfinite(monitor) and monitor > 0):
            return None
        # Without flats the beam of the first projection is the one that counts.
        self._reference = self._reference if self._reference > 0 else monitor
        return drift_from_monitor(monitor, self._reference)
