"""Mass and centre of mass: the axis, motion, truncation and drift of the beam."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.core.alignment.center import combine
from streamer.core.alignment.center_of_mass import MomentTrack
from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.opposite_views import center_from_opposites
from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.flat_field import row_moments_of
from streamer.frames import BadInput
from streamer.phantoms import body_projections, half_turn, random_body
from tests.core.alignment.recorded import as_track, noisy_scan


def test_moments_of_a_third_of_a_turn() -> None:
    angles = np.deg2rad(np.arange(0, 61, 0.5))
    frames, truth = noisy_scan(3, angles)
    found = as_track(frames, angles).estimate()
    assert found.center is None or abs(found.center - truth) < 4 * found.sigma_px
    assert found.confidence < 0.9


def moved_scan(shift: np.ndarray, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """A scan of 150 frames whose body sits at (x, y) + shift[frame] from frame to frame."""
    angles = half_turn(150)
    rng = np.random.default_rng(seed)
    body = random_body(rng, 160)
    still = [body_projections(body, 16, 160, angles[k : k + 1], 79.5 + shift[k]) for k in range(150)]
    frames = np.concatenate(still)
    return (frames + rng.normal(0, 0.03, frames.shape)).astype(np.float32), angles


@pytest.mark.parametrize("pixels", [1.5, -5.0])
@pytest.mark.parametrize("when", [40, 75, 110])
def test_a_jump_is_measured(pixels: float, when: int) -> None:
    frames, angles = moved_scan(np.where(np.arange(150) >= when, pixels, 0.0))
    assert as_track(frames, angles).motion_px() == pytest.approx(abs(pixels), rel=0.5)


def test_a_sample_that_slips_on_its_holder_is_seen() -> None:
    angles = half_turn(150)
    slip = np.where(np.arange(150) >= 70, 4.0 * np.cos(angles) + 3.0 * np.sin(angles), 0.0)
    frames, angles = moved_scan(slip)
    assert as_track(frames, angles).motion_px() == pytest.approx(5.0, rel=0.35)


def test_a_drop_along_the_axis_is_seen() -> None:
    frames, angles = moved_scan(np.zeros(150))
    padded = np.pad(frames, ((0, 0), (8, 8), (0, 0)))
    padded[80:] = np.roll(padded[80:], 3, axis=1)
    assert as_track(padded, angles).motion_px() == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize("seed", range(5))
def test_a_still_sample_does_not_move(seed: int) -> None:
    frames, angles = moved_scan(np.zeros(150), seed)
    assert as_track(frames, angles).motion_px() == 0.0


def test_truncation_and_beam_drift_are_seen() -> None:
    angles = half_turn(60)
    body = random_body(np.random.default_rng(2), 200)
    frames = body_projections(body, 16, 200, angles, 99.5)
    whole = as_track(frames - np.float32(np.log(1.2)), angles)
    assert whole.truncation == 0
    assert whole.beam_drift == pytest.approx(0.2, abs=0.01)
    cut = as_track(np.ascontiguousarray(frames[:, :, 70:130]), angles)
    assert cut.truncation is not None
    assert cut.truncation > 0.8
    assert cut.estimate().center is None
    assert cut.motion_px() is None


@pytest.mark.parametrize("seed", range(4))
def test_noise_of_few_rows_is_no_sample_at_the_edge(seed: int) -> None:
    angles, rng = half_turn(120), np.random.default_rng(seed)
    frames = 0.2 * body_projections(random_body(rng, 100), 8, 128, angles, 63.5)
    track = as_track((frames + rng.normal(0, 0.02, frames.shape)).astype(np.float32), angles)
    assert track.truncation is not None
    assert track.truncation < 0.02


@pytest.mark.parametrize("rows", [4, 12, 48])
@pytest.mark.parametrize(("center", "size"), [(100.3, 240), (27.0, 240), (63.0, 500)])
def test_edges_within_the_sample_tell_nothing_of_the_beam(
    numba_backend: Backend, rows: int, center: float, size: int
) -> None:
    """Half acquisition, whose axis is near an edge, and a sample that is wider than the detector on both sides."""
    angles = np.arange(120) * 2 * np.pi / 120
    body = random_body(np.random.default_rng(6), size)
    whole = body_projections(body, rows, 128, angles, center)
    noise = np.random.default_rng(1).normal(0, 0.01, whole.shape)
    for density in (0.1, 0.3, 1.0):
        frames = (density * whole + noise).astype(np.float32)
        assert as_track(frames, angles).beam_drift is None, density


@pytest.mark.parametrize("rows", [4, 48])
def test_a_beam_that_flickers_and_leans_is_still_read_beside_the_sample(rows: int) -> None:
    angles = half_turn(90)
    frames = body_projections(random_body(np.random.default_rng(2), 200), rows, 200, angles, 99.5)
    rng = np.random.default_rng(3)
    frames += rng.normal(0, 0.01, frames.shape).astype(np.float32) + np.linspace(-0.01, 0.01, 200, dtype=np.float32)
    for change in (0.0, 0.15, 0.3):
        faded = np.log(1 + change * rng.uniform(0.9, 1.1, len(frames))).astype(np.float32)
        track = as_track(frames + faded[:, None, None], angles)
        assert track.beam_drift == pytest.approx(change / (1 + change), abs=0.01)


def test_a_block_of_dim_projections_is_a_drift_and_a_single_one_is_none() -> None:
    angles = half_turn(120)
    frames = body_projections(random_body(np.random.default_rng(2), 200), 8, 200, angles, 99.5)
    dim = np.zeros((120, 1, 1), np.float32)
    dim[50:56] = -np.log(0.77)  # 6 of the 15 projections of a part, with 77 % of the light
    drift = as_track(frames + dim, angles).beam_drift
    assert drift is not None
    assert 0.065 < drift < 0.3
    dim[:] = 0.0
    dim[52] = 2.0
    single = as_track(frames + dim, angles).beam_drift
    assert single is not None
    assert single < 0.04


def test_before_the_first_frames_nothing_is_known() -> None:
    track = MomentTrack()
    assert track.estimate().center is None
    assert (track.motion_px(), track.truncation, track.beam_drift) == (None, None, None)
    track.add(0.0, np.zeros((4, 20), np.float32), np.zeros((4, 4)))
    assert track.estimate().center is None
    with pytest.raises(BadInput):
        track.add(0.0, np.zeros((4, 21), np.float32), np.zeros((4, 4)))


def at(center: float | None, confidence: float, sigma: float = 0.1, method: str = "m") -> CenterEstimate:
    return CenterEstimate(center, confidence, sigma, method)


def on_a_circle(
    center: float, angles: np.ndarray, radius: float = 12.0, columns: int = 120, rows: int = 6
) -> np.ndarray:
    """A rod of Gaussian profile that runs around the axis: its centre of mass is known exactly."""
    place = center + radius * np.cos(angles - 0.4)
    profile = np.exp(-((np.arange(columns)[None] - place[:, None]) ** 2) / (2 * 4.0**2))
    return np.ascontiguousarray(profile[:, None].repeat(rows, axis=1), np.float32)


@pytest.mark.parametrize("center", [59.5, 52.1, 66.83])
@pytest.mark.parametrize("degrees", [90.0, 180.0, 360.0])
def test_the_centre_of_a_rod_on_a_circle(center: float, degrees: float) -> None:
    """From any part of the turn from which the circle can be told."""
    angles = np.deg2rad(np.linspace(0, degrees, 91))
    track = as_track(on_a_circle(center, angles), angles)
    found = track.estimate()
    assert found.center == pytest.approx(center, abs=0.1 if degrees < 180 else 0.04)
    assert found.method == "moments"
    assert track.motion_px() == 0.0
    assert track.truncation == 0.0


def test_the_angles_may_come_in_any_order_and_in_any_batches() -> None:
    angles = half_turn(150)
    frames = on_a_circle(61.7, angles) + np.random.default_rng(1).normal(0, 0.01, (150, 6, 120)).astype(np.float32)
    order = np.random.default_rng(0).permutation(150)
    in_order, shuffled = as_track(frames, angles), as_track(frames[order], angles[order])
    assert shuffled.estimate().center == pytest.approx(in_order.estimate().center, abs=0.02)
    asked = MomentTrack()
    for angle, frame, moments in zip(angles, frames, row_moments_of(frames), strict=True):
        asked.add(float(angle), frame, moments)
        asked.estimate()
    assert asked.estimate() == in_order.estimate(), "looking in between changes nothing"


@pytest.mark.parametrize("level", [-0.1, 0.2])
def test_a_constant_background_changes_nothing(level: float) -> None:
    angles = half_turn(120)
    found = as_track(on_a_circle(61.7, angles) + np.float32(level), angles).estimate()
    assert found.center == pytest.approx(61.7, abs=0.05)


def test_the_error_grows_with_the_noise_and_covers_the_truth() -> None:
    angles, rng = half_turn(180), np.random.default_rng(3)
    sigmas = []
    for noise in (0.01, 0.05, 0.2):
        frames = on_a_circle(61.7, angles) + rng.normal(0, noise, (180, 6, 120)).astype(np.float32)
        found = as_track(frames, angles).estimate()
        if found.center is not None:
            assert abs(found.center - 61.7) < 4 * found.sigma_px
        sigmas.append(found.sigma_px)
    assert sigmas == sorted(sigmas)
    assert sigmas[0] < 0.5


def test_the_mean_is_that_of_every_second_projection() -> None:
    angles = half_turn(31)
    frames = on_a_circle(61.7, angles)
    track = as_track(frames, angles)
    assert track.mean is not None
    np.testing.assert_allclose(track.mean, frames[::2].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("faded", [0.0, 0.05, -0.03])
def test_the_change_of_the_open_beam_is_measured(faded: float) -> None:
    angles = half_turn(160)
    frames = on_a_circle(59.5, angles) + np.float32(faded)
    assert as_track(frames, angles).beam_drift == pytest.approx(abs(np.expm1(-faded)), abs=1e-4)


def test_the_standard_error_of_the_axis_is_about_the_real_one() -> None:
    errors, sigmas = [], []
    for seed in range(16):
        rng, k = np.random.default_rng(seed), np.arange(80)
        angles = np.pi * (k / 80 if seed % 2 else np.mod(k * (np.sqrt(5) - 1) / 2, 1.0))
        truth = 39.5 + rng.uniform(-3, 3)
        frames = body_projections(random_body(rng, 80), 12, 80, angles, truth)
        frames = (frames + rng.normal(0, 0.06 * frames.max(), frames.shape)).astype(np.float32)
        found = combine([as_track(frames, angles).estimate(), center_from_opposites(frames, angles)])
        assert found.center is not None
        errors.append(found.center - truth)
        sigmas.append(found.sigma_px)
    claimed, real = (float(np.sqrt(np.mean(np.square(values)))) for values in (sigmas, errors))
    assert 1 / 1.5 < claimed / real < 2.5
