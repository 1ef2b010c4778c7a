"""Attenuation of every projection of one scan in the memory of a device, where it is prepared from raw frames."""

from __future__ import annotations

import gc
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.chunks import USABLE_SHARE, out_of_memory
from streamer.core.backend.engine import DeviceOutOfMemory, Engine
from streamer.core.backend.on_device import OnDevice, Projections
from streamer.core.backend.selection import Backend
from streamer.core.fourier.gpu_grid import Gridding
from streamer.core.fourier.gpu_volume import MIN_PROJECTIONS
from streamer.core.jit import as_input
from streamer.core.memory import Memory
from streamer.core.planes.gpu_launches import MAX_FRAMES
from streamer.core.preprocessing.flat_field import CorrectionTables, FlatFieldCorrection
from streamer.core.preprocessing.gpu_preparation import GpuPreparation
from streamer.core.simd.row_vectors import LANES
from streamer.frames import ScanSpec
from streamer.pipeline.store import AttenuationStore, ProjectionStore, store_nbytes

log = logging.getLogger(__name__)

MEBI = 2**20


class DeviceStore(ProjectionStore):
    """All rows of all projections, on the device of a backend.

    Raw frames cross the bus once. What reads the projections reads them there (``OnDevice``). If the device has no
    memory to prepare a frame, the CPU does it, and its attenuation crosses the bus instead.
    """

    def __init__(self, backend: Backend, rows: int, columns: int, projections: int) -> None:
        """Raises DeviceOutOfMemory."""
        super().__init__(rows, projections, (0, rows))
        self._backend = backend
        engine: Engine = backend.kernels.engine
        self._data = OnDevice(engine, engine.empty((projections, rows, columns), np.float32))
        self._preparation = GpuPreparation(backend.kernels, rows, columns)
        self._known: tuple[FlatFieldCorrection, np.dtype[Any], CorrectionTables] | None = None

    def next(self, count: int = 1) -> OnDevice:
        return self._data[self.count : self.count + count]

    def add_raw(
        self, raw: Array, correction: FlatFieldCorrection, angle_rad: Values, attenuation: Projections, moments: Values
    ) -> None:
        """Prepare raw frames (n, rows, columns) into ``attenuation``, which ``next`` gave, and fill in their
        ``moments`` (n, rows, 4) on the host.
        """
        assert isinstance(attenuation, OnDevice)
        frames, tables = as_input(raw), self._tables(raw[0], correction)
        full = out_of_memory(self._preparation.take, frames, tables, attenuation.array, moments)
        if full is not None:
            self._backend.kernels.engine.release()
            text = f"{len(raw)} frames by the CPU ({full})"
            self._backend.fallbacks.fall_back("out_of_memory", "preparation", text)
            self._prepare_on_host(frames, correction, attenuation, moments)

    def _tables(self, frame: Array, correction: FlatFieldCorrection) -> CorrectionTables:
        """The same object for frames of one kind: the device has them already then."""
        known = self._known
        if known is None or known[0] is not correction or known[1] != frame.dtype:
            known = self._known = correction, frame.dtype, correction.tables(frame)
        return known[2]

    @staticmethod
    def _prepare_on_host(
        frames: Array, correction: FlatFieldCorrection, attenuation: OnDevice, moments: Values
    ) -> None:
        """Takes no memory of the device."""
        made = np.empty(frames.shape, np.float32)
        correction.prepare(frames, made, moments)
        transfer = attenuation.engine.transfer()
        transfer.copying_waits(transfer.computed())
        mark = transfer.copy(made, attenuation.array)
        transfer.computing_waits(mark)
        transfer.wait(mark)

    @property
    def all(self) -> OnDevice:
        return self._data[: self.count]

    @property
    def nbytes(self) -> int:
        return 0

    @property
    def newest(self) -> Image:
        return np.asarray(self._data[self.count - 1])

    def few(self, numbers: NDArray[np.intp], rows: NDArray[np.intp]) -> Image:
        return np.asarray(self._data.lines(numbers, rows))

    def block(self, first: int, last: int, some: NDArray[np.intp] | None = None) -> Projections:
        whole = (first, last) == (self.first_row, self.last_row)
        if some is None and whole:
            return self.all
        return self._data.lines(np.arange(self.count) if some is None else some, np.arange(first, last))


def new_store(
    backend: Backend, spec: ScanSpec, memory_bytes: int, memory: Memory, needs_host: str = ""
) -> ProjectionStore:
    """A store on the device, if there is one with memory for all projections; else in ``memory`` of the host.

    ``needs_host`` are options that need every projection on the host, in words. The log says why it is the host.
    """
    size = spec.rows, spec.columns, spec.projections
    if backend.on_device and needs_host:
        log.info("scan %s: projections lie in the memory of the host, which %s needs", spec.scan_id, needs_host)
    elif backend.on_device:
        made, why = _on_device(backend, *size)
        if made is not None:
            return made
        backend.fallbacks.fall_back("does_not_fit", "projections", f"in the memory of the host: {why}")
    return AttenuationStore(*size, memory_bytes, memory)


def _on_device(backend: Backend, rows: int, columns: int, projections: int) -> tuple[DeviceStore | None, str]:
    engine: Engine = backend.kernels.engine
    need = store_nbytes(rows, projections, columns) + _work_nbytes(rows, columns)
    free = int(USABLE_SHARE * engine.free_bytes())
    if need > free:
        gc.collect()  # a pipeline is part of reference cycles: the last scan's memory may not be back yet
        engine.release()
        free = int(USABLE_SHARE * engine.free_bytes())
    if need > free:
        return None, f"{need / MEBI:.0f} MiB are needed, {free / MEBI:.0f} MiB are free"
    try:
        return DeviceStore(backend, rows, columns, projections), ""
    except DeviceOutOfMemory as error:
        return None, str(error)


def _work_nbytes(rows: int, columns: int) -> int:
    """Memory of the device beside the projections: to prepare them, for two sets of planes, and to grid them."""
    plan = Gridding(columns)
    gridding = rows * plan.add_row_nbytes(MIN_PROJECTIONS) + LANES // 2 * plan.pair_nbytes()
    # Two batches of counts to prepare, and what each of two sets of planes asks for.
    return (8 + 2 * 16) * MAX_FRAMES * rows * columns + gridding
