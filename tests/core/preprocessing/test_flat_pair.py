from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from streamer.core.fbp.ramp_filter import RampFilter
from streamer.core.jit import as_input
from streamer.core.preprocessing.flat_pair import LOG_TERMS, FlatPair, add_late
from streamer.frames import BadInput

ROWS, COLUMNS = 120, 200
Y, X = np.meshgrid(np.linspace(-1, 1, ROWS), np.linspace(-1, 1, COLUMNS), indexing="ij")
SAMPLE = 1.5 * np.sqrt(np.maximum(0, 1 - (X / 0.6) ** 2)) * (1 + 0.2 * np.sin(9 * Y))


def beam() -> np.ndarray:
    grain = gaussian_filter(np.random.default_rng(0).normal(size=(ROWS, COLUMNS)), 1.5)
    return 8000 * np.exp(-(Y**2)) * (1 + 0.5 * grain)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.7, 1.0])
def test_two_flats(fraction: float) -> None:
    before, after = beam(), 0.85 * beam() * (1 + 0.08 * X * Y + 0.05 * np.sin(5 * X))
    now = (1 - fraction) * before + fraction * after
    seen = (np.log(before) - np.log(now * np.exp(-SAMPLE))).astype(np.float32)
    pair = FlatPair(before, after)
    assert pair.gain == pytest.approx(0.85, rel=0.03)
    base, share = pair.shares(fraction)
    exact = np.empty_like(seen)
    add_late(as_input(seen), as_input(seen), False, pair.pattern, share, base, 0.0, 2, exact)
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


def test_at_both_ends_of_the_scan_the_flat_is_one_of_the_two() -> None:
    before = beam()
    after = 0.9 * before * (1 + 0.05 * np.sin(5 * X))
    pair = FlatPair(before, after)
    assert pair.shares(0.0) == (0.0, 0.0)
    change, share = pair.shares(1.0)
    assert change == pytest.approx(np.log(pair.gain))
    assert share == pytest.approx(1.0)
    np.testing.assert_allclose(pair.gain * (1 + pair.pattern), after / before, rtol=1e-6)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_the_terms_are_the_series_of_the_logarithm(fraction: float) -> None:
    pair = FlatPair(beam(), 0.8 * beam() * (1 + 0.06 * X))
    change, share = pair.shares(fraction)
    assert change == pytest.approx(np.log1p(fraction * (pair.gain - 1)))
    assert share == pytest.approx(fraction * pair.gain / (1 + fraction * (pair.gain - 1)))
    assert pair.coefficients(fraction) == pytest.approx([change, share, -(share**2) / 2, share**3 / 3])
    total = sum(c * term.astype(np.float64) for c, term in zip(pair.coefficients(fraction), pair.terms(), strict=True))
    remainder = (share * np.abs(pair.pattern).max()) ** (LOG_TERMS + 1) / (LOG_TERMS + 1)
    np.testing.assert_allclose(total, change + np.log1p(share * pair.pattern), atol=1.2 * remainder)


def test_another_pattern_keeps_the_change_of_the_beam() -> None:
    pair = FlatPair(beam(), 0.8 * beam())
    other = pair.with_pattern(np.full((2, 3), 0.1))
    assert other.gain == pair.gain
    assert other.pattern.shape == (2, 3)
    assert pair.pattern.shape == (ROWS, COLUMNS)


def test_what_changed_by_half_is_cut() -> None:
    after = beam()
    after[7, 8] *= 10
    after[9, 9] *= 0.1
    pattern = FlatPair(beam(), after).pattern
    assert (pattern[7, 8], pattern[9, 9]) == (0.5, -0.5)
    assert np.count_nonzero(pattern) == 2


def test_the_correction_may_be_added_in_place() -> None:
    rng = np.random.default_rng(5)
    source, pattern = (as_input(rng.uniform(-0.4, 0.4, (5, 9)).astype(np.float32)) for _ in range(2))
    wanted, out = np.empty((5, 9), np.float32), source.copy()
    add_late(source, source, False, pattern, 0.5, 0.1, 0.0, 1, wanted)
    add_late(out, out, False, pattern, 0.5, 0.1, 0.0, 1, out)
    np.testing.assert_array_equal(out, wanted)
