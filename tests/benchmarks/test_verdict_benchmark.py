"""A small fixed part of ``benchmarks.verdict``, which fails when the verdict gets worse."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.verdict.__main__ import planned, row, scan
from benchmarks.verdict.faults import FAULTS
from benchmarks.verdict.phantoms import FAMILIES, Pose, band_limited, ellipsoids, project, slices
from benchmarks.verdict.resolution import true_resolution
from benchmarks.verdict.scans import draft, expose
from benchmarks.verdict.tables import summary
from streamer.core.backend.selection import Backend

KINDS = {
    "vibration": 0.8,
    "sway": 1.5,
    "jump_in_plane": 3,
    "drift_z": 4,
    "beam_dump": 0.15,
    "frozen_frames": 0.2,
    "angle_step": 0.1,
    "shrinking": 0.1,
    "new_hot_pixels": 0.01,
    "zingers": 0.01,
    "light_in_darks": 0.2,
    "saturated_12bit": 1.3,
    "half_shutter": 0.15,
    "off_axis": 0.15,
    "empty": 0.0,
    "flicker": 0.3,
}
SEEDS = range(5003, 5003 + len(KINDS))


def test_good_scans_are_enough_and_large_faults_are_found(numba_backend: Backend) -> None:
    rows = []
    for seed, (kind, size) in zip(SEEDS, KINDS.items(), strict=True):
        twin = scan(seed, None, 0.0, numba_backend)
        rows.append(row(seed, "good", 0.0, twin, twin, None))
        rows.append(row(seed, kind, size, scan(seed, FAULTS[kind], size, numba_backend), twin, FAULTS[kind]))
    found = summary(rows)
    assert found["specificity_good"][0] == 1.0, [r for r in rows if r.kind == "good" and r.decision != "ENOUGH"]
    assert found["sensitivity"][0] == 1.0, [r for r in rows if r.counts and not r.right]
    assert found["live_alarms_on_good"] == 0
    resolution = found["resolution_good"]
    assert resolution["within_0.1"][0] >= 0.8, [(r.seed, r.resolution_px, r.true_px) for r in rows if r.true_px]
    assert 0.95 < resolution["told_over_true_median"] < 1.05


@pytest.mark.parametrize("family", FAMILIES)
def test_the_phantoms_have_the_mass_that_their_slices_have(family: str) -> None:
    body = FAMILIES[family](np.random.default_rng(2), 24.0, 8)
    pose = Pose.still(np.array([0.0, 0.7, 2.0]))
    lines = project(body, pose, 8, 64, 31.5)
    mass = slices(body, pose.at(0), 8, 64).sum(axis=(1, 2))
    assert lines.sum(axis=2) == pytest.approx(np.tile(mass, (3, 1)), rel=0.03, abs=0.02 * float(mass.max()))


def test_a_band_limited_truth_is_the_sample_without_what_pixels_cannot_hold() -> None:
    body, pose = FAMILIES["grains"](np.random.default_rng(2), 24.0, 8), Pose.still(np.zeros(1))
    pixels, limited = slices(body, pose, 8, 64), band_limited(body, pose, 8, 64)
    assert limited.sum() == pytest.approx(pixels.sum(), rel=0.02)
    low = [gaussian_filter(image, (0, 2, 2)) for image in (pixels, limited)]
    np.testing.assert_allclose(*low, atol=0.05 * float(low[0].max()))  # also: not moved by a part of a pixel
    assert true_resolution(limited, limited) == 2.0


def test_a_shift_of_the_stage_moves_the_projection() -> None:
    ball = ellipsoids([(1.0, 5.0, 5.0, 5.0, 8.0, 0.0, 0.0, 0.0)])
    still = Pose.still(np.zeros(2))
    moved = Pose(still.theta, still.ux, still.uy, np.array([0.0, 3.0]), still.rows, still.size, still.slip)
    a, b = project(ball, moved, 9, 64, 31.5)
    np.testing.assert_allclose(np.roll(a, 3, axis=1), b, atol=1e-5)


def test_each_kind_of_fault_has_its_turn_and_goes_through_its_sizes() -> None:
    drawn = list(islice(planned(list(FAULTS.values()), 3), 5 * len(FAULTS)))
    for fault in FAULTS.values():
        sizes = [size for kind, size in drawn if kind is fault]
        assert len(sizes) == 5
        assert set(sizes) == set(fault.sizes) if len(fault.sizes) <= 5 else len(set(sizes)) == 5


def test_the_same_seed_is_the_same_scan() -> None:
    one, other = (expose(draft(5)) for _ in range(2))
    np.testing.assert_array_equal(one.projections, other.projections)
