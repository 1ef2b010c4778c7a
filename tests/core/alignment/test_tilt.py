from __future__ import annotations

import numpy as np
import pytest

from streamer.core.alignment.center import find_center
from streamer.core.alignment.tilt import Straighten, Tilt, find_tilt, fit_axis, tilt_from_pair
from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import reconstruct_block
from streamer.core.preprocessing.binning import Reduction, bin_frame, binned, crop, unbinned
from streamer.frames import BadInput, ScanSpec
from streamer.phantoms import body_projections, gaussians, half_turn, image, random_body, shepp_logan, sinogram


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


def error(result: np.ndarray, parts: list, share: float = 0.95) -> float:
    side = len(result)
    grid = np.arange(side) - (side - 1) / 2
    disc = np.hypot(grid[:, None], grid[None, :]) < share * side / 2
    return float(np.sqrt(np.mean((result - image(parts, side))[disc] ** 2)))


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


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_binning_maps_the_centre(numba_backend: Backend, factor: int) -> None:
    rng = np.random.default_rng(8)
    columns, center = 3 * 4 * 40, 247.3
    angles = np.linspace(0, np.pi, 121)
    frames = body_projections(random_body(rng, columns), 16, columns, angles, center)
    small = np.stack([bin_frame(frame, 1, factor, 2) for frame in frames])
    found = find_center(numba_backend, small, angles)
    assert found.center == pytest.approx(binned(center, factor), abs=0.03)
    assert unbinned(found.center, factor) == pytest.approx(center, abs=0.1)


def test_bins_are_means_of_any_type() -> None:
    frame = np.random.default_rng(9).integers(0, 65535, (7, 11), dtype=np.uint16)
    wanted = frame[:6, :9].reshape(3, 2, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(bin_frame(frame, 2, 3, 2), wanted, rtol=1e-6)
    assert binned(0.5, 2) == 0
    assert unbinned(binned(17.3, 4), 4) == pytest.approx(17.3)
    assert np.array_equal(crop(frame, (1, 3), (2, 9)), frame[1:3, 2:9])
    assert crop(frame).shape == frame.shape
    for bad in ((3, 3), (-1, 2), (0, 8)):
        with pytest.raises(BadInput, match="rows"):
            crop(frame, bad)
    with pytest.raises(BadInput):
        bin_frame(frame, 8, 1)


@pytest.mark.parametrize("columns", [None, (12, 145)])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_reduced_scan(numba_backend: Backend, columns: tuple[int, int] | None, factor: int) -> None:
    """Frames, axis, pixel size and shape of the reduced scan belong together."""
    rng = np.random.default_rng(11)
    rows, center, angles = 12, 81.3, np.linspace(0, np.pi, 91)
    body = random_body(rng, 120)
    counts = np.round(40000 * np.exp(-body_projections(body, rows, 160, angles, center))).astype(np.uint16)
    reduction = Reduction((2, 11), columns, factor)
    spec = ScanSpec("s", "s", rows, 160, 91, dtype="<u2", pixel_size_m=1e-6, center_px=center)
    small = reduction.scan(spec)
    frames = np.stack([reduction.apply(frame) for frame in counts])
    assert frames.shape[1:] == (small.rows, small.columns)
    assert frames.dtype == np.dtype(small.dtype)
    assert small.pixel_size_m == pytest.approx(factor * 1e-6)
    assert reduction.detector(small.center_px) == pytest.approx(center)
    found = find_center(numba_backend, -np.log(frames.astype(np.float32) / 40000), angles)
    assert found.center == pytest.approx(small.center_px, abs=0.05)
    first = 0 if columns is None else columns[0]
    wanted = counts[5, 2 : 2 + factor, first : first + factor].mean()
    assert frames[5, 0, 0] == pytest.approx(wanted)
    if factor == 1:
        assert np.shares_memory(reduction.apply(counts[0]), counts[0])
    else:
        out = np.empty(frames.shape[1:], np.float32)
        assert reduction.apply(counts[5], 2, out) is out
        assert np.array_equal(out, frames[5])


def test_reductions_that_leave_nothing() -> None:
    spec = ScanSpec("s", "s", 8, 20, 3)
    with pytest.raises(BadInput, match="binned"):
        Reduction(bin=0)
    for wrong in (Reduction(rows=(3, 9)), Reduction(columns=(5, 5)), Reduction(rows=(-1, 4))):
        with pytest.raises(BadInput, match="do not lie within"):
            wrong.scan(spec)
        with pytest.raises(BadInput, match="do not lie within"):
            wrong.apply(np.zeros((8, 20)))
    with pytest.raises(BadInput, match="rows"):
        Reduction(rows=(0, 3), bin=4).scan(spec)
    with pytest.raises(BadInput, match="cannot be binned"):
        Reduction(rows=(0, 3), bin=4).apply(np.zeros((8, 20)))


def test_scans_of_every_kind_against_the_truth(numba_backend: Backend) -> None:
    """Odd and even full turns, over-scan, golden ratio, lost frames: near a complete half turn. A wedge: worse."""
    n = 192
    rng = np.random.default_rng(10)
    cases = {
        "half": half_turn(300),
        "full odd": np.arange(601) * 2 * np.pi / 601,
        "full even": np.arange(600) * 2 * np.pi / 600,
        "over": np.deg2rad(np.arange(0, 400, 0.6)),
        "golden": np.arange(300) * np.pi * (np.sqrt(5) - 1) / 2,
        "lost": np.delete(half_turn(300), rng.choice(300, 15, replace=False)),
        "wedge": half_turn(300)[:250],
    }
    errors = {
        name: [
            error(reconstruct_block(numba_backend, sinogram(parts, n, angles)[:, None], angles, (n - 1) / 2)[0], parts)
            for parts in (shepp_logan(n), gaussians(n))
        ]
        for name, angles in cases.items()
    }
    half = errors.pop("half")
    wedge = errors.pop("wedge")
    for name, (edges, smooth) in errors.items():
        assert edges < 1.1 * half[0], name
        assert smooth < (2e-3 if name in ("golden", "lost") else 1e-3), name
    assert half[1] < 6e-4
    assert 2 * half[0] < wedge[0] < 0.12


def test_region_of_interest_against_the_truth(numba_backend: Backend) -> None:
    n, seen = 256, 128
    angles = half_turn(256)
    parts = shepp_logan(n)
    rows = sinogram(parts, n, angles)[:, (n - seen) // 2 : (n + seen) // 2]
    truth = image(parts, n)[64:192, 64:192]
    grid = np.arange(seen) - (seen - 1) / 2
    disc = np.hypot(grid[:, None], grid[None, :]) < 0.9 * seen / 2
    results = [
        reconstruct_block(numba_backend, rows[:, None].copy(), angles, (seen - 1) / 2, extend=extend)[0] - truth
        for extend in (False, True)
    ]
    plain, extended = (float(np.sqrt(np.mean(r[disc] ** 2))) for r in results)
    assert extended < 0.05
    assert extended < 0.4 * plain
