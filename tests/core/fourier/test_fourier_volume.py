"""Fourier gridding against the truth of analytic objects, and against direct backprojection of the same projections."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fbp.window import WINDOWS
from streamer.core.fourier.projection_batch import ProjectionBatch
from streamer.core.fourier.volume import MAX_MOVE_PX, FourierVolume, fourier_nbytes, reconstruct_rows_fourier
from streamer.core.masks import circle_mask
from streamer.core.memory import Memory
from streamer.frames import BadInput
from streamer.phantoms import Gaussian, gaussians, half_turn, image, shepp_logan, sinogram


@pytest.fixture(scope="module")
def one_thread(numba_backend: Backend) -> Backend:
    return replace(numba_backend, threads=1)


def scan(n: int, rows: int, center: float, start: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Attenuation (angles, rows, n) whose rows differ by a factor, and the angles."""
    angles = start + half_turn(n)
    line = sinogram(gaussians(n), n, angles, center)
    return (line[:, None] * (1 + 0.1 * np.arange(rows))[None, :, None]).astype(np.float32), angles


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


@pytest.mark.parametrize(
    ("n", "rows", "center", "start"),
    [(256, 16, 127.5, 0.0), (255, 1, 127.0, -0.4), (192, 33, 101.3, 2.0), (193, 5, 88.1, -3.0)],
)
def test_smooth_objects_are_right(
    numba_backend: Backend, n: int, rows: int, center: float, start: float
) -> None:  # fmt: skip
    attenuation, angles = scan(n, rows, center, start)
    found = reconstruct_rows_fourier(numba_backend, attenuation, angles, angular_weights(angles), center)
    mask, truth = circle_mask(n, 0.9 - 2 * abs(center - (n - 1) / 2) / n), image(gaussians(n), n)
    for row, slice_ in enumerate(found):
        error = (slice_ / (1 + 0.1 * row) - truth)[mask]
        assert rms(error) < 2e-4
        assert abs(error.mean()) < 1e-4


def test_edges_are_as_sharp_as_those_of_direct_backprojection(numba_backend: Backend) -> None:
    n = 256
    angles, mask, truth = half_turn(n), circle_mask(n, 0.95), image(shepp_logan(n), n)
    attenuation = sinogram(shepp_logan(n), n, angles)[:, None]
    gridded = reconstruct_rows_fourier(numba_backend, attenuation, angles, angular_weights(angles), 127.5)[0]
    direct = reconstruct_block(numba_backend, attenuation, angles, 127.5)[0]
    assert rms((gridded - truth)[mask]) <= 1.02 * rms((direct - truth)[mask])
    assert abs((gridded - truth)[mask].mean()) < 1e-3


def test_gain_is_the_same_at_every_radius(numba_backend: Backend) -> None:
    n = 256
    angles = half_turn(n)
    for turn, radius in enumerate(np.linspace(0, 0.9, 10) * n / 2):
        spot = [Gaussian(1.0, 2.5, radius * np.cos(2.4 * turn), radius * np.sin(2.4 * turn))]
        attenuation, truth = sinogram(spot, n, angles)[:, None], image(spot, n)
        found = reconstruct_rows_fourier(numba_backend, attenuation, angles, angular_weights(angles), 127.5)[0]
        assert np.vdot(found, truth) / np.vdot(truth, truth) == pytest.approx(1, abs=0.003)
        assert found.max() / truth.max() == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_are_those_of_the_filter(numba_backend: Backend, window: str) -> None:
    attenuation, angles = scan(128, 2, 63.5)
    gridded = reconstruct_rows_fourier(numba_backend, attenuation, angles, angular_weights(angles), 63.5, window)
    direct = reconstruct_block(numba_backend, attenuation, angles, 63.5, window)
    assert rms((gridded - direct)[:, circle_mask(128, 0.9)]) < 2e-3


