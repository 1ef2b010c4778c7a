"""The way of frames into a device: through page-locked memory, so that copies overlap with kernels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from streamer.core.arrays import Array
from streamer.core.backend.engine import DeviceError, DeviceOutOfMemory, Engine, Shape, Transfer
from streamer.core.backend.selection import Backend
from streamer.frames import BadInput

log = logging.getLogger(__name__)


def lock_pages(engine: Engine, array: Array, what: str) -> Callable[[], None]:
    """``pin`` a host array; returns the function that undoes it. If the system refuses, the log has a warning."""
    try:
        engine.pin(array)
    except (DeviceError, DeviceOutOfMemory) as error:
        log.warning("%s cannot be page-locked, copies take longer: %s", what, error)
        return lambda: None
    return lambda: engine.unpin(array)


def upload_buffer(backend: Backend, shape: Shape, dtype: DTypeLike) -> Array:
    """New host memory for frames that go to ``backend``: page-locked for a device, so that they need not be staged.

    Where it cannot be had, that is a warning: the frames only take longer.
    """
    if backend.on_device:
        try:
            return backend.kernels.engine.transfer().pinned(shape, dtype)  # type: ignore[no-any-return]
        except (DeviceError, DeviceOutOfMemory) as error:
            log.warning("no page-locked memory for frames, they take longer to the device: %s", error)
    return np.empty(shape, dtype)


class UploadQueue:
    """Frames on their way to the device, through ``slots`` places in pinned host memory and the same number there.

    ``put`` queues the copy of a frame, ``take`` returns the oldest one on the device, ``done`` frees its slot. The host
    waits only for the copy out of the pinned slot that it is about to fill; a device slot is overwritten only after the
    kernels that read it. Frames keep the detector's type: 16-bit counts cross the bus as 16 bits. A frame may have
    fewer rows than ``shape``. Not thread-safe. Before the queue is dropped, take all frames or drain it: its memory is
    used again.
    """

    def __init__(self, transfer: Transfer, slots: int, shape: Shape, dtype: DTypeLike) -> None:
        """Raises BadInput for fewer than two slots (nothing could overlap), DeviceOutOfMemory from the device."""
        if slots < 2:
            raise BadInput(f"an upload queue needs at least 2 slots, not {slots}")
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

    def put(self, frame: Array, pinned: bool = False) -> None:
        """Queue the copy of one frame. Raises BadInput when the queue is full or the frame has another shape or type.

        With ``pinned`` the frame itself lies in page-locked memory, such as the daemon's ring: the host does not copy
        it, and it must not change until ``drain``, or a wait for results that were computed from it.
        """
        slot = self._put % self.slots
        target = self._device[slot]
        if self.full:
            raise BadInput(f"all {self.slots} slots of the upload queue are in use")
        rows = frame.shape[0] if frame.ndim else 0
        if frame.shape != (rows, *target.shape[1:]) or not 0 < rows <= target.shape[0] or frame.dtype != target.dtype:
            raise BadInput(f"a frame is {frame.shape} {frame.dtype}, the upload queue {target.shape} {target.dtype}")
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
            raise BadInput("there is no frame in the upload queue")
        slot = self._taken % self.slots
        self._transfer.computing_waits(self._copied[slot])
        self._taken += 1
        return self._device[slot][: self._rows[slot]]

    def done(self) -> None:
        """The kernels that read the oldest taken frame are all queued. Raises BadInput if none is taken."""
        if self._done == self._taken:
            raise BadInput("no frame of the upload queue is taken")
        self._read[self._done % self.slots] = self._transfer.computed()
        self._done += 1

    def drain(self) -> None:
        """Let the host wait until no copy is under way: pinned sources may change afterwards."""
        for mark in self._copied:
            if mark is not None:
                self._transfer.wait(mark)
