"""Moments of rigid and of moving samples, whose courses are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.quality.motion.consistency import (
    course,
    harmonics,
    moments_of,
    open_beam,
    path_model,
    residual,
    uncut,
)
from streamer.core.quality.motion.reprojection import for_projection, project_slices
from streamer.core.quality.motion.rigid_body import rigid_body, stray_light
from streamer.core.quality.motion.turning import unevenness

COLUMNS, ROWS, COUNT = 80, 12, 128
CENTER = 40.7
THETA = np.arange(COUNT) * np.pi / COUNT
TIME = np.linspace(0, 1, COUNT)
SPOTS = [(0.06, 6.0, 0.0, 3.0, 0.0), (0.05, 4.0, 12.0, -4.0, 2.0), (0.05, 5.0, -9.0, -8.0, -2.0)]


def scan(theta=THETA, shift=0.0, lift=0.0, grow=1.0, noise=0.003, seed=0):
    """Projections (n, rows, columns) of Gaussian spots, which integrate in closed form."""
    shift, lift, grow = (np.broadcast_to(value, theta.shape) for value in (shift, lift, grow))
    t = np.arange(COLUMNS) - CENTER
    z = np.arange(ROWS) - (ROWS - 1) / 2
    out = np.random.default_rng(seed).normal(0, noise, (theta.size, ROWS, COLUMNS))
    for value, sigma, x, y, height in SPOTS:
        wide = sigma * grow
        d = t - (x * grow * np.cos(theta) + y * grow * np.sin(theta) + shift)[:, None]
        line = value * wide[:, None] * np.sqrt(2 * np.pi) * np.exp(-0.5 * (d / wide[:, None]) ** 2)
        out += line[:, None, :] * np.exp(-0.5 * ((z - height - lift[:, None]) / 3) ** 2)[:, :, None]
    return out.astype(np.float32)


def rigid(numba_backend, views, theta=THETA, index=None):
    index = np.arange(len(views)) if index is None else index
    return rigid_body(numba_backend, views, theta, index, None, views.sum(axis=2))


def test_moments_of_a_rigid_sample_are_polynomials_of_the_angle():
    views = scan(noise=0.0)
    moments = moments_of(views, np.zeros((COUNT, COLUMNS)), 1e-4)
    assert np.ptp(moments.mass) < 1e-5 * moments.mass.mean()
    assert np.abs(residual(path_model(THETA), moments.first)).max() < 1e-3
    solution = np.linalg.lstsq(path_model(THETA), moments.first, rcond=None)[0]
    assert solution[0] + (COLUMNS - 1) / 2 == pytest.approx(CENTER, abs=1e-3)
    about = moments.second - 2 * solution[0] * moments.first + solution[0] ** 2
    assert np.abs(residual(harmonics(THETA, 2), about)).max() < 1e-3 * about.mean()


def test_a_course_is_told_apart_from_noise_and_named():
    noise = np.random.default_rng(1).normal(0, 0.1, COUNT)
    assert course(noise, 0.1, 1).rms == 0.0
    vibration = course(noise + np.random.default_rng(2).normal(0, 0.5, COUNT), 0.1, 1)
    assert vibration.fast == pytest.approx(0.5, rel=0.2)
    step = course(noise + 0.6 * (TIME > 0.4) - 0.36, 0.1, 1)
    assert (step.kind, step.when) == ("jump", pytest.approx(0.4, abs=0.06))
    assert step.slow == pytest.approx(0.6 * np.sqrt(0.24), rel=0.25)
    assert course(noise + TIME - 0.5, 0.1, 1).kind == "drift"


def test_a_disc_projected_again_has_chords(numba_backend):
    n, radius = 64, 20.0
    grid = np.arange(n) - (n - 1) / 2
    fine = np.arange(n * 8) / 8 + 1 / 16 - 0.5 - (n - 1) / 2
    disc = (np.hypot(fine[:, None], fine) <= radius).reshape(n, 8, n, 8).mean(axis=(1, 3))
    out = np.empty((3, 1, n), np.float32)
    angles = np.array([0.0, 0.6, 2.2])
    layouts = for_projection(disc[None].astype(np.float32))
    project_slices(*layouts, np.cos(angles), np.sin(angles), (n - 1) / 2, 1, out)
    chord = 2 * np.sqrt(np.maximum(radius**2 - grid**2, 0))
    inside = np.abs(grid) < radius - 2
    assert np.abs(out[:, 0] - chord)[:, inside].max() < 0.7


def test_each_slice_is_projected_as_if_it_were_alone(numba_backend):
    """By Joseph's rule, written out: lines of the slice, each met by the ray of a column between two of its pixels."""
    n, columns, axis, angles = 20, 26, 11.3, np.array([0.0, 0.3, np.pi / 4, 1.5, np.pi / 2, 2.9])
    slices = np.random.default_rng(3).random((5, n, n)).astype(np.float32)
    out = np.empty((angles.size, 5, columns), np.float32)
    project_slices(*for_projection(slices), np.cos(angles), np.sin(angles), axis, 2, out)
    middle, pixel, column = (n - 1) / 2, np.arange(n), np.arange(columns)
    for theta, seen in zip(angles, out, strict=True):
        along_x = abs(np.sin(theta)) > abs(np.cos(theta))
        major, minor = (np.sin(theta), np.cos(theta)) if along_x else (np.cos(theta), np.sin(theta))
        wanted = np.zeros((5, columns))
        for k in range(n):
            at = (column - axis - (k - middle) * minor) / major + middle
            lines = slices[:, :, k] if along_x else slices[:, k]
            wanted += [np.interp(at, pixel, line, 0.0, 0.0) / abs(major) for line in lines]
        np.testing.assert_allclose(seen, wanted, atol=1e-3)


