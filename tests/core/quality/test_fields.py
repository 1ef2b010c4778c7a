"""Flats that are none, darks with light, and what the mean of the projections says of the detector."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.quality.fields import (
    AlikeFrames,
    bridged,
    dead_columns,
    light_in_darks,
    negative_share,
    pattern_rms,
    shadow_share,
    unlit_columns,
)

ROWS, COLUMNS = 48, 72
RNG = np.random.default_rng(0)
BEAM = 3000 * (1 - 0.15 * np.linspace(-1, 1, COLUMNS) ** 2) * np.ones((ROWS, 1))
SAMPLE = np.exp(-np.clip(1 - (np.linspace(-2, 2, COLUMNS) / 1.2) ** 2, 0, None)) * np.ones((ROWS, 1))


def noisy(frame):
    return frame + RNG.normal(0, 55, frame.shape)


def groups(frames, brightest):
    alike = AlikeFrames()
    for frame in frames:
        alike.add(frame)
    return alike.others(alike.chosen(brightest))


@pytest.mark.parametrize("fade", [1.0, 0.93])
def test_flats_of_a_beam_that_fades_belong_together(fade):
    assert groups([noisy(100 + BEAM * share) for share in np.linspace(1, fade, 10)], True) == []


def test_flats_with_the_sample_in_or_the_shutter_closed_are_others():
    flats = [noisy(100 + BEAM) for _ in range(10)]
    flats[2], flats[7] = noisy(100 + BEAM * SAMPLE), noisy(np.full((ROWS, COLUMNS), 100.0))
    assert groups(flats, True) == [2, 7]


def test_of_equally_many_the_bright_ones_are_flats_and_the_dark_ones_darks():
    frames = [noisy(100 + BEAM * lit) for lit in (0, 1, 0, 1)]
    assert groups(frames, True) == [0, 2]
    assert groups(frames, False) == [1, 3]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_light_in_darks_is_known_by_the_beams_pattern(share):
    flat = 500 + BEAM
    dark = 500 + share * BEAM + RNG.normal(0, 2, (ROWS, COLUMNS))
    assert light_in_darks(dark, flat) == pytest.approx(share, abs=0.01)


def test_a_high_dark_level_with_a_pattern_of_its_own_is_no_light():
    dark = 5000 + 300 * np.sin(np.arange(ROWS) / 3)[:, None] + RNG.normal(0, 20, (ROWS, COLUMNS))
    assert light_in_darks(dark, dark + BEAM) < 0.02


def test_matter_does_not_brighten_the_beam():
    attenuation = -np.log(SAMPLE)
    assert negative_share(attenuation, 0.0, 0.002) == 0.0
    turned_away = attenuation + np.log(SAMPLE[:, ::-1] ** 0.5)
    assert negative_share(turned_away + np.log(0.9), np.log(0.9), 0.002) == 0.0
    assert negative_share(attenuation - np.roll(attenuation, 15, axis=1), 0.0, 0.002) > 0.1
    # Flats with half of the beam: no drift makes the open beam brighter by so much.
    assert negative_share(attenuation - np.log(2.0), -np.log(2.0), 0.002) > 0.3


def test_columns_whose_gain_changed_are_a_pattern_and_a_round_sample_is_none():
    angles, middle = np.linspace(0, np.pi, 60, endpoint=False), (COLUMNS - 1) / 2
    views = np.tile(-np.log(SAMPLE), (60, 1, 1)) + RNG.normal(0, 0.01, (60, ROWS, COLUMNS))
    assert pattern_rms(views, angles, middle, 0.01, 100) == 0.0
    striped = views.copy()
    striped[..., [4, 38]] += 0.05
    assert pattern_rms(striped, angles, middle, 0.01, 100) == pytest.approx(0.05 * np.sqrt(2 / COLUMNS), rel=0.15)
    walls = views.copy()
    walls[..., [15, COLUMNS - 16]] += 0.3
    assert pattern_rms(walls, angles, middle, 0.01, 100) == 0.0
    passing = views.copy()
    passing[:15, :, 4] += 0.5
    assert pattern_rms(passing, angles, middle, 0.01, 100) == 0.0


def test_pixels_that_never_see_light():
    mean = np.where(np.arange(COLUMNS) < 9, 7.0, 0.5) * np.ones((ROWS, 1))
    assert shadow_share(mean) == pytest.approx(9 / COLUMNS)
    alive = np.ones((ROWS, COLUMNS), bool)
    alive[:10] = False
    assert unlit_columns(alive) == 0.0
    alive[:, :9] = False
    assert unlit_columns(alive) == pytest.approx(9 / COLUMNS)


def test_few_columns_that_show_nothing_in_any_row_are_dead_and_bridged():
    ramp = np.tile(np.linspace(0.0, 2.0, 240), (5, 3, 1))
    views = ramp.copy()
    views[..., [40, 41]] = 3.5
    views[:, 1, 90] = 3.5  # one row of it only
    dead = dead_columns(views.mean(axis=0))
    assert np.flatnonzero(dead).tolist() == [40, 41]
    mended = bridged(views, dead)
    np.testing.assert_allclose(mended[..., [40, 41]], ramp[..., [40, 41]], atol=1e-6)
    np.testing.assert_array_equal(mended[..., ~dead], views[..., ~dead])


def test_many_columns_that_changed_are_not_dead_nor_are_those_with_another_gain():
    mean = np.zeros((2, 240))
    mean[:, ::30] = 2.0
    assert not dead_columns(mean).any()
    mean[:] = 0.0
    mean[:, 100] = 0.3
    assert not dead_columns(mean).any()
    assert bridged(mean[None], dead_columns(mean)).base is mean


def test_a_dead_column_at_the_edge_is_taken_from_its_neighbour():
    views = np.full((2, 1, 200), 0.5)
    views[..., 0] = 4.0
    dead = np.arange(200) == 0
    np.testing.assert_array_equal(bridged(views, dead)[..., 0], 0.5)
