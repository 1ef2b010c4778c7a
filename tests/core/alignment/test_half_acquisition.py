from __future__ import annotations

import algotom.prep.conversion as algotom
import numpy as np
import pytest

from streamer.core.alignment.half_acquisition import (
    OffsetWeights,
    OppositeViews,
    column_weights,
    extend_half_turn,
    facing_views,
    find_overlap,
)
from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import backproject_rows, reconstruct_block
from streamer.core.fbp.ramp_filter import RampFilter, angular_weights
from streamer.frames import BadInput
from streamer.phantoms import gaussians, image, random_body, shepp_logan, sinogram

COLUMNS, CENTER = 240, 200.37


def full_turn(count: int) -> np.ndarray:
    return np.arange(count) * 2 * np.pi / count


def reconstruct(
    backend: Backend, rows: np.ndarray, angles: np.ndarray, center: float, weights: np.ndarray
) -> np.ndarray:
    columns = rows.shape[-1]
    filtered = np.ascontiguousarray(RampFilter(columns).apply(rows)[:, :, None])
    return backproject_rows(backend, filtered, angles, weights, center, np.empty((1, columns, columns), np.float32))[0]


def error(result: np.ndarray, parts: list) -> float:
    side = len(result)
    grid = np.arange(side) - (side - 1) / 2
    disc = np.hypot(grid[:, None], grid[None, :]) < 0.95 * side / 2
    return float(np.sqrt(np.mean((result - image(parts, side))[disc] ** 2)))


@pytest.mark.parametrize("center", [200.37, 39.0, 130.5])
def test_two_views_share_each_ray(center: float) -> None:
    weight = column_weights(COLUMNS, center).astype(np.float64)
    column = np.arange(COLUMNS)
    mirrored = np.interp(2 * center - column, column, weight, left=0, right=0)
    inside = (2 * center - column > 1) & (2 * center - column < COLUMNS - 2)
    np.testing.assert_allclose((weight + mirrored)[inside], 1, atol=2e-3)
    seen_once = (2 * center - column < 0) | (2 * center - column > COLUMNS - 1)
    assert (weight[seen_once] == 1).all()


@pytest.mark.parametrize(
    ("count", "parts", "limit"),
    [(720, gaussians(400), 1.2e-4), (721, shepp_logan(400), 0.0195)],
    ids=["smooth", "edges"],
)
def test_half_acquisition_is_as_good_as_a_wide_detector_and_better_than_algotom(
    numba_backend: Backend, count: int, parts: list, limit: float
) -> None:
    angles = full_turn(count)
    wide = sinogram(parts, 401, angles, CENTER)
    rows = np.ascontiguousarray(wide[:, :COLUMNS])
    weights = OffsetWeights(COLUMNS, CENTER)
    ours = error(
        reconstruct(
            numba_backend, weights.place(rows), angles, weights.wide_center, angular_weights(angles, 2 * np.pi)
        ),
        parts,
    )
    whole = error(reconstruct(numba_backend, wide, angles, CENTER, angular_weights(angles)), parts)
    extended, half, center = extend_half_turn(rows[:, None], angles, CENTER)
    classic = error(reconstruct_block(numba_backend, extended, half, center)[0], parts)
    sino, their_center = algotom.convert_sinogram_360_to_180(rows, CENTER)
    sino = np.ascontiguousarray(sino, np.float32)
    theirs = error(
        reconstruct_block(numba_backend, sino[:, None], full_turn(count)[: len(sino)], their_center)[0], parts
    )
    assert ours < limit
    assert ours < 1.1 * whole
    assert classic < 1.2 * whole
    assert ours < 0.8 * theirs


def test_golden_angles_and_lost_frames(numba_backend: Backend) -> None:
    parts = gaussians(400)
    rng = np.random.default_rng(0)
    weights = OffsetWeights(COLUMNS, CENTER)
    golden = np.mod(np.arange(800) * np.pi * (np.sqrt(5) - 1), 2 * np.pi)
    lost = np.delete(full_turn(801), rng.choice(801, 40, replace=False))
    for angles, limit in ((golden, 1.5e-3), (lost, 1.5e-3)):
        rows = weights.place(sinogram(parts, COLUMNS, angles, CENTER))
        got = reconstruct(numba_backend, rows, angles, weights.wide_center, angular_weights(angles, 2 * np.pi))
        assert error(got, parts) < limit


@pytest.mark.parametrize("seed", range(16))
def test_overlap_of_random_scans(seed: int) -> None:
    """Axis at 6 to 30 % from either edge; noise, stripes, odd and even numbers of projections."""
    rng = np.random.default_rng(seed)
    columns, count = int(rng.integers(170, 260)), int(rng.choice([241, 360, 401]))
    angles = full_turn(count)
    truth = rng.uniform(0.06, 0.3) * columns
    body = random_body(rng, int(2 * (columns - truth) * 0.95))
    if rng.random() < 0.5:
        truth = columns - 1 - truth
    rows = sinogram(body, columns, angles, truth, 2)
    rows = rows + rng.normal(0, rng.uniform(0.01, 0.1), rows.shape)
    for c in rng.integers(0, columns, 8):
        rows[:, c] += rng.normal(0, 0.1)
    found = find_overlap(rows[:, None].astype(np.float32), angles)
    assert found.estimate.center == pytest.approx(truth, abs=0.12)
    assert found.estimate.confidence > 0.9
    assert found.overlap_px == pytest.approx(2 * min(truth, columns - 1 - truth) + 1, abs=0.5)
    assert found.side == ("right" if truth > columns / 2 else "left")


