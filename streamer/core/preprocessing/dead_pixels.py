"""Pixels whose values are unknown, filled from their neighbours in the detector row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image, Mask
from streamer.core.jit import as_input
from streamer.core.preprocessing.kernels import fill_pixels
from streamer.frames import BadInput


@dataclass(frozen=True)
class DeadPixels:
    """Dead pixels of images (rows, columns), and the nearest live ones on both sides in the row.

    ``first`` (rows + 1,) int64 counts the dead pixels before each row. ``places`` (3, n) int64 are their columns and
    the live columns left and right of them (-1: the row has none); with a live pixel on one side only, both are that
    one. ``share`` (n,) float32 is what the right one contributes.
    """

    first: NDArray[np.int64]
    places: NDArray[np.int64]
    share: Image

    @classmethod
    def none(cls, rows: int) -> DeadPixels:
        return cls.of(np.ones((rows, 1), np.bool_))

    @classmethod
    def of(cls, alive: Mask) -> DeadPixels:
        """The pixels of a mask (rows, columns) that are False."""
        rows, cols = alive.shape
        column = np.broadcast_to(np.arange(cols), alive.shape)
        left = np.maximum.accumulate(np.where(alive, column, -1), axis=1)
        right = np.minimum.accumulate(np.where(alive, column, cols)[:, ::-1], axis=1)[:, ::-1]
        row, col = np.nonzero(~alive)
        a, b = left[row, col], right[row, col]
        share = np.where((a >= 0) & (b < cols), (col - a) / np.maximum(b - a, 1), 0.0)
        a, b = np.where(a < 0, np.where(b < cols, b, -1), a), np.where(b >= cols, a, b)
        first = np.searchsorted(row, np.arange(rows + 1))
        return cls(as_input(first, np.int64), as_input(np.stack([col, a, b]), np.int64), as_input(share, np.float32))

    def __len__(self) -> int:
        return self.share.size

    def rows(self, part: slice) -> DeadPixels:
        """Those of a range of rows, as images of these rows alone have them."""
        first, last, _ = part.indices(len(self.first) - 1)
        before = self.first[first : max(first, last) + 1]
        some = slice(before[0], before[-1])
        return DeadPixels(as_input(before - before[0]), as_input(self.places[:, some]), as_input(self.share[some]))

    def fill(self, image: Image) -> None:
        """Interpolate the dead pixels of image (rows, columns) float32, in place; rows without a live one become 0.

        Raises BadInput for another number of rows.
        """
        if len(image) != len(self.first) - 1:
            raise BadInput(f"an image of {len(image)} rows, the dead pixels are those of {len(self.first) - 1}")
        if len(self):
            fill_pixels(image, self.first, self.places, self.share)
