from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from streamer.core.preprocessing.eigen_flats import MOST_FLATS
from streamer.frames import BadInput
from streamer.pipeline.preparation.beam_drift import BeamDriftCorrection, MeanFrame
from streamer.pipeline.preparation.preparation import Preparation
from tests.pipeline.preparation.scan import (
    ANGLES,
    COLUMNS,
    NUMBERS,
    PROJECTIONS,
    ROWS,
    SPEC,
    X,
    Y,
    beam,
    counts,
    late,
    only,
    prepared,
    take_one,
)


@pytest.mark.parametrize("mode", ["margins", "monitor"])
def test_the_fading_of_the_beam_is_taken_off(truth: np.ndarray, mode: str) -> None:
    level = np.exp(-0.2 * NUMBERS / PROJECTIONS + 0.02 * np.sin(NUMBERS))
    raw = counts(level[:, None, None] * beam() * np.exp(-truth))
    options = only(flat_drift=mode)
    monitors = 50 * np.append(level, level[-1])
    preparation, stored = prepared(raw, options, before=beam(), after=level[-1] * beam(), monitors=monitors)
    assert not preparation.plain
    assert np.abs(stored - truth).max() < 1e-4
    # The flats after the scan show the same fading, which must not be taken off twice.
    assert np.abs(late(preparation, stored) - truth).max() < 1e-4
    assert preparation.drift.last == pytest.approx(-np.log(level[-1]), abs=1e-3)
    assert preparation.drift.unknown == 0


@pytest.mark.parametrize("mode", ["margins", "monitor"])
def test_flicker_is_taken_off_whatever_its_size(truth: np.ndarray, mode: str) -> None:
    level = np.maximum(0.1, 1 + 0.3 * np.random.default_rng(8).standard_normal(PROJECTIONS))
    level[0] = 1.0
    assert np.exp(-1.5) < level.min() < np.exp(-0.5)  # darker than a margin may be by itself
    raw = counts(level[:, None, None] * beam() * np.exp(-truth))
    monitors = 50 * np.append(level, 1.0)
    preparation, stored = prepared(raw, only(flat_drift=mode), before=beam(), monitors=monitors)
    assert np.abs(stored - truth).max() < 2e-4
    assert preparation.drift.unknown == 0


def test_a_monitor_that_fails_keeps_the_last_reading(truth: np.ndarray) -> None:
    raw = counts(0.9 * beam() * np.exp(-truth[:3]))
    monitors = np.array([1.0, 0.9, np.nan, 1.0])
    preparation, stored = prepared(raw, only(flat_drift="monitor"), before=beam(), monitors=monitors)
    assert preparation.drift.unknown == 1
    np.testing.assert_allclose(stored[1:], truth[1:3], atol=1e-4)


def test_eigen_flats_follow_a_moving_beam(truth: np.ndarray) -> None:
    rng = np.random.default_rng(0)

    def moved(shift: float) -> np.ndarray:
        return 20_000 * (1 + 0.15 * np.sin(0.7 * (Y - 1.5 * shift)))

    preparation = Preparation(structs.replace(SPEC, flats=20), 2, only(flat_drift="eigen"))
    shifts = rng.normal(size=20)
    preparation.dark(counts(np.zeros((ROWS, COLUMNS))))
    for shift in shifts:
        preparation.flat(counts(rng.poisson(moved(shift))))
    mean = np.mean([moved(shift) for shift in shifts], axis=0)
    before, after = [], []
    for number in range(6):
        now = moved(rng.normal())
        stored = take_one(preparation, counts(now * np.exp(-truth[number])), number, ANGLES[number])
        before.append(np.log(mean / now))
        after.append(stored - truth[number])
    assert preparation.drift.eigen is not None
    assert len(preparation.drift.eigen.components) > 0
    assert np.std(after) < 0.35 * np.std(before)
    with pytest.raises(BadInput, match="three flats"):
        Preparation(structs.replace(SPEC, flats=2), 2, only(flat_drift="eigen"))


def test_the_mean_of_a_series_knows_its_monitor_and_its_place_in_the_scan() -> None:
    series = MeanFrame(1)
    assert (series.count, series.monitor, series.number) == (0, 0, 0)
    for monitor, number in ((1.0, 4), (3.0, 8)):
        series.add(np.full((2, 3), 10.0 * monitor), monitor, number)
    assert (series.count, series.monitor, series.number) == (2, 2.0, 6.0)
    np.testing.assert_allclose(series.pixels.mean, 20)


