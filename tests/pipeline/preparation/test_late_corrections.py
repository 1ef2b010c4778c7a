from __future__ import annotations

import numpy as np
import pytest

from streamer.core.preprocessing.dead_pixels import DeadPixels
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.core.preprocessing.flat_pair import FlatPair
from streamer.pipeline.preparation.late_corrections import MEAN_FRACTIONS, DeferredCorrections, only_after, two_sets
from tests.pipeline.preparation.scan import (
    COLUMNS,
    NUMBERS,
    OFF,
    PROJECTIONS,
    ROWS,
    X,
    beam,
    counts,
    late,
    prepared,
)


def test_two_sets_of_flats_give_the_exact_attenuation(truth: np.ndarray) -> None:
    fraction = NUMBERS[:, None, None] / (PROJECTIONS - 1)
    now = (1 - fraction) * beam() + fraction * beam(1.0)
    raw = counts(now * np.exp(-truth))
    preparation, stored = prepared(raw, OFF, before=beam(), after=beam(1.0))
    assert preparation.plain
    assert np.abs(stored - truth).max() > 0.1
    assert np.abs(late(preparation, stored) - truth).max() < 1e-5
    some = slice(10, 20)
    part = stored[:, some].copy()
    result = np.empty_like(part)
    assert preparation.apply_late(part, NUMBERS, some, result) is result
    np.testing.assert_allclose(result, truth[:, some], atol=1e-5)
    assert np.array_equal(part, stored[:, some])
    one = preparation.apply_late(stored[7].copy(), 7)
    np.testing.assert_array_equal(one, late(preparation, stored)[7])


def test_flats_that_come_only_after_the_scan_are_as_good_as_those_before(truth: np.ndarray) -> None:
    net = beam()
    flats = net.copy()
    net[5, 9] = flats[5, 9] = 0.0  # a dead pixel that nobody knows of while the scan runs
    raw = counts(net * np.exp(-truth))
    early, wanted = prepared(raw, OFF, before=flats)
    preparation, stored = prepared(raw, OFF, before=None, after=flats)
    assert not early.late
    assert np.abs(stored - wanted).max() > 0.1
    np.testing.assert_allclose(late(preparation, stored), wanted, atol=1e-5)
    rows = slice(4, 7)
    block = preparation.apply_late(stored[:, rows].copy(), NUMBERS, rows)
    np.testing.assert_allclose(block, wanted[:, rows], atol=1e-5)


def test_a_closed_shutter_after_the_scan_does_not_cost_the_scan(truth: np.ndarray) -> None:
    preparation, stored = prepared(counts(beam() * np.exp(-truth)), OFF, before=beam(), after=np.zeros((ROWS, COLUMNS)))
    assert "beam" in preparation.flats_refused
    assert np.array_equal(late(preparation, stored), stored)


def image(seed: int, spread: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-spread, spread, (ROWS, COLUMNS)).astype(np.float32)


def applied(terms: DeferredCorrections, fraction: float, rows: slice = slice(None)) -> np.ndarray:
    """What the corrections add to a projection of zeros."""
    zero = np.zeros((ROWS, COLUMNS), np.float32)[rows]
    terms.apply(zero, fraction, rows, out := np.empty_like(zero), 2)
    return out


def a_pair() -> FlatPair:
    return FlatPair(beam(), 0.9 * beam() * (1 + 0.1 * X / COLUMNS))


def test_no_corrections_are_false() -> None:
    assert not DeferredCorrections()
    for some in (
        DeferredCorrections(static=image(0)),
        DeferredCorrections(pair=a_pair()),
        DeferredCorrections(dead=DeadPixels.none(ROWS)),
    ):
        assert some


@pytest.mark.parametrize("rows", [slice(None), slice(3, 17)])
def test_each_correction_is_added(rows: slice) -> None:
    pair, static, fraction = a_pair(), image(1), 0.4
    drift = np.random.default_rng(2).normal(0, 0.01, (4, 2))
    weights, components = np.random.default_rng(3).normal(0, 0.1, (4, 2)), np.stack([image(4), image(5)])
    coefficients = np.array(pair.coefficients(fraction))
    change, share = pair.shares(fraction)
    offset, slope = coefficients @ drift
    line = offset + slope * (np.arange(COLUMNS) - (COLUMNS - 1) / 2)
    logarithm = change + np.log1p(share * pair.pattern)
    eigen = np.tensordot(coefficients @ weights, components, 1)
    cases = [
        (DeferredCorrections(static=static), static),
        (DeferredCorrections(pair=pair), logarithm),
        (DeferredCorrections(static=static, pair=pair, drift=drift), static + logarithm - line),
        (DeferredCorrections(pair=pair, weights=weights, components=components), logarithm + eigen),
    ]
    for terms, wanted in cases:
        np.testing.assert_allclose(applied(terms, fraction, rows), wanted[rows], atol=3e-6)


