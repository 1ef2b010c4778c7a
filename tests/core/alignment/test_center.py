"""The centre of rotation by all methods together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamer.core.alignment.center import combine, refine_center, with_motion
from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.opposite_views import center_from_opposites, opposite_pairs
from streamer.core.alignment.trial_slices import center_from_sharpness
from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.phantoms import gaussians, half_turn, sinogram
from tests.core.alignment.recorded import as_track, find_center, noisy_scan

RANGES = {
    "half turn": half_turn(121),
    "half turn inclusive": np.linspace(0, np.pi, 121),
    "full turn": np.linspace(0, 2 * np.pi, 181),
    "golden": np.arange(120) * np.pi * (np.sqrt(5) - 1) / 2,
}


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


centers = st.builds(
    at, st.floats(0, 200) | st.none(), st.floats(0, 0.99), st.floats(0.02, 2.0), st.sampled_from(["moments", "pairs"])
)


@given(st.lists(centers, max_size=4), st.randoms())
def test_the_order_of_methods_does_not_matter(estimates: list[CenterEstimate], random: Random) -> None:
    shuffled = estimates.copy()
    random.shuffle(shuffled)
    one, other = combine(estimates), combine(shuffled)
    assert one.confidence == pytest.approx(other.confidence, abs=1e-9)
    assert 0.0 <= one.confidence <= 1.0


def test_the_more_precise_method_weighs_more_and_lends_its_curve_and_tilt() -> None:
    curves = [(np.arange(3.0), np.full(3, k)) for k in range(2)]
    rough = dataclasses.replace(at(100.0, 0.8, 0.3, "moments"), curve=curves[0], tilt_rad=0.1)
    exact = dataclasses.replace(at(100.4, 0.8, 0.1, "pairs"), curve=curves[1], tilt_rad=0.2)
    both = combine([rough, exact])
    assert both.center == pytest.approx((100.0 / 0.09 + 100.4 / 0.01) / (1 / 0.09 + 1 / 0.01))
    assert both.curve is curves[1]
    assert (both.tilt_rad, both.method) == (0.2, "moments+pairs")


@pytest.mark.parametrize("motion", [None, 0.0])
def test_without_motion_the_estimate_stays(motion: float | None) -> None:
    estimate = at(100.0, 0.9)
    assert with_motion(estimate, motion) is estimate


def test_motion_lowers_the_confidence() -> None:
    moved = with_motion(at(100.0, 0.9, 0.1), 1.0)
    assert moved.sigma_px == pytest.approx(np.hypot(0.1, 0.5))
    assert moved.confidence < 0.4
    nowhere = CenterEstimate.unknown("none")
    assert with_motion(nowhere, 3.0) is nowhere


UNREAD = np.full((90, 4, 64), np.nan, np.float32)


def test_what_is_certain_is_not_tried(numba_backend: Backend) -> None:
    """Sinograms of NaN would spoil every answer that looks at them."""
    sure = [at(31.0, 0.97, 0.05, "moments"), at(31.02, 0.97, 0.05, "pairs")]
    found = refine_center(numba_backend, sure, UNREAD, half_turn(90), 0.0)
    assert found == combine(sure)


def test_trials_search_near_a_good_guess_and_everywhere_without_one(numba_backend: Backend) -> None:
    angles = half_turn(180)
    frames = np.ascontiguousarray(sinogram(gaussians(200), 200, angles, 103.3)[:, None].repeat(3, axis=1))
    near = refine_center(numba_backend, [at(103.0, 0.7, 0.3, "moments")], frames, angles, 0.0)
    assert near.center == pytest.approx(103.3, abs=0.1)
    assert near.method == "moments+sharpness"
    free = refine_center(numba_backend, [CenterEstimate.unknown("moments")], frames, angles, None)
    assert free.center == pytest.approx(103.3, abs=0.1)
    assert free.method == "sharpness"


def test_a_truncated_sample_is_laid_over_its_opposite_views(numba_backend: Backend) -> None:
    """Trial reconstructions of a sample that is wider than the detector are sharpest anywhere."""
    angles = np.arange(360) * np.pi / 180
    wide = sinogram(gaussians(320), 320, angles, 159.5 + 4.2)[:, 60:260]
    frames = np.ascontiguousarray(wide[:, None].repeat(4, axis=1))
    found = refine_center(numba_backend, [CenterEstimate.unknown("moments")], frames, angles, 0.9)
    assert found.method == "overlap"
    assert found.center == pytest.approx(159.5 + 4.2 - 60, abs=0.1)
