"""Planes that somebody moves: pictures at once, from some of the stored projections, then from more and from all.

A plane that is dragged is wanted now and in a moment elsewhere. So the projections are folded in from coarse to fine
steps of the angle: after the first pass there is a picture, every further pass halves the streaks. The weights are
those of the whole set from the beginning, so no projection is folded in twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.core.planes.live_planes import FRAMES_PER_FOLD, LivePlanes
from streamer.core.planes.plane import Plane
from streamer.pipeline.reconstruction.stored_projections import Numbers, StoredProjections

FEW_ROWS = 64
"""Of so few rows several projections are folded in at once, from a copy; on a device always."""

FIRST_PASS = 180
"""Projections of the first picture, at least: half as many per half turn show a 512² plane with faint streaks."""


class MovedPlanes:
    """Planes about ``center`` (detector column) from the projections that are stored now. Not thread-safe.

    ``step`` until it is false; whenever ``ready`` there is a new picture to be shown.
    """

    def __init__(self, backend: Backend, stored: StoredProjections, planes: Sequence[Plane], center: float) -> None:
        """Raises BadInput like LivePlanes."""
        self.planes = tuple(planes)
        layout = stored.layout
        angles = stored.angles_rad.copy()
        self._weights = layout.weights(angles)
        self._angles, self._stored = angles, stored
        tilted = not all(plane.horizontal or plane.v[:2] == (0.0, 0.0) for plane in planes)  # these take longest
        by_angle = np.argsort(np.mod(angles, layout.period), kind="stable")
        passes = passes_of(by_angle, FIRST_PASS // 2 if tilted else FIRST_PASS)
        self._passes = [part for part in passes if part.size]
        self._at = 0  # in the first of the passes
        self._rows = _rows_seen(self.planes, layout.rows)
        top = self._rows.start
        # The weights are those of the whole set; exact ones would be those of the part that is in the planes.
        self._live = LivePlanes(
            backend, [_lowered(plane, top) for plane in self.planes], self._rows.stop - top, layout.width,
            layout.center(center), extend=layout.extend, period=layout.period, weighted=True,
        )  # fmt: skip
        self.ready = False

    @property
    def count(self) -> int:
        """Projections in the planes."""
        return self._live.count

    def step(self) -> bool:
        """Fold a few more in. False when none is left."""
        if not self._passes:
            return False
        numbers = self._passes[0][self._at : self._at + FRAMES_PER_FOLD]
        self._add(numbers)
        self._at += len(numbers)
        if self._at == len(self._passes[0]):
            self._passes, self._at, self.ready = self._passes[1:], 0, True
        return True

    def snapshot(self) -> Callable[[], dict[str, Image]]:
        """The planes by name, see ``LivePlanes.snapshot``; then nothing is ``ready`` until the next pass is done."""
        self.ready = False
        return self._live.snapshot()

    def _add(self, numbers: Numbers) -> None:
        angles, weights = self._angles[numbers], self._weights[numbers]
        if self._stored.on_device or self._rows.stop - self._rows.start <= FEW_ROWS:
            self._live.add(self._stored.some(numbers, self._rows), angles, weights)
            return
        for k, number in enumerate(numbers.tolist()):  # each where it lies: a copy takes longer than to fold it in
            one = np.asarray(self._stored.span(number, number + 1))[:, self._rows]
            self._live.add(one, angles[k : k + 1], weights[k : k + 1])


def _rows_seen(planes: Sequence[Plane], rows: int) -> slice:
    """The detector rows that planes see: of horizontal ones a few, else all."""
    if not all(plane.horizontal for plane in planes):
        return slice(0, rows)
    heights = [min(max(plane.origin[2], 0.0), rows - 1.0) for plane in planes]
    return slice(int(min(heights)), min(rows, int(max(heights)) + 2))


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
