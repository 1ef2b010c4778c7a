"""Bulk data written past the page cache, where the file system allows it.

A volume of gigabytes that nobody here reads again takes pages away from what is needed, and a page that is not at hand
costs more than its share of the disk: finding one takes the processor's time, in a virtual machine much of it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 4096
"""Bytes; memory, length and place in the file must be multiples of it for the page cache to be left out."""

PIECE_BYTES = 2**26
"""Written at once, at most: the system writes no more than 2 GiB, and a disk that is full shows in time."""

MOST_PIECES = 512
"""Arrays that are written at once, at most; the system takes no more than 1024."""

_DIRECT, _NOWAIT = getattr(os, "O_DIRECT", 0), getattr(os, "RWF_NOWAIT", 0)

Bytes = NDArray[np.uint8]


class _BulkFile:
    """A file that is open twice: the plain way, and past the page cache where there is such a way."""

    def __init__(self, path: Path, flags: int, direct: bool) -> None:
        flags |= os.O_CLOEXEC
        self._plain = os.open(path, flags)
        self._direct: int | None = None
        with suppress(OSError):  # a file system that has no such way
            self._direct = os.open(path, flags | _DIRECT) if _DIRECT and direct else None

    def _move(self, call: Callable[..., int], place: int, pieces: list[Bytes]) -> None:
        """Write or read ``pieces``, one after the other from the byte ``place`` on."""
        aligned = place
        for piece in pieces:
            aligned |= piece.ctypes.data | piece.size
        if self._direct is not None and not aligned % ALIGNMENT:
            try:
                done = call(self._direct, pieces, place)
            except OSError:  # refused for what it is; the plain way says what is really wrong
                done = 0
            place, pieces = place + done, _after(pieces, done)
        while pieces:
            done = call(self._plain, pieces, place)
            if not done:
                raise OSError(f"the file ends at byte {place}")
            place, pieces = place + done, _after(pieces, done)

    def close(self) -> None:
        """Close the file; it may be called again."""
        for number in (self._plain, self._direct):
            if number is not None and number >= 0:
                os.close(number)
        self._plain, self._direct = -1, None


class BulkWriter(_BulkFile):
    """Writes into the reserved space of a file that somebody else lays out. Raises OSError."""

    def __init__(self, path: Path, direct: bool = True) -> None:
        """Without ``direct`` all goes through the page cache."""
        super().__init__(path, os.O_WRONLY | os.O_NOFOLLOW, direct)

    def write(self, place: int, *arrays: NDArray[np.generic]) -> None:
        """Write C-contiguous arrays, one after the other from the byte ``place`` on."""
        pieces: list[Bytes] = []
        waiting = 0
        for array in arrays:
            values = array.reshape(-1).view(np.uint8)
            for first in range(0, values.size, PIECE_BYTES):
                piece = values[first : first + PIECE_BYTES]
                if pieces and (waiting + piece.size > PIECE_BYTES or len(pieces) == MOST_PIECES):
                    self._move(os.pwritev, place, pieces)
                    place, pieces, waiting = place + waiting, [], 0
                pieces.append(piece)
                waiting += piece.size
        self._move(os.pwritev, place, pieces)


class BulkReader(_BulkFile):
    """Reads bulk data: what lies in the page cache from there, the rest past it. Any thread may read.

    Raises OSError, also where the file ends too early.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, os.O_RDONLY, direct=True)

    def read(self, place: int, out: NDArray[np.generic]) -> None:
        """Fill a C-contiguous array from the byte ``place`` on."""
        values = out.reshape(-1).view(np.uint8)
        for first in range(0, values.size, PIECE_BYTES):
            piece = [values[first : first + PIECE_BYTES]]
            cached = self._cached(place + first, piece)
            self._move(os.preadv, place + first + cached, _after(piece, cached))

    def _cached(self, place: int, piece: Any) -> int:
        """How many bytes the page cache has; they are read."""
        if not (self._direct and _NOWAIT):
            return 0
        try:
            return os.preadv(self._plain, piece, place, _NOWAIT)
        except OSError:  # nothing, or a system that does not tell
            return 0


def aligned_bytes(nbytes: int) -> Bytes:
    """Memory that may be read into past the page cache."""
    return np.frombuffer(mmap.mmap(-1, max(nbytes, 1)), np.uint8)[:nbytes]


def _after(pieces: list[Bytes], done: int) -> list[Bytes]:
    """What is left of the pieces after so many bytes."""
    for number, piece in enumerate(pieces):
        if done < piece.size:
            return [piece[done:], *pieces[number + 1 :]]
        done -= piece.size
    return []
