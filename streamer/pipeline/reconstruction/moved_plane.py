"""A plane that somebody moves: a picture at once, from some of the stored projections, then from more and from all.

A plane that is dragged is wanted now and in a moment elsewhere. So the projections are folded in from coarse to fine
steps of the angle: after the first pass there is a picture, every further pass halves the streaks. The weights are
those of the whole set from the beginning, so no projection is folded in twice. A horizontal plane sees one detector
row: its slice is made of all angles at once (``MovedSlice``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.core.fourier.factory import fourier_volume
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import fourier_nbytes
from streamer.core.memory import Memory
from streamer.core.planes.live_planes import FRAMES_PER_FOLD, LivePlanes
from streamer.core.planes.plane import Plane
from streamer.pipeline.reconstruction.plane_cuts import PlaneCuts
from streamer.pipeline.reconstruction.stored_projections import Numbers, StoredProjections

FEW_ROWS = 64
"""Of so few rows several projections are folded in at once, from a copy; on a device always."""

FIRST_PASS = 90
"""Projections of the first picture, at least: of a plane of 512² it has streaks, which are gone a moment later."""

SLICE_BYTES = 2**28
"""Most memory for the slice of one row, which 1024 columns fit into."""

SAMPLES_PER_STEP = 2**16
"""Of the row of a slice: some milliseconds."""


class Moved(Protocol):
    """A plane on its way: ``step`` until it is false; whenever ``ready`` there is a new picture. Not thread-safe."""

    plane: Plane
    ready: bool
    passes: int
    """Pictures so far."""

    @property
    def count(self) -> int:
        """Projections in the plane."""

    def step(self) -> bool:
        """Fold a few more in. False when none is left."""

    def snapshot(self) -> Callable[[], Image]:
        """The plane, of which most of the work is left to do; then nothing is ``ready`` until the next pass is done."""


def moved(backend: Backend, stored: StoredProjections, plane: Plane, center: float, memory: Memory) -> Moved:
    """The plane about ``center`` (detector column) from the projections that are stored now.

    ``memory`` is that of slices, one after the other. Raises BadInput like LivePlanes.
    """
    layout = stored.layout
    shape = layout.rows, layout.width, layout.width
    small = fourier_nbytes(1, layout.width, layout.center(center), layout.extend, backend.threads) <= SLICE_BYTES
    if plane.horizontal and small and not backend.on_device and PlaneCuts.on_voxels([plane], shape):
        return MovedSlice(backend, stored, plane, center, memory)
    return MovedPlane(backend, stored, plane, center)


class MovedPlane:
    """Any plane, from coarse to fine steps of the angle. See ``Moved``."""

    def __init__(self, backend: Backend, stored: StoredProjections, plane: Plane, center: float) -> None:
        """Raises BadInput like LivePlanes."""
        self.plane, self.ready, self.passes = plane, False, 0
        layout = stored.layout
        angles = stored.angles_rad.copy()
        self._weights = layout.weights(angles)
        self._angles, self._stored = angles, stored
        tilted = not (plane.horizontal or plane.v[:2] == (0.0, 0.0))  # these take longest
        by_angle = np.argsort(np.mod(angles, layout.period), kind="stable")
        passes = passes_of(by_angle, FIRST_PASS // 2 if tilted else FIRST_PASS)
        self._passes = [part for part in passes if part.size]
        self._at = 0  # in the first of the passes
        self._rows = _rows_seen(plane, layout.rows)
        top = self._rows.start
        # The weights are those of the whole set; exact ones would be those of the part that is in the plane.
        self._live = LivePlanes(
            backend, [_lowered(plane, top)], self._rows.stop - top, layout.width, layout.center(center),
            extend=layout.extend, period=layout.period, weighted=True,
        )  # fmt: skip

    @property
    def count(self) -> int:
        return self._live.count

    def step(self) -> bool:
        if not self._passes:
            return False
        numbers = self._passes[0][self._at : self._at + FRAMES_PER_FOLD]
        self._add(numbers)
        self._at += len(numbers)
        if self._at == len(self._passes[0]):
            self._passes, self._at, self.ready = self._passes[1:], 0, True
            self.passes += 1
        return True

    def snapshot(self) -> Callable[[], Image]:
        self.ready = False
        images, name = self._live.snapshot(), self.plane.name
        return lambda: images()[name]

    def _add(self, numbers: Numbers) -> None:
        angles, weights = self._angles[numbers], self._weights[numbers]
        if self._stored.on_device or self._rows.stop - self._rows.start <= FEW_ROWS:
            self._live.add(self._stored.some(numbers, self._rows), angles, weights)
            return
        for k, number in enumerate(numbers.tolist()):  # each where it lies: a copy takes longer than to fold it in
            one = np.asarray(self._stored.span(number, number + 1))[:, self._rows]
            self._live.add(one, angles[k : k + 1], weights[k : k + 1])


class MovedSlice:
    """A horizontal plane whose pixels are voxels: the slice of its row, of all angles at once. See ``Moved``."""

    def __init__(
        self, backend: Backend, stored: StoredProjections, plane: Plane, center: float, memory: Memory
    ) -> None:
        """``memory`` is used until the next slice is begun."""
        self.plane, self.ready, self.passes, self.count = plane, False, 0, 0
        layout = stored.layout
        angles = stored.angles_rad.copy()
        self._angles, self._weights, self._stored = angles, layout.weights(angles), stored
        self._row = round(plane.origin[2])
        self._shape = layout.rows, layout.width, layout.width
        self._volume = fourier_volume(
            backend, 1, layout.width, layout.center(center), extend=layout.extend, memory=memory
        )
        self._number = max(1, SAMPLES_PER_STEP // layout.width)

    def step(self) -> bool:
        first, last = self.count, min(self.count + self._number, len(self._angles))
        if first == last:
            return False
        row = self._stored.block(self._row, self._row + 1, np.arange(first, last))
        self._volume.add(ProjectionBatch.of(row, self._angles[first:last], self._weights[first:last]))
        self.count = last
        if last == len(self._angles):
            self.ready, self.passes = True, 1
        return True

    def snapshot(self) -> Callable[[], Image]:
        self.ready = False
        cut = PlaneCuts([self.plane], self._shape)
        cut.take(self._row, self._volume.rows_of(0, 1))
        return lambda: cut.images[self.plane.name]


def _rows_seen(plane: Plane, rows: int) -> slice:
    """The detector rows that a plane sees: a horizontal one two, else all."""
    if not plane.horizontal:
        return slice(0, rows)
    height = min(max(plane.origin[2], 0.0), rows - 1.0)
    return slice(int(height), min(rows, int(height) + 2))


def _lowered(plane: Plane, rows: int) -> Plane:
    """The plane in a tomogram that begins so many rows further down."""
    x, y, z = plane.origin
    return replace(plane, origin=(x, y, z - rows))


def passes_of(by_angle: Numbers, first: int = FIRST_PASS) -> list[Numbers]:
    """Numbers of projections in passes, each in order of arrival.

    ``by_angle`` are the numbers in order of their angles. The first pass has at least ``first`` of them (or all), at
    even steps; every further one lies in the middle between those before.
    """
    step = 1
    while by_angle.size // (2 * step) >= first:
        step *= 2
    passes = [by_angle[::step]]
    while step > 1:
        passes.append(by_angle[step // 2 :: step])
        step //= 2
    return [np.sort(part) for part in passes]
