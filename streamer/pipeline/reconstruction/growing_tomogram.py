"""The tomogram that grows while the scan runs: a Fourier volume that follows the stored projections in idle moments.

Each projection is gridded with the weight and about the centre that are expected when its turn comes. In the end the
few whose weight turned out otherwise are added once more with the difference, which is exact; when most of them did, or
the centre did, the volume is gathered again, which takes as long as it would have taken after the scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import plan_row_blocks
from streamer.core.fourier.factory import TomogramVolume, fourier_volume
from streamer.core.fourier.gpu_volume import MOST_ANGLES, DeviceVolume
from streamer.core.fourier.volume import BATCH, fourier_nbytes
from streamer.core.memory import Memory
from streamer.core.simd.row_vectors import LANES
from streamer.frames import ScanSpec
from streamer.pipeline.reconstruction.stored_projections import Ready
from streamer.pipeline.store import store_nbytes

WEIGHT_TOLERANCE = 0.01
"""Share of the mean weight by which a projection's own may be wrong: it is one of hundreds, and they average out."""

CENTER_TOLERANCE_PX = 0.02
"""A tomogram about a centre that is wrong by so much has no measurable error."""

MAX_MOVE_PX, MAX_MOVE_EXTENDED_PX = 0.3, 0.1
"""How far a phase may move the axis of what was gathered. The error of a sample that is cut off is four times that."""

UNIT_COLUMNS = 512
"""Columns times blocks of 16 rows that one call of ``work`` and one thread take: a few milliseconds. More would also
mean that the first ones, for which the system has to find the memory, hold up the frames."""


@dataclass(frozen=True)
class Plan:
    """``way`` in which the tomogram will be made, and the memory that this takes."""

    way: str
    nbytes: int

    def to_dict(self) -> dict[str, str | float]:
        return {"tomogram": self.way, "memory_mb": round(self.nbytes / 2**20, 1)}


def plan_tomogram(spec: ScanSpec, memory_bytes: int, threads: int) -> Plan:
    """How much of a scan fits into memory, told before its first frame. Raises BadInput when not even one row does."""
    stored = store_nbytes(spec.rows, spec.projections, spec.columns)
    volume = fourier_nbytes(spec.rows, spec.columns, threads=threads)
    if stored + volume <= memory_bytes:
        return Plan("grows with the scan", stored + volume)
    if stored <= memory_bytes:
        return Plan("after the scan, from memory", stored)
    plan_row_blocks(spec.rows, spec.projections, spec.columns, memory_bytes)
    return Plan("after the scan, from the raw file in blocks of rows", memory_bytes)


