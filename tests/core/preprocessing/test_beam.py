from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from streamer.core.fbp.ramp_filter import RampFilter
from streamer.core.jit import as_input
from streamer.core.preprocessing.beam_drift import drift_from_margins, drift_from_monitor, open_margins, remove_drift
from streamer.core.preprocessing.eigen_flats import EigenFlats
from streamer.core.preprocessing.flat_pair import FlatPair, add_late
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


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.7, 1.0])
def test_two_flats(fraction: float) -> None:
    before, after = beam(), 0.85 * beam() * (1 + 0.08 * X * Y + 0.05 * np.sin(5 * X))
    now = (1 - fraction) * before + fraction * after
    seen = (np.log(before) - np.log(now * np.exp(-SAMPLE))).astype(np.float32)
    pair = FlatPair(before, after)
    assert pair.gain == pytest.approx(0.85, rel=0.03)
    exact = seen.copy()
    pair.apply(exact, fraction, 2)
    assert np.abs(exact - SAMPLE).max() < 2e-6
    # The same, late: on rows that were filtered before the second flats were there.
    ramp = RampFilter(COLUMNS)
    late = ramp.apply(seen)
    for coefficient, term in zip(pair.coefficients(fraction), pair.terms(), strict=True):
        late += np.float32(coefficient) * ramp.apply(term)
    assert rms(late - ramp.apply(SAMPLE)) < 2e-4 * rms(ramp.apply(SAMPLE))
    if fraction == 1.0:
        assert np.abs(seen - SAMPLE).max() > 0.2


def test_pixels_dead_in_one_set_are_left_alone() -> None:
    before, after = beam(), beam()
    after[3, 4], before[5, 6] = 0, np.nan
    pair = FlatPair(before, after)
    assert not pair.pattern.any()
    with pytest.raises(BadInput, match="beam"):
        FlatPair(before, np.zeros_like(after))
    with pytest.raises(BadInput):
        FlatPair(before, after.T)


def test_drift_of_the_beam_from_its_margins_and_from_a_monitor() -> None:
    rng = np.random.default_rng(1)
    drifted = SAMPLE + rng.normal(0, 0.02, SAMPLE.shape) + 0.03 + 2e-4 * (np.arange(COLUMNS) - (COLUMNS - 1) / 2)
    frame = drifted.astype(np.float32)
    left, right = open_margins(frame)
    assert 8 <= left <= 16
    assert 8 <= right <= 16
    drift = drift_from_margins(frame, left, right)
    assert drift.offset == pytest.approx(0.03, abs=4 * drift.sigma)
    assert drift.slope == pytest.approx(2e-4, abs=2e-5)
    assert drift.sigma < 1e-3
    remove_drift(frame, drift)
    assert abs(float(np.mean(frame - SAMPLE))) < 1e-3
    one = drift_from_margins(frame, left, 0)
    assert one.slope == 0
    assert abs(one.offset) < 3e-3
    assert drift_from_monitor(90, 100).offset == pytest.approx(np.log(100 / 90))
    with pytest.raises(BadInput, match="no column free"):
        drift_from_margins(frame, 0, 0)
    with pytest.raises(BadInput, match="positive"):
        drift_from_monitor(0, 1)


def test_margins_end_where_the_sample_begins() -> None:
    free = int(np.argmax(SAMPLE.max(axis=0) > 0.01))
    left, right = open_margins(SAMPLE.astype(np.float32), 60)
    assert abs(left - free) <= 1
    assert abs(right - free) <= 1


def test_a_sample_that_reaches_the_edge_leaves_no_margin() -> None:
    wide = np.full((ROWS, COLUMNS), 1.2, np.float32)
    assert open_margins(wide) == (0, 0)
    wide[:, :20] = 0.01
    assert open_margins(wide) == (16, 0)
    assert open_margins(wide[:, :5]) == (1, 1)
    assert open_margins(wide[:, :3]) == (0, 0)


@pytest.mark.parametrize("use_static", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.7])
def test_late_terms_in_one_pass(use_static: bool, share: float) -> None:
    rng = np.random.default_rng(4)
    source, static, pattern = (as_input(rng.uniform(-0.4, 0.4, (7, 12)).astype(np.float32)) for _ in range(3))
    wanted = source + use_static * static + 0.3 + 0.01 * (np.arange(12) - 5.5) + np.log1p(share * pattern)
    for threads in (1, 2):
        out = np.empty((7, 12), np.float32)
        add_late(source, static, use_static, pattern, share, 0.3, 0.01, threads, out)
        np.testing.assert_allclose(out, wanted, atol=1e-6)


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
