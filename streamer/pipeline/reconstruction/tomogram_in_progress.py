"""The tomogram of a running scan: it grows where memory allows, follows the axis, and is made anew where it must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.core.jit import at_most
from streamer.core.memory import Memory
from streamer.frames import ScanSpec
from streamer.pipeline.reconstruction.growing_tomogram import GrowingTomogram
from streamer.pipeline.reconstruction.row_blocks import ReadRows, slices
from streamer.pipeline.reconstruction.stored_projections import StoredProjections
from streamer.pipeline.settings import ReconstructionOptions

CORES_TO_SPARE = 4
"""Threads from which on another one may grow the tomogram beside the frames: on two busy cores it held them up."""


class TomogramInProgress:
    """Not thread-safe. ``center`` is a column of the detector everywhere."""

    def __init__(
        self, backend: Backend, spec: ScanSpec, options: ReconstructionOptions, memory: Memory, part_of: int | None
    ) -> None:
        """``part_of``: see ``GrowingTomogram``."""
        self._backend, self._spec, self._options, self._memory, self._part_of = backend, spec, options, memory, part_of
        self._growing: GrowingTomogram | None = None
        self._beside = False  # another thread has it grow

    @property
    def growing(self) -> GrowingTomogram | None:
        """What there is of it; None before the axis is likely, and where it is made after the scan."""
        return self._growing

    def drop(self) -> None:
        """What it was made of has changed."""
        self._growing = None

    def keep(self, center: float) -> None:
        """Go on about ``center``, if what was made so far reaches there."""
        if self._growing is not None and not self._growing.reaches(center):
            self.drop()

    def work(self, stored: StoredProjections, center: float, likely: bool) -> bool:
        """Use an idle moment; it begins to grow once the axis is ``likely``. False when there was nothing to do."""
        return not self._beside and self._grows(stored, center, likely) and self._now.work()

    def growth(
        self, stored: StoredProjections, center: float, likely: bool, stopped: Callable[[], bool]
    ) -> Callable[[], None] | None:
        """``work`` that another thread may do, until ``stopped()`` or until there is none left; None if there is none.

        Nothing else may be asked for until it has ended. From the first time on, ``work`` leaves it to that thread. A
        device, which takes one piece of work after the other, never has any.
        """
        if (
            self._backend.on_device
            or self._backend.threads < CORES_TO_SPARE
            or not self._grows(stored, center, likely)
            or not self._now.has_work
        ):
            return None
        self._beside, growing, threads = True, self._now, max(1, self._backend.threads // 2)

        def grow() -> None:
            with at_most(threads):
                while not stopped() and growing.work():
                    pass

        return grow

    def _grows(self, stored: StoredProjections, center: float, likely: bool) -> bool:
        """Whether it grows; it begins to when it can."""
        self.keep(center)
        if self._growing is None and likely and self._spec.tomogram_deg is None:
            self._growing = self._begin(stored, center)
        return self._growing is not None

    @property
    def _now(self) -> GrowingTomogram:
        assert self._growing is not None
        return self._growing

    def blocks(self, stored: StoredProjections, center: float, read_rows: ReadRows) -> Iterator[tuple[int, Image]]:
        """(first row, slices (rows, width, width)) of the whole of it, attenuation per pixel.

        ``read_rows`` gives raw rows of the projections; it is called only where they are not in memory.
        """
        if self._growing is None:
            self._growing = self._begin(stored, center)
        if self._growing is not None:
            return self._growing.finish(center)
        window, memory_bytes = self._options.window, self._options.memory_bytes
        return slices(self._backend, stored, read_rows, center, window, memory_bytes, self._memory)

    def _begin(self, stored: StoredProjections, center: float) -> GrowingTomogram | None:
        """None where it has to be made after the scan."""
        if not GrowingTomogram.fits(stored, self._options.memory_bytes, self._backend):
            return None
        window, memory = self._options.window, self._memory
        return GrowingTomogram(self._backend, self._spec, stored, center, window, memory, self._part_of)
