"""Opposite views: pairs of projections, their match, and the centre from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.alignment.opposite_views import (
    END_FRAMES,
    EXACT_RAD,
    WIDEST_RAD,
    across_the_seam,
    center_from_opposites,
    center_from_pair,
    from_matches,
    opposite_pairs,
    seam_frames,
)
from streamer.core.alignment.registration import Match, register
from streamer.frames import BadInput
from streamer.phantoms import Ellipse, body_projections, random_body, sinogram


def views(rows, columns, noise, drop=0.0, structure=0.0, seed=1):
    """Two opposite views of a rod that stands off the axis; ``structure`` along the axis, which drops in between."""
    rng = np.random.default_rng(seed)
    rod = [Ellipse(1.6 / columns, 0.25 * columns, 0.25 * columns, 0.06 * columns, 0.0)]
    lines = sinogram(rod, columns, np.array([0.0, np.pi]), 0.5 * columns)
    z = np.arange(rows)
    heights = [1 + structure * (np.sin(at / 6.0) + np.sin(at / 2.3)) for at in (z, z - drop)]
    return [
        line * height[:, None] + noise * rng.standard_normal((rows, columns))
        for line, height in zip(lines, heights, strict=True)
    ]


@pytest.mark.parametrize("noise", [0.002, 0.02])
@pytest.mark.parametrize(("rows", "columns"), [(18, 96), (64, 96), (180, 512)])
def test_a_rod_that_looks_alike_at_all_heights_has_not_dropped(rows, columns, noise):
    for seed in range(4):
        match = center_from_pair(*views(rows, columns, noise, seed=seed))
        assert match.mismatch < 0.2
        assert abs(match.dy) <= 1.0
        assert abs(match.center - 0.5 * columns) < 0.05


def tubes(columns, angles, center, walls=((40.0, 37.5), (33.0, 31.2), (26.0, 23.0))):
    """Line integrals (angles, columns) of tubes about the axis with a wire beside it, exact means over the pixels."""
    edges = np.arange(columns + 1) - 0.5 - center

    def disc(radius, x, y):
        d = np.clip(edges - (x * np.cos(angles) + y * np.sin(angles))[:, None], -radius, radius)
        up_to = 0.5 * (d * np.sqrt(radius**2 - d**2) + radius**2 * np.arcsin(d / radius))
        return 2 * np.diff(up_to, axis=1)

    rings = sum(disc(outer, 0.8, -0.5) - disc(inner, 0.8, -0.5) for outer, inner in walls)
    return 0.05 * rings + 0.1 * disc(4.0, 12.0, 9.0)


def test_tubes_that_look_alike_at_all_heights_do_not_run_away_along_the_axis():
    lines = tubes(121, np.array([0.0, np.pi]), 59.2)
    one, other = (np.repeat(line[None], 16, axis=0) for line in lines)
    match = register(one, other)
    assert match.center == pytest.approx(59.2, abs=0.01)


def test_the_walls_of_a_tube_are_not_taken_for_stripes():
    angles = np.linspace(0, np.pi, 61)
    views = np.repeat(tubes(121, angles, 57.3)[:, None], 18, axis=1)
    views += np.random.default_rng(2).normal(0, 0.02, views.shape)
    found = center_from_opposites(views, angles)
    assert found.center == pytest.approx(57.3, abs=0.03)
    views[..., [20, 47, 90]] += 0.15  # stripes are
    assert center_from_opposites(views, angles).center == pytest.approx(57.3, abs=0.03)


@pytest.mark.parametrize("noise", [0.002, 0.02])
@pytest.mark.parametrize(("rows", "columns"), [(64, 96), (180, 512)])
def test_a_sample_that_has_dropped_is_still_found_out(rows, columns, noise):
    match = center_from_pair(*views(rows, columns, noise, drop=3.0, structure=0.1))
    assert abs(match.dy) == pytest.approx(3.0, abs=0.15)


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


def turned_blobs(center: float, lean: float, drop: float, rows: int = 60, columns: int = 140) -> list[np.ndarray]:
    """A view of round Gaussians and its opposite about an axis whose column grows by -tan(lean / 2) from row to row.

    The second has dropped along the axis.
    """
    rng = np.random.default_rng(3)
    blobs = [(*rng.uniform((0.5, 3.0), (2.0, 7.0)), *rng.uniform((-40, -18), (40, 18))) for _ in range(12)]
    y, x = np.meshgrid(np.arange(rows) - (rows - 1) / 2, np.arange(columns) - center, indexing="ij")
    found = []
    for side, moved in ((1, 0.0), (-1, drop)):
        c, s = np.cos(lean / 2), np.sin(lean / 2)
        u, v = side * (c * x + s * y), c * y - s * x - moved
        found.append(sum(a * np.exp(-((u - bx) ** 2 + (v - by) ** 2) / (2 * b * b)) for a, b, bx, by in blobs))
    return found


@pytest.mark.parametrize("center", [69.5, 61.3, 84.77])
@pytest.mark.parametrize("lean_deg", [0.0, 0.8, -2.0])
@pytest.mark.parametrize("drop", [0.0, 2.0])
def test_shift_lean_and_drop_are_separated(center: float, lean_deg: float, drop: float) -> None:
    """The pictures are turned about the middle of the detector, the sample about the axis: rows shift by lean."""
    lean = np.deg2rad(lean_deg)
    match = register(*turned_blobs(center, lean, drop))
    assert match.center == pytest.approx(center, abs=0.03)
    assert match.lean == pytest.approx(lean, abs=np.deg2rad(0.03))
    assert match.dy == pytest.approx(drop - lean * (center - 69.5), abs=0.05)
    assert match.mismatch < 0.05


def test_a_known_lean_is_held_and_a_start_saves_the_search() -> None:
    views = turned_blobs(61.3, np.deg2rad(0.8), 0.0)
    first = register(*views)
    again = register(*views, start=first, lean=np.deg2rad(0.8))
    assert again.lean == np.deg2rad(0.8)
    assert again.center == pytest.approx(61.3, abs=0.03)
    assert again.curve is first.curve


def test_the_curve_is_lowest_at_the_centre() -> None:
    candidates, score = register(*turned_blobs(61.3, 0.0, 0.0)).curve
    assert candidates[np.argmin(score)] == pytest.approx(61.3, abs=0.5)
    assert (score >= -1e-9).all()


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=40), st.integers(1, 400))
def test_every_pair_lies_half_a_turn_apart(loose: list[float], steps: int) -> None:
    """Of an even turn and any further angles: the interpolated opposite has the angle that is wanted."""
    theta = np.concatenate([np.array(loose), np.arange(steps) * 2 * np.pi / steps])
    for i, j, k, share in opposite_pairs(theta):
        assert 0.0 <= share <= 1.0
        step = np.mod(theta[k] - theta[j] + 1e-12, 2 * np.pi)
        away = np.mod(theta[j] + share * step - theta[i] - np.pi + np.pi, 2 * np.pi) - np.pi
        assert abs(away) < 2 * EXACT_RAD
        assert step <= WIDEST_RAD + 2e-9


def test_ends_of_a_scan_are_extrapolated_to_meet() -> None:
    """Exactly, where the views change in proportion to the angle; in any order of the projections."""
    theta = np.arange(90) * np.deg2rad(2.0)
    level, change = np.random.default_rng(0).normal(size=(2, 3, 5))
    frames = [level + angle * change for angle in theta]
    order = np.random.default_rng(1).permutation(90)
    chosen = seam_frames(theta[order])
    assert sorted(order[chosen].tolist()) == [0, 1, 2, 3, 86, 87, 88, 89]
    ((first, last),) = across_the_seam([frames[order[k]] for k in chosen], theta[order][chosen])
    np.testing.assert_allclose(first, level + np.deg2rad(-1.0) * change, atol=1e-9)
    np.testing.assert_allclose(last, level + np.deg2rad(179.0) * change, atol=1e-9)


@pytest.mark.parametrize("degrees", [170.0, 180.0, 200.0])
def test_other_ranges_have_no_seam(degrees: float) -> None:
    theta = np.deg2rad(np.linspace(0.0, degrees, 91))
    chosen = seam_frames(theta)
    assert across_the_seam([np.zeros((2, 2))] * chosen.size, theta[chosen]) == []
    assert seam_frames(theta[: 2 * END_FRAMES - 1]).size == 0
    assert across_the_seam([], np.zeros(0)) == []


def fitting(center: float | None, error_px: float = 0.05) -> Match:
    return Match(center, 0.0, 0.02, 0.0, (np.arange(3.0), np.ones(3)), error_px)


def test_matches_become_one_answer() -> None:
    nothing = [(np.zeros((4, 40)), np.zeros((4, 40)))] * 7
    good = [fitting(20.0 + 0.01 * k) for k in range(-3, 4)]
    found = from_matches(good, nothing, 1, again=False)
    assert found.center == pytest.approx(20.0)
    wrong = from_matches([*good[:6], fitting(33.0)], nothing, 1, again=False)
    assert wrong.center == pytest.approx(20.0, abs=0.03)
    few = from_matches(good[:2], nothing[:2], 1, again=False)
    assert few.confidence < found.confidence
    assert few.sigma_px > found.sigma_px
    unclear = from_matches([fitting(20.0, 0.4)], nothing[:1], 1, again=False)
    assert unclear.confidence < few.confidence
    lost = from_matches([*good[:2], *[fitting(None)] * 3], nothing[:5], 1, again=False)
    assert lost.center is None
    assert lost.curve is not None


def test_stripes_of_the_detector_do_not_pull_the_pairs() -> None:
    rng = np.random.default_rng(6)
    angles = np.linspace(0, np.pi, 61)
    frames = body_projections(random_body(rng, 160), 24, 160, angles, 84.6)
    stripes = np.where(rng.random(160) < 0.08, rng.normal(0, 0.3, 160), 0.0)
    found = center_from_opposites(frames + stripes, angles)
    assert found.center == pytest.approx(84.6, abs=0.15)
