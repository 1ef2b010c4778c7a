"""A box of the tomogram that grows, or means of its voxels, made piece by piece so that frames never wait for it."""

from __future__ import annotations

import math

import numpy as np

from streamer.core.arrays import Image
from streamer.core.jit import at_most
from streamer.core.simd.row_vectors import LANES
from streamer.frames import BadInput
from streamer.pipeline.reconstruction.growing_tomogram import GrowingTomogram

Shape = tuple[int, int, int]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First voxel and the one after the last, along z, y, x."""


class BrickInProgress:
    """Call ``work`` until it gives False; then ``voxels`` is whole. Not thread-safe.

    ``step`` voxels along each side are one, their mean; a last incomplete one is left out, unless it is the only one.
    """

    def __init__(
        self, growing: GrowingTomogram, whole: Shape, center: float, box: Box | None, most: int, threads: int
    ) -> None:
        """``whole`` is the shape of the tomogram, ``box`` the part that is wanted (None: all of it), ``most`` the
        voxels along a side, at most. Slices are made about ``center``, a detector column, by as many ``threads``.

        Raises BadInput for a box without a voxel in the tomogram.
        """
        self._growing, self._center, self._threads = growing, center, threads
        self.whole, self.box = whole, _within(box, whole)
        sides = [last - first for first, last in self.box]
        self.step = max(1, -(-max(sides) // most))
        self._steps = [min(self.step, side) for side in sides]
        depth, height, width = (side // step for side, step in zip(sides, self._steps, strict=True))
        self.voxels: Image = np.zeros((depth, height, width), np.float32)
        self._block, self._blocks = self.box[0][0] // LANES, -(-self.box[0][1] // LANES)
        self.count = growing.count  # projections in it

    def work(self) -> bool:
        """Add the next block of rows. False when all have been added. Raises BadInput when the axis has moved away."""
        if self._block >= self._blocks:
            return False
        if not self._growing.reaches(self._center):
            raise BadInput("the centre of rotation has moved; ask again")
        first = self._block * LANES
        with at_most(self._threads):
            slices = self._growing.rows_so_far(self._block, self._center)
        (top, bottom), (left, right) = self.box[1:]
        for row in range(max(first, self.box[0][0]), min(first + len(slices), self.box[0][1])):
            layer = (row - self.box[0][0]) // self._steps[0]
            if layer < len(self.voxels):
                self.voxels[layer] += self._sums(slices[row - first, top:bottom, left:right])
        self._block += 1
        if self._block >= self._blocks:
            self.voxels /= np.float32(math.prod(self._steps))
        return self._block < self._blocks

    def _sums(self, part: Image) -> Image:
        """Over the voxels of a slice that are one."""
        _, down, across = self._steps
        _, height, width = self.voxels.shape
        if down == across == 1:
            return part
        # Whole rows first: long runs of memory, then the short sums along them.
        rows = part[: height * down, : width * across].reshape(height, down, -1).sum(1)
        return np.asarray(rows.reshape(height, width, across).sum(-1), np.float32)


def _within(box: Box | None, whole: Shape) -> Box:
    z, y, x = ((0, side) for side in whole) if box is None else (
        (max(0, first), min(last, side)) for (first, last), side in zip(box, whole, strict=True)
    )  # fmt: skip
    if any(first >= last for first, last in (z, y, x)):
        raise BadInput(f"the box {box} has no voxel in the tomogram of {whole}")
    return z, y, x
