"""Frames that an HDF5 file holds byte for byte, read without the library, straight to where they are wanted.

The library copies every row that is cut out of a frame; the system does not have to.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from streamer.io.direct import BulkReader
from streamer.io.raw.reserved import frame_places

AT_ONCE = 4
"""Frames that are asked of the disk at the same time."""

WORTH_THREADS_BYTES = 2**22


class PlainStack:
    """The frames (n, rows, columns) of a dataset, each in one piece of the file. Any thread may read."""

    def __init__(self, dataset: h5py.Dataset, places: NDArray[np.int64]) -> None:
        """``places`` (n,) are the bytes of the file at which the frames begin, negative for those that lack."""
        _, self._rows, self._columns = dataset.shape
        self._dtype, self._places = dataset.dtype, places
        self._file = BulkReader(Path(dataset.file.filename))

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
        places = frame_places(dataset)
        return None if places is None else cls(dataset, places)

    def holds(self, first: int, count: int) -> bool:
        """Whether ``count`` frames from ``first`` on were written."""
        return bool((self._places[first : first + count] >= 0).all())

    def read(self, first: int, rows: slice, out: NDArray[Any]) -> None:
        """Fill ``out`` (n, rows, columns), C-contiguous and of the dataset's dtype, with rows of n frames.

        They begin with frame ``first``. Raises OSError where the file ends too early.
        """
        skipped = rows.start * self._columns * self._dtype.itemsize
        places = (self._places[first : first + len(out)] + skipped).tolist()

        def read_some(part: int) -> None:
            for number in range(part, len(out), AT_ONCE):
                self._file.read(places[number], out[number])

        if out.nbytes < WORTH_THREADS_BYTES:
            for part in range(AT_ONCE):
                read_some(part)
            return
        # A disk does several things at a time; the threads wait for it.
        with ThreadPoolExecutor(AT_ONCE, "read") as pool:
            for _ in pool.map(read_some, range(AT_ONCE)):
                pass

    def close(self) -> None:
        """Close the file; it may be called again."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
