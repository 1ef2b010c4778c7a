from __future__ import annotations

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.defects import PixelStatistics, defects, mask_pixels, masked_by_value, neighbourhood
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.frames import BadInput


def test_defects_are_found_and_mended(numba_backend: Backend) -> None:
    rng = np.random.default_rng(1)
    beam = 5000 * (1 + 0.3 * np.sin(np.arange(120) / 15))[None, :] * (1 + 0.03 * rng.normal(size=(80, 120)))
    truth = np.zeros((80, 120), bool)
    gain, pedestal = np.ones(truth.shape), np.full(truth.shape, 100.0)
    dead, hot, noisy, stuck = ((5, 9), (20, 40), (41, 77), (70, 100))
    gain[dead], pedestal[hot], gain[stuck] = 0.1, 2000.0, 0.0
    for place in (dead, hot, noisy, stuck):
        truth[place] = True
    flats, darks = PixelStatistics(), PixelStatistics()
    for _ in range(20):
        flat = rng.poisson(beam * gain + pedestal).astype(float)
        flat[noisy] += rng.normal(0, 2000)
        flat[stuck] = 4800
        flats.add(flat)
        darks.add(rng.poisson(pedestal))
    found = defects(flats, darks)
    assert np.array_equal(found, truth)
    raw = (beam * gain + pedestal).astype(np.float32)
    correction = FlatFieldCorrection(darks.mean, mask_pixels(flats.mean, found))
    assert np.abs(correction.attenuation(raw)).max() < 0.1
    assert correction.dead_share == pytest.approx(4 / truth.size)


def test_the_level_around_a_pixel_is_a_median_of_medians() -> None:
    image = np.random.default_rng(3).normal(size=(9, 14)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, 2, mode="symmetric"), (5, 5))
    wanted = np.median(np.median(windows, axis=-1), axis=-1)
    for threads in (1, 2):
        np.testing.assert_array_equal(neighbourhood(image, threads), wanted)
    image[:] = 1.0
    image[2:4, 3:7] = 50.0  # eight pixels that are wrong
    assert (neighbourhood(image) == 1.0).all()


def test_what_is_not_a_number_is_a_defect_and_harms_no_neighbour() -> None:
    flats = PixelStatistics()
    for seed in range(6):
        frame = np.random.default_rng(seed).normal(1000, 10, (20, 20)).astype(np.float32)
        frame[3, 3], frame[9, 9] = np.nan, np.inf
        flats.add(frame)
    assert sorted(zip(*np.nonzero(defects(flats)), strict=True)) == [(3, 3), (9, 9)]


