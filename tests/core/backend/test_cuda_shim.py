"""The CUDA kernels on the host shim (see ``shim``), each against numba's or against its definition."""

from __future__ import annotations

import ctypes
import inspect
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.core.backend import cuda_source as cuda
from streamer.core.backend.gpu_kernels import Kernels
from streamer.core.backend.selection import Backend
from streamer.core.fbp import kernels as kernels_fbp
from streamer.core.preprocessing.flat_field import CorrectionTables, FlatFieldCorrection, row_moments_of
from streamer.core.preprocessing.kernels import moment_margin
from tests.core.shim import ShimEngine, both_orders, build, device, host, shim_backend
from tests.core.suites import BackendSuite


@pytest.fixture
def kernels(engine: ShimEngine) -> Kernels:
    return Kernels(engine)


class TestShim(BackendSuite):
    @pytest.fixture
    def backend(self, engine: ShimEngine) -> Backend:
        return shim_backend(engine)


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
