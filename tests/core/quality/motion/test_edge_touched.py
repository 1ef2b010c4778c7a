"""Samples that reach a few pixels over the edge now and then, as ellipses, which integrate in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.quality.motion.consistency import always_covered, open_beam, pixel_noise, uncut
from streamer.core.quality.motion.reprojection import projected_again
from streamer.core.quality.motion.rigid_body import rigid_body

COLUMNS, ROWS, COUNT, FINE = 96, 8, 144, 4
MIDDLE = (COLUMNS - 1) / 2
THETA = np.arange(COUNT) * np.pi / COUNT
TIME = np.linspace(0, 1, COUNT)
INNER = [(-0.012, 9.0, 6.0, 12.0, -8.0), (0.02, 5.0, 5.0, -15.0, 4.0), (-0.015, 6.0, 12.0, 2.0, 14.0)]


def lines(over, theta=THETA, shift=0.0, columns=COLUMNS, center=MIDDLE, flat=0.7):
    """Line integrals (n, columns) of an ellipse that reaches ``over`` pixels beyond both edges of the detector, with
    some in it; ``shift`` (n,) across the beam; ``flat`` its other half axis as a share of half the detector."""
    fine = (np.arange(columns * FINE) + 0.5) / FINE - 0.5
    out = np.zeros((theta.size, fine.size))
    for value, a, b, x, y in [(0.02, COLUMNS / 2 + over, flat * COLUMNS / 2, 0.0, 0.0), *INNER]:
        across = fine - (center + x * np.cos(theta) + y * np.sin(theta) + shift)[:, None]
        reach = ((a * np.cos(theta)) ** 2 + (b * np.sin(theta)) ** 2)[:, None]
        out += 2 * value * a * b * np.sqrt(np.clip(reach - across**2, 0, None)) / reach
    return out.reshape(theta.size, columns, FINE).mean(axis=2)


def scan(over, noise=0.006, beam=0.0, **more):
    views = np.repeat(lines(over, **more)[:, None], ROWS, axis=1) + np.reshape(beam, (-1, 1, 1))
    return (views + np.random.default_rng(7).normal(0, noise, views.shape)).astype(np.float32)


def rigid(numba_backend, views):
    found = rigid_body(numba_backend, views, THETA, np.arange(COUNT), MIDDLE, views.sum(axis=2))
    assert found is not None
    return found


@pytest.mark.parametrize("over", [-1.5, 0.0, 0.5, 1.0, 2.0, 4.0])
def test_a_rigid_sample_that_touches_the_edge_does_not_move(numba_backend, over):
    found = rigid(numba_backend, scan(over))
    assert found.motion_px < 0.1
    assert found.misfit_px < 0.02
    assert found.mass_change < 0.01


@pytest.mark.parametrize("over", [0.0, 1.0, 3.0])
def test_one_that_moves_does(numba_backend, over):
    shaken = 0.5 * np.random.default_rng(3).standard_normal(COUNT)
    assert rigid(numba_backend, scan(over, shift=shaken)).motion_px == pytest.approx(1.0, rel=0.25)
    assert rigid(numba_backend, scan(over, shift=1.5 * (TIME > 0.6))).motion_px > 0.5
    turned = np.where(TIME < 0.6, THETA, THETA - np.deg2rad(4.0))
    assert rigid(numba_backend, scan(over, theta=turned)).misfit_px > 0.07


def test_one_that_leaves_the_field_in_part_of_the_projections_has_lost_mass(numba_backend):
    assert rigid(numba_backend, scan(8.0)).mass_change > 0.02


@pytest.mark.parametrize("fading", [0.0, 0.05, -0.08])
def test_the_open_beam_is_found_while_the_sample_covers_both_margins(fading):
    beam = fading * TIME
    views = scan(3.0, beam=beam)
    covered = np.minimum(*lines(3.0)[:, [0, -1]].T) > 0.05
    assert 0.2 < covered.mean() < 0.5
    found = open_beam(views)
    assert np.abs(found.mean(axis=1) - beam).max() < 0.01
    whole = uncut(views, found, pixel_noise(views))
    assert not whole[covered].any()
    assert whole.mean() > 0.5


def test_a_beam_that_steps_is_followed_though_the_sample_is_beside_the_margin():
    step = 0.08 * ((TIME > 0.3) & (TIME < 0.5))
    views = scan(-4.0, beam=step)
    assert np.abs(open_beam(views).mean(axis=1) - step).max() < 0.01
    assert uncut(views, open_beam(views), pixel_noise(views)).all()


@pytest.mark.parametrize("fading", [0.0, -0.05])
def test_what_both_margins_hold_of_a_round_sample_is_no_beam_since_its_mass_would_change(numba_backend, fading):
    beam = fading * TIME
    views = scan(-0.5, noise=0.02, beam=beam, flat=0.93)
    assert np.abs(open_beam(views).mean(axis=1) - beam).max() < 0.015
    found = rigid(numba_backend, views)
    assert found.mass_change < 0.005
    assert found.misfit_px < 0.02


def test_mass_that_is_lost_while_the_beam_fades_is_lost(numba_backend):
    fading = 0.05 * TIME
    falls = np.where(TIME > 0.7, 0.9, 1.0)
    views = scan(-4.0) * falls[:, None, None] + fading[:, None, None]
    assert np.abs(open_beam(views).mean(axis=1) - fading).max() < 0.01
    expected = 2 * np.std(falls) / np.median(falls)
    found = rigid_body(numba_backend, views.astype(np.float32), THETA, np.arange(COUNT), MIDDLE)
    assert found is not None
    assert found.mass_change == pytest.approx(expected, rel=0.3)


def test_a_sample_that_always_covers_both_margins_is_told_from_a_darker_beam():
    assert always_covered(np.repeat(scan(4.0)[:1], COUNT, axis=0))
    assert not always_covered(scan(-6.0, beam=0.2 * np.ones(COUNT)))


def test_what_lies_beyond_the_edge_is_found_from_the_other_projections(numba_backend):
    over, beyond = 3.0, 8
    wide = lines(over, columns=COLUMNS + 2 * beyond, center=MIDDLE + beyond)
    views = np.ascontiguousarray(wide[:, None, beyond:-beyond], np.float32)
    cut = (wide[:, :beyond].sum(axis=1) > 0) | (wide[:, -beyond:].sum(axis=1) > 0)
    assert 0.1 < cut.mean() < 0.4
    (blind,) = projected_again(numba_backend, views, THETA, MIDDLE)
    (again,) = projected_again(numba_backend, views, THETA, MIDDLE, whole=~cut)
    inner = np.s_[~cut, :, 4:-4]
    error, without = (np.sqrt(np.mean((found - views)[inner] ** 2)) for found in (again, blind))
    assert error < 0.5 * without
    assert error < 0.005 * views.max()