def test_pixels_found_dead_late_are_filled_in_the_corrected_rows() -> None:
    alive = np.ones((ROWS, COLUMNS), bool)
    alive[5, 9] = False
    terms = DeferredCorrections(
        static=np.tile(np.arange(COLUMNS, dtype=np.float32), (ROWS, 1)), dead=DeadPixels.of(alive)
    )
    assert terms.static is not None
    terms.static[5, 9] = 1000.0
    np.testing.assert_allclose(applied(terms, 0.0, slice(4, 7)), np.tile(np.arange(COLUMNS), (3, 1)))


@pytest.mark.parametrize("last", [0.3, 1.0])
def test_the_mean_is_that_over_the_scan(last: float) -> None:
    drift = np.random.default_rng(2).normal(0, 0.01, (4, 2))
    weights, components = np.random.default_rng(3).normal(0, 0.1, (4, 1)), image(4)[None]
    terms = DeferredCorrections(image(1), a_pair(), drift, weights, components)
    wanted = np.mean([applied(terms, fraction) for fraction in np.linspace(0, last, MEAN_FRACTIONS)], axis=0)
    np.testing.assert_allclose(terms.mean(last, (ROWS, COLUMNS)), wanted, atol=5e-5)
    assert not DeferredCorrections().mean(last, (ROWS, COLUMNS)).any()


def test_smoothing_passes_through_every_image() -> None:
    """A filter that does nothing changes nothing; one that halves halves what is linear."""
    terms = DeferredCorrections(image(1), a_pair(), None, np.full((4, 1), 0.1), image(4)[None])
    np.testing.assert_array_equal(applied(terms.smoothed(lambda values: values), 0.5), applied(terms, 0.5))
    halved = terms.smoothed(lambda values: np.float32(0.5) * values)
    assert halved.static is not None
    assert halved.pair is not None
    assert halved.components is not None
    assert terms.pair is not None
    np.testing.assert_array_equal(halved.static, 0.5 * image(1))
    np.testing.assert_array_equal(halved.pair.pattern, np.float32(0.5) * terms.pair.pattern)
    np.testing.assert_array_equal(halved.components[0], 0.5 * image(4))


def test_offsets_and_changes_of_the_beam_join_the_static_term() -> None:
    nothing = DeferredCorrections()
    assert nothing.raised(0.3) is nothing
    offset = nothing.without_offset(image(1))
    np.testing.assert_array_equal(applied(offset, 0.0), -image(1))
    np.testing.assert_allclose(applied(offset.raised(0.25), 0.0), 0.25 - image(1), atol=1e-7)
    np.testing.assert_allclose(applied(offset.without_offset(image(2)), 0.0), -image(1) - image(2), atol=1e-7)


def test_what_the_drift_has_taken_off_is_not_taken_off_again() -> None:
    """The second flats faded and tilted, which the margins have shown in every projection already."""
    tilted = beam() * np.exp(-0.1 - 0.002 * (X - (COLUMNS - 1) / 2))
    terms = two_sets(beam(), tilted, (8, 8), None)
    assert np.abs(applied(two_sets(beam(), tilted, (0, 0), None), 1.0)).max() > 0.1
    assert np.abs(applied(terms, 1.0)).max() < 1e-3


def test_flats_after_the_scan_alone_replace_the_beam_that_was_taken_for_it() -> None:
    flat = beam()
    flat[3, 4] = np.nan
    live, known = FlatFieldCorrection(None, None), FlatFieldCorrection(None, flat)
    raw = (beam() * np.exp(-image(6, 0.5) - 0.6)).astype(np.float32)
    stored = live.attenuation(raw)
    terms = only_after(live, known, (ROWS, COLUMNS), (0, 0))
    terms.apply(stored, 0.0, slice(None), stored, 1)
    np.testing.assert_allclose(stored, known.attenuation(raw), atol=2e-6)
