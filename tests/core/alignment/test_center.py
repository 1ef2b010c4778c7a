from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from streamer.core.alignment.center import combine
from streamer.core.alignment.center_of_mass import MomentTrack
from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.opposite_views import center_from_opposites, center_from_pair, opposite_pairs
from streamer.core.alignment.trial_slices import center_from_sharpness
from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.frames import BadInput
from streamer.phantoms import body_projections, half_turn, random_body
from tests.core.alignment.recorded import as_track, find_center

RANGES = {
    "half turn": half_turn(121),
    "half turn inclusive": np.linspace(0, np.pi, 121),
    "full turn": np.linspace(0, 2 * np.pi, 181),
    "golden": np.arange(120) * np.pi * (np.sqrt(5) - 1) / 2,
}


def noisy_scan(seed: int, angles: np.ndarray) -> tuple[np.ndarray, float]:
    """Projections (angles, 16, columns) of a random body with noise of 1 to 8 %, and the column of their axis."""
    rng = np.random.default_rng(seed)
    columns = int(rng.integers(150, 230))
    center = (columns - 1) / 2 + rng.uniform(-0.05, 0.05) * columns
    frames = body_projections(random_body(rng, columns), 16, columns, angles, center)
    return (frames + rng.normal(0, rng.uniform(0.01, 0.08), frames.shape)).astype(np.float32), center


@pytest.mark.parametrize("seed", range(24))
def test_random_noisy_bodies(numba_backend: Backend, seed: int) -> None:
    angles = list(RANGES.values())[seed % len(RANGES)]
    frames, truth = noisy_scan(seed, angles)
    found = find_center(numba_backend, frames, angles)
    assert found.center == pytest.approx(truth, abs=0.15)
    assert found.confidence > 0.9
    assert abs(found.center - truth) < 4 * found.sigma_px


@pytest.mark.parametrize("method", ["moments", "pairs", "sharpness"])
@pytest.mark.parametrize("seed", range(4))
def test_each_method_alone(numba_backend: Backend, method: str, seed: int) -> None:
    angles = np.linspace(0, np.pi, 121)
    frames, truth = noisy_scan(seed, angles)
    if method == "moments":
        found = as_track(frames, angles).estimate()
    elif method == "pairs":
        found = center_from_opposites(frames, angles)
    else:
        found = center_from_sharpness(numba_backend, frames, angles)
    assert found.center == pytest.approx(truth, abs=0.25)
    assert found.method == method


def test_moments_of_a_third_of_a_turn(numba_backend: Backend) -> None:
    angles = np.deg2rad(np.arange(0, 61, 0.5))
    frames, truth = noisy_scan(3, angles)
    found = as_track(frames, angles).estimate()
    assert found.center is None or abs(found.center - truth) < 4 * found.sigma_px
    assert found.confidence < 0.9


