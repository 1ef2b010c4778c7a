from __future__ import annotations

import numpy as np
import pytest

from streamer.pipeline.preparation.beam_drift import BeamDriftCorrection
from streamer.pipeline.preparation.darks_flats import IDLE_PATIENCE, DarksAndFlats
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.preparation.preparation import Preparation
from tests.pipeline.preparation.scan import (
    COLUMNS,
    DARK,
    PROJECTIONS,
    ROWS,
    SPEC,
    beam,
    counts,
    only,
    take_one,
)


def test_hot_and_dead_pixels_are_mended(truth: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    preparation = Preparation(SPEC, 2, only(defects=True))
    gain, pedestal = np.ones((ROWS, COLUMNS)), np.full((ROWS, COLUMNS), DARK)
    gain[20, 30], pedestal[30, 12] = 0.05, 9000.0
    for _ in range(3):
        preparation.dark(rng.poisson(pedestal).astype("<u2"))
    for _ in range(6):
        preparation.flat(rng.poisson(gain * beam() + pedestal).astype("<u2"))
    raw = rng.poisson(gain * beam() * np.exp(-truth[0]) + pedestal).astype("<u2")
    stored = take_one(preparation, raw, 0, 0.0)
    assert preparation.defects == 2
    assert np.abs(stored - truth[0]).max() < 0.08


@pytest.mark.parametrize("mode", ["off", "eigen"])
@pytest.mark.parametrize("late", [0, 2])
def test_what_was_worked_out_ahead_is_what_would_have_been_worked_out(truth: np.ndarray, mode: str, late: int) -> None:
    """Idle moments between the flats and the first projection change nothing, even if more flats come after all."""
    rng = np.random.default_rng(4)
    flats = [counts(rng.normal(beam(0.3 * k), 100.0)) for k in range(SPEC.flats)]
    raw = counts(beam() * np.exp(-truth[0]))
    results = []
    for idle in (True, False):
        preparation = Preparation(SPEC, 2, PreparationOptions(zingers=8.0, flat_drift=mode))
        assert not preparation.prepare_ahead()
        for _ in range(SPEC.darks):
            preparation.dark(counts(np.zeros((ROWS, COLUMNS))))
        for flat in flats[: len(flats) - late]:
            preparation.flat(flat)
        waited = 0
        while idle and not preparation.prepare_ahead():
            waited += 1
        assert not idle or (waited > 0) == (late > 0), "flats that are announced are waited for, but not for ever"
        while idle and preparation.prepare_ahead():
            pass
        for flat in flats[len(flats) - late :]:
            preparation.flat(flat)
        results.append(take_one(preparation, raw, 0, 0.0))
        assert not preparation.prepare_ahead()
        assert preparation.describe()["flats_before"] == len(flats)
    np.testing.assert_array_equal(*results)


def evaluated(find_defects: bool = False) -> DarksAndFlats:
    return DarksAndFlats(SPEC, 1, BeamDriftCorrection("off", PROJECTIONS, 1), find_defects)


def test_without_darks_and_flats_there_is_a_correction_all_the_same() -> None:
    fields = evaluated()
    assert not fields.ahead()
    correction = fields.fix()
    assert (fields.dark, fields.flat) == (None, None)
    assert not correction.flat_known
    assert fields.correction is correction


def test_means_are_those_of_the_frames() -> None:
    fields = evaluated()
    rng = np.random.default_rng(0)
    darks, flats = rng.normal(100, 3, (3, ROWS, COLUMNS)), rng.normal(1000, 9, (5, ROWS, COLUMNS))
    for dark in darks:
        fields.add_dark(dark)
    for number, flat in enumerate(flats):
        fields.add_flat(flat, 1.0 + number)
    correction = fields.fix()
    assert fields.dark is not None
    assert fields.flat is not None
    np.testing.assert_allclose(fields.dark, darks.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(fields.flat, flats.mean(axis=0), rtol=1e-6)
    assert (fields.darks.count, fields.flats.count, fields.flats.monitor) == (3, 5, 3.0)
    assert fields.odd == ""
    np.testing.assert_allclose(correction.attenuation(flats.mean(axis=0).astype(np.float32)), 0, atol=1e-6)


def test_each_half_of_the_flats_corrects_by_itself() -> None:
    fields = evaluated()
    rng = np.random.default_rng(3)
    fields.add_dark(np.full((ROWS, COLUMNS), 100.0))
    flats = rng.normal(1000, 9, (5, ROWS, COLUMNS))
    for flat in flats:
        fields.add_flat(flat, 1.0)
    whole = fields.fix()
    top, bottom = ROWS // 2 - 2, ROWS // 2 + 1
    raw = np.full((ROWS, COLUMNS), 500.0, np.float32)
    for half, added in zip((flats[:2], flats[2:]), fields.flat_halves(top, bottom), strict=True):
        own = np.log((half.mean(axis=0) - 100.0) / 400.0)[top:bottom]
        np.testing.assert_allclose(whole.attenuation(raw)[top:bottom] + added, own, atol=1e-5)


@pytest.mark.parametrize("levels", [(1000.0,), (1000.0, 1000.0, 300.0, 1000.0)], ids=["one flat", "one left out"])
def test_flats_that_make_no_halves_add_nothing(levels: tuple[float, ...]) -> None:
    fields = evaluated()
    rng = np.random.default_rng(4)
    for level in levels:
        image = np.full((ROWS, COLUMNS), 1000.0)
        image[:, 20:40] = level
        fields.add_flat(rng.normal(image, 3), 1.0)
    fields.fix()
    assert not fields.flat_halves(ROWS // 2, ROWS // 2 + 1).any()


def test_frames_that_look_different_are_left_out_and_named() -> None:
    fields = evaluated()
    rng = np.random.default_rng(1)
    for _ in range(3):
        fields.add_dark(rng.normal(100, 3, (ROWS, COLUMNS)))
    for number in range(6):
        level = np.full((ROWS, COLUMNS), 1000.0)
        level[:, 20:40] *= 0.3 if number == 2 else 1.0  # the sample is in
        fields.add_flat(rng.normal(level, 9), 1.0)
    fields.fix()
    assert fields.flats.count == 5
    assert fields.flat is not None
    assert np.abs(fields.flat - 1000).max() < 50
    assert fields.odd == "1 of 6 flats look different from the rest (number 3)"


def test_the_work_is_done_in_idle_moments_once() -> None:
    fields = evaluated()
    for _ in range(SPEC.darks):
        fields.add_dark(np.full((ROWS, COLUMNS), 100.0))
    for _ in range(SPEC.flats):
        fields.add_flat(np.full((ROWS, COLUMNS), 1000.0), 1.0)
    steps = 0
    while fields.ahead():
        steps += 1
    assert steps == 3
    flat = fields.flat
    assert fields.correction is None
    assert fields.fix() is fields.correction
    assert fields.flat is flat
    assert not fields.ahead()


def test_announced_flats_that_never_come_are_waited_for_a_while() -> None:
    fields = evaluated()
    fields.add_flat(np.full((ROWS, COLUMNS), 1000.0), 1.0)
    waited = 0
    while not fields.ahead():
        waited += 1
    assert waited == IDLE_PATIENCE - 1
    fields.add_flat(np.full((ROWS, COLUMNS), 1010.0), 1.0)  # it came after all
    fields.fix()
    assert fields.flat is not None
    np.testing.assert_allclose(fields.flat, 1005)


@pytest.mark.parametrize("find_defects", [True, False])
def test_a_dead_pixel_is_no_number_in_the_mean_flat(find_defects: bool) -> None:
    fields = evaluated(find_defects)
    flat = np.full((ROWS, COLUMNS), 1000.0)
    flat[7, 9] = 100.0
    fields.add_flat(flat, 1.0)
    fields.fix()
    assert fields.flat is not None
    assert np.isnan(fields.flat[7, 9]) == find_defects
    assert fields.defects == find_defects == np.isnan(fields.flat).sum()