def test_statistics_keep_the_variance_of_large_counts() -> None:
    rng = np.random.default_rng(2)
    frames = rng.integers(2**32 - 2000, 2**32 - 1, (10, 4, 5), dtype=np.uint32)
    statistics = PixelStatistics()
    with pytest.raises(BadInput):
        _ = statistics.mean
    for frame in frames:
        statistics.add(frame)
    np.testing.assert_allclose(statistics.variance, frames.astype(np.float64).var(axis=0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(statistics.mean, frames.mean(axis=0), rtol=1e-6)
    with pytest.raises(BadInput):
        statistics.add(frames[0].T)
    with pytest.raises(BadInput):
        mask_pixels(np.zeros((2, 2)), np.zeros((3, 3), bool))


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4", "<f4", "<f8", "<i4", ">u2"])
def test_statistics_are_those_of_numpy_for_every_type(dtype: str) -> None:
    frames = np.random.default_rng(4).integers(0, 250, (7, 5, 6)).astype(dtype)
    for threads in (1, 3):
        statistics = PixelStatistics(threads)
        for frame in frames:
            statistics.add(frame)
        assert statistics.count == 7
        np.testing.assert_allclose(statistics.mean, frames.mean(axis=0, dtype=np.float64), rtol=1e-6)
        np.testing.assert_allclose(statistics.variance, frames.var(axis=0, ddof=1, dtype=np.float64), rtol=1e-5)


def test_statistics_follow_each_frame_and_cannot_be_written_to() -> None:
    statistics = PixelStatistics()
    statistics.add(np.full((2, 3), 10, np.uint8))
    assert (statistics.mean == 10).all()
    assert not statistics.variance.any()
    statistics.add(np.full((2, 3), 255, np.uint8))
    np.testing.assert_allclose(statistics.mean, 132.5)
    np.testing.assert_allclose(statistics.variance, 245**2 / 2)
    assert not statistics.mean.flags.writeable
    with pytest.raises(BadInput, match="rows, columns"):
        statistics.add(np.zeros((1, 2, 3)))


def steady(level: np.ndarray, count: int = 1) -> PixelStatistics:
    statistics = PixelStatistics()
    for _ in range(count):
        statistics.add(level)
    return statistics


@pytest.mark.parametrize(("response", "bad"), [(0.0, True), (0.45, True), (0.55, False), (1.8, False), (2.2, True)])
def test_a_pixel_is_dead_below_half_and_hot_above_twice_the_response_of_its_neighbours(
    response: float, bad: bool
) -> None:
    flat = np.full((30, 30), 1000.0)
    flat[12, 17] *= response
    found = defects(steady(flat))
    assert found[12, 17] == bad
    assert np.count_nonzero(found) == bad


def test_a_dark_that_is_too_bright_is_a_defect_if_it_matters_beside_the_flat() -> None:
    dark, flat = np.full((30, 30), 100.0), np.full((30, 30), 1100.0)
    dark[5, 5], flat[5, 5] = 160.0, 1160.0  # 6 % of the flat
    dark[9, 9], flat[9, 9] = 140.0, 1140.0  # 4 %
    found = defects(steady(flat), steady(dark))
    assert sorted(zip(*np.nonzero(found), strict=True)) == [(5, 5)]
    with pytest.raises(BadInput, match="30, 29"):
        defects(steady(flat), steady(dark[:, :29]))


def test_three_flats_say_nothing_about_noise() -> None:
    rng = np.random.default_rng(6)
    for count, bad in ((3, 0), (12, 2)):
        flats = PixelStatistics()
        for _ in range(count):
            frame = rng.normal(1000, 10, (40, 40))
            frame[8, 8] = 1000
            frame[20, 20] = 1000 + rng.choice([-180, 180])
            flats.add(frame)
        found = defects(flats)
        assert np.count_nonzero(found) == bad
        assert bool(found[8, 8] and found[20, 20]) == bool(bad)


def test_masked_pixels_are_no_numbers_in_a_copy() -> None:
    flat = np.arange(6, dtype=np.float64).reshape(2, 3)
    masked = mask_pixels(flat, np.array([[True, False, False], [False, False, True]]))
    np.testing.assert_array_equal(masked, np.array([[np.nan, 1, 2], [3, 4, np.nan]], np.float32))
    assert np.isfinite(flat).all()


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4"])
def test_pixels_that_always_have_the_largest_number_are_masked(dtype: str) -> None:
    top = np.iinfo(dtype).max
    flats, darks = PixelStatistics(), PixelStatistics()
    for seed in range(5):
        frame = np.random.default_rng(seed).integers(50, 90, (20, 30)).astype(dtype)
        frame[:, 7], frame[3, 3] = top, top
        frame[5, 5] = top if seed else 80
        flats.add(frame)
        frame[3, 3] = 0  # full in the beam alone
        darks.add(frame)
    gap = np.zeros((20, 30), bool)
    gap[:, 7] = True
    np.testing.assert_array_equal(masked_by_value(flats, darks, dtype), gap)
    gap[3, 3] = True
    np.testing.assert_array_equal(masked_by_value(flats, None, dtype), gap)
    assert not masked_by_value(flats, None, "<f4").any()


def test_without_darks_a_bright_beam_is_not_taken_for_a_mask() -> None:
    flats = PixelStatistics()
    flats.add(np.full((8, 8), 65_535, "<u2"))
    assert not masked_by_value(flats, None, "<u2").any()


def test_known_defects_harm_no_neighbour() -> None:
    flats, known = PixelStatistics(), np.zeros((40, 40), bool)
    known[:, 10:20] = True
    for seed in range(6):
        frame = np.random.default_rng(seed).poisson(1000, (40, 40)).astype("<u2")
        frame[known] = 65_535
        flats.add(frame)
    np.testing.assert_array_equal(defects(flats, known=known), known)
