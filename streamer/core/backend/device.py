"""Memory of a device and the way into it: chunks, pinned staging, and what happens when the memory does not suffice.

Nothing here knows CuPy. What a device can do is said by two protocols, ``Engine`` and ``Transfer``, which
``cupy_engine`` implements and the tests imitate.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamer.frames import BadInput, StreamerError

Chunk = tuple[int, int]
Shape = tuple[int, ...]

USABLE = 0.9
"""Share of the free memory that is planned with; the rest is for work areas of the Fourier transform."""

FALLBACKS = ("smaller_chunks", "does_not_fit", "out_of_memory")
"""How work leaves the way it was meant to go: memory ran out, and it was cut smaller; the device has not the memory for
it, and the CPU does it; memory ran out although it seemed to suffice, and the CPU does the rest."""

log = logging.getLogger(__name__)


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

    def upload(self, array: NDArray[Any]) -> Any:
        """Copy of a host array, which may change as soon as this returns. Raises DeviceOutOfMemory."""

    def clear(self, array: Any) -> None:
        """Set an array of the engine to 0."""

    def download(self, array: Any, out: NDArray[Any]) -> None:
        """Copy into a host array of the same shape, once everything queued before has been done."""

    def transform_lines(self, array: Any) -> Any:
        """Fourier transform of complex64 (..., n) along the last axis; may overwrite its argument."""

    def transform_planes(self, array: Any) -> Any:
        """Inverse Fourier transform of complex64 (k, n, n) along the last two axes, without the factor 1/n²."""

    def launch(self, kernel: str, grid: Shape, block: Shape, arguments: tuple[Any, ...]) -> None:
        """Queue a kernel. Arguments are arrays of the engine, None for a null pointer, or NumPy scalars."""

    def transfer(self) -> Transfer:
        """A new queue for copies beside that of the kernels."""

    def pin(self, array: NDArray[Any]) -> None:
        """Lock the pages of a C-contiguous host array that exists already, so that it need not be staged for a copy.

        Raises DeviceError where the system does not allow it. ``unpin`` it before its memory is given back.
        """

    def unpin(self, array: NDArray[Any]) -> None:
        """Undo ``pin``; no copy of the array may be under way. Raises DeviceError if it was not pinned."""

    def pinned(self, array: NDArray[Any]) -> bool:
        """Whether a host array begins in page-locked memory."""

    def free_bytes(self) -> int:
        """Memory that can be allocated now."""

    def release(self) -> None:
        """Give memory that is kept for reuse back to the device."""


def plan_chunks(total: int, item_bytes: int, fixed_bytes: int, memory_bytes: int, multiple: int = 1) -> list[Chunk]:
    """Ranges [first, last) over ``total`` items, in order and as even as can be, that each fit into the memory.

    A chunk of n items needs fixed_bytes + n · item_bytes. Where it costs no more chunks, all but the last have a
    length that ``multiple`` divides. Raises BadInput when not even one item fits; the message says what is missing.
    """
    if total <= 0:
        return []
    fit = total if item_bytes <= 0 else (memory_bytes - fixed_bytes) // item_bytes
    if fit < 1 or fixed_bytes > memory_bytes:
        need, given = (fixed_bytes + item_bytes) / 2**20, memory_bytes / 2**20
        raise BadInput(f"one item needs {need:.1f} MiB on the device, {given:.1f} MiB are free")
    size = -(-total // -(-total // fit))
    rounded = -(-size // multiple) * multiple
    size = rounded if rounded <= fit else max(fit // multiple * multiple, min(size, fit))
    return [(first, min(first + size, total)) for first in range(0, total, size)]


@dataclass
class FallbackCounters:
    """What became of the work that was meant for the device; read by a metric, never reset.

    ``events`` counts by ``FALLBACKS``; ``reason`` is the last one in words.
    """

    chunks_on_device: int = 0
    items_on_host: int = 0
    events: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FALLBACKS, 0))
    reason: str = ""
    _told: set[tuple[str, str]] = field(default_factory=set, repr=False, compare=False)

    def fall_back(self, event: str, work: str, text: str, on_host: int = 0) -> None:
        """Count one of ``FALLBACKS``, after which ``on_host`` items go to the CPU.

        The first one for this ``work`` is a warning in the log: a scan repeats it thousands of times.
        """
        self.events[event] += 1
        self.items_on_host += on_host
        self.reason = f"{work}: {text}"
        log.log(logging.DEBUG if (event, work) in self._told else logging.WARNING, self.reason)
        self._told.add((event, work))


@dataclass(frozen=True)
class Work:
    """Items that a device or a host can do, each range on its own. A range done twice has the same result."""

    name: str
    items: int
    item_bytes: int
    fixed_bytes: int
    on_device: Callable[[int, int], None]
    on_host: Callable[[int, int], None]
    multiple: int = 1


def run_chunked(work: Work, engine: Engine, counters: FallbackCounters) -> None:
    """Do the work on the device in chunks that fit; out of memory → halves → host. Each step down is counted.

    Other errors of ``on_device`` pass through: wrong arithmetic must not look like a lack of memory.
    """
    try:
        memory = int(USABLE * engine.free_bytes())
        chunks = plan_chunks(work.items, work.item_bytes, work.fixed_bytes, memory, work.multiple)
    except BadInput as error:
        _to_host(work, 0, "does_not_fit", str(error), counters)
        return
    while chunks:
        first, last = chunks[0]
        full = out_of_memory(work.on_device, first, last)
        if full is not None:
            engine.release()
            smaller = _halves(chunks, work.multiple)
            if smaller is None:
                _to_host(work, first, "out_of_memory", f"not even {last - first} fit ({full})", counters)
                return
            text = f"chunks of {last - first} do not fit, now {smaller[0][1] - first} ({full})"
            counters.fall_back("smaller_chunks", work.name, text)
            chunks = smaller
            continue
        counters.chunks_on_device += 1
        chunks = chunks[1:]


def out_of_memory(work: Callable[..., None], *arguments: Any) -> str | None:
    """Do the work; what the device said if its memory did not suffice, else None.

    An error in hand keeps alive, by its traceback, what was allocated before it: only after this has returned can the
    memory be used again.
    """
    try:
        work(*arguments)
    except DeviceOutOfMemory as error:
        return str(error)
    return None


def _halves(chunks: list[Chunk], multiple: int) -> list[Chunk] | None:
    """The rest of the work in chunks of half the size; None when they are down to ``multiple`` or to one item."""
    (first, end), last = chunks[0], chunks[-1][1]
    size = (end - first) // 2
    if size >= multiple:
        size = size // multiple * multiple
    if size < 1:
        return None
    return [(start, min(start + size, last)) for start in range(first, last, size)]


def _to_host(work: Work, first: int, event: str, why: str, counters: FallbackCounters) -> None:
    text = f"items {first} to {work.items} on the CPU: {why}"
    counters.fall_back(event, work.name, text, work.items - first)
    if first < work.items:
        work.on_host(first, work.items)


class Transfer(Protocol):
    """Two queues of a device, one that copies and one that computes, and marks in them.

    A mark stands for everything queued before it. Work within one queue is done in order, the queues overlap.
    """

    def pinned(self, shape: Shape, dtype: DTypeLike) -> NDArray[Any]:
        """Page-locked host memory, from which copies run beside the CPU."""

    def empty(self, shape: Shape, dtype: DTypeLike) -> Any:
        """Device memory. Raises DeviceOutOfMemory."""

    def copy(self, source: NDArray[Any], target: Any) -> Any:
        """Queue a copy from host to device; returns the mark behind it. ``source`` must stay as it is until then."""

    def computed(self) -> Any:
        """Mark behind everything queued for computing so far."""

    def copying_waits(self, mark: Any) -> None:
        """What is queued for copying from now on begins after ``mark``."""

    def computing_waits(self, mark: Any) -> None:
        """What is queued for computing from now on begins after ``mark``."""

    def wait(self, mark: Any) -> None:
        """Let the host wait for ``mark``."""


def lock_pages(engine: Engine, array: NDArray[Any], what: str) -> Callable[[], None]:
    """``pin`` a host array, and what undoes it. Where it cannot be had, that is a warning: copies only take longer."""
    try:
        engine.pin(array)
    except (DeviceError, DeviceOutOfMemory) as error:
        log.warning("%s cannot be page-locked, its frames take longer to the device: %s", what, error)
        return lambda: None
    return lambda: engine.unpin(array)


class DeviceRing:
    """Frames on their way to the device: ``slots`` places in pinned host memory, and as many on the device.

    A frame may have fewer rows than ``shape`` says, and comes out with as many.

    ``put`` queues the copy of a frame, ``take`` gives the oldest one on the device, ``done`` frees its slot. The host
    waits only for a copy out of the pinned slot it is about to fill; a device slot is written again only after the
    kernels that read it. One thread uses it. Frames keep the detector's type: 16-bit counts cross the bus as 16 bits.
    Before the ring is dropped, frames that were put have to be taken, or the ring drained: its memory is used again.
    """

    def __init__(self, transfer: Transfer, slots: int, shape: Shape, dtype: DTypeLike) -> None:
        """Raises BadInput for fewer than two slots (nothing could overlap), DeviceOutOfMemory from the device."""
        if slots < 2:
            raise BadInput(f"a device ring needs at least 2 slots, not {slots}")
        self._transfer = transfer
        self.slots = slots
        self._device = [transfer.empty(shape, dtype) for _ in range(slots)]
        self._host = [transfer.pinned(shape, dtype) for _ in range(slots)]
        self._copied: list[Any] = [None] * slots
        # Memory that was just given back may still be read by kernels that are queued: copies wait for these as well.
        self._read = [transfer.computed()] * slots
        self._rows = [0] * slots
        self._put = self._taken = self._done = 0

    @property
    def waiting(self) -> int:
        """Frames that were put and not yet taken."""
        return self._put - self._taken

    @property
    def full(self) -> bool:
        """True when ``put`` would overwrite a frame that is not done."""
        return self._put - self._done == self.slots

    def put(self, frame: NDArray[Any], pinned: bool = False) -> None:
        """Queue the copy of one frame. Raises BadInput when the ring is full or the frame is of another shape or type.

        With ``pinned`` the frame itself lies in page-locked memory, such as the daemon's ring: it is not copied on the
        host, and must stay as it is until ``drain``, or until a wait for results that were computed from it.
        """
        slot = self._put % self.slots
        target = self._device[slot]
        if self.full:
            raise BadInput(f"all {self.slots} slots of the device ring are in use")
        rows = frame.shape[0] if frame.ndim else 0
        if frame.shape != (rows, *target.shape[1:]) or not 0 < rows <= target.shape[0] or frame.dtype != target.dtype:
            raise BadInput(f"a frame is {frame.shape} {frame.dtype}, the device ring {target.shape} {target.dtype}")
        source = frame
        if not pinned:
            if self._copied[slot] is not None:
                self._transfer.wait(self._copied[slot])
            source = self._host[slot][:rows]
            source[...] = frame
        self._transfer.copying_waits(self._read[slot])
        self._copied[slot] = self._transfer.copy(source, target[:rows])
        self._rows[slot] = rows
        self._put += 1

    def take(self) -> Any:
        """The oldest frame not yet taken, on the device, for kernels queued from now on. BadInput if there is none."""
        if not self.waiting:
            raise BadInput("there is no frame in the device ring")
        slot = self._taken % self.slots
        self._transfer.computing_waits(self._copied[slot])
        self._taken += 1
        return self._device[slot][: self._rows[slot]]

    def done(self) -> None:
        """The kernels that read the oldest taken frame are all queued. Raises BadInput if none is taken."""
        if self._done == self._taken:
            raise BadInput("no frame of the device ring is taken")
        self._read[self._done % self.slots] = self._transfer.computed()
        self._done += 1

    def drain(self) -> None:
        """Let the host wait until no copy is under way: pinned sources may change afterwards."""
        for mark in self._copied:
            if mark is not None:
                self._transfer.wait(mark)


def contiguous(array: NDArray[Any]) -> NDArray[Any]:
    """C-contiguous native array for an upload; a copy only where needed."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
