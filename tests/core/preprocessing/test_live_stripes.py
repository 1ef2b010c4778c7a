from __future__ import annotations

import numpy as np
import pytest

from streamer.core.preprocessing.live_stripes import LiveStripeDetector
from streamer.core.running_median import median_rows
from streamer.frames import BadInput
from streamer.phantoms import random_body, shepp_logan, sinogram

COLUMNS = 320
ANGLES = np.arange(240) * np.pi / 240


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def collected(frames: np.ndarray, angles: np.ndarray = ANGLES, threads: int = 1) -> LiveStripeDetector:
    """``frames`` (angle, row, column)."""
    sectors = LiveStripeDetector(*frames.shape[1:], 0.0, np.pi, threads)
    for frame, angle in zip(frames.astype(np.float32), angles, strict=True):
        sectors.add(frame, float(angle))
    return sectors


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_edges_of_the_sample_are_no_stripes(noise: float) -> None:
    clean = sinogram(shepp_logan(COLUMNS), COLUMNS, ANGLES)
    clean = clean / clean.max() + np.random.default_rng(0).normal(0, noise, clean.shape)
    sectors = collected(clean[:, None])
    plain = sectors.mean() - median_rows(sectors.mean(), 11)
    assert rms(plain) > 2e-3
    assert rms(sectors.offset()) < 0.05 * rms(plain)


def test_what_is_there_from_every_side_is_found_in_any_order_of_the_angles() -> None:
    rng = np.random.default_rng(1)
    clean = sinogram(random_body(rng, COLUMNS), COLUMNS, ANGLES)[:, None]
    offset = np.where(rng.random((3, COLUMNS)) < 0.08, rng.choice([-0.04, 0.04], (3, COLUMNS)), 0.0)
    frames = clean + offset + rng.normal(0, 0.01, (240, 3, COLUMNS))
    found = collected(frames).offset()
    assert rms(found - offset) < 0.5 * rms(offset)
    mixed = rng.permutation(240)
    np.testing.assert_allclose(collected(frames[mixed], ANGLES[mixed], threads=2).offset(), found, atol=1e-5)


def test_slopes_and_wide_stripes() -> None:
    """On a slope, stripes of up to three columns are exact and leave no trace beside them."""
    x = np.arange(60.0)
    row = 0.3 * x
    row[20] += 0.05
    row[40:43] += 0.1
    found = collected(np.tile(row, (240, 2, 1))).offset()
    wanted = row - 0.3 * x
    np.testing.assert_allclose(found[:, 16:-16], np.tile(wanted, (2, 1))[:, 16:-16], atol=1e-4)


def test_late_terms_count_as_if_they_had_been_there() -> None:
    rng = np.random.default_rng(2)
    frames = rng.normal(0.5, 0.01, (240, 2, 50))
    late = np.where(rng.random((2, 50)) < 0.1, 0.1, 0.0).astype(np.float32)
    np.testing.assert_allclose(collected(frames).offset(late), collected(frames + late).offset(), atol=1e-5)


def test_too_few_sectors_tell_nothing() -> None:
    stripe = np.zeros((240, 1, 40))
    stripe[..., 17] = 0.1
    assert not LiveStripeDetector(1, 40).offset().any()
    assert not LiveStripeDetector(1, 40).mean().any()
    first = collected(stripe[:60], ANGLES[:60])
    assert first.count == 60
    assert not first.offset().any()
    assert collected(stripe[:90], ANGLES[:90]).offset()[0, 17] == pytest.approx(0.1, rel=1e-4)
    with pytest.raises(BadInput):
        first.add(np.zeros((2, 40), np.float32), 0.0)


@pytest.mark.parametrize(("start", "span"), [(0.0, 2 * np.pi), (1.0, -np.pi), (-3.0, 4 * np.pi)])
def test_sectors_of_other_scans_are_evenly_filled(start: float, span: float) -> None:
    sectors = LiveStripeDetector(1, 8, start, span)
    for angle in start + np.arange(160) * span / 160:
        sectors.add(np.zeros((1, 8), np.float32), float(angle))
    assert np.ptp(sectors._counts) <= 2


def test_the_mean_is_that_of_all_projections_and_threads_change_no_bit() -> None:
    frames = np.random.default_rng(3).normal(0.5, 0.1, (240, 5, 30)).astype(np.float32)
    one, two = (collected(frames, threads=threads) for threads in (1, 2))
    assert one.count == 240
    np.testing.assert_allclose(one.mean(), frames.mean(axis=0), atol=1e-5)
    np.testing.assert_array_equal(one.offset(), two.offset())


def test_offsets_are_shrunk_by_how_much_they_vary_and_faint_ones_are_nothing() -> None:
    """A column whose offset is a in half of the sectors, b in the other half: mean·(1 - 2·variance/mean²)."""
    frames = np.zeros((240, 1, 60))
    frames[:120, 0, 20], frames[120:, 0, 20] = 0.09, 0.11
    frames[:, 0, 40] = 0.5e-4
    mean, variance = 0.1, 8 * 0.01**2 / 7
    found = collected(frames).offset()[0]
    assert found[20] == pytest.approx(mean - 2 * variance / mean, rel=1e-4)
    assert np.count_nonzero(found) == 1
