"""A plane that somebody moves: a coarse picture at once, then one of more of the projections, and of all.

A plane that is dragged is wanted now and in a moment elsewhere. So the first picture is made of some of the angles and
of every second (fourth …) row and column: it says so, and costs a few milliseconds. When the hand rests, projections
are folded in in full detail, from coarse to fine steps of the angle: every pass halves the streaks. The weights are
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
from streamer.pipeline.reconstruction.plane_sources import (
    PlaneSource,
    ThinnedProjections,
    WholeProjections,
    coarse_factor,
)
from streamer.pipeline.reconstruction.stored_projections import Numbers, StoredProjections

FIRST_PASS = 90
"""Projections of the first picture, at least: of a plane of 512² it has streaks, which are gone when the hand rests."""

SLICE_ANGLES = 180
"""The same for a slice, which takes less time."""

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
        """Projections in the picture."""

    @property
    def factor(self) -> int:
        """Pixels of the plane along each side that are one of the picture; 1: full detail."""

    def step(self) -> bool:
        """Fold a few more in. False when none is left."""

    def snapshot(self) -> Callable[[], Image]:
        """The plane, of which most of the work is left to do; then nothing is ``ready`` until the next pass is done."""


def moved(
    backend: Backend, stored: StoredProjections, plane: Plane, center: float, memory: Memory, coarse_memory: Memory
) -> Moved:
    """The plane about ``center`` (detector column) from the projections that are stored now.

    ``memory`` is that of slices, one after the other, and ``coarse_memory`` that of coarse ones. Raises BadInput like
    LivePlanes.
    """
    whole = WholeProjections(stored, center)
    # A device is quick enough for all pixels.
    factor = 1 if backend.on_device or stored.on_device else coarse_factor(whole.width)
    if factor == 1:
        return _in_full(backend, whole, plane, memory, _first_pass(plane))
    slice_ = _is_slice(backend, whole, plane)
    some = passes_of(_by_angle(whole), SLICE_ANGLES if slice_ else _first_pass(plane))[0]
    thinned = ThinnedProjections(whole, factor, some, backend.threads)
    place = thinned.place(plane, slice_)
    coarse: Moved
    if slice_ and _is_slice(backend, thinned, place, whole.rows):
        coarse = MovedSlice(backend, thinned, place, coarse_memory, whole.rows)
    else:
        coarse = MovedPlane(backend, thinned, thinned.place(plane), len(some))
    return CoarseToFine(plane, coarse, factor, lambda: _in_full(backend, whole, plane, memory, 2 * _first_pass(plane)))


def _in_full(backend: Backend, whole: WholeProjections, plane: Plane, memory: Memory, first: int) -> Moved:
    if _is_slice(backend, whole, plane):
        return MovedSlice(backend, whole, plane, memory, whole.rows)
    return MovedPlane(backend, whole, plane, first)


def _is_slice(backend: Backend, source: PlaneSource, plane: Plane, rows: int | None = None) -> bool:
    """Whether the plane is part of a slice of one of the ``rows``, by default of the source."""
    shape = rows or source.rows, source.width, source.width
    small = fourier_nbytes(1, source.width, source.center, source.extend, backend.threads) <= SLICE_BYTES
    return plane.horizontal and small and not backend.on_device and PlaneCuts.on_voxels([plane], shape)


def _first_pass(plane: Plane) -> int:
    tilted = not (plane.horizontal or plane.v[:2] == (0.0, 0.0))  # these take longest
    return FIRST_PASS // 2 if tilted else FIRST_PASS


def _by_angle(source: PlaneSource) -> Numbers:
    return np.argsort(np.mod(source.angles, source.period), kind="stable")


class CoarseToFine:
    """A coarse picture, then others in full detail. See ``Moved``."""

    def __init__(self, plane: Plane, coarse: Moved, factor: int, in_full: Callable[[], Moved]) -> None:
        """``factor``: pixels of the plane along each side that are one of ``coarse``. ``in_full`` begins the rest."""
        self.plane, self.ready, self.passes = plane, False, 0
        self._coarse, self._factor, self._in_full = coarse, factor, in_full
        self._fine: Moved | None = None

    @property
    def count(self) -> int:
        return (self._fine or self._coarse).count

    @property
    def factor(self) -> int:
        return self._factor if self._fine is None else 1

    def step(self) -> bool:
        if self.passes == 0:
            while not self._coarse.ready:  # which is brief
                self._coarse.step()
            self.ready, self.passes = True, 1
            return True
        if self._fine is None:
            if self.ready:  # nobody has seen the coarse picture, and there is only one at a time
                return False
            self._fine = self._in_full()
        went_on = self._fine.step()
        self.ready, self.passes = self._fine.ready, 1 + self._fine.passes
        return went_on

    def snapshot(self) -> Callable[[], Image]:
        self.ready = False
        if self._fine is not None:
            return self._fine.snapshot()
        coarse, share = self._coarse.snapshot(), np.float32(1 / self._factor)
        return lambda: coarse() * share  # per pixel of the plane


class MovedPlane:
    """Any plane, from coarse to fine steps of the angle. See ``Moved``."""

    factor = 1

    def __init__(self, backend: Backend, source: PlaneSource, plane: Plane, first: int = FIRST_PASS) -> None:
        """``first``: projections of the first picture, at least. Raises BadInput like LivePlanes."""
        self.plane, self.ready, self.passes = plane, False, 0
        self._source = source
        self._passes = [part for part in passes_of(_by_angle(source), first) if part.size]
        self._at = 0  # in the first of the passes
        self._rows = _rows_seen(plane, source.rows)
        top = self._rows.start
        # The weights are those of the whole set; exact ones would be those of the part that is in the plane.
        self._live = LivePlanes(
            backend, [_lowered(plane, top)], self._rows.stop - top, source.width, source.center,
            extend=source.extend, period=source.period, weighted=True,
        )  # fmt: skip

    @property
    def count(self) -> int:
        return self._live.count

    def step(self) -> bool:
        if not self._passes:
            return False
        numbers = self._passes[0][self._at : self._at + FRAMES_PER_FOLD]
        for projections, some in self._source.pieces(numbers, self._rows):
            self._live.add(projections, self._source.angles[some], self._source.weights[some])
        self._at += len(numbers)
        if self._at == len(self._passes[0]):
            self._passes, self._at, self.ready = self._passes[1:], 0, True
            self.passes += 1
        return True

    def snapshot(self) -> Callable[[], Image]:
        self.ready = False
        images, name = self._live.snapshot(), self.plane.name
        return lambda: images()[name]


class MovedSlice:
    """A horizontal plane whose pixels are voxels: the slice of its row, of all angles at once. See ``Moved``."""

    factor = 1

    def __init__(self, backend: Backend, source: PlaneSource, plane: Plane, memory: Memory, rows: int) -> None:
        """``memory`` is used until the next slice is begun; ``rows`` are those of the detector."""
        self.plane, self.ready, self.passes, self.count = plane, False, 0, 0
        self._source = source
        self._row = round(plane.origin[2])
        self._shape = rows, source.width, source.width
        self._volume = fourier_volume(backend, 1, source.width, source.center, extend=source.extend, memory=memory)
        self._number = max(1, SAMPLES_PER_STEP // source.width)

    def step(self) -> bool:
        first, last = self.count, min(self.count + self._number, len(self._source.angles))
        if first == last:
            return False
        row = self._source.row(self._row, np.arange(first, last))
        self._volume.add(ProjectionBatch.of(row, self._source.angles[first:last], self._source.weights[first:last]))
        self.count = last
        if last == len(self._source.angles):
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
