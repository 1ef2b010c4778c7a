from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.tv.reconstruction import (
    HALO_ROWS,
    LEAST_NOISE,
    NOISE_TO_PRIOR,
    TvProblem,
    _spread_out,
    plan_tv_blocks,
    prior_weight,
    reconstruct_tv,
    tv_blocks,
    tv_row_nbytes,
)
from streamer.frames import BadInput
from streamer.phantoms import half_turn, image, shepp_logan, sinogram

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


def test_without_noise_the_prior_has_a_floor_and_it_grows_with_the_angles() -> None:
    level = np.full((16, 1, 64), 0.5, np.float32)
    assert prior_weight(level) == pytest.approx(NOISE_TO_PRIOR * LEAST_NOISE * 0.5 * np.sqrt(16), rel=1e-5)
    assert prior_weight(np.tile(level, (4, 1, 1))) == pytest.approx(2 * prior_weight(level), rel=1e-5)
    noisy = np.random.default_rng(0).normal(0, 0.1, (16, 40, 64)).astype(np.float32)
    assert prior_weight(noisy) == pytest.approx(NOISE_TO_PRIOR * 0.1 * np.sqrt(16), rel=0.05)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 16])
def test_every_subset_has_its_turn(count: int) -> None:
    assert sorted(_spread_out(count)) == list(range(count))


def test_the_first_subsets_are_spread_evenly() -> None:
    order = _spread_out(16)
    for first, step in ((2, 8), (4, 4), (8, 2)):
        assert sorted(order[:first]) == list(range(0, 16, step))


def test_rows_are_asked_for_with_their_neighbours(numba_backend: Backend) -> None:
    angles, asked = half_turn(6), []
    frames = np.random.default_rng(1).uniform(size=(6, 20, 12)).astype(np.float32)

    def read(first: int, last: int) -> tuple[np.ndarray, None]:
        asked.append((first, last))
        return frames[:, first:last], None

    problem, memory = TvProblem(0.1, 2), 13 * tv_row_nbytes(6, 12)
    blocks = list(tv_blocks(numba_backend, read, 20, angles, 12, 5.5, problem, memory_bytes=memory))
    first = [row for row, _ in blocks]
    last = [row + len(block) for row, block in blocks]
    assert first == [0, *last[:-1]]
    assert last[-1] == 20
    assert asked == [(max(0, a - HALO_ROWS), min(20, b + HALO_ROWS)) for a, b in zip(first, last, strict=True)]
    assert all(block.shape[1:] == (12, 12) for _, block in blocks)


def test_no_iterations_give_filtered_backprojection(numba_backend: Backend) -> None:
    angles = half_turn(24)
    frames = scan(angles, 0.01, rows=2)
    found = reconstruct_tv(numba_backend, frames, angles, MIDDLE, iterations=0)
    wanted = np.maximum(reconstruct_block(numba_backend, frames, angles, MIDDLE, "hann"), 0)
    np.testing.assert_allclose(found, wanted, atol=1e-7)
