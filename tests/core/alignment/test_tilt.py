from __future__ import annotations

import numpy as np
import pytest

from streamer.core.alignment.tilt import (
    SYSTEMATIC_RAD,
    Straighten,
    Tilt,
    find_tilt,
    fit_axis,
    straighten_bands,
    tilt_from_pair,
)
from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.frames import BadInput


def balls(rng: np.random.Generator, rows: int, columns: int) -> list[tuple[float, ...]]:
    """(value, sigma, x, y, z) of round Gaussians, whose projections are known for any tilt of the detector."""
    return [
        (*rng.uniform((0.05, 3), (0.2, 9)), *(rng.uniform(-0.3, 0.3, 2) * columns), rng.uniform(-0.4, 0.4) * rows)
        for _ in range(14)
    ]


def view(parts: list, rows: int, columns: int, theta: float, center: float, tilt: float) -> np.ndarray:
    y, x = np.meshgrid(np.arange(rows) - (rows - 1) / 2, np.arange(columns) - center, indexing="ij")
    s, z = np.cos(tilt) * x - np.sin(tilt) * y, np.sin(tilt) * x + np.cos(tilt) * y
    out = np.zeros((rows, columns))
    for value, sigma, bx, by, bz in parts:
        d = s - bx * np.cos(theta) - by * np.sin(theta)
        out += value * sigma * np.exp(-0.5 * (d**2 + (z - bz) ** 2) / sigma**2)
    return out.astype(np.float32)


@pytest.mark.parametrize(("rows", "columns"), [(160, 200), (151, 201), (600, 641)])
@pytest.mark.parametrize("degrees", [0.0, 0.3, -1.2])
def test_tilt_is_found_and_straightened(degrees: float, rows: int, columns: int) -> None:
    rng = np.random.default_rng(4)
    parts, tilt, center = balls(rng, rows, columns), np.deg2rad(degrees), (columns - 1) / 2 + 5.3
    first, last, other = (view(parts, rows, columns, theta, center, tilt) for theta in (0, np.pi, 0.7))
    noise = rng.normal(0, 0.05, (2, rows, columns)).astype(np.float32)
    found, mismatch = tilt_from_pair(first + noise[0], last + noise[1])
    assert np.rad2deg(found.tilt_rad) == pytest.approx(degrees, abs=0.03)
    assert found.center == pytest.approx(center, abs=0.06)
    assert found.confidence > 0.9
    assert mismatch < 0.2
    upright = view(parts, rows, columns, 0.7, center, 0)
    exact = Straighten(rows, columns, Tilt(center, tilt, 0, 1), 2)
    assert np.abs(exact.apply(other) - upright)[6:-6, 6:-6].max() < 1e-3 * upright.max()
    place = other.copy()
    assert np.array_equal(exact.apply(place, place), exact.apply(other))


@pytest.mark.parametrize("degrees", [0.0, 0.3, -2.0])
def test_rows_are_straightened_from_those_beside_them(degrees: float) -> None:
    frame = np.random.default_rng(12).normal(size=(90, 120)).astype(np.float32)
    straighten = Straighten(90, 120, Tilt(100.4, np.deg2rad(degrees), 0, 1))
    whole = straighten.apply(frame)
    for first, last in ((0, 7), (40, 41), (80, 90)):
        a, b = straighten.source_rows(first, last)
        assert 0 <= a <= first < last <= b <= 90
        assert b - a <= last - first + 2 * (3 + np.ceil(101 * np.sin(np.deg2rad(abs(degrees)))))
        part = straighten.apply(frame[a:b], first_row=a)[first - a : last - a]
        np.testing.assert_allclose(part, whole[first:last], atol=2e-5)
    with pytest.raises(BadInput, match="from row 81"):
        straighten.apply(frame[:10], first_row=81)


