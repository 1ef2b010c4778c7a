"""Rows of a sample that move against each other, while its centre of mass stays where it is."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.quality.motion.leaning import lean_px

COLUMNS, COUNT, NOISE = 90, 160, 0.004
HEIGHTS = np.array([3.0, 20.0, 41.0, 60.0, 83.0, 101.0])
TIME = np.linspace(0, 1, COUNT)
HALF_TURN = np.arange(COUNT) * np.pi / COUNT
GOLDEN = np.pi * np.mod(np.arange(COUNT) * (np.sqrt(5) - 1) / 2, 1.0)
ABOVE = HEIGHTS - HEIGHTS.mean()


def net(theta=HALF_TURN, shift=0.0, seed=0):
    """Attenuation (n, bands, columns) of two Gaussian spots in each band, displaced by ``shift`` (n, bands)."""
    rng, t = np.random.default_rng(seed), np.arange(COLUMNS) - 44.8
    out = rng.normal(0, NOISE, (COUNT, HEIGHTS.size, COLUMNS))
    shift = np.broadcast_to(shift, out.shape[:2])
    for _ in range(2):
        x, y = rng.uniform(-15, 15, (2, HEIGHTS.size))
        at = x * np.cos(theta)[:, None] + y * np.sin(theta)[:, None] + shift
        out += 0.5 * np.exp(-0.5 * ((t - at[..., None]) / 5.0) ** 2)
    return out.astype(np.float32)


def lean(views, theta=HALF_TURN):
    return np.hypot(*lean_px(views, HEIGHTS, theta, TIME, NOISE))


@pytest.mark.parametrize("theta", [HALF_TURN, GOLDEN], ids=["half turn", "golden"])
def test_a_rigid_sample_does_not_lean(theta):
    assert lean(net(theta), theta) == 0.0


@pytest.mark.parametrize(
    ("theta", "course"),
    [
        (HALF_TURN, 1.0 * (TIME > 0.4)),
        (HALF_TURN, np.sin(40 * TIME)),
        (GOLDEN, 2 * TIME - 1),
        (HALF_TURN, np.random.default_rng(3).normal(0, 0.7, COUNT)),
    ],
    ids=["leans over", "sways", "bends", "shakes"],
)
def test_rows_that_move_against_each_other_are_found_with_their_size(theta, course):
    """Two pixels at the ends, to both sides: the centre of mass of the whole does not move."""
    shift = np.outer(course, 2 * ABOVE / np.abs(ABOVE).max())
    wanted = float(np.sqrt(np.mean((shift - shift.mean(axis=0)) ** 2)))
    assert lean(net(theta, shift), theta) == pytest.approx(wanted, rel=0.35)


def test_a_sample_that_moves_as_a_whole_does_not_lean():
    assert lean(net(shift=3.0 * (TIME > 0.5)[:, None])) < 0.1


def test_in_half_a_turn_a_steady_bend_is_nearly_that_of_another_rigid_sample():
    """Each row drifts as one does that lies elsewhere: the tomogram shows the sample half bent, and sharp."""
    shift = np.outer(2 * TIME - 1, 2 * ABOVE / np.abs(ABOVE).max())
    assert lean(net(shift=shift)) < 0.1 * np.sqrt(np.mean(shift**2))


def test_an_axis_that_leans_is_no_movement():
    """It moves each row to one side, and adds slow functions of the angle."""
    shift = np.outer(1.0 + 0.2 * np.cos(2 * HALF_TURN), 0.01 * ABOVE)
    assert lean(net(shift=shift)) == 0.0


@pytest.mark.parametrize("bands", [1, 2])
def test_too_few_rows_show_nothing(bands):
    assert lean_px(net()[:, :bands], HEIGHTS[:bands], HALF_TURN, TIME, NOISE) == (0.0, 0.0)


def test_bands_without_a_sample_do_not_count():
    views = net()
    views[:, 1:] = np.random.default_rng(5).normal(0, NOISE, views[:, 1:].shape)
    assert lean_px(views, HEIGHTS, HALF_TURN, TIME, NOISE) == (0.0, 0.0)