class Gathering:
    """The Fourier volume of one scan. Not thread-safe."""

    def __init__(
        self, backend: Backend, spec: ScanSpec, ready: Ready, center: float, window: str, memory: Memory
    ) -> None:
        self._backend, self._spec, self._ready, self._window = backend, spec, ready, window
        self._memory = memory
        self._volume = self._empty(center)
        self._used = np.zeros(spec.projections)
        # A device takes all rows at once: it is not kept waiting, and nobody waits for it.
        unit = backend.threads * max(1, UNIT_COLUMNS // ready.layout.width)
        self._unit = self._volume.blocks if backend.on_device else unit
        self._batch: Image = np.empty((0, 0, 0), np.float32)
        self._begin()

    def _empty(self, center: float) -> TomogramVolume:
        layout = self._ready.layout
        return fourier_volume(
            self._backend, self._spec.rows, layout.width, layout.center(center), self._window, layout.extend,
            self._memory,
        )  # fmt: skip

    @staticmethod
    def nbytes(spec: ScanSpec, width: int, extend: bool, threads: int) -> int:
        """Memory that the volume will take, whatever the centre turns out to be."""
        return fourier_nbytes(spec.rows, width, 0.25 * (width - 1), extend, threads)

    def reaches(self, center: float) -> bool:
        """Whether slices about ``center`` (detector column) can be had from what was gathered."""
        moved = abs(self._ready.layout.center(center) - self._volume.center)
        if moved <= CENTER_TOLERANCE_PX:
            return True
        # What waits to be gridded counts as well: with it, the scan may be longer than half a turn.
        span = float(np.ptp(self._ready.angles_rad)) if self._ready.count else 0.0
        farthest = MAX_MOVE_EXTENDED_PX if self._ready.layout.extend else MAX_MOVE_PX
        return moved <= farthest and span <= np.pi and self._volume.within_half_turn

    @property
    def _end_of_batch(self) -> int:
        """Up to which projection the next batch goes.

        A device reads and writes its whole grid once per batch, which takes longer than anything else but the bus.
        Where projections come over the bus for this, a larger batch would only hold up the frames.
        """
        if not self._ready.on_device:
            return self._last + BATCH
        return self._last + (self._ready.together(self._last, MOST_ANGLES) or MOST_ANGLES)

    def _begin(self) -> None:
        self._first = self._last = 0  # the batch of projections that is being gridded
        self._block = self._volume.blocks  # up to which block of rows it is done

    def work(self) -> bool:
        """Grid a little of what has come. False when there is nothing to do."""
        if self._block >= self._volume.blocks:
            # The newest projection waits: its neighbour tells its weight.
            last = self._end_of_batch
            if self._ready.count <= last:
                return False
            self._take(last)
        self._grid(min(self._block + self._unit, self._volume.blocks))
        return True

    def _take(self, last: int, weights: NDArray[np.float64] | None = None) -> None:
        self._first, self._last, self._block = self._last, last, 0
        if weights is None:
            weights = expected_weights(self._ready.angles_rad, self._first, last, self._spec, self._ready.layout.period)
        self._used[self._first : last] = weights
        self._batch = self._ready.batch(self._first, last)  # once for all blocks: it may have to be laid out

    def _grid(self, block: int) -> None:
        some, blocks = slice(self._first, self._last), (self._block, block)
        angles, weights = self._ready.angles_rad[some], self._used[some]
        if isinstance(self._volume, DeviceVolume):
            resident = self._ready.resident_batch(self._first, self._last)
            self._volume.add(self._batch, angles, weights, blocks=blocks, resident=resident)
        else:
            self._volume.add(self._batch, angles, weights, blocks=blocks)
        self._block = block

    def finish(self, center: float) -> Iterator[tuple[int, Image]]:
        """(first row, slices), attenuation per pixel, one after the other: with the weights of all projections, and
        about ``center`` (detector column). Slices are overwritten when those after the next are asked for.
        """
        ready, blocks = self._ready, self._volume.blocks
        weights, count = ready.layout.weights(ready.angles_rad), ready.count
        if self._block < blocks:
            self._grid(blocks)
        wrong = np.abs(weights - self._used[:count])[: self._last] > WEIGHT_TOLERANCE * weights.mean()
        if np.count_nonzero(wrong) > self._last / 2 or not self.reaches(center):
            del self._volume  # a device may not have the memory for both
            self._volume = self._empty(center)
            self._begin()
        else:
            again = np.flatnonzero(wrong)
            for first in range(0, again.size, BATCH):
                some = again[first : first + BATCH]
                self._volume.add(ready.pick(some), ready.angles_rad[some], weights[some] - self._used[some])
            self._used[again] = weights[again]
        while self._last < count:
            last = min(self._end_of_batch, count)
            self._take(last, weights[self._last : last])
            self._grid(blocks)
        laid = ready.layout.center(center)
        moved = abs(laid - self._volume.center) > CENTER_TOLERANCE_PX
        # New memory for each block would take longer to come by than to fill.
        width, rows = ready.layout.width, self._spec.rows
        turns, _ = self._memory.floats(2, min(LANES, rows), width, width)
        for block in range(blocks):
            first, last = block * LANES, min((block + 1) * LANES, rows)
            out = turns[block % 2, : last - first]
            yield first, self._volume.rows_of(block, block + 1, out, laid if moved else None)


def expected_weights(
    angle_rad: NDArray[np.float64], first: int, last: int, spec: ScanSpec, period: float
) -> NDArray[np.float64]:
    """Angular weights that the projections first … last-1 will probably have when the scan is complete.

    In a scan that goes one way they follow from the neighbours, whatever the steps; else the announced number of
    projections is taken to be evenly spread. Where the announced range covers a direction several times, its weight is
    shared.
    """
    wanted = np.deg2rad(spec.range_deg)
    near = angle_rad[max(0, first - 1) : last + 1]
    step = np.diff(near)
    if step.size and ((step > 0).all() or (step < 0).all()):
        before, after = np.concatenate(([step[0]], step)), np.concatenate((step, [step[-1]]))
        gap = np.abs(0.5 * (before + after))[first - max(0, first - 1) :][: last - first]
    else:
        gap = np.full(last - first, abs(wanted) / spec.projections)
    place = np.mod((angle_rad[first:last] - np.deg2rad(spec.start_deg)) * np.sign(wanted), period)
    turns, rest = divmod(abs(wanted) * (1 + 1e-9), period)
    return np.asarray(gap / np.maximum(1.0, turns + (place < rest - 1e-6)))