def test_a_rigid_sample_shows_nothing(numba_backend):
    found = rigid(numba_backend, scan())
    assert (found.motion_px, found.misfit_px, found.mass_change) == (0.0, 0.0, 0.0)


RNG = np.random.default_rng(5)
GOLDEN = np.pi * np.mod(np.arange(COUNT) * (np.sqrt(5) - 1) / 2, 1.0)


@pytest.mark.parametrize(
    ("views", "least"),
    [
        (scan(shift=RNG.normal(0, 0.5, COUNT)), 0.8),
        (scan(shift=1.5 * np.sin(9 * TIME)), 1.0),
        (scan(shift=2.0 * (TIME > 0.5)), 1.0),
        (scan(shift=4.0 * (TIME > 0.4) * np.cos(THETA)), 0.6),
        (scan(shift=4.0 * np.exp(-TIME / 0.1)), 0.6),
        (scan(shift=2.0 * ((TIME > 0.3) & (TIME < 0.45))), 0.5),
        (scan(lift=2.0 * (TIME - 0.5)), 0.8),
        (scan(lift=1.5 * (TIME > 0.6)), 0.8),
    ],
    ids=["vibration", "sway", "jump of the stage", "jump in plane", "settling", "excursion", "drift up", "jump up"],
)
def test_movements_are_found(numba_backend, views, least):
    assert rigid(numba_backend, views).motion_px > least


def test_movement_along_the_axis_is_not_mistaken_for_one_across(numba_backend):
    assert not rigid(numba_backend, scan(lift=2.0 * (TIME - 0.5))).across
    assert rigid(numba_backend, scan(shift=2.0 * (TIME > 0.5))).across


JITTER = np.deg2rad(0.4) * np.random.default_rng(8).standard_normal(COUNT)
ECCENTRIC = np.deg2rad(1.0) * np.sin(THETA + 0.7)


@pytest.mark.parametrize("off", [JITTER, ECCENTRIC], ids=["noise", "encoder off its centre"])
@pytest.mark.parametrize("even", [THETA, GOLDEN], ids=["half turn", "golden"])
def test_angles_that_an_even_rotation_does_not_have_are_told_from_those_that_it_had(numba_backend, even, off):
    assert rigid(numba_backend, scan(even), even + off).misfit_px > 0.04  # the encoder is wrong
    assert rigid(numba_backend, scan(even + off), even + off).misfit_px < 0.01  # the rotation was uneven


def test_uneven_angles_are_those_beside_even_steps():
    index = np.sort(np.random.default_rng(9).choice(COUNT, 120, replace=False))
    found = unevenness((GOLDEN + JITTER)[index], index)
    assert np.std(found - JITTER[index]) < 0.3 * np.std(JITTER)
    assert not unevenness(THETA[index], index).any()
    assert not unevenness(np.random.default_rng(9).uniform(0, np.pi, COUNT), np.arange(COUNT)).any()


def test_a_sample_that_shrinks_loses_mass(numba_backend):
    assert rigid(numba_backend, scan(grow=1 - 0.08 * TIME)).mass_change > 0.02


@pytest.mark.parametrize(
    "theta", [THETA * 1.06, np.where(TIME < 0.5, THETA, THETA - np.deg2rad(8.0))], ids=["angle step", "skip"]
)
def test_angles_that_were_not_turned_do_not_fit(numba_backend, theta):
    found = rigid(numba_backend, scan(theta))
    assert max(found.motion_px / 0.3, found.misfit_px / 0.05) > 1.0


