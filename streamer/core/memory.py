"""Memory that stays with the process from one scan to the next.

The system finds and clears each page of new memory when it is first written to: 0.1 to 0.3 s/GB, and several times that
in a virtual machine that has to ask its host. A daemon that takes hundreds of samples need not ask for each of them.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Array


class Memory:
    """Lends large arrays, and lends their memory again once no array or view refers to it. Thread-safe.

    It keeps no more than was lent at a time: when nothing that came back is large enough, all of that goes back to the
    system before new memory is asked for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._returned: list[mmap.mmap] = []

    @property
    def kept_bytes(self) -> int:
        """What was lent before and is not now."""
        with self._lock:
            return sum(map(len, self._returned))

    def floats(self, *shape: int) -> tuple[NDArray[np.float32], bool]:
        """An array of this shape that begins with a page, and whether all of it is zero; else it holds anything.

        Raises MemoryError.
        """
        return self.array(shape, np.dtype(np.float32))

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, bool]:
        """``floats`` of any type."""
        nbytes = max(dtype.itemsize * math.prod(shape), 1)
        with self._lock:
            fitting = [pages for pages in self._returned if len(pages) >= nbytes]
            if fitting:
                pages = min(fitting, key=len)
                self._returned.remove(pages)
            else:
                self._returned.clear()
                pages = _new(nbytes)
        lent = (ctypes.c_ubyte * nbytes).from_buffer(pages)
        weakref.finalize(lent, self._returned.append, pages).atexit = False
        return np.frombuffer(memoryview(lent), dtype, math.prod(shape)).reshape(shape), not fitting


def _new(nbytes: int) -> mmap.mmap:
    """Zeros that are the process's own, in large pages where there are such: shared ones would come in small pages."""
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
    try:
        pages = mmap.mmap(-1, nbytes, **private)
    except OSError as error:
        raise MemoryError(f"the system has no {nbytes / 2**20:.0f} MiB: {error.strerror}") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages
