"""Some detector rows of raw projections, prepared as whole projections were when they came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Array, Image
from streamer.core.preprocessing.nonfinite import fill_nonfinite
from streamer.core.preprocessing.paganin import PhaseSolver
from streamer.core.preprocessing.zingers import remove_zingers
from streamer.frames import BadInput

if TYPE_CHECKING:
    from streamer.pipeline.preparation.preparation import Preparation


class RowPreparation:
    """The same numbers as ``Preparation.projection``, from some rows of raw projections read again.

    Bit by bit without phase retrieval, whose filter is cut ``halo_rows`` away from the block: to about 1e-5 with it.
    """

    def __init__(self, whole: Preparation, first: int, last: int) -> None:
        """Detector rows first … last-1. Raises BadInput when there are no such rows, or before the first projection."""
        rows, columns = whole.shape
        if not 0 <= first < last <= rows:
            raise BadInput(f"detector rows {first}:{last} of {rows}")
        self._whole = whole
        self.read = slice(max(0, first - whole.halo_rows), min(rows, last + whole.halo_rows))
        """Detector rows of the raw blocks that ``projections`` takes."""
        self._keep = slice(first - self.read.start, last - self.read.start)
        self._correction = whole.correction.rows(self.read)
        self._frame = np.empty((self.read.stop - self.read.start, columns), np.float32)
        self._threads = whole.threads
        self._phase = None if whole.optics is None else PhaseSolver(*self._frame.shape, whole.optics, self._threads)

    def projections(self, raw: Array, numbers: NDArray[np.intp], out: Image | None = None) -> Image:
        """Attenuation (projections, last - first, cols) of raw blocks (projections, rows of ``read``, cols)."""
        if raw.ndim != 3 or raw.shape[1:] != self._frame.shape or len(numbers) != len(raw):
            raise BadInput(f"raw rows are {raw.shape}; {len(numbers)} projections of {self._frame.shape} are wanted")
        kept = self._keep.stop - self._keep.start
        out = np.empty((len(raw), kept, raw.shape[2]), np.float32) if out is None else out
        sigmas, frame = self._whole.options.zingers, self._frame
        finite, _ = fill_nonfinite(raw)
        if self._whole.plain:  # one piece of work: threads that meet after each frame wait for one another
            self._correction.prepare(finite, out)
            return out
        for pixels, number, to in zip(finite, numbers, out, strict=True):
            self._correction.attenuation(pixels, frame)
            if sigmas and not self._whole.left_alone[number]:
                remove_zingers(frame, sigmas, self._whole.noise, self._threads, most=1.0)
            self._whole.drift.repeat(frame, int(number), self.read)
            if self._phase is not None:
                self._phase.attenuation(frame, frame)
            to[...] = frame[self._keep]
        return out
