"""The tomogram after the scan, a block of detector rows at a time: from what was stored, or from the raw file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend import Backend
from streamer.core.gridding import reconstruct_rows_fourier
from streamer.core.volume import plan_row_blocks
from streamer.flow.ready import Ready

Image = NDArray[np.float32]
ReadRows = Callable[[int, int], tuple[NDArray[np.float64], NDArray[Any]]]
Block = tuple[int, Image]

BLOCK_BYTES = 256 * 2**20


def stored_blocks(backend: Backend, ready: Ready, center: float, window: str) -> Iterator[Block]:
    """(first row, slices) from the stored projections, about ``center`` (detector column)."""
    layout, angles = ready.layout, ready.angles_rad
    weights = layout.weights(angles)
    for first, last in plan_row_blocks(layout.rows, ready.count, layout.width, BLOCK_BYTES):
        rows = ready.block(first, last)
        yield (
            first,
            reconstruct_rows_fourier(backend, rows, angles, weights, layout.center(center), window, layout.extend),
        )


def raw_blocks(
    backend: Backend, read_rows: ReadRows, ready: Ready, center: float, window: str, memory_bytes: int
) -> Iterator[Block]:
    """(first row, slices) from raw rows read again, prepared as they were when they came.

    Raises BadInput when not even one row fits into ``memory_bytes``.
    """
    layout = ready.layout
    for first, last in plan_row_blocks(layout.rows, ready.count, layout.width, memory_bytes):
        top, bottom = layout.source_rows(first, last)
        part = ready.preparation.rows(top, bottom)
        angles, raw = read_rows(part.read.start, part.read.stop)
        numbers = np.arange(len(angles))
        rows = ready.finished(part.projections(raw, numbers), numbers, angles, top)[:, first - top : last - top]
        weights = layout.weights(angles)
        yield (
            first,
            reconstruct_rows_fourier(backend, rows, angles, weights, layout.center(center), window, layout.extend),
        )
