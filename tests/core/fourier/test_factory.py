"""The Fourier volume of each backend, and what becomes of it when a device has little memory."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.factory import fourier_volume, reconstruct_rows
from streamer.core.fourier.gpu_volume import GpuFourierVolume
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import FourierVolume
from streamer.frames import BadInput
from streamer.phantoms import half_turn
from tests.core.shim import ShimEngine, shim_backend
from tests.core.suites import VolumeSuite, rms


class TestOnTheCpu(VolumeSuite):
    @pytest.fixture
    def backend(self, numba_backend: Backend) -> Backend:
        return numba_backend


class TestOnTheShim(VolumeSuite):
    n = 40
    smooth = 2e-3
    sharp = 1.05

    @pytest.fixture
    def backend(self, engine: ShimEngine) -> Backend:
        return shim_backend(engine)


class TestMostlyOnTheHost(TestOnTheShim):
    """A device that has room for one block of 16 rows, and for the slices of few rows at a time."""

    @pytest.fixture
    def backend(self, engine: ShimEngine) -> Backend:
        engine.claims = 1_300_000
        return shim_backend(engine)

    def test_both_have_a_part(self, backend: Backend, engine: ShimEngine) -> None:
        angles = half_turn(20)
        batch = ProjectionBatch(self.noise(20, 19, self.n), angles, angular_weights(angles))
        fourier_volume(backend, 19, self.n).add(batch)
        assert "grid_samples" in engine.launched
        assert backend.fallbacks.reason.startswith("volume: 16 of 19 rows")


def test_each_backend_gets_its_own(engine: ShimEngine, numba_backend: Backend) -> None:
    assert isinstance(fourier_volume(numba_backend, 1, 16), FourierVolume)
    assert isinstance(fourier_volume(shim_backend(engine), 1, 16), GpuFourierVolume)
    assert (numba_backend.on_device, shim_backend(engine).on_device) == (False, True)


class TestLittleMemory:
    """The same numbers, whatever the device runs out of and when; and it is said and counted."""

    n, rows = 24, 37
    angles = half_turn(30)
    frames = np.random.default_rng(3).standard_normal((30, 37, 24)).astype(np.float32)
    weights = angular_weights(angles)

    def streamed(self, backend: Backend) -> NDArray[np.float32]:
        volume = fourier_volume(backend, self.rows, self.n, 11.3)
        for some in (slice(0, 12), slice(12, 30)):
            volume.add(ProjectionBatch(self.frames[some], self.angles[some], self.weights[some]))
        return volume.rows_of(0, volume.blocks)

    def at_once(self, backend: Backend) -> NDArray[np.float32]:
        return reconstruct_rows(backend, self.frames, self.angles, self.weights, 11.3)

    def same(self, work: Callable[[Backend], NDArray[np.float32]], backend: Backend, numba_backend: Backend) -> None:
        expected = work(numba_backend)
        assert rms(work(backend) - expected) < 1e-4 * rms(expected)

    @pytest.mark.parametrize("way", ["streamed", "at_once"])
    def test_enough_of_it_is_not_worth_a_word(
        self, engine: ShimEngine, numba_backend: Backend, way: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        backend = shim_backend(engine)
        self.same(getattr(self, way), backend, numba_backend)
        assert not any(backend.fallbacks.events.values())
        assert not caplog.records
        assert engine.used == 0, "memory of the device is kept beyond its volume"

    @pytest.mark.parametrize("way", ["streamed", "at_once"])
    def test_none_at_all(
        self, engine: ShimEngine, numba_backend: Backend, way: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine.capacity = 0
        backend = shim_backend(engine)
        self.same(getattr(self, way), backend, numba_backend)
        assert backend.fallbacks.events == {"smaller_chunks": 0, "does_not_fit": 1, "out_of_memory": 0}
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert not engine.launched

    @pytest.mark.parametrize("way", ["streamed", "at_once"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.2, 2.0])
    def test_less_than_all_of_it(self, engine: ShimEngine, numba_backend: Backend, way: str, share: float) -> None:
        """Planned with, so that the memory never runs out."""
        getattr(self, way)(shim_backend(engine))
        engine.capacity = int(share * engine.peak)
        engine.launched.clear()
        backend = shim_backend(engine)
        self.same(getattr(self, way), backend, numba_backend)
        assert ("grid_samples" in engine.launched) == (share > 0.6)
        assert backend.fallbacks.events["out_of_memory"] == 0

    @pytest.mark.parametrize("way", ["streamed", "at_once"])
    @pytest.mark.parametrize("share", [0.05, 0.2, 0.4, 0.6, 0.8, 0.99])
    def test_a_device_that_has_less_than_it_says(
        self, engine: ShimEngine, numba_backend: Backend, way: str, share: float
    ) -> None:
        getattr(self, way)(shim_backend(engine))
        engine.capacity, engine.claims = int(share * engine.peak), 2**40
        backend = shim_backend(engine)
        self.same(getattr(self, way), backend, numba_backend)
        assert sum(backend.fallbacks.events.values()) > 0
        assert backend.fallbacks.events["does_not_fit"] == 0
        assert engine.used == 0

    @pytest.mark.parametrize("way", ["streamed", "at_once"])
    @pytest.mark.parametrize("length", [1, 2, 5, 2**30])
    def test_it_runs_out_at_any_moment(self, engine: ShimEngine, numba_backend: Backend, way: str, length: int) -> None:
        """For each allocation of a run: no memory from that one on, for a while or for good."""
        work = getattr(self, way)
        expected = work(numba_backend)
        work(shim_backend(engine))
        for first in range(1, engine.allocations + 1):
            engine.allocations, engine.fails_from, engine.fails_until = 0, first, first + length
            backend = shim_backend(engine)
            assert rms(work(backend) - expected) < 1e-4 * rms(expected), first
            assert sum(backend.fallbacks.events.values()) > 0

    def test_the_centre_moves_in_what_went_to_the_host_as_well(
        self, engine: ShimEngine, numba_backend: Backend
    ) -> None:
        """As near to gridding anew as on the CPU, with rows and projections on the device, on the host, and on both."""
        backend = shim_backend(engine)
        exact = reconstruct_rows(numba_backend, self.frames, self.angles, self.weights, 11.5)
        engine.claims = 800_000  # two of three blocks
        volume, reference = (fourier_volume(b, self.rows, self.n, 11.3) for b in (backend, numba_backend))
        assert backend.fallbacks.reason.startswith("volume: 32 of 37 rows")
        for each in (volume, reference):
            engine.fails_from, engine.fails_until = 2**40, 2**40
            each.add(ProjectionBatch(self.frames[:15], self.angles[:15], self.weights[:15]))
            engine.fails_from = 0
            each.add(ProjectionBatch(self.frames[15:], self.angles[15:], self.weights[15:]))
        expected = reference.rows_of(0, 3, center=11.5) - exact
        for fails_from in (0, 2**40):
            engine.fails_from = fails_from
            assert rms(volume.rows_of(0, 3, center=11.5) - exact) < 1.1 * rms(expected)


class TestFramesThatAreThere:
    """Projections that lie on the device already: the same numbers, and nothing of them crosses the bus again."""

    n, rows = 24, 37
    angles = half_turn(30)
    frames = np.random.default_rng(4).standard_normal((30, 41, 24)).astype(np.float32)
    weights = angular_weights(angles)

    def expected(self, numba_backend: Backend, first_row: int, extend: bool = False) -> NDArray[np.float32]:
        reference = FourierVolume(numba_backend, self.rows, self.n, 11.3, extend=extend)
        reference.add(ProjectionBatch(self.frames, self.angles, self.weights), first_row)
        return reference.rows_of(0, reference.blocks)

    def volume(self, backend: Backend, extend: bool = False) -> GpuFourierVolume:
        return GpuFourierVolume(backend, self.rows, self.n, 11.3, extend=extend)

    @pytest.mark.parametrize("first_row", [0, 3])
    @pytest.mark.parametrize("extend", [False, True])
    def test_the_host_is_not_asked(
        self, engine: ShimEngine, numba_backend: Backend, first_row: int, extend: bool
    ) -> None:
        """Whatever lies on the host: any rows of larger frames, block by block, in frames of a larger array."""
        volume, lies = self.volume(shim_backend(engine), extend), np.full_like(self.frames, np.nan)
        there = engine.upload(np.concatenate([self.frames, lies]))[:30]
        for blocks in ((0, 1), (1, 2), (2, 3)):
            volume.add(ProjectionBatch(lies, self.angles, self.weights, there), first_row, blocks)
        expected = self.expected(numba_backend, first_row, extend)
        assert rms(volume.rows_of(0, 3) - expected) < 1e-4 * rms(expected)

    @pytest.mark.parametrize("rows_on_device", [0, 16])
    def test_what_the_device_cannot_take_comes_from_the_host(
        self, engine: ShimEngine, numba_backend: Backend, rows_on_device: int
    ) -> None:
        """Rows for which it has no memory at all, and projections for which it has none at the moment."""
        engine.claims = 700_000 if rows_on_device else 0
        backend = shim_backend(engine)
        volume = self.volume(backend)
        assert backend.fallbacks.reason.startswith(f"volume: {rows_on_device} of {self.rows} rows")
        there = engine.upload(self.frames)
        engine.claims = None
        for some, allocations in ((slice(0, 12), 2**40), (slice(12, 30), 0)):
            engine.fails_from, engine.fails_until = allocations, 2**40
            volume.add(ProjectionBatch(self.frames[some], self.angles[some], self.weights[some], there[some]))
        assert backend.fallbacks.events["out_of_memory"] == (rows_on_device > 0)
        engine.fails_from = 2**40
        expected = self.expected(numba_backend, 0)
        assert rms(volume.rows_of(0, 3) - expected) < 1e-4 * rms(expected)

    def test_smaller_pieces_of_them_when_memory_is_short(self, engine: ShimEngine, numba_backend: Backend) -> None:
        backend = shim_backend(engine)
        volume, there = self.volume(backend), engine.upload(self.frames)
        engine.memory = 8 * volume.rows * 64 * 10  # lines of some ten projections
        volume.add(ProjectionBatch(np.full_like(self.frames, np.nan), self.angles, self.weights, there))
        assert backend.fallbacks.events["smaller_chunks"] > 0
        engine.memory = 2**40
        expected = self.expected(numba_backend, 0)
        assert rms(volume.rows_of(0, 3) - expected) < 1e-4 * rms(expected)

    def test_refuses_others(self, engine: ShimEngine) -> None:
        volume = self.volume(shim_backend(engine))
        for bad in (self.frames[:29], self.frames[:, :40], self.frames.astype(np.float64)):
            with pytest.raises(BadInput, match="on the device"):
                volume.add(ProjectionBatch(self.frames, self.angles, self.weights, engine.upload(bad)))
        assert not volume.rows_of(0, 3).any()
