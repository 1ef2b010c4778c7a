"""The iterative reconstruction on a device that has less memory than it needs."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.backend.engine import DeviceOutOfMemory
from streamer.core.backend.selection import Backend
from streamer.core.tv.projector import Projector, table_nbytes
from streamer.core.tv.reconstruction import HALO_ROWS, TvProblem, reconstruct_tv, tv_blocks, tv_row_nbytes
from streamer.phantoms import half_turn, shepp_logan, sinogram
from tests.core.shim import ShimEngine, shim_backend

SINGLE = 3e-6
"""Of the largest number, what sums in another order may differ by where they are short."""

RUN = 3e-5
"""Of the largest number, what a whole run may differ by: its iterations are the same, their rounding is not."""


def scan(n: int, rows: int, angles: NDArray[np.float64], center: float) -> Image:
    """Noisy projections (angles, rows, n), each row with other noise."""
    lines = sinogram(shepp_logan(n), n, angles, center)[:, None].repeat(rows, axis=1)
    noise = np.random.default_rng(5).normal(0, 0.02 * lines.max(), lines.shape)
    return (lines + noise).astype(np.float32)


def close(found: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


class TestLittleMemory:
    """One block of 12 rows on devices that have less than it needs."""

    ANGLES, N, ROWS = half_turn(12), 18, 12
    ROW = tv_row_nbytes(12, 18)

    def run(self, backend: Backend, iterations: int = 12, **options: Any) -> Image:
        frames = scan(self.N, self.ROWS, self.ANGLES, 8.5)
        return reconstruct_tv(backend, frames, self.ANGLES, 8.5, iterations=iterations, **options)

    def needed(self, rows: int) -> int:
        return rows * self.ROW + table_nbytes(12)

    def test_what_is_planned_with_suffices(self, engine: ShimEngine, numba_backend: Backend) -> None:
        backend = shim_backend(engine)
        engine.capacity = self.needed(self.ROWS)
        engine.claims = 2 * engine.capacity
        close(self.run(backend), self.run(numba_backend), RUN)
        assert engine.launched["total_sums"] == 12
        assert not any(backend.fallbacks.events.values())
        assert engine.peak > 0.8 * engine.capacity
        assert engine.used == 0

    def test_in_chunks(self, engine: ShimEngine, numba_backend: Backend) -> None:
        """Each chunk with the rows beside it: what a block of the CPU with the same rows gives."""
        backend = shim_backend(engine)
        engine.capacity = int(self.needed(4 + 2 * HALO_ROWS) / 0.9) + 100
        told: list[tuple[int, int, float]] = []
        found = self.run(backend, progress=lambda *now: told.append(now))
        close(found, self.run(numba_backend, memory_bytes=(4 + 2 * HALO_ROWS) * self.ROW), RUN)
        assert engine.launched["total_sums"] == 3 * 12
        done = [at for at, _, _ in told]
        assert done == sorted(done)
        assert (done[-1], {of for _, of, _ in told}) == (12, {12})

    def test_no_room_for_a_row(self, engine: ShimEngine, numba_backend: Backend) -> None:
        backend = shim_backend(engine)
        engine.capacity = 1000
        np.testing.assert_array_equal(self.run(backend), self.run(numba_backend))
        assert backend.fallbacks.events["does_not_fit"] == 1
        assert "few angles" in backend.fallbacks.reason
        assert not engine.launched

    def part(self, backend: Backend, first: int, last: int) -> Image:
        """These rows as a scan of their own, with the same prior."""
        frames = scan(self.N, self.ROWS, self.ANGLES, 8.5)[:, first:last]

        def read(r0: int, r1: int) -> tuple[Image, None]:
            return frames[:, r0:r1], None

        ((_, found),) = tv_blocks(backend, read, last - first, self.ANGLES, self.N, 8.5, TvProblem(0.1, 12))
        return found

    def test_it_runs_out_although_it_seemed_to_suffice(self, engine: ShimEngine, numba_backend: Backend) -> None:
        """Half the rows at a time; and where even one row finds no room, the rest on the CPU."""
        backend = shim_backend(engine)
        engine.claims, engine.capacity = 2**40, self.needed(6 + HALO_ROWS)
        halves = self.part(numba_backend, 0, 6 + HALO_ROWS)[:6], self.part(numba_backend, 6 - HALO_ROWS, 12)[HALO_ROWS:]
        close(self.part(backend, 0, 12), np.concatenate(halves), RUN)
        assert backend.fallbacks.events["smaller_chunks"] == 1
        assert engine.launched["total_sums"] == 2 * 12
        engine.capacity = self.needed(3)
        np.testing.assert_array_equal(self.part(backend, 0, 12), self.part(numba_backend, 0, 12))
        assert backend.fallbacks.events["out_of_memory"] == 1
        assert "items 0 to 12 on the CPU" in backend.fallbacks.reason

    @pytest.mark.parametrize("moment", [1, 5, 12, 20, 60, 75])
    def test_it_runs_out_at_any_moment(self, engine: ShimEngine, numba_backend: Backend, moment: int) -> None:
        backend = shim_backend(engine)
        engine.fails_from, engine.fails_until = moment, 2**40
        found = self.run(backend, start=np.zeros((self.ROWS, self.N, self.N), np.float32))
        close(found, self.run(numba_backend, start=np.zeros_like(found)), RUN)
        assert backend.fallbacks.events["out_of_memory"] == 1
        assert engine.used == 0

    def test_other_errors_are_not_taken_for_a_lack_of_memory(self, engine: ShimEngine) -> None:
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        backend = shim_backend(engine)
        with pytest.raises(KeyboardInterrupt):
            self.run(backend, progress=stop)
        assert not any(backend.fallbacks.events.values())
        assert engine.used == 0

    def test_blocks_of_the_host_and_chunks_of_the_device(self, engine: ShimEngine, numba_backend: Backend) -> None:
        frames = scan(self.N, self.ROWS, self.ANGLES, 8.5)
        backend = shim_backend(engine)
        asked: list[tuple[int, int]] = []

        def read(first: int, last: int) -> tuple[Image, None]:
            asked.append((first, last))
            return frames[:, first:last], None

        given = (read, self.ROWS, self.ANGLES, self.N, 8.5, TvProblem(0.1, 8), None, 12 * self.ROW - 1)
        engine.capacity = int(self.needed(3 + 2 * HALO_ROWS) / 0.9) + 100
        found, expected = (
            np.concatenate([block for _, block in tv_blocks(one, *given)]) for one in (backend, numba_backend)
        )
        assert asked[: len(asked) // 2] == asked[len(asked) // 2 :]
        assert engine.launched["total_sums"] > 8 * (len(asked) // 2)
        assert np.abs(found - expected).max() < 0.02 * expected.max()


def test_a_device_without_memory_says_so(library: ctypes.CDLL) -> None:
    engine = ShimEngine(library)
    engine.capacity = 1000
    with pytest.raises(DeviceOutOfMemory):
        Projector(shim_backend(engine), half_turn(5), 20, 9.5, (20, 20))