def test_margins_never_grow_again() -> None:
    """A sample that turns leaves more free now than before; where it once was, it will be again."""
    drift = BeamDriftCorrection("margins", 3, 1)
    assert drift.margins == (0, 0)
    for number, (first, expected) in enumerate(((12, 12), (6, 6), (14, 6))):
        frame = np.zeros((20, 64), np.float32)
        frame[:, first:48] = 1.0
        drift.correct(frame, number, 1.0)
        assert drift.margins == (expected, 16)


@pytest.mark.parametrize("mode", ["margins", "monitor"])
def test_a_projection_without_a_measurable_drift_gets_that_of_the_one_before(mode: str) -> None:
    drift = BeamDriftCorrection(mode, 3, 1)
    drift.begin(None, 1.0)
    drift.correct(np.full((20, 64), -np.log(0.9), np.float32), 0, 0.9)
    covered = np.full((20, 64), 2.0, np.float32)
    drift.correct(covered, 1, 0.0)
    assert drift.unknown == 1
    np.testing.assert_allclose(covered, 2 + np.log(0.9), atol=1e-6)
    # Whatever it was, margins that are free in the next one are the beam.
    after = np.full((20, 64), -np.log(0.8), np.float32)
    drift.correct(after, 2, 0.8)
    assert drift.unknown == 1
    np.testing.assert_allclose(after, 0, atol=1e-6)


def test_without_flats_the_first_reading_of_the_monitor_is_the_reference() -> None:
    drift = BeamDriftCorrection("monitor", 2, 1)
    drift.begin(None, 0.0)
    for number, reading in enumerate((80.0, 40.0)):
        frame = np.zeros((2, 8), np.float32)
        drift.correct(frame, number, reading)
        np.testing.assert_allclose(frame, np.log(reading / 80), atol=1e-6)
    assert drift.reference == 80


def in_three_ways(number: int) -> np.ndarray:
    """A flat whose level, slope and waves change with its number."""
    phase = 2 * np.pi * number / 7
    return 1000 * np.exp(0.1 * np.sin(phase) * X / COLUMNS + 0.1 * np.cos(phase) * np.sin(Y / 3))


@pytest.mark.parametrize("mode", ["margins", "monitor", "eigen"])
def test_rows_that_are_read_again_are_corrected_bit_by_bit_as_before(mode: str) -> None:
    rng = np.random.default_rng(3)
    drift = BeamDriftCorrection(mode, 2, 2)
    for number in range(7):
        drift.flat(in_three_ways(number) + rng.normal(0, 1, X.shape))
    drift.begin(None, 1.0)
    frame = rng.normal(0, 0.01, X.shape).astype(np.float32)
    whole, part, other = frame.copy(), frame[5:9].copy(), frame[5:9].copy()
    drift.correct(whole, 1, 0.9)
    drift.repeat(part, 1, slice(5, 9))
    np.testing.assert_array_equal(part, whole[5:9])
    assert 0 < abs(drift.last) < 0.2
    drift.repeat(other, 0, slice(5, 9))  # a projection that has not come
    np.testing.assert_array_equal(other, frame[5:9])


def test_off_is_off_and_eigen_flats_need_three_flats() -> None:
    for mode, unknown in (("off", 0), ("eigen", 1)):
        drift = BeamDriftCorrection(mode, 1, 1)
        for number in range(2):
            drift.flat(in_three_ways(number))
        drift.begin(None, 1.0)
        frame = np.full((ROWS, COLUMNS), 0.1, np.float32)
        drift.correct(frame, 0, 0.5)
        drift.repeat(frame, 0, slice(None))
        assert (frame == np.float32(0.1)).all()
        assert (drift.unknown, drift.eigen) == (unknown, None)


def test_no_more_single_flats_are_kept_than_are_used() -> None:
    drift = BeamDriftCorrection("eigen", 1, 1)
    for number in range(MOST_FLATS + 10):
        drift.flat(in_three_ways(number))
    drift.begin(np.zeros((ROWS, COLUMNS), np.float32), 1.0)
    first = drift.eigen
    assert first is not None
    drift.flat(1e6 * in_three_ways(1))
    drift.begin(np.zeros((ROWS, COLUMNS), np.float32), 1.0)
    assert drift.eigen is not None
    np.testing.assert_array_equal(drift.eigen.components, first.components)