@pytest.mark.parametrize("seed", range(6))
def test_an_empty_scan_has_no_centre(numba_backend: Backend, seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = list(RANGES.values())[seed % len(RANGES)]
    frames = rng.normal(0, 0.03, (angles.size, 16, 160)).astype(np.float32)
    found = find_center(numba_backend, frames, angles)
    assert found.center is None
    assert found.confidence == 0


def test_a_static_shadow_is_not_trusted(numba_backend: Backend) -> None:
    """An uneven beam does not turn with the stage. (A symmetric one looks like a round sample on the axis: no test.)"""
    angles = np.linspace(0, np.pi, 121)
    shadow = 0.05 * np.sin(np.arange(160) / 40) * np.arange(160) / 160
    noise = np.random.default_rng(0).normal(0, 0.03, (121, 16, 160))
    found = find_center(numba_backend, (noise + shadow).astype(np.float32), angles)
    assert found.confidence < 0.5


def test_tooth(numba_backend: Backend, data: Path) -> None:
    with h5py.File(data / "tooth.h5") as file:
        exchange = file["exchange"]
        raw, theta = exchange["data"][:], np.deg2rad(exchange["theta"][:])
        fields = [exchange[name][:].mean(axis=0, dtype=np.float64) for name in ("data_dark", "data_white")]
    correction = FlatFieldCorrection(*fields)
    frames = np.stack([correction.attenuation(frame) for frame in raw])
    found = find_center(numba_backend, frames, theta)
    assert found.center == pytest.approx(295.9, abs=0.2)
    assert found.confidence > 0.9
    assert opposite_pairs(theta) == []
    assert (as_track(frames, theta).motion_px() or 0) < 1


def test_neutron_sinogram_with_stripes(numba_backend: Backend, data: Path) -> None:
    with Image.open(data / "neutron_sinogram_360.tif") as picture:
        counts = np.array(picture, np.float32)
    frames = -np.log(np.clip(counts / 46_900, 1e-3, None))[:, None].astype(np.float32)
    theta = np.linspace(0, 2 * np.pi, counts.shape[0])
    found = find_center(numba_backend, frames, theta)
    assert found.center == pytest.approx(245.1, abs=0.3)
    assert found.confidence > 0.5


def test_pair_tells_the_drop_and_the_mismatch() -> None:
    rng = np.random.default_rng(1)
    frames = body_projections(random_body(rng, 180), 60, 180, np.array([0.0, np.pi]), 93.4)
    first, second = frames + rng.normal(0, 0.01, frames.shape)
    match = center_from_pair(first, np.roll(second, 3, axis=0))
    assert match.center == pytest.approx(93.4, abs=0.05)
    assert match.dy == pytest.approx(3, abs=0.1)
    assert match.mismatch < 0.05
    other = body_projections(random_body(np.random.default_rng(9), 180), 60, 180, np.array([1.0]), 80.0)[0]
    assert center_from_pair(first, other).mismatch > 3 * match.mismatch
    noise = rng.normal(size=(2, 60, 180))
    assert center_from_pair(*noise).center is None
    assert center_from_pair(np.zeros((4, 40)), np.zeros((4, 40))).center is None
    with pytest.raises(BadInput):
        center_from_pair(np.zeros((4, 40)), np.zeros((4, 41)))


def test_opposite_pairs_interpolate_between_neighbours() -> None:
    assert opposite_pairs(np.linspace(0, np.pi, 11)) == [(0, 10, 10, 0.0), (10, 0, 0, 0.0)]
    assert opposite_pairs(np.deg2rad(np.arange(180.0))) == []
    pairs = opposite_pairs(np.arange(121) * 2 * np.pi / 121)
    assert len(pairs) == 121
    assert all(share == pytest.approx(0.5) for _, _, _, share in pairs)
    assert opposite_pairs(np.arange(7) * 2 * np.pi / 7) == []
    turns = np.deg2rad([0.0, 540.0, 90.0, -90.0])
    assert [(i, j) for i, j, _, _ in opposite_pairs(turns)] == [(0, 1), (1, 0), (2, 3), (3, 2)]
    assert opposite_pairs(np.zeros(3)) == []
    assert opposite_pairs(np.zeros(1)) == []


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
def test_a_jump_is_measured(numba_backend: Backend, pixels: float, when: int) -> None:
    frames, angles = moved_scan(np.where(np.arange(150) >= when, pixels, 0.0))
    assert as_track(frames, angles).motion_px() == pytest.approx(abs(pixels), rel=0.5)


def test_a_sample_that_slips_on_its_holder_is_seen(numba_backend: Backend) -> None:
    angles = half_turn(150)
    slip = np.where(np.arange(150) >= 70, 4.0 * np.cos(angles) + 3.0 * np.sin(angles), 0.0)
    frames, angles = moved_scan(slip)
    assert as_track(frames, angles).motion_px() == pytest.approx(5.0, rel=0.35)


def test_a_drop_along_the_axis_is_seen(numba_backend: Backend) -> None:
    frames, angles = moved_scan(np.zeros(150))
    padded = np.pad(frames, ((0, 0), (8, 8), (0, 0)))
    padded[80:] = np.roll(padded[80:], 3, axis=1)
    assert as_track(padded, angles).motion_px() == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize("seed", range(5))
def test_a_still_sample_does_not_move(numba_backend: Backend, seed: int) -> None:
    frames, angles = moved_scan(np.zeros(150), seed)
    assert as_track(frames, angles).motion_px() == 0.0


def test_truncation_and_beam_drift_are_seen(numba_backend: Backend) -> None:
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
def test_a_beam_that_flickers_and_leans_is_still_read_beside_the_sample(numba_backend: Backend, rows: int) -> None:
    angles = half_turn(90)
    frames = body_projections(random_body(np.random.default_rng(2), 200), rows, 200, angles, 99.5)
    rng = np.random.default_rng(3)
    frames += rng.normal(0, 0.01, frames.shape).astype(np.float32) + np.linspace(-0.01, 0.01, 200, dtype=np.float32)
    for change in (0.0, 0.15, 0.3):
        faded = np.log(1 + change * rng.uniform(0.9, 1.1, len(frames))).astype(np.float32)
        track = as_track(frames + faded[:, None, None], angles)
        assert track.beam_drift == pytest.approx(change / (1 + change), abs=0.01)


def test_before_the_first_frames_nothing_is_known(numba_backend: Backend) -> None:
    track = MomentTrack()
    assert track.estimate().center is None
    assert (track.motion_px(), track.truncation, track.beam_drift) == (None, None, None)
    track.add(0.0, np.zeros((4, 20), np.float32), np.zeros((4, 4)))
    assert track.estimate().center is None
    with pytest.raises(BadInput):
        track.add(0.0, np.zeros((4, 21), np.float32), np.zeros((4, 4)))


def at(center: float | None, confidence: float, sigma: float = 0.1, method: str = "m") -> CenterEstimate:
    return CenterEstimate(center, confidence, sigma, method)


def test_combination_rewards_agreement_and_punishes_contradiction() -> None:
    alone = combine([at(100.0, 0.9)])
    agreed = combine([at(100.0, 0.9), at(100.1, 0.9)])
    torn = combine([at(100.0, 0.9), at(110.0, 0.9)])
    outvoted = combine([at(100.0, 0.9), at(100.1, 0.9), at(110.0, 0.9)])
    assert agreed.confidence > alone.confidence > torn.confidence
    assert torn.confidence < 0.2
    assert agreed.center == pytest.approx(100.05)
    assert outvoted.center == pytest.approx(100.05)
    assert combine([]).center is None
    assert combine([at(None, 0.0)]).center is None


def test_each_row_and_both_halves_vote_on_the_curve(numba_backend: Backend) -> None:
    angles = half_turn(120)
    frames, truth = noisy_scan(0, angles)
    found = center_from_sharpness(numba_backend, frames, angles)
    assert found.curve is not None
    candidates, score = found.curve
    assert candidates.shape == score.shape
    assert candidates[score.argmin()] == pytest.approx(truth, abs=2)
    assert center_from_sharpness(numba_backend, frames[:40], angles[:40]).center is None
