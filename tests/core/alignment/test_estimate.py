from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.alignment.estimate import STRIPE_WINDOW, CenterEstimate, confidence_of, stripes_of, without_mirrored


@pytest.mark.parametrize(("sigma", "confidence"), [(0.0, 1.0), (0.1, 0.96), (0.25, 0.78), (0.5, 0.37), (1.0, 0.02)])
def test_confidence_is_that_of_the_documentation(sigma: float, confidence: float) -> None:
    assert confidence_of(sigma) == pytest.approx(confidence, abs=0.005)


@given(st.floats(0, 5), st.floats(0, 5))
def test_a_larger_error_never_has_more_confidence(one: float, other: float) -> None:
    assert (confidence_of(one) - confidence_of(other)) * (one - other) <= 0


def test_unknown_is_no_column_and_no_confidence() -> None:
    curve = (np.arange(3.0), np.ones(3))
    found = CenterEstimate.unknown("pairs", curve)
    assert (found.center, found.confidence, found.sigma_px, found.method) == (None, 0.0, np.inf, "pairs")
    assert found.curve is curve
    assert found == CenterEstimate.unknown("pairs"), "the curve is for people, not for comparison"


def smooth_row(columns: int) -> np.ndarray:
    return np.hypot(np.linspace(-3, 3, columns), 1.0)


@pytest.mark.parametrize("columns", [90, 300, 1024])
def test_stripes_are_what_stands_out_even_at_the_edges(columns: int) -> None:
    striped = smooth_row(columns)[None].repeat(4, axis=0)
    places = [0, columns // 2, columns - 1]
    striped[1:3, places] += 0.5
    found = stripes_of(striped)
    assert found[1:3, places] == pytest.approx(np.full((2, 3), 0.5), abs=0.1)
    found[1:3, places] = 0
    assert np.abs(found).max() < 0.1


@given(st.floats(-5, 5), st.floats(-0.1, 0.1), st.integers(2 * STRIPE_WINDOW, 200))
def test_a_straight_row_has_no_stripes(level: float, slope: float, columns: int) -> None:
    assert np.abs(stripes_of(level + slope * np.arange(columns))).max() < 1e-9


@given(st.integers(1, 2 * STRIPE_WINDOW - 1))
def test_too_few_columns_show_no_stripes(columns: int) -> None:
    assert not stripes_of(np.random.default_rng(columns).normal(size=(3, columns))).any()


def test_the_sign_of_a_stripe_is_kept_and_wide_ones_belong_to_the_sample() -> None:
    row = smooth_row(400)
    row[100] -= 0.3
    row[200:230] += 0.3
    found = stripes_of(row)
    assert found[100] == pytest.approx(-0.3, abs=0.02)
    assert np.abs(found[206:224]).max() < 0.02


def test_walls_on_both_sides_of_the_axis_are_no_stripes() -> None:
    stripes = np.zeros((2, 120))
    stripes[:, [30, 88]] = 0.2  # walls about column 59.3, the far one a pixel off
    stripes[:, [31, 87]] = -0.1
    stripes[1, 70] = 0.15  # a column whose gain changed
    left = without_mirrored(stripes, 59.3)
    assert np.argwhere(left).tolist() == [[1, 70]]
    assert np.count_nonzero(without_mirrored(stripes, 66.0)) == 9
