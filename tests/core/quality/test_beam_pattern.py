"""A beam with stripes that moves, and one that does not, before a sample that turns."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from streamer.core.quality.beam_pattern import around, flat_slopes, moved_pattern

COUNT, ROWS, COLUMNS = 120, 6, 96
TIME = np.linspace(0, 1, COUNT)
THETA = np.pi * np.arange(COUNT) / COUNT
AT = np.arange(COLUMNS)
PERIOD = 14.0


def stripes(by):
    """Logarithm of a beam (n, columns) whose pattern is displaced by so many pixels (n,)."""
    return 0.1 * np.sin(2 * np.pi * (AT - np.atleast_1d(by)[:, None]) / PERIOD)


def scan(by, dense=1.0, noise=0.005):
    """Attenuation (n, rows, columns) of three discs that turn, behind a beam that moves; and slopes of the flats."""
    out = np.random.default_rng(1).normal(0, noise, (COUNT, ROWS, COLUMNS))
    for value, radius, x, y in ((0.02, 30.0, 2.0, 0.0), (0.05, 6.0, 15.0, -4.0), (0.04, 9.0, -9.0, 8.0)):
        place = 47.6 + x * np.cos(THETA) + y * np.sin(THETA)
        chord = 2 * np.sqrt(np.clip(radius**2 - (AT - place[:, None]) ** 2, 0, None))
        out += dense * value * chord[:, None]
    flat = 4000 * np.exp(np.tile(stripes(0.0), (ROWS, 1))) * np.random.default_rng(2).normal(1, 0.01, (ROWS, COLUMNS))
    out += (stripes(0.0) - stripes(by))[:, None]
    return out.astype(np.float32), slopes_of(flat)


def slopes_of(flat):
    """Slopes (2, rows, columns) of each row of a flat."""
    return np.stack([flat_slopes(flat.astype(np.float32), row, 1) for row in range(len(flat))], 1)


@pytest.mark.parametrize("dense", [0.1, 1.0])
@pytest.mark.parametrize("by", [1.5 * TIME, -2.0 * (TIME > 0.5), np.sin(12 * TIME)], ids=["drift", "step", "sway"])
def test_a_pattern_that_moves_is_found_with_its_size(by, dense):
    found = moved_pattern(*scan(by, dense))
    assert found.shift_px == pytest.approx(np.sqrt(np.mean(by**2)), rel=0.5)
    assert found.attenuation == pytest.approx(found.shift_px * 0.1 * 2 * np.pi / PERIOD / np.sqrt(2), rel=0.2)


@pytest.mark.parametrize("dense", [0.1, 1.0, 2.0])
def test_a_sample_that_turns_moves_no_pattern(dense):
    assert moved_pattern(*scan(np.zeros(COUNT), dense)).attenuation == 0.0


FREE = (AT < 13) | (AT > 82)
"""Columns that the sample never covers."""


def banded(seed):
    """A beam (24, columns), relative, with bands that lie along the rows."""
    beam = gaussian_filter(np.random.default_rng(seed).normal(size=(24, COLUMNS)), (1.3, COLUMNS / 5), mode="wrap")
    return np.exp(0.05 * beam / beam.std())


def test_a_rod_that_turns_does_not_follow_a_pattern_that_stays():
    """It is the same in all rows; beside it, nothing changes."""
    views, _ = scan(np.zeros(COUNT), noise=0.002)
    rod = np.repeat(views.mean(axis=1, keepdims=True), 24, axis=1)
    rod += np.random.default_rng(7).normal(0, 0.005, rod.shape).astype(np.float32)
    assert [moved_pattern(rod, slopes_of(1000 * banded(seed)), FREE).attenuation for seed in range(6)] == [0.0] * 6


@pytest.mark.parametrize("by", [2.0 * TIME, -1.0 * (TIME > 0.4)], ids=["drift", "step"])
def test_bands_along_the_rows_that_move_are_seen_beside_the_sample(by):
    beam = np.log(banded(3))
    views = scan(np.zeros(COUNT))[0][:, :1] + np.stack([beam - shift(beam, (up, 0), order=3) for up in by])
    found = moved_pattern(views.astype(np.float32), slopes_of(1000 * np.exp(beam)), FREE)
    assert found.shift_px == pytest.approx(np.sqrt(np.mean(by**2)), rel=0.75)  # their slopes are those of a softer flat
    assert found.attenuation > 0.01


def test_a_pattern_that_moves_along_the_rows_is_found_as_well():
    rng = np.random.default_rng(3)
    wide = gaussian_filter(rng.normal(size=(60, COLUMNS)), 3.0, mode="wrap")
    wide *= 0.1 / wide.std()
    lifted = np.stack([shift(wide, (-by, 0), order=3)[10:50] for by in 1.5 * TIME])
    views = (wide[10:50] - lifted + rng.normal(0, 0.005, lifted.shape)).astype(np.float32)
    found = moved_pattern(views, slopes_of(1000 * np.exp(wide[10:50])))
    assert found.shift_px == pytest.approx(1.5 / np.sqrt(3), rel=0.5)


def test_rows_far_from_a_band_do_not_change_its_slopes():
    flat = 4000 * np.exp(np.random.default_rng(6).normal(0, 0.1, (40, 64)))
    part = around(20, 4, 40)
    near = flat_slopes(flat[part], 20 - part.start, 4)
    np.testing.assert_allclose(near, flat_slopes(flat, 20, 4), atol=1e-4)
    assert around(0, 4, 8) == slice(0, 8)


def test_a_flat_without_beam_or_of_one_row_has_no_slopes():
    for flat in (np.full((4, 32), np.nan), np.zeros((4, 32)), np.full((1, 32), 100.0)):
        assert not np.any(flat_slopes(flat.astype(np.float32), 0, len(flat)))


def test_few_projections_say_nothing():
    views, slopes = scan(3.0 * TIME)
    assert moved_pattern(views[:20], slopes).attenuation == 0.0