def test_extended_edges_of_a_truncated_object(numba_backend: Backend) -> None:
    n, center = 160, 76.2
    wide = [Gaussian(1.0, 0.3 * n, 0.1 * n, 0.0), *gaussians(n)]
    angles, mask, truth = half_turn(2 * n), circle_mask(n, 0.85), image(wide, n)
    attenuation, weights = sinogram(wide, n, angles, center)[:, None], angular_weights(half_turn(2 * n))
    plain, gridded = (
        reconstruct_rows_fourier(numba_backend, attenuation, angles, weights, center, extend=extend)[0]
        for extend in (False, True)
    )
    direct = reconstruct_block(numba_backend, attenuation, angles, center, extend=True)[0]
    assert rms((gridded - direct)[mask]) < 3e-3
    assert rms((gridded - truth)[mask]) < 0.5 * rms((plain - truth)[mask])


def test_angles_beyond_half_a_turn(numba_backend: Backend) -> None:
    n = 129
    angles = 2 * half_turn(2 * n + 1) - 1.0
    attenuation, truth = sinogram(gaussians(n), n, angles, 61.7)[:, None], image(gaussians(n), n)
    found = reconstruct_rows_fourier(numba_backend, attenuation, angles, angular_weights(angles), 61.7)[0]
    assert rms((found - truth)[circle_mask(n, 0.9)]) < 3e-4


def test_any_order_and_late_weights_are_the_same_sum(numba_backend: Backend) -> None:
    attenuation, angles = scan(96, 20, 47.5)
    weights = angular_weights(angles)
    at_once = reconstruct_rows_fourier(numba_backend, attenuation, angles, weights, 47.5)
    volume = FourierVolume(numba_backend, 20, 96, 47.5)
    order = np.random.default_rng(1).permutation(len(angles))
    used = weights * np.linspace(0.9, 1.1, len(angles))
    for part in np.array_split(order, 7):
        volume.add(ProjectionBatch(attenuation[part], angles[part], used[part]))
    volume.add(ProjectionBatch(attenuation, angles, weights - used))
    late = volume.rows_of(0, volume.blocks)
    assert np.abs(late - at_once).max() < 2e-5 * np.abs(at_once).max()


