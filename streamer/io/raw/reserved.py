"""Rows of a dataset whose space in the file is taken at once, and which are written there without the HDF5 library.

The library copies each row on its way, looks after the places of all of them, and after a full disk it cannot be
trusted any more. Here it keeps one number, how many rows there are; where each of them lies follows from the first.
A file of a scan that ends early is cut behind its last frame, see ``unclosed.cut``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.frames import BadInput
from streamer.io.direct import BulkWriter

ROWS_PER_CHUNK = 4096
"""Of a dataset of single values."""


def create_rows(
    parent: h5py.Group, name: str, rows: int, shape: tuple[int, ...], dtype: str, empty: Any = None
) -> h5py.Dataset:
    """A dataset without rows, with room for so many of this shape; ``empty``: what one that was not written holds."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    # With the number of rows known, this has HDF5 lay all of them out one after the other.
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    if empty is None:
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    chunk = (1 if shape else min(rows, ROWS_PER_CHUNK), *shape)
    return parent.create_dataset(
        name, (0, *shape), dtype, maxshape=(rows, *shape), chunks=chunk, fillvalue=empty, dcpl=properties
    )


class ReservedRows:
    """The rows of a dataset that ``create_rows`` made, taken from the file in the order in which these are made."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._room, *self._shape = map(int, dataset.maxshape)
        self._row_bytes = math.prod(self._shape) * int(dataset.dtype.itemsize)
        dataset.resize(1, 0)
        self.place = int(dataset.id.get_chunk_info_by_coord((0,) * dataset.ndim).byte_offset)
        """Byte of the file at which the first row begins."""
        dataset.resize(0, 0)

    def end(self, rows: int | None = None) -> int:
        """Byte of the file behind so many rows; None: behind the room for all."""
        return self.place + self._row_bytes * (self._room if rows is None else rows)

    def write(self, bulk: BulkWriter, first: int, rows: int, values: Sequence[NDArray[Any]]) -> None:
        """Write so many rows from ``first`` on: C-contiguous arrays of the dataset's dtype, one after the other.

        Raises BadInput when there is no room for them, OSError when the disk refuses.
        """
        if first + rows > self._room:
            raise BadInput(f"{self._dataset.name}: row {first + rows - 1} of {self._room}: there is no room for more")
        # First, since the library enters empty rows now.
        self._dataset.id.set_extent((first + rows, *self._shape))
        bulk.write(self.end(first), *values)


def frame_places(dataset: h5py.Dataset) -> NDArray[np.int64] | None:
    """Bytes of the file at which the frames (rows, columns) of a dataset begin, negative for those that lack.

    None where a frame is not in one piece.
    """
    count, rows, columns = dataset.shape
    if dataset.chunks is None:
        begin = dataset.id.get_offset()
        return None if begin is None else begin + np.arange(count) * rows * columns * dataset.dtype.itemsize
    if dataset.chunks != (1, rows, columns):
        return None
    places = np.full(count, -1, np.int64)

    def enter(chunk: Any) -> None:
        places[chunk.chunk_offset[0]] = chunk.byte_offset

    dataset.id.chunk_iter(enter)
    return places
