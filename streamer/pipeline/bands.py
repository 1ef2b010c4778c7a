"""What is kept of every projection of a scan, whatever the memory: angles, row sums, and sinograms of a few bands."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.row_binning import band_means
from streamer.core.arrays import Image, Values
from streamer.core.backend.on_device import Projections
from streamer.core.quality.fields import bridged, dead_columns
from streamer.frames import ScanSpec

SINOGRAM_ROWS = 8
"""Sinograms that are kept for the search of the centre at the end; each is the mean of a band of detector rows."""

BAND_ROWS = 16


class Bands:
    """Projections in the order in which they came. Not thread-safe.

    ``angles`` in radian and frame ``index`` of each; the bands begin at the detector rows ``first_rows`` (bands,) and
    are ``height`` rows high. Sinograms and row sums are kept of as many projections as the scan announces.
    """

    def __init__(self, spec: ScanSpec) -> None:
        self.angles: list[float] = []
        self.index: list[int] = []
        self.first_rows, self.height = _bands(spec.rows)
        self._row_sums = np.empty((spec.projections, spec.rows), np.float32)
        self._sinograms = np.empty((spec.projections, len(self.first_rows), spec.columns), np.float32)

    def add(self, angles_rad: Sequence[float], index: Sequence[int], attenuation: Projections, moments: Values) -> None:
        """Take in the attenuation (n, rows, columns) of n frames, and the moments (n, rows, 4) of their rows."""
        kept = slice(self.count, min(self.count + len(index), len(self._sinograms)))
        count = max(0, kept.stop - kept.start)
        self.angles += angles_rad
        self.index += index
        self._row_sums[kept] = moments[:count, :, 0]
        band_means(attenuation[:count], self.first_rows, self.height, self._sinograms[kept])

    def so_far(self) -> Bands:
        """The projections of this moment; a view, which takes none."""
        seen = copy.copy(self)
        seen.angles, seen.index = self.angles.copy(), self.index.copy()
        return seen

    @property
    def count(self) -> int:
        return len(self.angles)

    @property
    def whole(self) -> bool:
        """Whether sinograms and row sums are those of all projections."""
        return self.count <= len(self._sinograms)

    @property
    def sinograms(self) -> Image:
        """Means (projections, bands, columns) over the rows of each band."""
        return self._sinograms[: self.count]

    @property
    def row_sums(self) -> Image:
        """Sums (projections, rows) over the columns."""
        return self._row_sums[: self.count]

    def dead_columns(self) -> NDArray[np.bool_]:
        """Mask (columns,) of those that are dead, by all projections so far, see ``fields.dead_columns``."""
        return dead_columns(self.sinograms.mean(axis=0))

    def views(self) -> Image:
        """The sinograms without the detector's dead columns."""
        return bridged(self.sinograms, self.dead_columns())


def _bands(rows: int) -> tuple[NDArray[np.int64], int]:
    """First row of each band (bands,), and its height in rows; all rows of a small detector."""
    height = max(1, min(BAND_ROWS, rows // SINOGRAM_ROWS))
    spare = max(0, rows - SINOGRAM_ROWS * height)
    return np.unique(np.linspace(0.1 * spare, rows - height - 0.1 * spare, SINOGRAM_ROWS).astype(np.int64)), height