def test_every_prefix_is_a_reconstruction_of_what_came(numba_backend: Backend) -> None:
    n = 128
    attenuation, angles = scan(n, 3, 63.5)
    order = np.concatenate([np.arange(start, n, 4) for start in (0, 2, 1, 3)])
    volume, used = FourierVolume(numba_backend, 3, n), np.zeros(0)
    for share in (1, 2, 3, 4):
        came = order[: share * n // 4]
        weights, fresh = angular_weights(angles[came]), came[(share - 1) * n // 4 :]
        volume.add(ProjectionBatch(attenuation[fresh], angles[fresh], weights[len(used) :]))
        before = came[: len(used)]
        volume.add(ProjectionBatch(attenuation[before], angles[before], weights[: len(used)] - used))
        used = weights
        direct = reconstruct_block(numba_backend, attenuation[came], angles[came], 63.5)
        assert rms((volume.rows_of(0, 1) - direct)[:, circle_mask(n, 0.9)]) < 3e-3


def test_rows_do_not_touch_each_other(numba_backend: Backend) -> None:
    n, rows = 64, 37
    angles = half_turn(n)
    attenuation = np.random.default_rng(2).standard_normal((n, rows, n)).astype(np.float32)
    attenuation[:, 11] = 0.0
    weights = angular_weights(angles)
    together = reconstruct_rows_fourier(numba_backend, attenuation, angles, weights, 31.5)
    scale = np.abs(together).max()
    assert np.abs(together[11]).max() < 1e-5 * scale
    for row in (0, 7, 8, 15, 16, 36):
        alone = reconstruct_rows_fourier(numba_backend, attenuation[:, row : row + 1], angles, weights, 31.5)
        assert np.abs(alone[0] - together[row]).max() < 1e-5 * scale


def test_results_depend_neither_on_threads_nor_on_time_slices(numba_backend: Backend, one_thread: Backend) -> None:
    attenuation, angles = scan(80, 70, 41.0)
    weights = angular_weights(angles)
    runs = [reconstruct_rows_fourier(b, attenuation, angles, weights, 41.0) for b in (numba_backend, numba_backend)]
    runs.append(reconstruct_rows_fourier(one_thread, attenuation, angles, weights, 41.0))
    volume = FourierVolume(numba_backend, 70, 80, 41.0)
    assert volume.blocks == 5
    for blocks in ((3, 5), (0, 1), (1, 3)):
        volume.add(ProjectionBatch(attenuation, angles, weights), blocks=blocks)
    runs.append(volume.rows_of(0, 5))
    for run in runs[1:]:
        assert np.array_equal(run, runs[0])


def test_no_sample_reaches_beyond_the_grid_of_its_block(numba_backend: Backend) -> None:
    rng, turns = np.random.default_rng(5), np.arange(4) * np.pi / 2
    for columns in range(2, 75):
        volume = FourierVolume(numba_backend, 17, columns, (columns - 1) / 2 + columns % 3 / 3)
        frames = rng.standard_normal((4, 17, columns)).astype(np.float32)
        volume.add(ProjectionBatch(frames, turns, np.ones(4)), blocks=(0, 1))
        assert np.isfinite(volume.rows_of(0, 1)).all()
        assert not volume.rows_of(1, 2).any(), columns


def test_looking_in_between_and_clearing_change_nothing(numba_backend: Backend) -> None:
    attenuation, angles = scan(64, 18, 31.5)
    weights = angular_weights(angles)
    volume = FourierVolume(numba_backend, 18, 64)
    volume.add(ProjectionBatch(attenuation, angles, weights))
    undisturbed = volume.rows_of(0, 2)
    volume.clear()
    assert not volume.rows_of(0, 2).any()
    volume.add(ProjectionBatch(attenuation[:32], angles[:32], weights[:32]))
    volume.rows_of(1, 2)
    volume.add(ProjectionBatch(attenuation[32:], angles[32:], weights[32:]))
    assert np.abs(volume.rows_of(0, 2) - undisturbed).max() < 1e-5 * undisturbed.max()
    assert np.array_equal(volume.rows_of(1, 2), volume.rows_of(0, 2)[16:])


@pytest.mark.parametrize("n", [64, 65])
def test_slices_go_where_they_are_wanted(numba_backend: Backend, n: int) -> None:
    attenuation, angles = scan(n, 60, (n - 1) / 2)
    volume = FourierVolume(numba_backend, 40, n)
    volume.add(ProjectionBatch(attenuation, angles, angular_weights(angles)), first_row=7)
    wanted = reconstruct_rows_fourier(numba_backend, attenuation[:, 7:47], angles, angular_weights(angles), (n - 1) / 2)
    given = np.full((42 * n * n + 1), 9.0, np.float32)
    shifted = given[1 : 40 * n * n + 1].reshape(40, n, n)  # begins at no multiple of 16 bytes
    assert volume.rows_of(0, 3, shifted) is shifted
    assert np.array_equal(shifted, wanted)
    assert given[0] == 9.0
    assert np.all(given[40 * n * n + 1 :] == 9.0)


@pytest.mark.parametrize(("start", "move"), [(0.0, 0.1), (0.0, -0.1), (0.7, 0.3), (-2.0, -0.3)])
def test_the_centre_can_be_moved_afterwards(numba_backend: Backend, start: float, move: float) -> None:
    n, center = 256, 129.4
    for parts, most in ((shepp_logan(n), 0.02 * abs(move) / 0.1), (gaussians(n), None)):
        angles, mask, truth = start + half_turn(n), circle_mask(n, 0.9), image(parts, n)
        attenuation, weights = sinogram(parts, n, angles, center)[:, None], angular_weights(angles)
        exact = reconstruct_rows_fourier(numba_backend, attenuation, angles, weights, center)[0]
        volume = FourierVolume(numba_backend, 1, n, center - move)
        volume.add(ProjectionBatch(attenuation, angles, weights))
        moved, unmoved = volume.rows_of(0, 1, center=center)[0], volume.rows_of(0, 1)[0]
        if most is None:
            assert rms((moved - exact)[mask]) < 2e-3 * abs(move)
        else:
            assert rms((moved - truth)[mask]) < (1 + most) * rms((exact - truth)[mask])
        assert rms((moved - exact)[mask]) < 0.3 * rms((unmoved - exact)[mask])
        assert np.array_equal(volume.rows_of(0, 1, center=center - move)[0], unmoved)


def test_moving_the_centre_is_refused_where_it_cannot_work(numba_backend: Backend) -> None:
    volume = FourierVolume(numba_backend, 2, 32)
    frame = np.zeros((1, 2, 32), np.float32)
    volume.add(ProjectionBatch(frame, np.array([-0.1]), np.ones(1)))
    volume.add(ProjectionBatch(frame, np.array([-0.1 + np.pi]), np.ones(1)))
    volume.rows_of(0, 1, center=15.5 + MAX_MOVE_PX)
    with pytest.raises(BadInput, match="is not within"):
        volume.rows_of(0, 1, center=15.4 - MAX_MOVE_PX)
    assert volume.within_half_turn
    volume.add(ProjectionBatch(frame, np.array([-0.2]), np.ones(1)))
    assert not volume.within_half_turn
    volume.rows_of(0, 1, center=15.5)
    with pytest.raises(BadInput, match=r"span 185\.7°"):
        volume.rows_of(0, 1, center=15.6)
    volume.clear()
    assert volume.within_half_turn


@pytest.mark.parametrize(("rows", "columns", "extend"), [(16, 256, False), (50, 200, True), (1, 333, False)])
def test_memory_is_known_beforehand(numba_backend: Backend, rows: int, columns: int, extend: bool) -> None:
    told = fourier_nbytes(rows, columns, columns / 2 + 3, extend, numba_backend.threads)
    frames, memory = np.zeros((20, rows, columns), np.float32), Memory()
    tracemalloc.start()
    volume = FourierVolume(numba_backend, rows, columns, columns / 2 + 3, extend=extend, memory=memory)
    volume.add(ProjectionBatch(frames, np.zeros(20), np.zeros(20)))
    tables, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del volume
    assert memory.kept_bytes == told
    assert tables < 100_000  # on top


def test_bad_input_is_named(numba_backend: Backend) -> None:
    volume = FourierVolume(numba_backend, 20, 32)
    good = np.zeros((3, 20, 32), np.float32)
    for frames, angles, weights, first, match in (
        (good[0], [0.0], [1.0], 0, r"projections \(angle, row, column\) \(20, 32\) for 32 columns"),
        (good[:, :, :31], [0.0] * 3, [1.0] * 3, 0, "for 32 columns"),
        (good[:, :19], [0.0] * 3, [1.0] * 3, 0, "19 rows for a volume of 20"),
        (good, [0.0] * 3, [1.0] * 3, 1, "from row 1"),
        (good, [0.0] * 2, [1.0] * 3, 0, "3 projections with 2 angles and 3 weights"),
        (good, [0.0, np.nan, 0.0], [1.0] * 3, 0, "not a finite number"),
        (good, [0.0] * 3, [1.0, np.inf, 0.0], 0, "not a finite number"),
    ):
        with pytest.raises(BadInput, match=match):
            volume.add(ProjectionBatch(frames, np.array(angles), np.array(weights)), first)
    for blocks in ((0, 3), (1, 1), (-1, 1)):
        with pytest.raises(BadInput, match="blocks"):
            volume.add(ProjectionBatch(good, np.zeros(3), np.ones(3)), blocks=blocks)
        with pytest.raises(BadInput, match="blocks"):
            volume.rows_of(*blocks)
    with pytest.raises(BadInput, match=r"not contiguous float32 \(16, 32, 32\)"):
        volume.rows_of(0, 1, np.empty((20, 32, 32), np.float32))
    with pytest.raises(BadInput, match="nothing that 32 columns see"):
        FourierVolume(numba_backend, 1, 32, 90.0)
    with pytest.raises(BadInput, match="centre nan"):
        FourierVolume(numba_backend, 1, 32, np.nan)
    with pytest.raises(BadInput, match="at least 1 row and 2 columns"):
        FourierVolume(numba_backend, 0, 32)
    with pytest.raises(BadInput, match="window 'box'"):
        FourierVolume(numba_backend, 1, 32, window="box")
    with pytest.raises(BadInput, match="must be"):
        reconstruct_rows_fourier(numba_backend, good[0], np.zeros(1), np.zeros(1), 15.5)


def test_no_projections_give_empty_slices(numba_backend: Backend) -> None:
    empty = np.zeros((0, 3, 40), np.float32)
    assert not reconstruct_rows_fourier(numba_backend, empty, np.zeros(0), np.zeros(0), 19.5).any()
