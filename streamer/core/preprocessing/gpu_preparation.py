"""Raw frames on their way to a device, and what prepares them there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from streamer.core.arrays import Array, Values
from streamer.core.backend.engine import contiguous
from streamer.core.backend.gpu_kernels import Kernels
from streamer.core.backend.staging import UploadQueue
from streamer.core.preprocessing.flat_field import CorrectionTables
from streamer.core.preprocessing.kernels import moment_margin

QUEUED_BATCHES = 2
"""One is copied while kernels read the other."""


class GpuPreparation:
    """Frames (n, rows, columns) of one detector. Not thread-safe.

    All that takes memory of the device raises DeviceOutOfMemory, and does it before anything is computed.
    """

    def __init__(self, kernels: Kernels, rows: int, columns: int) -> None:
        self._kernels, self._engine = kernels, kernels.engine
        self._rows, self._columns = rows, columns
        self._queues: dict[str, tuple[int, UploadQueue]] = {}  # by type: frames of a batch at most, and the queue
        self._known: CorrectionTables | None = None
        self._tables: Any = ()  # arguments of the kernel

    def queue(self, dtype: DTypeLike, count: int) -> UploadQueue:
        """A queue for batches of at least ``count`` frames."""
        kind = np.dtype(dtype)
        known = kind.str
        if known in self._queues and self._queues[known][0] < count:
            self._queues.pop(known)[1].drain()
        if known not in self._queues:
            shape = count, self._rows, self._columns
            self._queues[known] = count, UploadQueue(self._engine.transfer(), QUEUED_BATCHES, shape, kind)
        return self._queues[known][1]

    def use(self, tables: CorrectionTables) -> None:
        """Bring what prepares frames to the device, unless it is there already."""
        if self._known is tables:
            return
        upload, dead = self._engine.upload, None
        if len(tables.dead):
            lists = tables.dead.first, tables.dead.places, tables.dead.share
            dead = tuple(upload(contiguous(part)) for part in lists)
        images = upload(contiguous(tables.dark)), upload(contiguous(tables.log_flat))
        self._tables = *images, tables.low, tables.high, dead
        self._known = tables

    def prepare(self, raw: Any, out: Any) -> None:
        """Raw frames on the device → attenuation float32 on the device, by the tables in ``use``."""
        dark, log_flat, low, high, dead = self._tables
        self._kernels.prepare(raw, dark, log_flat, low, high, dead, out)

    def moments_room(self, count: int) -> Any:
        """Memory for the moments of ``count`` frames."""
        return self._engine.empty((count, self._rows, 4), np.float64)

    def moments(self, attenuation: Any, room: Any, out: Values) -> None:
        """The moments (n, rows, 4) of attenuation on the device, on the host, once they are there."""
        self._kernels.row_moments(attenuation, moment_margin(self._columns), room)
        self._engine.download(room, out)

    def take(self, raw: Array, tables: CorrectionTables, out: Any, moments: Values) -> None:
        """Raw frames of the host (n, rows, columns), which may change afterwards, → attenuation ``out`` on the device.

        ``moments`` (n, rows, 4) on the host are filled in, unless there are none.
        """
        queue = self.queue(raw.dtype, len(raw))
        self.use(tables)
        room = self.moments_room(len(raw)) if len(moments) else None
        pinned = self._engine.pinned(raw)
        queue.put(raw, pinned)
        self.prepare(queue.take(), out)
        queue.done()
        if room is not None:
            self.moments(out, room, moments)
        if pinned:
            queue.drain()