def test_tilt_of_a_whole_scan_and_its_slice(numba_backend: Backend) -> None:
    """0.3°: the slice far from the middle row is blurred, and sharp after straightening."""
    rng = np.random.default_rng(5)
    rows, columns, tilt = 128, 160, np.deg2rad(0.3)
    parts, center, angles = balls(rng, rows, columns), 81.2, np.linspace(0, np.pi, 121)
    scan = np.stack([view(parts, rows, columns, theta, center, tilt) for theta in angles])
    found = find_tilt(scan, angles)
    assert np.rad2deg(found.tilt_rad) == pytest.approx(0.3, abs=0.02)
    assert found.confidence > 0.9
    straight = np.stack([Straighten(rows, columns, found).apply(frame) for frame in scan])
    upright = np.stack([view(parts, rows, columns, theta, center, 0) for theta in angles])
    row = 110
    slices = [
        reconstruct_block(numba_backend, np.ascontiguousarray(frames[:, row : row + 1]), angles, at)[0]
        for frames, at in ((scan, center), (straight, found.center), (upright, center))
    ]
    wrong, right = (float(np.sqrt(np.mean((s - slices[2]) ** 2))) for s in slices[:2])
    assert right < 0.12 * wrong


def test_no_tilt_without_pairs_or_picture() -> None:
    rng = np.random.default_rng(6)
    noise = rng.normal(0, 0.1, (5, 64, 80)).astype(np.float32)
    assert find_tilt(noise, np.linspace(0, 2, 5)).confidence == 0
    assert find_tilt(noise, np.linspace(0, np.pi, 5)).confidence == 0
    with pytest.raises(BadInput, match="detector"):
        Straighten(9, 9, Tilt(4, 0.3, 0, 1))
    with pytest.raises(BadInput):
        Straighten(9, 9, Tilt(4, 0.01, 0, 1)).apply(np.zeros((9, 8), np.float32))


def test_axis_through_centres_of_rows_with_outliers() -> None:
    rng = np.random.default_rng(7)
    rows = np.arange(20, 500, 20.0)
    centers = 250 + np.tan(np.deg2rad(0.3)) * (rows - 255.5) + rng.normal(0, 0.05, rows.size)
    centers[[3, 9, 15]] += 20
    found = fit_axis(rows, centers, 255.5)
    assert np.rad2deg(found.tilt_rad) == pytest.approx(0.3, abs=0.02)
    assert found.center == pytest.approx(250, abs=0.05)
    assert found.confidence > 0.9
    with pytest.raises(BadInput, match="three"):
        fit_axis([1, 2], [1, 2], 0)


def smooth(rows: int, columns: int) -> np.ndarray:
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return (np.sin(x / 9) + np.cos(y / 7) + 0.01 * x * y / rows).astype(np.float32)


def test_an_upright_axis_changes_no_bit() -> None:
    frame = np.random.default_rng(0).normal(size=(31, 40)).astype(np.float32)
    np.testing.assert_array_equal(Straighten(31, 40, Tilt(17.3, 0.0, 0, 1)).apply(frame), frame)


@pytest.mark.parametrize("degrees", [0.4, -3.0])
def test_a_plane_is_turned_exactly(degrees: float) -> None:
    """out(r, c) = image at r' = middle + y cos - x sin, c' = center + y sin + x cos: for a plane, to rounding."""
    rows, columns, center, tilt = 80, 90, 40.2, np.deg2rad(degrees)
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    y, x = row - (rows - 1) / 2, column - center
    turned_row = (rows - 1) / 2 + y * np.cos(tilt) - x * np.sin(tilt)
    turned_column = center + y * np.sin(tilt) + x * np.cos(tilt)
    frame = (0.3 + 0.02 * row - 0.01 * column).astype(np.float32)
    found = Straighten(rows, columns, Tilt(center, tilt, 0, 1)).apply(frame)
    wanted = 0.3 + 0.02 * turned_row - 0.01 * turned_column
    inside = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(found[inside], wanted[inside], atol=2e-5)


def test_threads_change_no_bit() -> None:
    frame = smooth(57, 64)
    one, *others = (Straighten(57, 64, Tilt(30, 0.02, 0, 1), threads).apply(frame) for threads in (1, 2, 9))
    for other in others:
        np.testing.assert_array_equal(other, one)


def test_a_turn_and_the_turn_back() -> None:
    frame = smooth(120, 140)
    there = Straighten(120, 140, Tilt(71.5, 0.02, 0, 1)).apply(frame)
    back = Straighten(120, 140, Tilt(71.5, -0.02, 0, 1)).apply(there)
    assert np.abs(there - frame).max() > 0.05
    np.testing.assert_allclose(back[8:-8, 8:-8], frame[8:-8, 8:-8], atol=2e-3)


def test_beyond_the_frame_its_edge_is_repeated() -> None:
    frame = np.full((20, 30), 0.7, np.float32)
    np.testing.assert_allclose(Straighten(20, 30, Tilt(14.0, 0.08, 0, 1)).apply(frame), 0.7, atol=1e-6)


