"""Frames that wait in the ring, taken out a batch at a time: what becomes of them does not hold the ring up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from streamer.core.arrays import Array
from streamer.daemon.compute.looks import Newest
from streamer.flow.ring.ring import Reader
from streamer.frames import FrameMeta
from streamer.pipeline.store import FRAMES_PER_BATCH


class WaitingFrames:
    """Of the compute thread; the counters may be read by any thread.

    ``torn`` frames were overwritten while they were read: the finisher reads them from the raw file. ``newest`` is the
    frame that came last.
    """

    def __init__(self, reader: Reader, new_buffer: Callable[[tuple[int, ...], DTypeLike], Array]) -> None:
        """``new_buffer`` makes the memory (shape, dtype) that frames are copied into."""
        self._reader, self._new_buffer = reader, new_buffer
        self._batch = np.empty((0, 0, 0), np.uint8)  # copies of the frames that are folded in together
        self.torn = 0
        self.newest: Newest | None = None

    @property
    def number(self) -> int:
        """Frames in the ring that were not taken yet."""
        return self._reader.pending

    @property
    def many(self) -> bool:
        """Whether a batch of frames waits."""
        return self.number >= FRAMES_PER_BATCH

    @property
    def pixels(self) -> int:
        """Of all the frames that wait."""
        return self.number * (self._batch[0].size if len(self._batch) else 0)

    @property
    def skipped(self) -> int:
        """Frames that were overwritten before they could be taken."""
        return self._reader.skipped + self.torn

    def take(self, scan_id: str | None) -> tuple[list[FrameMeta], Array] | None:
        """The next frames of the scan, (frames, rows, columns), which the next call overwrites; there may be none.

        Frames of other scans are passed over. None when no frame was waiting.
        """
        metas: list[FrameMeta] = []
        came = False
        while len(metas) < FRAMES_PER_BATCH and (frame := self._reader.poll()) is not None:
            dtype, shape = frame.pixels.dtype, frame.pixels.shape
            if (self._batch.dtype, self._batch.shape[1:]) != (dtype, shape):
                if metas:
                    break  # a frame of the next scan; it goes into the next batch
                self._batch = self._new_buffer((FRAMES_PER_BATCH, *shape), dtype)
            # The writer may overtake a lossy reader during the copy, so the copy is checked afterwards.
            np.copyto(self._batch[len(metas)], frame.pixels)
            came = True
            if self._reader.torn():
                self.torn += 1
            elif frame.meta.scan_id == scan_id:
                metas.append(frame.meta)
            self._reader.release()
        if metas:
            self.newest = metas[-1], self._batch[len(metas) - 1]
        return (metas, self._batch[: len(metas)]) if came else None
