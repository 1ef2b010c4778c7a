from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.flow.latency import EXPORTED_S, LatencyHistogram


def histogram_of(values: list[float]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for value in values:
        histogram.observe(value)
    return histogram


@given(st.lists(st.floats(2e-5, 900.0), min_size=1, max_size=300), st.floats(0, 1))
def test_quantiles_are_within_six_percent(values: list[float], q: float) -> None:
    exact = float(np.quantile(values, q, method="inverted_cdf"))
    estimate = histogram_of(values).quantile(q)
    assert estimate is not None
    assert estimate == pytest.approx(exact, rel=0.061)


@given(st.lists(st.floats(0.0, 2000.0), max_size=100))
def test_the_snapshot_counts_what_is_at_most_the_bound(values: list[float]) -> None:
    snapshot = histogram_of(values).snapshot()
    assert [bound for bound, _ in snapshot.buckets] == [*EXPORTED_S, math.inf]
    for bound, count in snapshot.buckets:
        assert count == sum(value <= bound for value in values)
    assert snapshot.count == len(values)
    assert snapshot.sum_s == pytest.approx(sum(values))


def test_the_bounds_of_the_service_level_are_exported() -> None:
    assert {0.5, 1.0, 2.0} <= set(EXPORTED_S)


def test_several_quantiles_are_those_of_one_moment() -> None:
    histogram = histogram_of([0.001 * k for k in range(1, 101)])
    assert histogram.quantiles(0.1, 0.5, 1.0) == [histogram.quantile(share) for share in (0.1, 0.5, 1.0)]


def test_nothing_observed_has_no_quantile() -> None:
    histogram = LatencyHistogram()
    assert histogram.quantile(0.5) is None
    histogram.observe(1.0)
    histogram.reset()
    assert (histogram.quantile(0.5), histogram.count, histogram.snapshot().sum_s) == (None, 0, 0.0)


def test_clocks_that_disagree_count_as_zero_and_no_number_counts_not_at_all() -> None:
    histogram = histogram_of([-3.0, math.nan])
    assert histogram.count == 1
    assert histogram.quantile(1.0) == 0.0
    assert histogram.snapshot().sum_s == 0.0


def test_very_long_durations_are_kept() -> None:
    histogram = histogram_of([5000.0, 6000.0])
    assert histogram.quantile(1.0) == 6000.0
    assert histogram.snapshot().buckets[-2][1] == 0


def test_a_quantile_is_a_share() -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        LatencyHistogram().quantile(1.5)
