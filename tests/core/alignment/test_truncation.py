from __future__ import annotations

import numpy as np
import pytest

from streamer.core.alignment.truncation import measure_edges
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
