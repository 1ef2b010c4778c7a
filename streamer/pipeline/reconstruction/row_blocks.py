"""The tomogram after the scan, a block of detector rows at a time: from what was stored, or from the raw file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.half_acquisition import extend_half_turn
from streamer.core.arrays import Image
from streamer.core.backend.on_device import Projections
from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import plan_row_blocks, row_nbytes
from streamer.core.fourier.factory import reconstruct_rows
from streamer.core.fourier.volume import reconstruct_rows_fourier
from streamer.core.memory import Memory
from streamer.core.quality.fields import bridged
from streamer.pipeline.reconstruction.stored_projections import StoredProjections

RawRows = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[Any]]
"""Frame indices (n,), angles (n,) in radian and raw detector rows (n, rows, columns) of the projections of a scan, in
any order."""

ReadRows = Callable[[int, int], RawRows]
"""Reads the detector rows first … last-1; another thread may call it while a block is reconstructed."""

Block = tuple[int, Image]

Sinograms = tuple[Projections, NDArray[np.float64]]

BLOCK_BYTES, DEVICE_BLOCK_BYTES = 256 * 2**20, 2**30
"""Projections of one block, on the host and on a device."""


def slices(
    backend: Backend,
    stored: StoredProjections,
    read_rows: ReadRows,
    center: float,
    window: str,
    memory_bytes: int,
    memory: Memory,
) -> Iterator[Block]:
    """(first row, slices) about ``center`` (detector column), a block of detector rows at a time; see ``sinograms``.

    Where the raw file has to be read, the next block is read and prepared while one is reconstructed.

    Raises BadInput if the raw file has to be read and not even one row fits into ``memory_bytes``.
    """
    layout = stored.layout
    at_once = DEVICE_BLOCK_BYTES if stored.on_device else BLOCK_BYTES
    block_bytes = at_once if stored.whole else _for_two(stored, memory_bytes)
    blocks = plan_row_blocks(layout.rows, stored.count, layout.width, block_bytes)
    for (first, last), (rows, angles) in _ahead(stored, read_rows, blocks, memory):
        weights = layout.weights(angles)
        out, _ = memory.floats(last - first, layout.width, layout.width)
        reconstruct_rows(backend, rows, angles, weights, layout.center(center), window, layout.extend, out, memory)
        del rows  # its memory is that of the next block but one
        yield first, out


def _ahead(
    stored: StoredProjections, read_rows: ReadRows, blocks: Sequence[tuple[int, int]], memory: Memory
) -> Iterator[tuple[tuple[int, int], Sinograms]]:
    """Each block with its sinograms; those that are not stored are made one block ahead."""
    if stored.whole:
        for block in blocks:
            yield block, sinograms(stored, read_rows, *block, memory)
        return

    def made(block: tuple[int, int]) -> Sinograms:
        return sinograms(stored, read_rows, *block, memory)

    with ThreadPoolExecutor(1, "rows") as pool:
        ahead = [pool.submit(made, blocks[0])]
        for block, following in zip_longest(blocks, blocks[1:]):
            ready = ahead.pop().result()
            if following is not None:
                ahead.append(pool.submit(made, following))
            yield block, ready
            del ready


def _for_two(stored: StoredProjections, memory_bytes: int) -> int:
    """Memory for one block while the next one is made; for a single row all of it, where two do not fit."""
    return max(memory_bytes // 2, min(memory_bytes, row_nbytes(stored.count, stored.layout.width)))


def sinograms(
    stored: StoredProjections,
    read_rows: ReadRows,
    first: int,
    last: int,
    memory: Memory,
    some: NDArray[np.intp] | None = None,
) -> Sinograms:
    """Laid-out projections (n, last - first, width) of these rows, and their angles (n,) in radian; of all projections,
    or of those with the numbers ``some``.

    From what was stored, else from raw rows read again and prepared as they were when they came; projections that did
    not come are left out.
    """
    read = _read(stored, read_rows, first, last)
    if read is None:
        return stored.block(first, last), stored.angles_rad
    top, bottom = stored.layout.source_rows(first, last)
    part = stored.preparation.rows(top, bottom)
    index, angles, raw = read
    numbers = stored.preparation.numbers(index)
    came = numbers >= 0 if some is None else np.isin(numbers, some)
    if not came.all():
        numbers, angles, raw = numbers[came], angles[came], raw[came]
    attenuation, _ = memory.floats(len(raw), bottom - top, raw.shape[2])
    rows = np.asarray(stored.finished(part.projections(raw, numbers, attenuation), numbers, angles, top))
    return rows[:, first - top : last - top], angles


def line_integrals(
    stored: StoredProjections, read_rows: ReadRows, first: int, last: int, memory: Memory, center: float
) -> tuple[Image, NDArray[np.float64], float]:
    """Line integrals (n, last - first, width) for an iterative method, angles (n,) in radian, and the centre.

    Prepared projections of these rows, per pixel, about the axis at the detector column ``center``. Those of half
    acquisition are joined with their opposites to half a turn. ``read_rows`` as for ``slices``. Raises BadInput without
    opposites.
    """
    layout = stored.layout
    found, angles = sinograms(stored.with_layout(replace(layout, half=False)), read_rows, first, last, memory)
    rows = np.asarray(found)
    return extend_half_turn(rows, angles, center) if layout.half else (rows, angles, center)


def _read(stored: StoredProjections, read_rows: ReadRows, first: int, last: int) -> RawRows | None:
    """The raw rows of a block, with those that its preparation needs besides; None where all is stored."""
    if stored.whole:
        return None
    part = stored.preparation.rows(*stored.layout.source_rows(first, last))
    return read_rows(part.read.start, part.read.stop)


def half_slices(
    stored: StoredProjections,
    first: NDArray[np.bool_],
    center: float,
    window: str,
    backend: Backend,
    dead: NDArray[np.bool_] | None = None,
) -> tuple[Image, Image] | None:
    """Slices (k, width, width) of the middle rows from the projections marked in ``first`` (n,), and from the others.

    None if too few came. Each half has flats of its own, and ``dead`` columns of the detector are interpolated, where
    projections are laid out as they were taken.
    """
    if stored.count < 4:
        return None
    layout, angles = stored.layout, stored.angles_rad
    top, bottom = stored.middle_rows
    rows = np.asarray(stored.block(top, bottom))
    flats = np.zeros((2, 1, 1), np.float32) if layout.changes else stored.preparation.flat_halves(top, bottom)
    if dead is not None and not layout.changes:
        rows = bridged(rows, dead)
    one, other = (
        reconstruct_rows_fourier(
            backend, rows[half] + own, angles[half], layout.weights(angles[half]), layout.center(center), window,
            layout.extend,
        )
        for half, own in zip((first, ~first), flats, strict=True)
    )  # fmt: skip
    return one, other
