from __future__ import annotations

import numpy as np
import pytest

from streamer.core.alignment.truncation import MOST_BEYOND, measure_edges
from streamer.frames import BadInput
from streamer.phantoms import Ellipse, half_turn, sinogram


def shares(sinograms: np.ndarray) -> tuple[float, float]:
    left, right = measure_edges(sinograms)
    return left.share, right.share


def test_edges_that_the_sample_reaches() -> None:
    rng = np.random.default_rng(5)
    columns = 256
    angles = half_turn(90)
    inside = sinogram([Ellipse(0.01, 80, 60, 10, 5)], columns, angles)[:, None].repeat(3, axis=1)
    for drift in (0.0, 0.04, -0.04):
        noisy = inside + drift + rng.normal(0, 0.02, inside.shape)
        noisy[..., [0, -1]] += 0.5  # a dead column at either edge
        assert shares(noisy.astype(np.float32)) == (0.0, 0.0)
    off = sinogram([Ellipse(0.01, 80, 60, 10, 5)], columns, angles, 40.0)[:, None]
    assert shares(off) == (1.0, 0.0)
    assert shares(off[..., ::-1]) == (0.0, 1.0)
    swings = sinogram([Ellipse(0.01, 30, 30, 110, 0)], columns, np.linspace(0, np.pi, 200))[:, None]
    left, right = shares(swings)
    share = np.arccos((127.5 - 30) / 110) / np.pi
    assert right == pytest.approx(share, abs=0.05)
    assert left == pytest.approx(share, abs=0.05)
    wide = sinogram([Ellipse(0.002, 300, 260, 0, 0)], columns, angles)[:, None]
    assert shares(wide) == (1.0, 1.0)
    assert shares(wide[:0]) == (0.0, 0.0)
    assert shares(rng.normal(0, 0.05, (50, 2, columns)).astype(np.float32)) == (0.0, 0.0)
    assert shares(np.zeros((4, 1, columns), np.float32)) == (0.0, 0.0)


def test_a_dead_pixel_that_is_denser_than_the_sample_hides_no_edge() -> None:
    views = sinogram([Ellipse(0.002, 300, 260, 0, 0)], 256, half_turn(90))[:, None].repeat(3, axis=1)
    views[:, 1, 100] = 60.0
    assert shares(views) == (1.0, 1.0)


@pytest.mark.parametrize("radius", [104, 115, 130, 160, 220])
def test_how_much_lies_beyond(radius: int) -> None:
    """Of a cylinder, against its integral beyond the edge: a straight line tells one and a half to two times that."""
    columns, angles = 200, half_turn(20)
    cylinder = [Ellipse(0.01, radius, radius, 0, 0)]
    lines = sinogram(cylinder, columns, angles)[:, None]
    whole = sinogram(cylinder, 3 * columns, angles)[0]
    level = float(lines[0, 0, :4].mean())
    true = float(whole[2 * columns :].sum()) / level
    noisy = lines + np.random.default_rng(0).normal(0, 0.02, lines.shape)
    for seen in (lines, noisy):
        for edge in measure_edges(seen.astype(np.float32)):
            assert edge.share == 1.0
            assert min(true, 49) < edge.beyond_px < min(2.4 * true + 6, 50.001)


def test_a_refusal() -> None:
    with pytest.raises(BadInput, match="sinograms"):
        measure_edges(np.zeros((3, 100), np.float32))


def ramps(height: float, slope: float, columns: int = 240) -> np.ndarray:
    """Views (5, 2, columns) that reach the left edge with a straight flank, and are open on the right."""
    x = np.arange(columns)
    rise = height + slope * x
    fall = np.maximum(0.0, 0.8 * (columns - 30 - x) / 20)
    return np.tile(np.minimum(np.minimum(rise, 2.0), fall), (5, 2, 1)).astype(np.float32)


@pytest.mark.parametrize(("height", "slope"), [(0.5, 0.02), (0.6, 0.04), (1.0, 0.02)])
def test_a_straight_flank_goes_on_as_a_triangle(height: float, slope: float) -> None:
    """The triangle beyond the edge has the area height²/2·slope: in units of the height, half of what it reaches."""
    left, right = measure_edges(ramps(height, slope))
    assert left.share == 1.0
    assert left.beyond_px == pytest.approx(height / slope / 2, abs=1.5)  # the height is a median of a few columns
    assert (right.share, right.beyond_px) == (0.0, 0.0)


def test_a_level_flank_goes_on_to_the_limit() -> None:
    left, _ = measure_edges(ramps(1.5, 0.0))
    assert left.beyond_px == pytest.approx(MOST_BEYOND * 240)


def test_the_share_is_that_of_the_projections_in_which_the_edge_is_reached() -> None:
    views = np.concatenate([ramps(0.5, 0.02)] * 4)
    open_views = ramps(0.5, 0.02)
    open_views[..., :40] = 0
    views[5:15] = np.concatenate([open_views] * 2)
    assert measure_edges(views)[0].share == pytest.approx(0.5)


@pytest.mark.parametrize("factor", [0.01, 1.0, 100.0])
def test_the_unit_of_attenuation_does_not_matter_if_the_beam_is_steady(factor: float) -> None:
    left, right = measure_edges(factor * ramps(0.5, 0.02))
    assert (left.share, right.share) == (1.0, 0.0)


@pytest.mark.parametrize("width", [1, 2])
def test_dead_pixels_do_not_hide_that_the_sample_is_wider(width: int) -> None:
    wide = sinogram([Ellipse(0.002, 300, 260, 0, 0)], 256, half_turn(90))[:, None].repeat(3, axis=1)
    expected = measure_edges(wide)
    wide[:, 1, 100 : 100 + width] = 12.0  # in every projection
    assert measure_edges(wide) == expected


def test_what_has_no_columns_is_refused() -> None:
    for shape in ((3, 4), (2, 3, 1)):
        with pytest.raises(BadInput, match="sinograms"):
            measure_edges(np.zeros(shape))
