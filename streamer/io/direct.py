"""Bulk data written past the page cache, where the file system allows it.

A volume of gigabytes that nobody here reads again takes pages away from what is needed, and a page that is not at hand
costs more than its share of the disk: finding one takes the processor's time, in a virtual machine much of it.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 4096
"""Bytes; memory, length and place in the file must be multiples of it for the page cache to be left out."""

PIECE_BYTES = 2**26
"""Written at once, at most: the system writes no more than 2 GiB, and a disk that is full shows in time."""

_DIRECT = getattr(os, "O_DIRECT", 0)


class BulkWriter:
    """Writes into the reserved space of a file that somebody else lays out. Raises OSError."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        self._plain = os.open(path, flags)
        self._direct: int | None = None
        try:
            self._direct = os.open(path, flags | _DIRECT) if _DIRECT else None
        except OSError:  # a file system that has no such way
            self._direct = None

    def write(self, place: int, data: NDArray[np.generic]) -> None:
        """Write a C-contiguous array at the byte ``place``."""
        values = data.reshape(-1).view(np.uint8)
        for first in range(0, values.size, PIECE_BYTES):
            self._write(place + first, values[first : first + PIECE_BYTES])

    def _write(self, place: int, values: NDArray[np.uint8]) -> None:
        if self._direct is not None and not (values.ctypes.data | values.size | place) % ALIGNMENT:
            try:
                done = os.pwrite(self._direct, values.data, place)
            except OSError:  # refused for what it is; the plain way says what is really wrong
                done = 0
            place, values = place + done, values[done:]
        while values.size:
            done = os.pwrite(self._plain, values.data, place)
            place, values = place + done, values[done:]

    def close(self) -> None:
        """Close the file; it may be called again."""
        for number in (self._plain, self._direct):
            if number is not None and number >= 0:
                os.close(number)
        self._plain, self._direct = -1, None
