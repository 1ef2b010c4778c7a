"""What a device can do, as two protocols: ``Engine`` and ``Transfer``.

Nothing here knows CuPy: ``cupy_engine`` implements the protocols, and the tests imitate them.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from streamer.core.arrays import Array
from streamer.frames import StreamerError

Shape = tuple[int, ...]


class DeviceOutOfMemory(StreamerError):
    """The device has less memory than a step needs; smaller chunks may fit."""


class DeviceError(StreamerError):
    """A compute device failed while it worked; the message is the driver's."""


class Engine(Protocol):
    """Where kernels run and their arrays live. Arrays of the engine have ``shape``, ``dtype`` and slicing [a:b]."""

    def resident(self, array: Any) -> bool:
        """True for an array that lies on the device."""

    def empty(self, shape: Shape, dtype: DTypeLike) -> Any:
        """New C-contiguous array, aligned to 16 bytes, content undefined. Raises DeviceOutOfMemory."""

    def zeros(self, shape: Shape, dtype: DTypeLike) -> Any:
        """As ``empty``, filled with 0."""

    def upload(self, array: Array) -> Any:
        """Copy of a host array, which may change as soon as this returns. Raises DeviceOutOfMemory."""

    def download(self, array: Any, out: Array) -> None:
        """Copy into a host array of the same shape, once everything queued before has been done."""

    def transform_lines(self, array: Any) -> Any:
        """Fourier transform of complex64 (..., n) along the last axis; may overwrite its argument."""

    def transform_planes(self, array: Any) -> Any:
        """Inverse Fourier transform of complex64 (k, n, n) along the last two axes, without the factor 1/n²."""

    def launch(self, kernel: str, grid: Shape, block: Shape, arguments: tuple[Any, ...]) -> None:
        """Queue a kernel. Arguments are arrays of the engine, None for a null pointer, or NumPy scalars."""

    def transfer(self) -> Transfer:
        """A new queue for copies, which overlaps with that of the kernels."""

    def pin(self, array: Array) -> None:
        """Lock the pages of a C-contiguous host array that exists already, so that it need not be staged for a copy.

        Raises DeviceError where the system does not allow it. ``unpin`` it before its memory is given back.
        """

    def unpin(self, array: Array) -> None:
        """Undo ``pin``; no copy of the array may be under way. Raises DeviceError if it was not pinned."""

    def pinned(self, array: Array) -> bool:
        """Whether a host array begins in page-locked memory."""

    def free_bytes(self) -> int:
        """Memory that can be allocated now."""

    def memory_bytes(self) -> tuple[int, int]:
        """Memory of the device in use, by this and other processes, and all of it. Raises DeviceError."""

    def release(self) -> None:
        """Give memory that is kept for reuse back to the device."""


class Transfer(Protocol):
    """Two queues of a device, one that copies and one that computes, and marks in them.

    A mark is passed once everything queued before it is done. Each queue works in order; the two overlap.
    """

    def pinned(self, shape: Shape, dtype: DTypeLike) -> Array:
        """Page-locked host memory, from which copies run without the CPU."""

    def empty(self, shape: Shape, dtype: DTypeLike) -> Any:
        """Device memory. Raises DeviceOutOfMemory."""

    def copy(self, source: Array, target: Any) -> Any:
        """Queue a copy from host to device; returns the mark behind it. ``source`` must not change until then."""

    def computed(self) -> Any:
        """Mark behind everything queued for computing so far."""

    def copying_waits(self, mark: Any) -> None:
        """What is queued for copying from now on begins after ``mark``."""

    def computing_waits(self, mark: Any) -> None:
        """What is queued for computing from now on begins after ``mark``."""

    def wait(self, mark: Any) -> None:
        """Let the host wait for ``mark``."""


def contiguous(array: Array) -> Array:
    """C-contiguous native array for an upload; a copy only where needed."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
