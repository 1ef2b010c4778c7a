from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.tv import kernels as kernels_iterative
from streamer.core.tv.projector import Projector
from streamer.core.tv.reconstruction import plan_tv_blocks, prior_weight, reconstruct_tv, tv_row_nbytes
from streamer.frames import BadInput
from streamer.phantoms import gaussians, half_turn, image, shepp_logan, sinogram

N = 96
MIDDLE = (N - 1) / 2


def scan(angles: np.ndarray, noise: float, center: float = MIDDLE, rows: int = 1) -> np.ndarray:
    """Shepp-Logan projections (angles, rows, N), the noise a share of the largest attenuation."""
    lines = sinogram(shepp_logan(N), N, angles, center)[:, None].repeat(rows, axis=1)
    rng = np.random.default_rng(7)
    return (lines + rng.normal(0, noise * lines.max(), lines.shape)).astype(np.float32)


def rmse(volume: np.ndarray) -> float:
    return float(np.sqrt(np.mean((volume - image(shepp_logan(N), N)) ** 2)))


def best_fbp(backend: Backend, frames: np.ndarray, angles: np.ndarray) -> float:
    return min(rmse(reconstruct_block(backend, frames, angles, MIDDLE, window)) for window in ("ramp", "hann"))


@pytest.mark.parametrize("center", [16.0, 14.3, 3.9, -2.0])
def test_the_projectors_are_transposes(numba_backend: Backend, center: float) -> None:
    rng = np.random.default_rng(0)
    projector = Projector(numba_backend, rng.uniform(-7, 7, 9), 33, center, (29, 31))
    volume = rng.normal(size=(29, 31, 5)).astype(np.float32)
    lines = projector.padded(rng.normal(size=(9, 5, 33)))
    there = np.vdot(projector.forward(volume).astype(np.float64), lines)
    back = np.vdot(volume.astype(np.float64), projector.backward(lines, 1.0, np.zeros_like(volume)))
    size = np.linalg.norm(projector.forward(volume)) * np.linalg.norm(lines)
    assert abs(there - back) < 1e-6 * size


def test_projections_are_the_line_integrals_of_the_convention(numba_backend: Backend) -> None:
    angles, center = np.linspace(0, 2 * np.pi, 40), MIDDLE + 3.3
    projector = Projector(numba_backend, angles, N, center, (N, N))
    exact = sinogram(gaussians(N), N, angles, center)
    found = projector.forward(image(gaussians(N), N)[:, :, None])
    inside = found[:, 2:-2, 0]
    assert np.abs(inside - exact).max() < 0.01 * exact.max()
    assert np.sqrt(np.mean((inside - exact) ** 2)) < 0.002 * exact.max()
    assert not found[:, :2].any()
    assert not found[:, -2:].any()


def test_a_subset_is_some_of_the_angles(numba_backend: Backend) -> None:
    projector = Projector(numba_backend, half_turn(8), N, MIDDLE, (N, N))
    volume = image(gaussians(N), N)[:, :, None]
    part = slice(3, 6)
    np.testing.assert_array_equal(projector.subset(part).forward(volume), projector.forward(volume)[part])


def test_the_norm_bounds_every_vector(numba_backend: Backend) -> None:
    projector = Projector(numba_backend, half_turn(12), 40, 19.5, (40, 40))
    bound = projector.norm_squared()
    rng = np.random.default_rng(1)
    for vector in (rng.normal(size=(40, 40, 1)), rng.uniform(size=(40, 40, 1)), np.ones((40, 40, 1))):
        seen = projector.forward(vector.astype(np.float32))
        assert np.vdot(seen, seen) <= bound * np.vdot(vector, vector)


CASES = {
    "an eighth of the angles": (half_turn(12), 0.0, 0.35),
    "an eighth, noisy": (half_turn(12), 0.02, 0.5),
    "120 degrees": (np.arange(60) * np.deg2rad(2.0), 0.005, 0.75),
    "all angles, very noisy": (half_turn(96), 0.06, 0.65),
}


