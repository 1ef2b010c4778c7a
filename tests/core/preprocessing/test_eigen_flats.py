from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from streamer.core.preprocessing.eigen_flats import EigenFlats
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
