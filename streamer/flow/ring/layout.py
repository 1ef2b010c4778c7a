"""How a ring lies in memory: ``[control][slot headers][slot 0][slot 1]…``.

A slot has the pixels of a frame, and where the ring keeps packed frames, room for the same pixels compressed. Words are
of 8 bytes; pixels start at multiples of 64 bytes, those of the first slot at one of a page: frames of whole pages can
be written to a disk from there past the page cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.frames import DTYPES

READERS = 4
MIN_SLOTS = 4
ALIGNMENT = 64
PAGE = 4096
MAGIC = 0x31474E49525F5253  # "SR_RING1" in memory

IDLE, LOSSY, LOSSLESS = 0, 1, 2

_READER = np.dtype([("mode", "<i8"), ("cursor", "<i8"), ("skipped", "<i8"), ("spare", "<i8", 5)])
CONTROL = np.dtype(
    [
        ("magic", "<i8"),
        ("generation", "<i8"),  # odd while a format is in progress
        ("head", "<i8"),  # frames committed so far = the position of the next one
        ("base", "<i8"),  # head at the last format: earlier positions are gone
        ("slots", "<i8"),
        ("rows", "<i8"),
        ("columns", "<i8"),
        ("dtype", "<i8"),  # place in frames.DTYPES
        ("high_water", "<i8"),
        ("packed", "<i8"),  # bytes in a slot for the compressed frame
        ("spare", "<i8", 6),
        ("readers", _READER, READERS),
    ]
)
HEADER = np.dtype(
    [
        ("sequence", "<i8"),
        ("index", "<i8"),
        ("kind", "<i8"),
        ("seq", "<i8"),
        ("timestamp_ns", "<i8"),
        ("angle_deg", "<f8"),
        ("exposure_s", "<f8"),
        ("monitor", "<f8"),
        ("received_s", "<f8"),
        ("checksum", "<u8"),  # 0 when the source sent none
        ("scan_id", "S100"),
        ("packed", "<u4"),  # bytes of the compressed frame; 0 when there is none
        ("spare", "S8"),
    ]
)


def _word(name: str) -> int:
    """Place of a control field, counted in words of 8 bytes."""
    assert CONTROL.fields is not None
    return int(CONTROL.fields[name][1]) // 8


MAGIC_AT, GENERATION, HEAD, BASE = (_word(name) for name in ("magic", "generation", "head", "base"))
SLOTS, ROWS, COLUMNS, DTYPE = (_word(name) for name in ("slots", "rows", "columns", "dtype"))
HIGH_WATER, PACKED, FIRST_READER = _word("high_water"), _word("packed"), _word("readers")
MODE, CURSOR, SKIPPED, READER_WORDS = 0, 1, 2, _READER.itemsize // 8


def padded(nbytes: int, to: int = ALIGNMENT) -> int:
    return -(-nbytes // to) * to


def packed_room(shape: tuple[int, int], dtype: str) -> int:
    """Bytes for a compressed frame of (rows, columns): one that hardly shrinks is not worth its place."""
    return padded(shape[0] * shape[1] * np.dtype(dtype).itemsize * 3 // 4)


def bytes_needed(shape: tuple[int, int], dtype: str, slots: int, packed: int = 0) -> int:
    """Size of the buffer that holds a ring of that number of slots of (rows, columns)."""
    return _first_slot(slots) + slots * slot_nbytes(shape, dtype, packed)


def slot_nbytes(shape: tuple[int, int], dtype: str, packed: int = 0) -> int:
    """Bytes of one slot, without its header."""
    return padded(shape[0] * shape[1] * np.dtype(dtype).itemsize) + packed


def _first_slot(slots: int) -> int:
    """Place of the first slot in the buffer."""
    return padded(padded(CONTROL.itemsize) + slots * HEADER.itemsize, PAGE)


class Layout:
    """The arrays of one generation of the ring; rebuilt by every process after a format."""

    def __init__(self, memory: NDArray[np.uint8], words: memoryview) -> None:
        self.generation = words[GENERATION]
        self.slots = int(words[SLOTS])
        self.shape = (int(words[ROWS]), int(words[COLUMNS]))
        self.dtype = np.dtype(DTYPES[words[DTYPE]])
        start = padded(CONTROL.itemsize)
        self.headers: NDArray[Any] = np.ndarray((self.slots,), HEADER, memory.data, start)
        self.sequence: NDArray[np.int64] = self.headers["sequence"]
        start = _first_slot(self.slots)
        room = int(words[PACKED])
        pixels = padded(self.shape[0] * self.shape[1] * self.dtype.itemsize)
        stride = pixels + room
        strides = (stride, self.shape[1] * self.dtype.itemsize, self.dtype.itemsize)
        self.pixels: NDArray[Any] = np.ndarray((self.slots, *self.shape), self.dtype, memory.data, start, strides)
        self.readable = self.pixels.view()
        self.readable.flags.writeable = False
        self.packed: NDArray[np.uint8] = np.ndarray(
            (self.slots, room), np.uint8, memory.data, start + pixels, (stride, 1)
        )
