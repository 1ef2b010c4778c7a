"""Fourier gridding against direct backprojection of the same projections, and against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import gaussians, half_turn, sinogram

from streamer.core.backend import Backend
from streamer.core.filters import angular_weights
from streamer.core.gridding import FourierVolume, fourier_nbytes, reconstruct_rows_fourier
from streamer.core.planes import circle_mask
from streamer.core.volume import reconstruct_block


def scan(n: int, rows: int, center: float) -> tuple[np.ndarray, np.ndarray]:
    """Attenuation (angles, rows, n) whose rows differ by a factor, and the angles."""
    angles = half_turn(n)
    line = sinogram(gaussians(n), n, angles, center)
    return (line[:, None] * (1 + 0.1 * np.arange(rows))[None, :, None]).astype(np.float32), angles


@pytest.mark.parametrize(("n", "rows", "center"), [(128, 16, 63.5), (127, 5, 60.2), (96, 33, 50.7)])
def test_agrees_with_backprojection(numba_backend: Backend, n: int, rows: int, center: float) -> None:
    attenuation, angles = scan(n, rows, center)
    direct = reconstruct_block(numba_backend, attenuation, angles, center)
    gridded = reconstruct_rows_fourier(numba_backend, attenuation, angles, angular_weights(angles), center)
    mask = circle_mask(n, 0.85)
    error = np.sqrt(np.mean((gridded - direct)[:, mask] ** 2)) / np.abs(direct).max()
    assert error < 3e-3


def test_any_order_and_late_weights_are_the_same_sum(numba_backend: Backend) -> None:
    attenuation, angles = scan(96, 20, 47.5)
    weights = angular_weights(angles)
    at_once = reconstruct_rows_fourier(numba_backend, attenuation, angles, weights, 47.5)
    volume = FourierVolume(numba_backend, 20, 96, 47.5)
    assert volume.nbytes == fourier_nbytes(20, 96, 47.5, threads=numba_backend.threads)
    order = np.random.default_rng(1).permutation(len(angles))
    used = weights * np.linspace(0.9, 1.1, len(angles))
    for part in np.array_split(order, 7):
        volume.add(attenuation[part], angles[part], used[part])
    volume.add(attenuation, angles, weights - used)
    late = np.concatenate([block for _, block in volume.finish()])
    assert np.abs(late - at_once).max() < 2e-5 * np.abs(at_once).max()


def test_two_runs_are_identical(numba_backend: Backend) -> None:
    attenuation, angles = scan(64, 16, 31.5)
    runs = [
        reconstruct_rows_fourier(numba_backend, attenuation, angles, angular_weights(angles), 31.5) for _ in range(2)
    ]
    assert np.array_equal(*runs)
