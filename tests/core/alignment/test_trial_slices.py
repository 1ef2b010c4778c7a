"""The axis by trial reconstructions."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.alignment.trial_slices import center_from_sharpness
from streamer.core.backend.selection import Backend
from streamer.phantoms import gaussians, half_turn, sinogram
from tests.core.alignment.recorded import noisy_scan


def test_each_row_and_both_halves_vote_on_the_curve(numba_backend: Backend) -> None:
    angles = half_turn(120)
    frames, truth = noisy_scan(0, angles)
    found = center_from_sharpness(numba_backend, frames, angles)
    assert found.curve is not None
    candidates, score = found.curve
    assert candidates.shape == score.shape
    assert candidates[score.argmin()] == pytest.approx(truth, abs=2)
    assert center_from_sharpness(numba_backend, frames[:40], angles[:40]).center is None


def exact_scan(center: float, angles: np.ndarray, columns: int = 200, rows: int = 3) -> np.ndarray:
    """Sinograms (angles, rows, columns) of Gaussians, whose projections are known for any axis."""
    line = sinogram(gaussians(columns), columns, angles, center)
    return np.ascontiguousarray(line[:, None] * (1 + 0.3 * np.arange(rows))[None, :, None], np.float32)


@pytest.mark.parametrize("center", [99.5, 93.2, 110.71])
@pytest.mark.parametrize("turn", ["half", "full", "half and more"])
def test_the_axis_of_exact_sinograms(numba_backend: Backend, center: float, turn: str) -> None:
    ranges = {
        "half": half_turn(180),
        "full": np.arange(360) * np.pi / 180,
        "half and more": np.arange(220) * np.pi / 180,
    }
    angles = ranges[turn]
    found = center_from_sharpness(numba_backend, exact_scan(center, angles), angles)
    assert found.center == pytest.approx(center, abs=0.1)
    assert found.method == "sharpness"


def test_where_to_look_is_respected(numba_backend: Backend) -> None:
    angles = half_turn(180)
    frames = exact_scan(103.3, angles)
    near = center_from_sharpness(numba_backend, frames, angles, prior=102.0, reach_px=3.0)
    assert near.center == pytest.approx(103.3, abs=0.1)
    elsewhere = center_from_sharpness(numba_backend, frames, angles, prior=90.0, reach_px=3.0)
    assert elsewhere.center is None
    candidates, _ = near.curve
    assert candidates.min() >= 102.0 - 3.6
    assert candidates.max() <= 102.0 + 3.6


def test_noise_alone_has_no_axis(numba_backend: Backend) -> None:
    angles = half_turn(90)
    noise = np.random.default_rng(0).normal(0, 0.05, (90, 4, 128)).astype(np.float32)
    found = center_from_sharpness(numba_backend, noise, angles)
    assert found.confidence < 0.5


def test_the_order_of_the_angles_does_not_matter(numba_backend: Backend) -> None:
    angles = half_turn(120)
    frames = exact_scan(101.4, angles)
    order = np.random.default_rng(2).permutation(120)
    shuffled = center_from_sharpness(numba_backend, frames[order], angles[order])
    assert shuffled.center == pytest.approx(center_from_sharpness(numba_backend, frames, angles).center, abs=1e-3)


def test_an_axis_that_leans_is_that_of_the_middle_row(numba_backend: Backend) -> None:
    angles = half_turn(180)
    lines = [sinogram(gaussians(200), 200, angles, 99.5 + 0.004 * (row - 31.5)) for row in range(64)]
    found = center_from_sharpness(numba_backend, np.stack(lines, axis=1).astype(np.float32), angles)
    assert found.center == pytest.approx(99.5, abs=0.1)
