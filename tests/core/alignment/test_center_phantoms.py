"""The centre on scans that are hard: stripes, tilted and far-off axes, half acquisition, truncation.

``benchmarks/reconstruction/center.py`` draws 100 of them; here are nine, of all cases, and what each method must
not fall for.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.reconstruction.center import project, random_bodies, random_scan
from streamer.core.alignment.opposite_views import center_from_opposites
from streamer.core.alignment.trial_slices import center_from_sharpness
from streamer.core.backend.selection import Backend
from streamer.phantoms import half_turn
from tests.core.alignment.recorded import as_track, find_center


@pytest.mark.parametrize("seed", [1, 14, 25, 32, 43, 48, 57, 59, 95])
def test_random_scans(numba_backend: Backend, seed: int) -> None:
    scan = random_scan(seed)
    found = find_center(numba_backend, scan.frames, scan.angles)
    assert found.center == pytest.approx(scan.truth, abs=0.1)
    assert found.confidence > 0.5
    assert found.curve is not None


def bodies_and_frames(angles: np.ndarray, tilt: float, rows: int = 160) -> np.ndarray:
    rng = np.random.default_rng(3)
    bodies = random_bodies(rng, 50.0, rows, 8.0)
    frames = np.stack([project(bodies, rows, 180, float(a), 92.3, tilt) for a in angles])
    return (frames + rng.normal(0, 0.05, frames.shape)).astype(np.float32)


@pytest.mark.parametrize("degrees", [0.3, -0.3, 2.0])
def test_a_tilt_is_measured_and_the_centre_is_that_of_the_middle_row(degrees: float) -> None:
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    found = center_from_opposites(bodies_and_frames(angles, np.deg2rad(degrees)), angles)
    assert found.center == pytest.approx(92.3, abs=0.05)
    assert found.tilt_rad == pytest.approx(np.deg2rad(degrees), abs=np.deg2rad(0.03))


def test_half_a_turn_that_is_not_quite_full_has_its_ends_joined() -> None:
    angles = half_turn(180)
    found = center_from_opposites(bodies_and_frames(angles, 0.0), angles)
    assert found.center == pytest.approx(92.3, abs=0.1)
    assert found.confidence < 0.9
    short = angles < np.deg2rad(170)
    assert center_from_opposites(bodies_and_frames(angles[short], 0.0), angles[short]).center is None
    assert center_from_opposites(bodies_and_frames(angles[:5], 0.0), angles[:5]).center is None


def test_stripes_do_not_pull_the_centre_of_mass(numba_backend: Backend) -> None:
    angles = half_turn(180)
    frames = bodies_and_frames(angles, 0.0, 48)
    clean = as_track(frames, angles).estimate()
    frames[:, :, [0, 20, 150, 177, 179]] += np.float32(0.1)
    striped = as_track(frames, angles).estimate()
    assert clean.center == pytest.approx(92.3, abs=0.1)
    assert striped.center == pytest.approx(92.3, abs=0.1)
    assert striped.sigma_px > clean.sigma_px


def test_a_far_axis_is_not_moved_by_noise_in_the_mass(numba_backend: Backend) -> None:
    rng = np.random.default_rng(11)
    angles = np.linspace(0, 2 * np.pi, 181)
    bodies = random_bodies(rng, 25.0, 40, 5.0)
    frames = np.stack([project(bodies, 40, 200, float(a), 40.0, 0.0) for a in angles])
    found = as_track((frames + rng.normal(0, 0.12, frames.shape)).astype(np.float32), angles).estimate()
    assert found.center is not None
    assert abs(found.center - 40.0) < 3 * found.sigma_px
    assert found.center == pytest.approx(40.0, abs=0.3)


def test_a_wide_search_of_a_truncated_sample_says_unknown(numba_backend: Backend) -> None:
    scan = random_scan(4)
    assert center_from_sharpness(numba_backend, scan.frames, scan.angles).center is None
    assert as_track(scan.frames, scan.angles).estimate().center is None


def test_half_acquisition_is_seen_by_pairs_alone(numba_backend: Backend) -> None:
    scan = random_scan(3)
    found = center_from_opposites(scan.frames, scan.angles)
    assert found.center == pytest.approx(scan.truth, abs=0.1)
    assert found.curve is not None
    candidates, score = found.curve
    assert candidates[score.argmin()] == pytest.approx(scan.truth, abs=1.0)
    one_half = dataclasses.replace(scan, frames=scan.frames[:60], angles=scan.angles[:60])
    assert find_center(numba_backend, one_half.frames, one_half.angles).center is None
