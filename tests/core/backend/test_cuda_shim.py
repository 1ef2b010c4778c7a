"""The CUDA kernels on the host shim (see ``shim``), each against numba's or against its definition."""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray

from streamer.core.backend import cuda_source as cuda
from streamer.core.backend.chunks import ChunkedWork, FallbackCounters, run_chunked
from streamer.core.backend.engine import DeviceOutOfMemory
from streamer.core.backend.gpu_kernels import Kernels
from streamer.core.backend.selection import Backend
from streamer.core.fbp import kernels as kernels_fbp
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.gpu_grid import GpuGrid, Gridding, packs_of
from streamer.core.fourier.kernels import OUTWARD_NUDGE
from streamer.core.masks import circle_mask
from streamer.core.preprocessing.flat_field import CorrectionTables, FlatFieldCorrection, row_moments_of
from streamer.core.preprocessing.kernels import moment_margin
from streamer.frames import BadInput
from streamer.phantoms import gaussians, half_turn, image, shepp_logan, sinogram
from tests.core.shim import ShimArray, ShimEngine, build, shim_backend
from tests.core.suites import BackendSuite


@pytest.fixture
def kernels(engine: ShimEngine) -> Kernels:
    return Kernels(engine)


class TestShim(BackendSuite):
    @pytest.fixture
    def backend(self, engine: ShimEngine) -> Backend:
        return shim_backend(engine)


def device(engine: ShimEngine, array: NDArray[Any]) -> ShimArray:
    return engine.upload(np.ascontiguousarray(array))


def host(array: ShimArray) -> NDArray[Any]:
    return array._values.copy()


