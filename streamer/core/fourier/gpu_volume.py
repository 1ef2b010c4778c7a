"""The tomogram on a device, whatever its memory: the interface and the numbers of ``volume.FourierVolume``.

Everything here is linear: rows for which the device has no memory, and projections for which it had none at the moment,
go into a Fourier volume of the CPU, and the slices of both are added. So nothing is lost and nothing is done twice if
the memory runs out in the middle of a scan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.backend.chunks import USABLE_SHARE, ChunkedWork, out_of_memory, run_chunked
from streamer.core.backend.engine import DeviceOutOfMemory, Engine
from streamer.core.backend.on_device import OnDevice, Projections
from streamer.core.backend.selection import Backend
from streamer.core.fourier.gpu_grid import GpuGrid, Gridding, Move
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import OVERSCAN_RAD, FourierVolume, late_move, reconstruct_rows_fourier
from streamer.core.jit import as_input
from streamer.core.memory import Memory
from streamer.core.simd.row_vectors import LANES
from streamer.frames import BadInput

MAX_PROJECTIONS = 64
"""Projections that are gridded together: the grid is read and written once for all of them."""

MIN_PROJECTIONS = 16
"""Projections that must fit beside the rows that are kept on the device."""

SLICE_PAIRS = 32
"""Pairs of slices that are made at once after the scan."""


class GpuFourierVolume:
    """A Fourier volume on the device of ``backend``, with the methods of ``volume.FourierVolume``.

    Not thread-safe. Raises BadInput as that does, and DeviceError if the device fails for another reason than memory.
    """

    def __init__(
        self,
        backend: Backend,
        rows: int,
        columns: int,
        center: float | None = None,
        window: str = "ramp",
        extend: bool = False,
        memory: Memory | None = None,
    ) -> None:
        if rows < 1:
            raise BadInput(f"a tomogram needs at least 1 row, not {rows}")
        self._backend, self._window, self._extend, self._memory = backend, window, extend, memory
        self.rows, self.columns = rows, columns
        self._plan = Gridding(columns, center, window, extend)
        self.center = self._plan.center
        self._host: FourierVolume | None = None
        self._spilled = False
        self._device = self._resident()
        self._angles = self._angles_that_fit()
        self._first_angle, self._last_angle = np.inf, -np.inf

    def _resident(self) -> GpuGrid | None:
        """A volume on the device of as many rows as it takes, whole blocks or all."""
        plan, counters = self._plan, self._backend.fallbacks
        blocks = min(_blocks_that_fit(self._engine, plan), self.blocks)
        if blocks < self.blocks:
            counters.fall_back("does_not_fit", "volume", self._kept(blocks))
        while blocks:
            rows = min(self.rows, blocks * LANES)
            volume, full = self._new(rows)
            if volume is not None:
                return volume
            self._engine.release()
            blocks //= 2
            event = "smaller_chunks" if blocks else "out_of_memory"
            counters.fall_back(event, "volume", f"{self._kept(blocks)} ({full})")
        return None

    def _new(self, rows: int) -> tuple[GpuGrid | None, str]:
        """A grid of ``rows`` rows, or the device's message if its memory did not suffice."""
        kernels = self._backend.kernels
        try:
            return GpuGrid(kernels, rows, self.columns, self.center, self._window, self._extend), ""
        except DeviceOutOfMemory as error:
            return None, str(error)

    def _kept(self, blocks: int) -> str:
        return f"{blocks * LANES} of {self.rows} rows fit into the device's memory, the others go to the CPU"

    def _angles_that_fit(self) -> int:
        if self._device is None:
            return 0
        each = self._device.rows * self._plan.add_row_nbytes(1)
        return int(min(MAX_PROJECTIONS, max(1, 0.5 * self._engine.free_bytes() // each)))

    @property
    def _engine(self) -> Engine:
        engine: Engine = self._backend.kernels.engine
        return engine

    @property
    def _device_blocks(self) -> int:
        return 0 if self._device is None else -(-self._device.rows // LANES)

    @property
    def blocks(self) -> int:
        """Blocks of 16 rows; the last may be incomplete."""
        return -(-self.rows // LANES)

    @property
    def within_half_turn(self) -> bool:
        """Whether all angles so far lie within half a turn, so that ``rows_of`` can move the centre."""
        return self._last_angle - self._first_angle <= np.pi + OVERSCAN_RAD

    @property
    def blocks_at_once(self) -> int:
        """All blocks: a device is not kept waiting, and nobody waits for it."""
        return self.blocks

    def add(self, batch: ProjectionBatch, first_row: int = 0, blocks: tuple[int, int] | None = None) -> None:
        """Add projections, as to a ``FourierVolume``. Only what the CPU has to grid is read from the host if the batch
        is on the device.
        """
        first_block, last_block = (0, self.blocks) if blocks is None else blocks
        self._check_blocks(first_block, last_block)
        batch.check_fit(self.rows, self.columns, first_row)
        if not len(batch):
            return
        on_device = min(last_block, self._device_blocks)
        if self._device is not None and first_block < on_device:
            part = first_block * LANES, min(on_device * LANES, self._device.rows)
            done = self._add_on_device(self._device, batch, first_row, part)
            if done < len(batch):
                self._spilled = True
                self._on_host.add(batch.part(done, len(batch)), first_row, (first_block, on_device))
        if last_block > self._device_blocks:
            self._on_host.add(batch, first_row, (max(first_block, self._device_blocks), last_block))
        self._first_angle = min(self._first_angle, float(batch.angle_rad.min()))
        self._last_angle = max(self._last_angle, float(batch.angle_rad.max()))

    @property
    def _on_host(self) -> FourierVolume:
        """The volume that takes the rest. It has all rows: the system provides memory only where it is written to."""
        if self._host is None:
            self._host = FourierVolume(
                self._backend, self.rows, self.columns, self.center, self._window, self._extend, self._memory
            )
        return self._host

    def _add_on_device(self, grid: GpuGrid, batch: ProjectionBatch, first_row: int, part: tuple[int, int]) -> int:
        """Add projections to the rows ``part``, in halves when the device's memory runs out.

        Returns how many were added before not even one fitted any more.
        """
        first, most, counters = 0, self._angles, self._backend.fallbacks
        while first < len(batch):
            some = batch.part(first, min(first + most, len(batch)))
            frames = some.attenuation if some.on_device is None else some.on_device
            full = out_of_memory(grid.add, frames, some.angle_rad, some.weight, first_row, part)
            if full is None:
                first += len(some)
                continue
            self._engine.release()
            count = len(some)
            if count == 1:
                rest = len(batch) - first
                counters.fall_back("out_of_memory", "projections", f"{rest} go to the CPU ({full})")
                return first
            most = count // 2
            counters.fall_back("smaller_chunks", "projections", f"{count} do not fit at once, now {most} ({full})")
        return first

    def rows_of(
        self, first_block: int, last_block: int, out: Image | None = None, center: float | None = None
    ) -> Image:
        """Slices of the blocks first_block … last_block - 1 on the host, as ``FourierVolume.rows_of`` makes them."""
        self._check_blocks(first_block, last_block)
        move = self._move(center)
        first, last = first_block * LANES, min(last_block * LANES, self.rows)
        shape = (last - first, self.columns, self.columns)
        result = np.empty(shape, np.float32) if out is None else out
        if result.shape != shape or result.dtype != np.float32 or not result.flags.c_contiguous:
            raise BadInput(f"out is {result.dtype} {result.shape}, not contiguous float32 {shape}")
        split = min(last_block, max(first_block, self._device_blocks))
        on_device = min(last, split * LANES) - first
        if self._device is not None and on_device:
            self._finish(self._device, first, result[:on_device], move)
            if self._spilled:
                result[:on_device] += self._on_host.rows_of(first_block, split, center=center)
        if split < last_block:
            self._on_host.rows_of(split, last_block, result[on_device:], center)
        return result

    def _finish(self, volume: GpuGrid, first: int, out: Image, move: Move | None) -> None:
        """Slices of the device's rows from ``first`` on, in pieces that fit, those that do not on the CPU."""
        last = first + len(out)

        def rows(pair: int) -> int:
            return min(first + 2 * pair, last)

        def on_device(begin: int, end: int) -> None:
            volume.finish(rows(begin), rows(end), out[rows(begin) - first : rows(end) - first], move)

        def on_host(begin: int, end: int) -> None:
            part = out[rows(begin) - first : rows(end) - first]
            volume.finish_on_host(rows(begin), rows(end), part, move, self._backend.threads)

        work = ChunkedWork("slices", -(-len(out) // 2), self._plan.pair_nbytes(), 0, on_device, on_host)
        run_chunked(work, self._engine, self._backend.fallbacks)

    def _check_blocks(self, first_block: int, last_block: int) -> None:
        if not 0 <= first_block < last_block <= self.blocks:
            raise BadInput(f"blocks {first_block} to {last_block} of {self.blocks}")

    def _move(self, center: float | None) -> Move | None:
        """Columns by which the axis is moved afterwards, and the direction of the seam; None if it stays."""
        distance, seam = late_move(center, self.center, self._first_angle, self._last_angle)
        return (distance, seam) if distance else None


def _blocks_that_fit(engine: Engine, plan: Gridding) -> int:
    """Blocks of LANES rows for which the device has memory at this moment, with room to work on them."""
    left = USABLE_SHARE * engine.free_bytes() - LANES // 2 * plan.pair_nbytes()
    return max(0, int(left / (plan.row_nbytes() + plan.add_row_nbytes(MIN_PROJECTIONS))) // LANES)


def fits_on_device(
    backend: Backend, rows: int, columns: int, center: float | None = None, extend: bool = False
) -> bool:
    """Whether the device has memory for all rows of a ``GpuFourierVolume`` at this moment. Raises BadInput as that."""
    plan = Gridding(columns, center, extend=extend)
    return _blocks_that_fit(backend.kernels.engine, plan) * LANES >= rows


def reconstruct_rows_on_device(
    backend: Backend,
    attenuation: Projections,
    angle_rad: NDArray[Any],
    weights: NDArray[Any],
    center: float,
    window: str = "ramp",
    extend: bool = False,
    out: Image | None = None,
) -> Image:
    """``reconstruct_rows_fourier`` on the device, in chunks of rows that fit; the CPU makes rows that do not.

    Projections that lie on the device are read there.
    """
    if attenuation.ndim != 3:
        raise BadInput(f"projections must be (angles, rows, columns), not {attenuation.shape}")
    angles, rows, columns = attenuation.shape
    theta, weight = np.asarray(angle_rad, np.float64).ravel(), np.asarray(weights, np.float64).ravel()
    result = np.empty((rows, columns, columns), np.float32) if out is None else out
    if theta.size != angles or weight.size != angles:
        raise BadInput(f"{angles} projections with {theta.size} angles and {weight.size} weights")
    if result.shape != (rows, columns, columns) or result.dtype != np.float32 or not result.flags.c_contiguous:
        raise BadInput(f"out is {result.dtype} {result.shape}, not contiguous float32 {(rows, columns, columns)}")
    plan = Gridding(columns, center, window, extend)
    source = attenuation.array if isinstance(attenuation, OnDevice) else as_input(attenuation, np.float32)
    together = min(MAX_PROJECTIONS, max(angles, 1))

    def on_device(first: int, last: int) -> None:
        volume = GpuGrid(backend.kernels, last - first, columns, center, window, extend)
        for begin in range(0, angles, together):
            some = slice(begin, begin + together)
            volume.add(source[some], theta[some], weight[some], first)
        for begin in range(0, last - first, 2 * SLICE_PAIRS):
            end = min(begin + 2 * SLICE_PAIRS, last - first)
            volume.finish(begin, end, result[first + begin : first + end])

    def on_host(first: int, last: int) -> None:
        part = np.asarray(attenuation)[:, first:last]
        reconstruct_rows_fourier(backend, part, theta, weight, center, window, extend, result[first:last])

    row = plan.row_nbytes() + plan.add_row_nbytes(together)
    pairs = min(SLICE_PAIRS, -(-rows // 2))
    work = ChunkedWork("tomogram", rows, row, pairs * plan.pair_nbytes(), on_device, on_host, LANES)
    run_chunked(work, backend.kernels.engine, backend.fallbacks)
    return result