@pytest.mark.parametrize("degrees", [0.0, 0.25, -1.0])
def test_an_axis_through_exact_centres(degrees: float) -> None:
    rows = [10.0, 40.0, 90.0, 200.0]
    found = fit_axis(rows, [120 + np.tan(np.deg2rad(degrees)) * (row - 99.5) for row in rows], 99.5)
    assert np.rad2deg(found.tilt_rad) == pytest.approx(degrees, abs=1e-9)
    assert found.center == pytest.approx(120)
    assert found.sigma_rad == pytest.approx(SYSTEMATIC_RAD)
    with pytest.raises(BadInput, match="three"):
        fit_axis([5.0, 5.0, 5.0], [1.0, 2.0, 3.0], 0.0)


@pytest.mark.parametrize("degrees", [0.0, 0.5, -1.0])
def test_the_tilt_of_a_strip_shows_in_what_it_lifts_at_the_edges(degrees: float) -> None:
    """Ten rows of 160 columns: their ends hardly lean, and the sample goes up and down by more than a row."""
    rng, tilt = np.random.default_rng(9), np.deg2rad(degrees)
    parts = [(value, 2.5 + sigma / 4, x, y, z) for value, sigma, x, y, z in balls(rng, 10, 160)]
    views = [view(parts, 10, 160, theta, 80.2, tilt) for theta in (0, np.pi)]
    found = tilt_from_pair(*(frame + rng.normal(0, 0.02, frame.shape).astype(np.float32) for frame in views))[0]
    assert np.rad2deg(found.tilt_rad) == pytest.approx(degrees, abs=0.1)
    assert found.confidence > 0.9


def test_pictures_of_a_few_rows_say_nothing_about_a_tilt() -> None:
    parts = balls(np.random.default_rng(8), 160, 200)
    first, last = (view(parts, 160, 200, theta, 99.5, 0.0) for theta in (0, np.pi))
    assert tilt_from_pair(first, last)[0].confidence > 0.9
    assert tilt_from_pair(first[70:77], last[70:77])[0].confidence == 0
    with pytest.raises(BadInput):
        tilt_from_pair(first, last[:-1])


@pytest.mark.parametrize("degrees", [0.0, 1.0, -1.0])
def test_a_scan_of_equal_steps_without_its_end_shows_the_tilt(degrees: float) -> None:
    rng = np.random.default_rng(8)
    parts, angles = balls(rng, 96, 128), np.arange(720) * np.pi / 720
    scan = np.zeros((720, 96, 128), np.float32)
    for k in (*range(4), *range(716, 720)):
        scan[k] = view(parts, 96, 128, float(angles[k]), 65.2, float(np.deg2rad(degrees)))
    scan += rng.normal(0, 0.02, scan.shape).astype(np.float32)
    found = find_tilt(scan, angles)
    assert np.rad2deg(found.tilt_rad) == pytest.approx(degrees, abs=0.03)
    assert found.confidence > 0.9


@pytest.mark.parametrize(("rows", "thick"), [(12, 1), (16, 2), (160, 8)])
@pytest.mark.parametrize("degrees", [0.0, 0.8, -1.5])
def test_bands_of_rows_are_straightened(rows: int, thick: int, degrees: float) -> None:
    """Those of a few rows as whole frames are; those far apart lie about the same axis, at least."""
    parts = [(value, sigma + 2.5, x, y, z) for value, sigma, x, y, z in balls(np.random.default_rng(8), rows, 140)]
    center, tilt = 71.3, np.deg2rad(degrees)
    heights = np.linspace(0, rows - thick, 8).astype(int) + (thick - 1) / 2
    leaning, upright = (
        np.stack(
            [
                [frame[int(top) : int(top) + thick].mean(axis=0) for top in heights - (thick - 1) / 2]
                for frame in (view(parts, rows, 140, theta, center, angle) for theta in (0.0, 1.1))
            ]
        )
        for angle in (tilt, 0.0)
    )
    straight = straighten_bands(leaning, heights, thick, tilt, center, (rows - 1) / 2)
    wrong, left = (float(np.std((bands - upright)[:, 1:-1])) for bands in (leaning, straight))
    assert left <= (0.35 if rows < 20 else 0.6) * wrong