@pytest.mark.parametrize("seed", range(5))
def test_nothing_or_half_a_turn_has_no_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.05, (360, 2, 200)).astype(np.float32)
    assert find_overlap(noise, full_turn(360)).estimate.center is None
    assert find_overlap(noise, full_turn(360) / 2.5).estimate.center is None
    assert find_overlap(np.zeros_like(noise), full_turn(360)).estimate.center is None
    round_ = np.tile(np.hypot(1, np.linspace(0, 3, 200)).astype(np.float32), (360, 2, 1))
    assert find_overlap(round_, full_turn(360)).estimate.center is None


def test_refusals() -> None:
    with pytest.raises(BadInput, match="axis on the detector"):
        OffsetWeights(100, 100.0)
    with pytest.raises(BadInput, match="90"):
        OffsetWeights(100, 80.0).place(np.zeros((2, 90), np.float32))
    with pytest.raises(BadInput, match="opposite"):
        extend_half_turn(np.zeros((90, 1, 50), np.float32), np.linspace(0, 2, 90), 40.0)
    with pytest.raises(BadInput, match="one angle each"):
        find_overlap(np.zeros((9, 1, 50), np.float32), np.zeros(8))


@pytest.mark.parametrize("columns", [100, 101])
@pytest.mark.parametrize("center", [80.25, 19.5, 49.5, 50.0, 60.75, 33.13])
def test_wide_rows_end_where_the_detector_does(columns: int, center: float) -> None:
    """The axis lies within a quarter of a pixel of the middle, and the far edge keeps its full weight at the end."""
    weights = OffsetWeights(columns, center)
    placed = weights.place(np.ones((1, columns), np.float32))[0]
    far = placed if center <= (columns - 1) / 2 else placed[::-1]
    assert far[-1] == 1
    assert abs(weights.wide_center - (weights.width - 1) / 2) <= 0.25
    assert weights.width <= 2 * columns
    assert np.argmax(placed > 0) >= weights.first
    with pytest.raises(BadInput, match="do not fill"):
        weights.place(np.ones((2, columns), np.float32), np.zeros((1, weights.width), np.float32))


def test_place_reuses_its_output() -> None:
    for center in (80.25, 19.5, 49.5, 60.75):
        weights = OffsetWeights(100, center)
        rows = np.random.default_rng(0).normal(size=(3, 100)).astype(np.float32)
        fresh = weights.place(rows)
        assert np.array_equal(weights.place(rows, weights.place(rows + 1)), fresh)
        assert np.array_equal(weights.place(rows, np.full_like(fresh, np.nan)), fresh)
        assert abs(weights.wide_center - (weights.width - 1) / 2) <= 0.5
        assert fresh.shape == (3, weights.width)


@pytest.mark.parametrize("center", [150.0, 160.5])
def test_half_a_turn_is_what_a_wide_detector_sees(center: float) -> None:
    """With the axis on a column or between two, the mirrored opposite is moved by nothing: the rows are exact."""
    angles, parts = full_turn(60), gaussians(300)
    rows = sinogram(parts, COLUMNS, angles, center)
    extended, half, middle = extend_half_turn(rows[:, None], angles, center)
    assert extended.shape == (30, 1, OffsetWeights(COLUMNS, center).width)
    np.testing.assert_allclose(half, angles[:30], atol=1e-9)
    wanted = sinogram(parts, extended.shape[2], half, middle)
    np.testing.assert_allclose(extended[:, 0], wanted, atol=2e-5 * float(wanted.max()))


@pytest.mark.parametrize("center", [40.3, 170.8])
def test_each_row_has_the_axis_too(center: float) -> None:
    angles = full_turn(240)
    lines = sinogram(random_body(np.random.default_rng(3), 300), 220, angles, center)
    scan = np.stack([lines, 0.5 * lines, 2 * lines], axis=1)
    views = OppositeViews.of(scan, angles)
    assert views is not None
    assert views.rows == 3
    for row in (None, 0, 1, 2):
        found = views.overlap(row)
        assert found.estimate.center == pytest.approx(center, abs=0.1)
        assert found.match > 0.95


def test_facing_views_are_evenly_chosen_pairs_of_the_first_half() -> None:
    angles = full_turn(360)
    pairs = facing_views(angles, 12)
    assert len(pairs) == 12
    assert pairs[0][0] == 0
    assert pairs[-1][0] == 179
    assert all(j == k == i + 180 for i, j, k, _ in pairs)
    assert facing_views(angles[:150]) == []


def test_an_overlap_narrower_than_wanted_is_not_searched() -> None:
    angles, center = full_turn(240), 20.0
    lines = sinogram(random_body(np.random.default_rng(5), 340), 200, angles, center)
    assert find_overlap(lines[:, None], angles).estimate.center == pytest.approx(center, abs=0.1)
    narrow = find_overlap(lines[:, None], angles, min_share=0.4).estimate
    assert narrow.center is None or abs(narrow.center - center) > 10
