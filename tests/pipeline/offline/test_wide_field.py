"""Tiles side by side, and a magnified part continued by an overview, from analytic projections."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.frames import BadInput
from streamer.phantoms import Ellipse, Gaussian, sinogram
from streamer.pipeline.offline.wide_field import Tile, blended, laid_side_by_side, padded_from_overview

ANGLES = np.arange(36) * np.pi / 36
BODY = [Ellipse(0.02, 30.0, 22.0, 2.0, -3.0, 0.4), Gaussian(0.05, 3.0, 9.0, 6.0)]
WIDTH, ROWS = 96, 6


def lines(columns: int, center: float, rows: int = ROWS):
    return np.repeat(sinogram(BODY, columns, ANGLES, center)[:, None], rows, axis=1).astype(np.float32)


@pytest.mark.parametrize("step", [36.0, 36.4])
def test_tiles_make_the_wide_projections(step: float) -> None:
    whole = lines(WIDTH, 47.5)
    tiles = [lines(56, 47.5), lines(56, 47.5 - step)]
    placed, shape = laid_side_by_side([Tile(0.0, 0.0), Tile(0.0, step)], ROWS, 56)
    assert shape == (ROWS, 92)
    joined = blended(tiles, placed, shape)
    inside = slice(3, -3)
    np.testing.assert_allclose(
        joined[:, :, inside], whole[:, :, :92][:, :, inside], atol=(0.01 if step == 36 else 0.06) * whole.max()
    )


def test_rows_of_tiles_lie_below_each_other_wherever_they_begin() -> None:
    rng = np.random.default_rng(1)
    whole = rng.random((3, 20, 16)).astype(np.float32)
    placed, shape = laid_side_by_side([Tile(3.0, -7.0), Tile(-5.0, -7.0)], 12, 16)
    assert (placed, shape) == ([Tile(8.0, 0.0), Tile(0.0, 0.0)], (20, 16))
    np.testing.assert_allclose(blended([whole[:, 8:], whole[:, :12]], placed, shape), whole, rtol=1e-6)


def test_a_gap_between_tiles_is_named() -> None:
    with pytest.raises(BadInput, match=r"the tiles leave a gap of 4\.0 columns between them"):
        laid_side_by_side([Tile(0.0, 0.0), Tile(0.0, 20.0)], 8, 16)
    one = np.zeros((1, 4, 4), np.float32)
    with pytest.raises(BadInput, match="the tiles do not cover the field"):
        blended([one, one], [Tile(0.0, 0.0), Tile(4.0, 4.0)], (8, 8))


def test_an_overview_continues_a_magnified_part() -> None:
    zoom, box = 2.0, (9.0, 6.0, 0.0)
    overview = lines(WIDTH, 46.2, 12)
    moved = [
        Ellipse(0.02 / zoom, 60.0, 44.0, zoom * (2.0 - 9), zoom * (-3.0 - 6), 0.4),
        Gaussian(0.05 / zoom, 6.0, 0.0, 0.0),
    ]
    columns, axis = 48, 24.0
    part = np.repeat(sinogram(moved, columns, ANGLES, axis)[:, None], ROWS, axis=1).astype(np.float32)
    wide, begin = padded_from_overview(
        part, overview, ANGLES, zoom=zoom, inner_axis=axis, overview_axis=46.2, box_px=box
    )
    truth = sinogram(moved, wide.shape[2], ANGLES, axis + begin)
    assert wide.shape[1:] == (ROWS, columns + 2 * begin)
    np.testing.assert_allclose(wide[:, 0], truth, atol=0.05 * truth.max())
    assert np.abs(wide[:, 0] - truth).mean() < 0.004 * truth.max()
    inside = slice(begin + 8, begin + columns - 8)
    np.testing.assert_allclose(wide[:, 0, inside], truth[:, inside], atol=1e-4 * truth.max())
    assert wide[:, :, :3].max() < 0.01 * truth.max(), "the whole sample is in it"


def test_scans_that_do_not_fit_together_are_refused() -> None:
    part = np.zeros((4, 2, 8), np.float32)
    words = {"zoom": 2.0, "inner_axis": 3.5, "overview_axis": 3.5, "box_px": (0.0, 0.0, 0.0)}
    with pytest.raises(BadInput, match="4 projections of the part, 3 of the overview"):
        padded_from_overview(part, part[:3], np.zeros(4), **words)
    with pytest.raises(BadInput, match=r"magnified 0\.5 times"):
        padded_from_overview(part, part, np.zeros(4), **{**words, "zoom": 0.5})
