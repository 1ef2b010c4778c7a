from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from streamer.core.jit import as_input
from streamer.core.preprocessing.eigen_flats import MOST_COMPONENTS, MOST_FLATS, EigenFlats, mean_blocks
from streamer.frames import BadInput

ROWS, COLUMNS = 120, 200
Y, X = np.meshgrid(np.linspace(-1, 1, ROWS), np.linspace(-1, 1, COLUMNS), indexing="ij")
SAMPLE = 1.5 * np.sqrt(np.maximum(0, 1 - (X / 0.6) ** 2)) * (1 + 0.2 * np.sin(9 * Y))


def beam() -> np.ndarray:
    grain = gaussian_filter(np.random.default_rng(0).normal(size=(ROWS, COLUMNS)), 1.5)
    return 8000 * np.exp(-(Y**2)) * (1 + 0.5 * grain)


def moved_beam(y: float, x: float) -> np.ndarray:
    """A multilayer's stripes that move up and down, a gradient that moves sideways."""
    waves = (1 + 0.15 * np.sin(14 * (Y - 0.03 * y))) * (1 + 0.05 * np.sin(8 * (X - 0.03 * x)))
    return 8000 * np.exp(-((Y - 0.05 * y) ** 2)) * waves


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def test_eigen_flats_follow_a_beam_that_moves() -> None:
    rng = np.random.default_rng(2)
    flats = np.stack([rng.poisson(moved_beam(*rng.normal(size=2))) for _ in range(24)]).astype(float)
    eigen = EigenFlats(flats)
    assert 2 <= len(eigen.components) <= 3
    reference = flats.mean(axis=0)
    before, after, floor = [], [], []
    for _ in range(10):
        now = moved_beam(*rng.normal(size=2))
        counts = np.maximum(rng.poisson(now * np.exp(-SAMPLE)), 0.5)
        seen = np.log(reference / counts).astype(np.float32)
        before.append(rms(seen - SAMPLE))
        eigen.apply(seen)
        after.append(rms(seen - SAMPLE))
        floor.append(rms(np.log(now / counts) - SAMPLE))
    excess = [np.sqrt(max(0, np.mean(np.square(e)) - np.mean(np.square(floor)))) for e in (before, after)]
    assert excess[1] < 0.3 * excess[0]


def test_a_steady_beam_has_no_components() -> None:
    rng = np.random.default_rng(3)
    eigen = EigenFlats(np.stack([rng.poisson(beam()) for _ in range(20)]))
    assert len(eigen.components) == 0
    frame = SAMPLE.astype(np.float32)
    assert eigen.apply(frame).size == 0
    assert np.array_equal(frame, SAMPLE.astype(np.float32))
    with pytest.raises(BadInput, match="three"):
        EigenFlats(np.ones((2, 4, 4)))
    with pytest.raises(BadInput):
        eigen.weights(frame.T)


def two_patterns() -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of two smooth patterns of the beam, orthogonal and each with an rms of one."""
    patterns = np.stack([np.sin(np.pi * X), np.sin(2 * np.pi * Y)])
    return patterns / np.sqrt(np.mean(patterns**2, axis=(1, 2)))[:, None, None]


def flats_of(strengths: tuple[float, float], count: int = 30) -> np.ndarray:
    """Flats with little noise in which the two patterns vary with these rms, uncorrelated with each other."""
    phase = 2 * np.pi * np.arange(count) / count
    share = np.sqrt(2) * np.stack([strengths[0] * np.cos(phase), strengths[1] * np.sin(phase)], axis=1)
    noise = np.random.default_rng(7).normal(0, 1e-3, (count, ROWS, COLUMNS))
    return 1000 * np.exp(np.tensordot(share, two_patterns(), 1) + noise)


def test_components_are_the_patterns_in_order_of_their_strength() -> None:
    eigen = EigenFlats(flats_of((0.02, 0.1)))
    assert len(eigen.components) == 2
    np.testing.assert_allclose(eigen.strength, [0.1, 0.02], rtol=0.02)
    for found, wanted in zip(eigen.components, two_patterns()[::-1], strict=True):
        assert rms(found) == pytest.approx(1, abs=1e-5)
        assert abs(np.mean(found * wanted)) > 0.999


def test_weights_undo_what_was_added() -> None:
    eigen = EigenFlats(flats_of((0.02, 0.1)))
    weights = np.array([0.05, -0.2])
    frame = (0.7 - np.tensordot(weights, eigen.components, 1)).astype(np.float32)
    np.testing.assert_allclose(eigen.weights(frame), weights, atol=1e-5)
    used = eigen.apply(frame)
    np.testing.assert_allclose(used, weights, atol=1e-5)
    np.testing.assert_allclose(frame, 0.7, atol=1e-5)


def test_given_weights_are_applied_by_any_number_of_threads() -> None:
    components = EigenFlats(flats_of((0.02, 0.1))).components
    for threads in (1, 2, 7):
        frame = np.zeros((ROWS, COLUMNS), np.float32)
        EigenFlats(flats_of((0.02, 0.1)), threads).apply(frame, np.array([2.0, -1.0]))
        np.testing.assert_allclose(frame, 2 * components[0] - components[1], atol=1e-5)


def test_pixels_that_are_dead_in_one_flat_are_left_alone() -> None:
    flats = flats_of((0.1, 0.1))
    flats[3, 20, 30], flats[4, 50, 60], flats[5, 70, 80] = 0, np.nan, np.inf
    eigen = EigenFlats(flats)
    assert np.isfinite(eigen.components).all()
    assert len(eigen.components) == 2


def test_no_more_components_than_flats_can_tell_from_noise() -> None:
    assert len(EigenFlats(flats_of((0.1, 0.05), 4)).components) <= 1
    rng = np.random.default_rng(5)
    many = 1000 * np.exp(0.1 * np.stack([moved_beam(*rng.normal(size=2)) / 8000 for _ in range(MOST_FLATS + 20)]))
    assert len(EigenFlats(many).components) <= MOST_COMPONENTS


@pytest.mark.parametrize(("down", "across"), [(1, 1), (3, 4), (7, 2)])
def test_means_over_blocks_leave_out_the_remainder(down: int, across: int) -> None:
    image = np.random.default_rng(6).normal(size=(22, 31)).astype(np.float32)
    rows, columns = 22 // down, 31 // across
    out = np.empty((rows, columns), np.float32)
    mean_blocks(as_input(image), down, across, 2, out)
    blocks = image[: rows * down, : columns * across].reshape(rows, down, columns, across)
    np.testing.assert_allclose(out, blocks.mean(axis=(1, 3)), atol=1e-6)
