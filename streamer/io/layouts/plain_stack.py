"""Frames that an HDF5 file holds byte for byte, read without the library, straight to where they are wanted.

The library copies every row that is cut out of a frame; the system does not have to.
"""

from __future__ import annotations

import os
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray


class PlainStack:
    """The frames (n, rows, columns) of a dataset, each in one piece of the file. Any thread may read."""

    def __init__(self, dataset: h5py.Dataset, places: NDArray[np.int64]) -> None:
        """``places`` (n,) are the bytes of the file at which the frames begin, negative for those that lack."""
        _, self._rows, self._columns = dataset.shape
        self._dtype, self._places = dataset.dtype, places
        self._file = os.open(dataset.file.filename, os.O_RDONLY | os.O_CLOEXEC)

    @classmethod
    def of(cls, dataset: Any) -> PlainStack | None:
        """None where the frames are compressed, or lie elsewhere or in parts. Raises OSError."""
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 3 or dataset.is_virtual or dataset.external:
            return None
        file = dataset.file
        if file.driver != "sec2" or file.swmr_mode or file.userblock_size or not len(dataset):
            return None
        if dataset.id.get_create_plist().get_nfilters() or dataset.dtype.kind not in "uif":
            return None
        places = _places(dataset)
        return None if places is None else cls(dataset, places)

    def holds(self, first: int, count: int) -> bool:
        """Whether ``count`` frames from ``first`` on were written."""
        return bool((self._places[first : first + count] >= 0).all())

    def read(self, first: int, rows: slice, out: NDArray[Any]) -> None:
        """Fill ``out`` (n, rows, columns), C-contiguous and of the dataset's dtype, with rows of n frames.

        They begin with frame ``first``. Raises OSError where the file ends too early.
        """
        skipped = rows.start * self._columns * self._dtype.itemsize
        for frame, place in zip(out, self._places[first : first + len(out)].tolist(), strict=True):
            whole = memoryview(frame).cast("B")
            done = 0
            while done < len(whole):
                got = os.preadv(self._file, [whole[done:]], place + skipped + done)
                if not got:
                    raise OSError(f"the file ends before byte {place + skipped + len(whole)}")
                done += got

    def close(self) -> None:
        """Close the file; it may be called again."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _places(dataset: h5py.Dataset) -> NDArray[np.int64] | None:
    """Bytes at which the frames begin; None where a frame is not in one piece."""
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
