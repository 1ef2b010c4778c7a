"""Flats that are none, darks with light, and what the mean of the projections says of the detector."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.verdict_voxels.projector import backproject
from benchmarks.verdict_voxels.specimens import specimen
from streamer.core.masks import circle_mask
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
from streamer.core.quality.verdict import Limits

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


@pytest.mark.parametrize("off_px", [0.0, 0.7, 1.3, 2.0])
@pytest.mark.parametrize("wall", [1.0, 1.8, 2.6])
def test_the_wall_of_a_dense_tube_beside_the_axis_is_no_pattern(off_px, wall):
    count, columns, middle, fine = 120, 96, 47.6, 8
    angles = np.linspace(0, np.pi, count, endpoint=False)
    at = (np.arange(columns * fine) + 0.5) / fine - 0.5 - middle - off_px * np.cos(angles - 0.8)[:, None]
    chords = [2 * np.sqrt(np.clip(radius**2 - at**2, 0, None)) for radius in (35.0, 35.0 - wall)]
    line = 0.08 * (chords[0] - 0.7 * chords[1]).reshape(count, columns, fine).mean(axis=2)
    views = np.repeat(line[:, None], 4, axis=1) + np.random.default_rng(1).normal(0, 0.01, (count, 4, columns))
    assert pattern_rms(views, angles, middle, 0.01, 50) < 0.002
    views[..., [20, 60, 90]] += 0.1
    assert pattern_rms(views, angles, middle, 0.01, 50) == pytest.approx(0.1 * np.sqrt(3 / columns), rel=0.2)


@pytest.mark.parametrize("order", ["half", "golden"])
def test_thin_walled_tubes_beside_the_axis_are_no_pattern(order):
    count, columns, middle = 130, 110, 56.3
    angles = np.pi * (np.arange(count) / count if order == "half" else np.mod(np.arange(count) * 0.6180339887, 1.0))
    edges = np.arange(columns + 1) - 0.5 - middle - 1.6 * np.cos(angles - 0.8)[:, None]
    line = 0.0
    for k, radius in enumerate((44.0, 41.5, 37.0, 35.6, 31.0, 28.4, 24.0, 22.2)):
        d = np.clip(edges, -radius, radius)
        chords = np.diff(d * np.sqrt(radius**2 - d**2) + radius**2 * np.arcsin(d / radius), axis=1)
        line = line + (0.06 if k % 2 == 0 else -0.06) * chords
    views = np.repeat(line[:, None], 6, axis=1) + np.random.default_rng(4).normal(0, 0.01, (count, 6, columns))
    assert pattern_rms(views, angles, middle, 0.01, 50) < 0.004
    views[..., [3, 50]] += 0.1
    assert pattern_rms(views, angles, middle, 0.01, 50) > 0.009


def test_a_wound_foil_is_no_pattern():
    """Its turns pass slowly over the columns, and on the other side of the axis they lie half a pitch beside."""
    wound = specimen(8300, 25)
    assert (wound.family, wound.order) == ("battery", "half turn")
    views = wound.lines() + np.random.default_rng(3).normal(0, 0.02, (wound.count, wound.rows, wound.columns))
    angles = np.deg2rad(wound.pose.angle)
    assert pattern_rms(views, angles, wound.axis, 0.02, 20) < 0.003
    views[..., [3, 12]] += 0.1
    assert pattern_rms(views, angles, wound.axis, 0.02, 20) == pytest.approx(0.1 * np.sqrt(2 / wound.columns), rel=0.2)


@pytest.mark.parametrize("columns", [64, 128])
def test_the_limit_on_stripes_is_as_much_as_the_noise_of_20_000_photons(columns):
    rng, count = np.random.default_rng(6), round(np.pi / 2 * columns)
    angles, middle, within = np.arange(count) * 180 / count, (columns - 1) / 2, circle_mask(columns, 0.9)
    stripes = np.repeat(Limits().max_pattern * rng.standard_normal((1, 20, columns)), count, axis=0)
    noise = rng.standard_normal((count, 4, columns)) / np.sqrt(20_000)
    rings, grain = (float(np.std(backproject(lines, angles, middle)[:, within])) for lines in (stripes, noise))
    assert rings == pytest.approx(grain, rel=0.15)


def test_pixels_behind_a_dense_part_are_noisier():
    rng = np.random.default_rng(5)
    angles, lines = np.linspace(0, np.pi, 60, endpoint=False), np.full(COLUMNS, 0.1)
    lines[20:25] = 4.0  # about the axis
    light = rng.poisson(400 * np.exp(-lines), (60, 4, COLUMNS))
    views = -np.log(np.maximum(light, 1) / 400)
    noise = float(np.sqrt(np.mean(np.exp(lines)) / 400))
    assert pattern_rms(views, angles, 40.0, noise, 50) == 0.0


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


def test_what_a_32_bit_detector_masks_does_not_drown_the_light_of_the_rest():
    rng = np.random.default_rng(5)
    beam = 20_000 * (1 + 0.02 * rng.standard_normal((32, 192)))
    alike = AlikeFrames()
    for _ in range(20):
        flat = rng.poisson(beam).astype("<u4")
        flat[:, 140:142] = flat[5, 7] = 2**32 - 1
        alike.add(flat)
    assert len(alike.groups) == 1