@pytest.mark.parametrize("case", CASES)
def test_better_than_filtered_backprojection(numba_backend: Backend, case: str) -> None:
    """The limit is the ratio of its error to that of FBP with the better of two filters."""
    angles, noise, limit = CASES[case]
    frames = scan(angles, noise)
    found = reconstruct_tv(numba_backend, frames, angles, MIDDLE)
    assert rmse(found) < limit * best_fbp(numba_backend, frames, angles)
    assert found.min() >= 0


def test_offset_axis_is_the_same_tomogram(numba_backend: Backend) -> None:
    """Full turn, a third of the detector lost on one side: what no ray saw at one angle, another did."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    center = MIDDLE - 0.3 * N
    found = reconstruct_tv(numba_backend, scan(angles, 0.005, center), angles, center)
    assert rmse(found) < 0.06


def test_a_warm_start_arrives_sooner(numba_backend: Backend) -> None:
    angles = half_turn(16)
    frames = scan(angles, 0.01)
    settled = reconstruct_tv(numba_backend, frames, angles, MIDDLE, iterations=300)

    def away(start: np.ndarray, iterations: int) -> float:
        found = reconstruct_tv(numba_backend, frames, angles, MIDDLE, start=start, iterations=iterations)
        return float(np.linalg.norm(found - settled) / np.linalg.norm(settled))

    live = reconstruct_tv(numba_backend, frames, angles, MIDDLE, iterations=40)
    kept = live.copy()
    assert away(live, 10) < 0.5 * away(np.zeros_like(live), 10)
    assert away(live, 10) < away(live, 0)
    np.testing.assert_array_equal(live, kept)


def test_two_runs_and_any_number_of_threads_give_the_same_bits(numba_backend: Backend) -> None:
    angles = half_turn(24)
    frames = scan(angles, 0.02, rows=3)
    one = reconstruct_tv(numba_backend, frames, angles, MIDDLE, iterations=12)
    np.testing.assert_array_equal(one, reconstruct_tv(numba_backend, frames, angles, MIDDLE, iterations=12))
    single = dataclasses.replace(numba_backend, threads=1)
    again = reconstruct_tv(single, frames, angles, MIDDLE, iterations=12, start=np.zeros_like(one))
    other = reconstruct_tv(numba_backend, frames, angles, MIDDLE, iterations=12, start=np.zeros_like(one))
    np.testing.assert_array_equal(again, other)


def test_rows_help_each_other_and_blocks_change_little(numba_backend: Backend) -> None:
    angles = half_turn(24)
    frames = scan(angles, 0.05, rows=12)
    together = reconstruct_tv(numba_backend, frames, angles, MIDDLE)
    alone = reconstruct_tv(numba_backend, frames[:, 5:6], angles, MIDDLE)
    assert rmse(together[5]) < 0.9 * rmse(alone[0])
    memory = 10 * tv_row_nbytes(24, N)
    blocks = reconstruct_tv(numba_backend, frames, angles, MIDDLE, memory_bytes=memory)
    assert rmse(blocks) < 1.1 * rmse(together)


def test_blocks_cover_the_rows_and_fit() -> None:
    row = tv_row_nbytes(20, 64)
    assert plan_tv_blocks(50, 20, 64, None) == [(0, 50)]
    blocks = plan_tv_blocks(50, 20, 64, 20 * row)
    assert [r0 for r0, _ in blocks[1:]] == [r1 for _, r1 in blocks[:-1]]
    assert (blocks[0][0], blocks[-1][1]) == (0, 50)
    assert max(r1 - r0 for r0, r1 in blocks) + 6 <= 20
    with pytest.raises(BadInput, match="MiB"):
        plan_tv_blocks(50, 20, 64, 6 * row)


def test_progress_tells_of_every_iteration_and_stops_when_settled(numba_backend: Backend) -> None:
    angles = half_turn(24)
    seen: list[tuple[int, int, float]] = []
    frames = scan(angles, 0.01)
    reconstruct_tv(numba_backend, frames, angles, MIDDLE, iterations=400, progress=lambda *now: seen.append(now))
    assert [done for done, _, _ in seen] == list(range(1, len(seen) + 1))
    assert len(seen) < 400
    assert seen[-1][2] < 1e-4


def test_strength_follows_the_noise_and_negative_values_can_be_kept(numba_backend: Backend) -> None:
    angles = half_turn(24)
    assert prior_weight(scan(angles, 0.04)) == pytest.approx(2 * prior_weight(scan(angles, 0.02)), rel=0.1)
    frames = scan(angles, 0.02)
    rough, smooth = (reconstruct_tv(numba_backend, frames, angles, MIDDLE, strength=s) for s in (0.0, 5.0))
    assert np.abs(np.diff(smooth)).sum() < 0.5 * np.abs(np.diff(rough)).sum()
    free = reconstruct_tv(numba_backend, -frames, angles, MIDDLE, nonnegative=False, iterations=30)
    assert rmse(-free) < 0.1
    assert not reconstruct_tv(numba_backend, -frames, angles, MIDDLE, iterations=30).any()


def test_what_makes_no_sense_is_refused(numba_backend: Backend) -> None:
    angles, frames = half_turn(6), np.zeros((6, 1, 8), np.float32)
    good = (frames, angles, 3.5)
    assert not reconstruct_tv(numba_backend, *good).any()
    for bad in ((frames[0], angles, 3.5), (frames, angles[:3], 3.5), (frames, angles, np.nan), (frames, angles, 99.0)):
        with pytest.raises(BadInput):
            reconstruct_tv(numba_backend, *bad)
    with pytest.raises(BadInput):
        reconstruct_tv(numba_backend, frames + np.float32(np.nan), angles, 3.5)
    for options in ({"strength": -1.0}, {"iterations": -1}, {"subsets": 7}, {"start": np.zeros((1, 8, 9))}):
        with pytest.raises(BadInput):
            reconstruct_tv(numba_backend, *good, **options)


@pytest.mark.parametrize("shape", [(5, 7, 1), (6, 3, 4), (1, 1, 1), (4, 1, 5)])
def test_the_steps_of_the_prior_are_those_of_the_textbook(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=shape).astype(np.float32)
    dual = np.zeros((3, *shape), np.float32)
    ahead = dual.copy()
    kernels_iterative.tv_dual(image, 0.7, 0.4, 2, ahead, dual)
    gradient = np.zeros((3, *shape))
    for axis in range(3):
        inside = [slice(None)] * 3
        inside[axis] = slice(0, -1)
        gradient[(axis, *inside)] = np.diff(image.astype(float), axis=axis)
    wanted = 0.7 * gradient / np.maximum(1, 0.7 * np.sqrt((gradient**2).sum(axis=0)))
    np.testing.assert_allclose(dual, wanted, atol=1e-6)
    np.testing.assert_allclose(ahead, 1.4 * wanted, atol=1e-6)
    out = np.empty_like(image)
    kernels_iterative.tv_primal(image, dual, 0.3, -0.5, 2, out)
    divergence = sum(np.diff(wanted[axis], axis=axis, prepend=0.0) for axis in range(3))
    np.testing.assert_allclose(out, np.maximum(image + 0.3 * divergence, -0.5), atol=1e-6)


def test_many_threads_do_what_one_does_in_the_prior() -> None:
    rng = np.random.default_rng(1)
    shape = (67, 40, 50)
    assert np.prod(shape) >= kernels_iterative.SMALL_VOLUME
    image, start = rng.normal(size=shape).astype(np.float32), rng.normal(size=(3, *shape)).astype(np.float32)
    found = []
    for parts in (1, 3):
        ahead, dual, out = start.copy(), 0.5 * start, np.empty_like(image)
        kernels_iterative.tv_dual(image, 0.7, 0.4, parts, ahead, dual)
        kernels_iterative.tv_primal(image, dual, 0.3, 0.0, parts, out)
        found.append((ahead, dual, out))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
