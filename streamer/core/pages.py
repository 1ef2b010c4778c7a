"""Memory that the system has found before it is needed.

An array's pages exist from the first write to each on. Finding and clearing one takes longer than filling it: 0.1 to
0.3 s/GB, and several times that in a virtual machine that has to ask its host. Frames should not wait for it.
"""

from __future__ import annotations

import mmap

import numpy as np

from streamer.core.arrays import Array

PIECE_BYTES = 4 * 2**20
"""As much as is found in an idle moment: a millisecond or a few."""


class Pages:
    """Goes once through the pages of a C-contiguous array, which may be in use; its content stays as it is."""

    def __init__(self, memory: Array) -> None:
        self._bytes = memory.reshape(-1).view(np.uint8)
        self._found = 0

    def find(self, first: int = 0, last: int | None = None) -> bool:
        """Find a piece more of the bytes first … last-1 of the array (None: its end); False when they have all been.

        Bytes before ``first`` count as found from then on.
        """
        begin = max(self._found, first)
        end = min(self._bytes.size if last is None else last, self._bytes.size, begin + PIECE_BYTES)
        if begin >= end:
            return False
        self._bytes[begin : end : mmap.PAGESIZE] |= 0
        self._found = end
        return True
