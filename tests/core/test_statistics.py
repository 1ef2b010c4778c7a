"""Medians and percentiles are NumPy's, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.statistics import median, medians, percentile


def some(count: int, seed: int) -> np.ndarray:
    """Numbers of which some are equal."""
    return np.random.default_rng(seed).normal(size=count).round(2)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 127, 128, 1001])
def test_a_median_and_percentiles_of_all_values(count: int) -> None:
    values = some(count, count)
    assert median(values) == np.median(values)
    for percent in (0.0, 37.0, 50.0, 99.5, 100.0):
        assert percentile(values, percent) == np.percentile(values, percent)


@pytest.mark.parametrize("count", [5, 6])
def test_medians_of_lines_wherever_they_lie_in_memory(count: int) -> None:
    values = some(4 * count * 2, 0).reshape(4, count, 2)
    np.testing.assert_array_equal(medians(np.moveaxis(values, 1, -1)), np.median(values, axis=1))