def both_orders(engine: ShimEngine, work: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The result of ``work``, which must not depend on the order in which threads and blocks run."""
    engine.backwards = False
    forwards = work()
    engine.backwards = True
    assert np.array_equal(forwards, work())
    return forwards


class TestSameAsNumba:
    """Kernel by kernel against those of numba on the same random numbers."""

    @pytest.mark.parametrize("depth", [1, 3, 4, 8, 12, 20, 21])
    def test_rows(self, engine: ShimEngine, kernels: Kernels, depth: int) -> None:
        rng = np.random.default_rng(2)
        angles, cols = 70, 30
        p = rng.normal(size=(angles, depth, cols)).astype(np.float32)
        turned = np.ascontiguousarray(p.transpose(0, 2, 1))
        theta = rng.uniform(0, np.pi, 72)
        weight = np.pad(rng.uniform(0.1, 1, angles), (0, 2)).astype(np.float32)
        tables = np.cos(theta).astype(np.float32), np.sin(theta).astype(np.float32), weight
        expected = np.empty((depth, 27, 35), np.float32)
        kernels_fbp.backproject_rows(turned, *tables, 13.6, 2, expected)

        def rows() -> NDArray[Any]:
            out = np.empty(expected.shape, np.float32)
            kernels.backproject_rows(turned, *tables, 13.6, 1, out)
            return out

        np.testing.assert_allclose(both_orders(engine, rows), expected, atol=2e-5)
        assert ("backproject_rows_any" in engine.launched) == (depth % 4 != 0)

    @pytest.mark.parametrize("columns", [1, 5, 200])
    def test_moments(self, engine: ShimEngine, kernels: Kernels, columns: int) -> None:
        source = np.random.default_rng(3).normal(1, 1, (2, 7, columns)).astype(np.float32)

        def work() -> NDArray[Any]:
            out = engine.empty((2, 7, 4), np.float64)
            kernels.row_moments(device(engine, source), moment_margin(columns), out)
            return host(out)

        np.testing.assert_allclose(both_orders(engine, work), row_moments_of(source), rtol=1e-12, atol=1e-9)

    def test_transposition_of_many(self, engine: ShimEngine, kernels: Kernels) -> None:
        frames = np.random.default_rng(4).normal(size=(3, 33, 65)).astype(np.float32)

        def work() -> NDArray[Any]:
            out = engine.empty((3, 65, 33), np.float32)
            kernels.to_z_contiguous(device(engine, frames), out)
            return host(out)

        assert np.array_equal(both_orders(engine, work), frames.transpose(0, 2, 1))


class TestPreparation:
    """Raw frames to attenuation on the device, as ``FlatFieldCorrection.prepare`` makes it on the host."""

    def run(self, engine: ShimEngine, kernels: Kernels, raw: NDArray[Any], tables: CorrectionTables) -> NDArray[Any]:
        lists = [device(engine, part) for part in (tables.dead.first, tables.dead.places, tables.dead.share)]
        images = device(engine, tables.dark), device(engine, tables.log_flat)
        dead = tuple(lists) if len(tables.dead) else None

        def work() -> NDArray[Any]:
            out = engine.empty(raw.shape, np.float32)
            kernels.prepare(device(engine, raw), *images, tables.low, tables.high, dead, out)
            return host(out)

        return both_orders(engine, work)

    @pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4", "<f4"])
    @pytest.mark.parametrize("dead_share", [0.0, 0.07, 0.9])
    def test_like_the_cpu(self, engine: ShimEngine, kernels: Kernels, dtype: str, dead_share: float) -> None:
        """All types, with dead pixels, rows of them, and numbers that are none."""
        rng = np.random.default_rng(5)
        raw = rng.uniform(20, 250, (2, 35, 1100)).astype(dtype)
        dark = rng.uniform(0, 10, raw.shape[1:]).astype(np.float32)
        flat = rng.uniform(200, 255, raw.shape[1:]).astype(np.float32)
        flat[rng.uniform(size=flat.shape) < dead_share] = 0
        if dead_share:
            flat[11], flat[-1] = 0, 0
        if dtype == "<f4":
            raw[0, 3, 5], raw[0, 4, 6], raw[1, 7, 8] = np.nan, np.inf, -np.inf
        correction, expected = FlatFieldCorrection(dark, flat), np.empty(raw.shape, np.float32)
        correction.prepare(raw, expected)
        found = self.run(engine, kernels, raw, correction.tables(raw[0]))
        np.testing.assert_allclose(found, expected, atol=3e-6)
        assert found[:, 11].any() == (dead_share == 0)

    def test_a_32_bit_counter_keeps_its_last_count(self, engine: ShimEngine, kernels: Kernels) -> None:
        raw = np.array([[[2**31, 2**31 + 1]]], np.uint32)
        flat = FlatFieldCorrection(np.full((1, 2), 2.0**31 - 128), np.full((1, 2), 2.0**31 + 1024))
        found = self.run(engine, kernels, raw, flat.tables(raw[0]))
        np.testing.assert_allclose(found[0, 0], -np.log(np.array([128, 129]) / 1152), atol=1e-6)


class TestFourierVolume:
    @pytest.mark.parametrize(("n", "offset"), [(64, 0.0), (65, 0.0), (96, -5.3)])
    def test_gaussians_are_quantitative(self, engine: ShimEngine, kernels: Kernels, n: int, offset: float) -> None:
        center = (n - 1) / 2 + offset
        theta = half_turn(n + 32)
        blobs = [type(g)(g.value, 1.2 * g.sigma, 0.6 * g.x, 0.6 * g.y) for g in gaussians(n)]
        lines = sinogram(blobs, n, theta, center)
        volume = GpuGrid(kernels, 1, n, center)
        volume.add(lines[:, None], theta, angular_weights(theta))
        result = volume.finish(0, 1, np.empty((1, n, n), np.float32))[0]
        error = (result - image(blobs, n))[circle_mask(n, 0.9 - 2 * abs(offset) / n)]
        scale = image(blobs, n).max()
        assert np.sqrt(np.mean(error**2)) < 1e-3 * scale
        assert abs(error.mean()) < 2e-4 * scale

    def test_agrees_with_backprojection(self, engine: ShimEngine, kernels: Kernels, numba_backend: Backend) -> None:
        n = 64
        theta = half_turn(96)
        lines = sinogram(shepp_logan(n), n, theta)[:, None].astype(np.float32)
        volume = GpuGrid(kernels, 1, n, (n - 1) / 2)
        volume.add(lines, theta, angular_weights(theta))
        result = volume.finish(0, 1, np.empty((1, n, n), np.float32))[0]
        truth, mask = image(shepp_logan(n), n), circle_mask(n, 0.9)
        direct = reconstruct_block(numba_backend, lines, theta, (n - 1) / 2)[0]

        def rms(other: NDArray[Any]) -> float:
            return float(np.sqrt(np.mean((other - truth)[mask] ** 2)))

        assert rms(result) < 1.02 * rms(direct)

    def test_rows_batches_and_order(self, engine: ShimEngine, kernels: Kernels) -> None:
        """Every row is the same as alone; batches and their order change nothing but rounding; runs repeat exactly."""
        n, rows = 24, 11
        rng = np.random.default_rng(6)
        theta = rng.uniform(0, np.pi, 75)
        theta[:3] = 0.0, np.pi / 2, np.pi / 4
        weight = angular_weights(theta)
        frames = rng.normal(size=(75, rows, n)).astype(np.float32)

        def work() -> NDArray[Any]:
            volume = GpuGrid(kernels, rows, n, 11.2)
            volume.add(frames, theta, weight)
            return host(volume.finish(0, rows))

        whole = both_orders(engine, work)
        mixed = GpuGrid(kernels, rows, n, 11.2)
        for some in np.array_split(rng.permutation(75), 4):
            mixed.add(device(engine, frames[some]), theta[some], weight[some])
        np.testing.assert_allclose(host(mixed.finish(0, rows)), whole, atol=1e-5)
        part = np.empty((3, n, n), np.float32)
        assert mixed.finish(4, 7, part) is part
        np.testing.assert_allclose(part, whole[4:7], atol=1e-5)
        alone = GpuGrid(kernels, 1, n, 11.2)
        alone.add(frames[:, 5:6], theta, weight)
        np.testing.assert_allclose(host(alone.finish(0, 1))[0], whole[5], atol=1e-5)

    def test_gridding_is_the_sum_over_all_samples(self, engine: ShimEngine, kernels: Kernels) -> None:
        """Against a scatter in float64 with the Kaiser-Bessel function itself, sample by sample."""
        plan = Gridding(24)
        rng = np.random.default_rng(7)
        theta = np.concatenate((rng.uniform(0, 2 * np.pi, 66), [0.0, np.pi / 2, np.pi]))
        packs, size, limit = 8, plan.size, plan.radii - 1
        samples = (rng.normal(size=(theta.size, plan.length, packs, 2)) @ [1, 1j]).astype(np.complex64)
        expected = np.ones((packs, size, size), np.complex128)
        direction = plan.direction(theta).astype(np.float64)
        axis = np.arange(size) - size // 2

        def window(distance: NDArray[Any]) -> NDArray[Any]:
            root = np.sqrt(np.maximum(1 - (distance / 2) ** 2, 0))
            return np.where(abs(distance) < 2, scipy.special.i0(plan.beta * root) / scipy.special.i0(plan.beta), 0)

        for a in range(theta.size):
            for j in range(-limit, limit + 1):
                at = j * direction[:, a] + OUTWARD_NUDGE * np.sign(j)
                w = np.outer(window(axis - at[1]), window(axis - at[0]))
                expected += w * samples[a, j][:, None, None]

        def work() -> NDArray[Any]:
            grid = device(engine, np.ones((packs, size, size), np.complex64))
            tables = device(engine, plan.direction(theta)), device(engine, plan.coefficients())
            kernels.grid_samples(device(engine, samples), *tables, plan.radii, grid)
            return host(grid)

        # A sample exactly at the kernel's end (0.2 % of its peak) may be counted or not.
        np.testing.assert_allclose(both_orders(engine, work), expected, atol=2e-2)
        assert np.median(abs(work() - expected)) < 1e-5

    def test_truncated_data_are_extended(self, engine: ShimEngine, kernels: Kernels, numba_backend: Backend) -> None:
        n = 64
        theta = half_turn(96)
        wide = sinogram(gaussians(2 * n), 2 * n, theta)[:, n // 2 : n // 2 + n]
        lines = np.ascontiguousarray(wide)[:, None].astype(np.float32)
        volume = GpuGrid(kernels, 1, n, (n - 1) / 2, extend=True)
        volume.add(lines, theta, angular_weights(theta))
        result = host(volume.finish(0, 1))[0]
        direct = reconstruct_block(numba_backend, lines, theta, (n - 1) / 2, extend=True)[0]
        mask = circle_mask(n, 0.8)
        assert np.sqrt(np.mean((result - direct)[mask] ** 2)) < 0.01 * float(direct[mask].max())

    def test_little_memory_means_smaller_pieces(self, engine: ShimEngine, kernels: Kernels) -> None:
        """The end of a scan in chunks of row pairs, on a device that has room for less than it says."""
        n, rows = 20, 11
        frames = np.random.default_rng(10).normal(size=(9, rows, n)).astype(np.float32)
        volume = GpuGrid(kernels, rows, n, 9.5)
        volume.add(frames, half_turn(9), np.full(9, 0.1))
        whole = volume.finish(0, rows, np.empty((rows, n, n), np.float32))
        out, counters = np.full(whole.shape, np.nan, np.float32), FallbackCounters()

        def on_device(first: int, last: int) -> None:
            last_row = min(2 * last, rows)
            volume.finish(2 * first, last_row, out[2 * first : last_row])

        def on_host(first: int, last: int) -> None:
            raise AssertionError("the device could do it all")

        engine.memory = 3 * 8 * volume.plan.size**2 + 7
        run_chunked(ChunkedWork("tomogram", 6, 8 * n * n, 0, on_device, on_host), engine, counters)
        assert np.array_equal(out, whole)
        assert counters.events["smaller_chunks"] == 1
        assert "chunks of 6" in counters.reason

    def test_refuses_nonsense(self, kernels: Kernels) -> None:
        with pytest.raises(BadInput):
            GpuGrid(kernels, 4, 16, np.nan)
        volume = GpuGrid(kernels, 4, 16, 7.5)
        frames = np.zeros((2, 4, 16), np.float32)
        for bad in (frames[:, :3], frames[..., :15], frames[:1]):
            with pytest.raises(BadInput):
                volume.add(bad, np.zeros(2), np.ones(2))
        with pytest.raises(BadInput):
            volume.add(frames, np.array([0, np.nan]), np.ones(2))
        for part in ((0, 3), (4, 4), (1, 4), (-8, 4)):
            with pytest.raises(BadInput, match="whole groups"):
                volume.add(frames, np.zeros(2), np.ones(2), part=part)
        for first, last in ((1, 3), (0, 5), (2, 2), (-2, 2)):
            with pytest.raises(BadInput):
                volume.finish(first, last)
        with pytest.raises(BadInput):
            volume.finish(0, 2, np.empty((1, 16, 16), np.float32))

    def test_memory_is_what_is_stated(self, engine: ShimEngine, kernels: Kernels) -> None:
        engine.memory = 2 * packs_of(20) * Gridding(32).row_nbytes()
        GpuGrid(kernels, 20, 32, 15.5)
        engine.memory -= 1
        with pytest.raises(DeviceOutOfMemory):
            GpuGrid(kernels, 20, 32, 15.5)
        assert packs_of(20) == 12


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    text = """
    #include "host_shim.hpp"
    extern "C" __global__ void race(float *out) { out[0] = threadIdx.x; }
    extern "C" __global__ void diverging(float *out) { if (threadIdx.x < 3) __syncthreads(); }
    extern "C" __global__ void no_barrier(float *out) {
        __shared__ float s[8];
        s[threadIdx.x] = threadIdx.x;
        out[threadIdx.x] = s[7 - threadIdx.x];
    }
    extern "C" __global__ void outside(float *out) { out[threadIdx.x + 1] = 0.0f; }
    SHIM_ENTRY(race) SHIM_ENTRY(diverging) SHIM_ENTRY(no_barrier) SHIM_ENTRY(outside)
    """
    return build(tmp_path_factory.mktemp("broken"), text)


class TestShimFinds:
    """What the shim is for: each of these would be silent on a GPU."""

    @pytest.fixture
    def engine(self, broken: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> ShimEngine:
        names = ("race", "diverging", "no_barrier", "outside")
        listed = {name: cuda.Kernel(name, "broken", 8, ("float*",)) for name in names}
        monkeypatch.setattr(cuda, "kernels", lambda: listed)
        return ShimEngine(broken)

    def run(self, engine: ShimEngine, kernel: str, backwards: bool) -> NDArray[Any]:
        out = engine.zeros((8,), np.float32)
        engine.backwards = backwards
        engine.launch(kernel, (1, 1, 1), (8, 1, 1), (out,))
        return host(out)

    def test_a_race(self, engine: ShimEngine) -> None:
        assert self.run(engine, "race", False)[0] != self.run(engine, "race", True)[0]

    def test_a_barrier_that_some_threads_miss(self, engine: ShimEngine) -> None:
        with pytest.raises(AssertionError, match="barriers diverge"):
            self.run(engine, "diverging", False)

    def test_a_barrier_that_is_not_there(self, engine: ShimEngine) -> None:
        assert np.isnan(self.run(engine, "no_barrier", False)).any()

    def test_a_write_out_of_bounds(self, engine: ShimEngine) -> None:
        with pytest.raises(AssertionError, match="out of bounds"):
            self.run(engine, "outside", False)

    def test_a_wrong_argument(self, engine: ShimEngine) -> None:
        with pytest.raises(AssertionError, match="float64"):
            engine.launch("race", (1, 1, 1), (8, 1, 1), (engine.zeros((8,), np.float64),))


def test_kernels_of_backprojection_have_the_signatures_of_numba() -> None:
    for kernel in (kernels_fbp.to_z_contiguous, kernels_fbp.backproject_rows):
        parameters = list(inspect.signature(kernel.py_func).parameters)
        assert list(inspect.signature(getattr(Kernels, kernel.py_func.__name__)).parameters)[1:] == parameters
