"""Samples that tell less than one would wish."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.alignment.opposite_views import center_from_pair
from streamer.phantoms import Ellipse, sinogram


def views(rows, columns, noise, drop=0.0, structure=0.0, seed=1):
    """Two opposite views of a rod that stands off the axis; ``structure`` along the axis, which drops in between."""
    rng = np.random.default_rng(seed)
    rod = [Ellipse(1.6 / columns, 0.25 * columns, 0.25 * columns, 0.06 * columns, 0.0)]
    lines = sinogram(rod, columns, np.array([0.0, np.pi]), 0.5 * columns)
    z = np.arange(rows)
    heights = [1 + structure * (np.sin(at / 6.0) + np.sin(at / 2.3)) for at in (z, z - drop)]
    return [
        line * height[:, None] + noise * rng.standard_normal((rows, columns))
        for line, height in zip(lines, heights, strict=True)
    ]


@pytest.mark.parametrize("noise", [0.002, 0.02])
@pytest.mark.parametrize(("rows", "columns"), [(18, 96), (64, 96), (180, 512)])
def test_a_rod_that_looks_alike_at_all_heights_has_not_dropped(rows, columns, noise):
    for seed in range(4):
        match = center_from_pair(*views(rows, columns, noise, seed=seed))
        assert match.mismatch < 0.2
        assert abs(match.dy) <= 1.0
        assert abs(match.center - 0.5 * columns) < 0.05


@pytest.mark.parametrize("noise", [0.002, 0.02])
@pytest.mark.parametrize(("rows", "columns"), [(64, 96), (180, 512)])
def test_a_sample_that_has_dropped_is_still_found_out(rows, columns, noise):
    match = center_from_pair(*views(rows, columns, noise, drop=3.0, structure=0.1))
    assert abs(match.dy) == pytest.approx(3.0, abs=0.15)
