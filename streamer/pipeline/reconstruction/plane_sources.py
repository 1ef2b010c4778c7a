"""What a plane that somebody moves is made of: the stored projections, or fewer and smaller ones at first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np

from streamer.core.arrays import Values
from streamer.core.backend.on_device import Projections
from streamer.core.planes.plane import Plane
from streamer.core.planes.thinning import thin
from streamer.core.preprocessing.binning import binned
from streamer.pipeline.reconstruction.stored_projections import Numbers, StoredProjections

FEW_ROWS = 64
"""Of so few rows several projections are folded in at once, from a copy; on a device always."""

COARSE_PX = 256
"""Columns of the coarse picture, about: of a detector that is wider by half, rows and columns are joined."""


def coarse_factor(width: int) -> int:
    """Columns that are joined to one in the coarse picture of a detector (a power of two); 1 where it is small."""
    factor = 1
    while width > 1.5 * factor * COARSE_PX:
        factor *= 2
    return factor


class PlaneSource(Protocol):
    """Projections (rows, width) float32 about ``center``, and their ``angles`` and ``weights`` (projections,)."""

    rows: int
    width: int
    center: float
    extend: bool
    period: float
    angles: Values
    weights: Values

    def pieces(self, numbers: Numbers, rows: slice) -> Iterator[tuple[Projections, Numbers]]:
        """These rows of the projections with these numbers, some (projections, rows, width) at a time."""

    def row(self, row: int, numbers: Numbers) -> Projections:
        """(projections, 1, width) of one detector row."""


class WholeProjections:
    """The projections that are stored now, in full detail. See ``PlaneSource``."""

    def __init__(self, stored: StoredProjections, center: float) -> None:
        """``center`` is a detector column."""
        layout = stored.layout
        self.stored = stored
        self.rows, self.width, self.center = layout.rows, layout.width, layout.center(center)
        self.extend, self.period = layout.extend, layout.period
        self.angles = stored.angles_rad.copy()
        self.weights = layout.weights(self.angles)

    def pieces(self, numbers: Numbers, rows: slice) -> Iterator[tuple[Projections, Numbers]]:
        if self.stored.on_device or rows.stop - rows.start <= FEW_ROWS:
            yield self.stored.some(numbers, rows), numbers
            return
        for number in numbers.tolist():  # each where it lies: a copy takes longer than to fold it in
            yield np.asarray(self.stored.span(number, number + 1))[:, rows], np.array([number])

    def row(self, row: int, numbers: Numbers) -> Projections:
        return self.stored.block(row, row + 1, numbers)


class ThinnedProjections:
    """Some of the projections, every ``factor``-th of their rows, as many columns joined to one. See ``PlaneSource``.

    Values are attenuation of a ray as before, so that planes of them are per pixel of ``factor`` voxels.
    """

    def __init__(self, whole: WholeProjections, factor: int, some: Numbers, threads: int) -> None:
        """``some``: numbers of the projections to take. Those on the host are thinned by ``threads``."""
        self._whole, self._some, self._factor, self._threads = whole, some, factor, threads
        self._kept = range((factor - 1) // 2, whole.rows, factor)
        self.rows, self.width = len(self._kept), -(-whole.width // factor)
        self.center, self.extend, self.period = binned(whole.center, factor), whole.extend, whole.period
        self.angles = whole.angles[some]
        self.weights = whole.stored.layout.weights(self.angles)

    def pieces(self, numbers: Numbers, rows: slice) -> Iterator[tuple[Projections, Numbers]]:
        yield self._thinned(numbers, self._kept[rows]), numbers

    def row(self, row: int, numbers: Numbers) -> Projections:
        """``row`` is one of the whole detector."""
        return self._thinned(numbers, range(row, row + 1))

    def _thinned(self, numbers: Numbers, rows: range) -> Projections:
        stored, chosen = self._whole.stored, self._some[numbers]
        if stored.as_stored:
            return thin(stored.attenuation, chosen, rows, self._factor, self._threads)
        finished = np.asarray(stored.some(chosen, slice(0, self._whole.rows)))
        return thin(finished, np.arange(len(chosen)), rows, self._factor, self._threads)

    def place(self, plane: Plane, on_voxels: bool = False) -> Plane:
        """The plane in the coarse tomogram, each of whose pixels is ``factor`` of the plane's wide and high.

        With ``on_voxels``, for a horizontal plane, pixels are moved to the nearest voxels (less than half a coarse
        pixel), and its height stays that of the detector row.
        """
        factor = self._factor
        half = (factor - 1) / 2
        # Lines of an upright plane are rows that were kept.
        upright = plane.u[2] == 0.0 and plane.v[:2] == (0.0, 0.0)
        down = self._kept.start if upright else half
        u, v = np.array(plane.u), np.array(plane.v)
        x, y, z = (float(value) for value in np.array(plane.origin) + half * u + down * v)
        x, y = (self._across(x), self._across(y))
        z = (z - self._kept.start) / factor
        if on_voxels:
            x, y, z = float(round(x)), float(round(y)), plane.origin[2]
        elif plane.horizontal:
            z = min(max(z, 0.0), self.rows - 1.0)  # the last row may be half a coarse pixel above the plane
        height, width = plane.shape
        return replace(plane, origin=(x, y, z), shape=(-(-height // factor), -(-width // factor)))

    def _across(self, place: float) -> float:
        """A coordinate of the tomogram across the axis, which is the middle of both."""
        return (place - (self._whole.width - 1) / 2) / self._factor + (self.width - 1) / 2