@pytest.mark.parametrize(
    ("theta", "grow"),
    [
        (THETA * 1.01, 1.0),
        (GOLDEN * 1.02, 1.0),
        (THETA - np.deg2rad(1.5) * (TIME > 0.6), 1.0),
        (THETA + np.deg2rad(3.0) * TIME**1.5, 1.0),
        (THETA, 1 - 0.01 * TIME),
    ],
    ids=["step of the angle", "golden angles", "skip", "creep", "shrinking"],
)
def test_small_errors_of_angle_and_size_are_found(numba_backend, theta, grow):
    recorded = GOLDEN if theta[1] > 1 else THETA
    assert rigid(numba_backend, scan(theta, grow=grow), recorded).misfit_px > 0.035
    assert rigid(numba_backend, scan(recorded), recorded).misfit_px == 0.0


def test_a_beam_that_fades_and_tilts_is_no_movement(numba_backend):
    views = scan() + (0.05 * TIME[:, None] * (1 + 0.2 * np.linspace(-1, 1, COLUMNS)))[:, None].astype(np.float32)
    found = rigid(numba_backend, views)
    assert (found.motion_px, found.misfit_px, found.mass_change) == (0.0, 0.0, 0.0)


def test_a_sample_that_now_and_then_covers_both_margins_is_no_change_of_the_beam():
    views = scan(noise=0.0) + 0.05
    views[50:60, :, :4] += 0.3
    views[50:60, :, -4:] += 0.2
    assert open_beam(views) == pytest.approx(0.05, abs=0.005)
    whole = uncut(views, open_beam(views), 0.003)
    assert np.flatnonzero(~whole).tolist() == list(range(50, 60))


def test_the_order_of_arrival_does_not_matter(numba_backend):
    views, order = scan(shift=2.0 * (TIME > 0.5)), np.random.default_rng(3).permutation(COUNT)
    straight, shuffled = rigid(numba_backend, views), rigid(numba_backend, views[order], THETA[order], order)
    assert shuffled.motion_px == pytest.approx(straight.motion_px, rel=1e-3)
    assert (shuffled.kind, shuffled.when) == (straight.kind, straight.when)


def test_golden_angles_show_a_drift_as_well(numba_backend):
    assert rigid(numba_backend, scan(GOLDEN), GOLDEN).motion_px == 0.0
    assert rigid(numba_backend, scan(GOLDEN, shift=2.0 * TIME), GOLDEN).motion_px > 0.8


def glowing(views, share):
    """Views of a detector that holds a share of the image before, with flats and darks taken alike."""
    light = np.exp(-views)
    light[1:] = (light[1:] + share * light[:-1]) / (1 + share)
    return -np.log(light)


@pytest.mark.parametrize("share", [0.03, 0.1])
def test_an_image_that_stays_on_does_not_fit_where_the_next_one_is_of_another_angle(numba_backend, share):
    found = rigid(numba_backend, glowing(scan(GOLDEN), share), GOLDEN)
    assert found.lag == pytest.approx(share, rel=0.35)
    assert (found.misfit_px > 0.035) == (share > 0.05)
    assert rigid(numba_backend, scan(GOLDEN), GOLDEN).lag == 0.0


def test_an_image_that_stays_on_does_no_harm_where_the_next_one_is_nearly_the_same(numba_backend):
    found = rigid(numba_backend, glowing(scan(), 0.1))
    assert (found.misfit_px, found.lag) == (0.0, 0.0)


def test_what_came_before_an_image_that_was_lost_is_not_known(numba_backend):
    kept = np.arange(COUNT) % 2 == 0
    index = np.flatnonzero(kept)
    found = rigid_body(numba_backend, glowing(scan(GOLDEN), 0.1)[kept], GOLDEN[kept], index, None)
    assert found.lag == 0.0


def test_a_wedge_that_is_missing_is_no_movement(numba_backend):
    views = scan()[:100]
    found = rigid_body(numba_backend, views, THETA[:100], np.arange(100), None, views.sum(axis=2), complete=False)
    assert (found.motion_px, found.misfit_px, found.mass_change) == (0.0, 0.0, 0.0)


def test_nothing_is_claimed_of_noise_or_of_a_handful_of_projections(numba_backend):
    noise = np.random.default_rng(0).normal(0, 0.01, (COUNT, ROWS, COLUMNS)).astype(np.float32)
    assert rigid(numba_backend, noise) is None
    assert rigid(numba_backend, scan()[:8], THETA[:8]) is None


def test_stray_light_does_not_count_for_thin_samples():
    assert stray_light(0.1) < 0.001 < stray_light(1.0) < 1.0 < 100.0 < stray_light(2.9)


def test_the_open_beam_is_the_emptier_margin():
    views = scan(noise=0.0)
    views += 0.05
    views[..., :10] += 0.3
    assert open_beam(views) == pytest.approx(0.05, abs=0.005)


def test_a_sample_that_is_gone_from_most_projections_has_changed(numba_backend):
    views = scan()
    gone = np.arange(len(views)) > 0.3 * len(views)
    views[gone] = np.random.default_rng(1).normal(0, 0.003, views[gone].shape)
    found = rigid(numba_backend, views)
    assert found is not None
    assert found.mass_change > 0.5
