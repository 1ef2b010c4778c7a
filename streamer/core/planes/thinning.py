"""Projections with fewer rows and columns, for a picture that is wanted at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from streamer.core.arrays import Array, Image
from streamer.core.jit import as_input, kernel


@kernel(parallel=True)
def _thin(frames: Array, numbers: Array, factor: int, first: int, every: int, threads: int, out: Array) -> None:
    """out[f, r, c] = mean of frames[numbers[f], first + every·r] over the columns factor·c … factor·(c + 1) - 1."""
    count, rows, columns = out.shape
    long = frames.shape[2]
    whole = long // factor
    share = np.float32(1.0 / factor)
    for thread in prange(threads):
        for f in range(count):
            for r in range(rows * thread // threads, rows * (thread + 1) // threads):
                source, target = frames[numbers[f], first + every * r], out[f, r]
                if factor == 2:  # the usual one, which the compiler makes vectors of
                    for c in range(whole):
                        target[c] = share * (source[2 * c] + source[2 * c + 1])
                else:
                    for c in range(whole):
                        total = np.float32(0.0)
                        for k in range(factor):
                            total += source[c * factor + k]
                        target[c] = share * total
                if whole < columns:
                    total = np.float32(0.0)
                    for c in range(whole * factor, long):
                        total += source[c]
                    target[whole] = total / np.float32(long - whole * factor)


def thin(frames: Any, numbers: NDArray[np.intp], rows: range, factor: int, threads: int) -> Image:
    """Some rows of some frames (frames, rows, columns) float32, as (numbers, rows, thinned columns) float32.

    ``factor`` adjacent columns become their mean; those that are left over become the last one.
    """
    chosen = as_input(np.asarray(numbers, np.intp))
    out = np.empty((len(chosen), len(rows), -(-frames.shape[2] // factor)), np.float32)
    _thin(as_input(frames, np.float32), chosen, factor, rows.start, rows.step, threads, out)
    return out
