"""The Fourier grid on a device, on the host shim: against closed forms, definitions and what its memory allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
from numpy.typing import NDArray

from streamer.core.backend.chunks import ChunkedWork, FallbackCounters, run_chunked
from streamer.core.backend.engine import DeviceOutOfMemory
from streamer.core.backend.gpu_kernels import Kernels
from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.gpu_grid import GpuGrid, Gridding, packs_of
from streamer.core.fourier.kernels import OUTWARD_NUDGE
from streamer.core.masks import circle_mask
from streamer.frames import BadInput
from streamer.phantoms import gaussians, half_turn, image, shepp_logan, sinogram
from tests.core.shim import ShimEngine, both_orders, device, host


@pytest.fixture
def kernels(engine: ShimEngine) -> Kernels:
    return Kernels(engine)


@pytest.mark.parametrize(("n", "offset"), [(64, 0.0), (65, 0.0), (96, -5.3)])
def test_gaussians_are_quantitative(engine: ShimEngine, kernels: Kernels, n: int, offset: float) -> None:
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


def test_agrees_with_backprojection(engine: ShimEngine, kernels: Kernels, numba_backend: Backend) -> None:
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


def test_rows_batches_and_order(engine: ShimEngine, kernels: Kernels) -> None:
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


def test_gridding_is_the_sum_over_all_samples(engine: ShimEngine, kernels: Kernels) -> None:
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


def test_truncated_data_are_extended(engine: ShimEngine, kernels: Kernels, numba_backend: Backend) -> None:
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


def test_little_memory_means_smaller_pieces(engine: ShimEngine, kernels: Kernels) -> None:
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


def test_refuses_nonsense(kernels: Kernels) -> None:
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


def test_memory_is_what_is_stated(engine: ShimEngine, kernels: Kernels) -> None:
    engine.memory = 2 * packs_of(20) * Gridding(32).row_nbytes()
    GpuGrid(kernels, 20, 32, 15.5)
    engine.memory -= 1
    with pytest.raises(DeviceOutOfMemory):
        GpuGrid(kernels, 20, 32, 15.5)
    assert packs_of(20) == 12
