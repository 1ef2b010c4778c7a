"""Accumulators of the CPU and of a device (on the host shim) against the definition of their sums in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.planes.accumulators import (
    NO_ROWS,
    CpuPlaneAccumulator,
    FrameBatch,
    PlaneAccumulator,
    PlaneGeometry,
    no_correction,
)
from streamer.core.planes.gpu_accumulator import GpuPlaneAccumulator
from streamer.core.planes.kernels import DERIVATIVE_TAPS, GRAZING_COSINE
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.core.preprocessing.flat_field import NO_MOMENTS
from streamer.core.preprocessing.kernels import ATTENUATION
from tests.core.plane_suite import all_kinds
from tests.core.shim import ShimEngine, shim_backend

ROWS, N, CENTER = 19, 35, 15.3
SLANTED = [plane for plane in all_kinds(ROWS, N) if not plane.horizontal]


def batch(frames: np.ndarray, angles: np.ndarray, gains: np.ndarray | None = None) -> FrameBatch:
    weights = np.ones(len(frames)) if gains is None else gains
    plain = no_correction(frames.shape[1])
    return FrameBatch(frames, ATTENUATION, plain, angles, weights, CENTER, NO_ROWS, NO_MOMENTS)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, ROWS, N)).astype(np.float32)


def from_blocks(blocks: np.ndarray, lines: int) -> np.ndarray:
    """(blocks, samples, 16) as (lines, samples)."""
    return blocks.transpose(0, 2, 1).reshape(-1, blocks.shape[1])[:lines]


def by_definition(
    geometry: PlaneGeometry, name: str, frames: np.ndarray, angles: np.ndarray, gains: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Derivative of the rows along the lines of a plane, and its integrals over the bins, times sign and weight."""
    grid, side, rows = geometry.grids[name], geometry.taper.size, frames.shape[1]
    sums, tails = np.zeros((grid.lines, grid.samples)), np.zeros((grid.lines, geometry.bins))
    near, far = (float(tap) for tap in DERIVATIVE_TAPS)
    for frame, angle, gain in zip(frames.astype(float), angles, gains, strict=True):
        whole = np.pad(frame, ((0, 0), (side, side)), "edge")
        whole[:, :side] *= geometry.taper[::-1]
        whole[:, -side:] *= geometry.taper
        cos, sin = np.cos(angle - grid.direction), np.sin(angle - grid.direction)
        sign = -1.0 if cos < 0 else 1.0
        step = sign * max(abs(cos), GRAZING_COSINE)
        for n in range(grid.lines):
            z = grid.height[0] + n * grid.height[1]
            if not -1e-3 <= z <= rows - 1 + 1e-3:
                continue
            z = np.clip(z, 0, rows - 1)
            upper, lower = int(z), min(int(z) + 1, rows - 1)
            line = whole[upper] + (z - upper) * (whole[lower] - whole[upper])
            slope = near * (line[2:-1] - line[1:-2]) + far * (line[3:] - line[:-3])  # at 1.5, 2.5, …
            start = CENTER + side + grid.first * step + (grid.offset[0] + n * grid.offset[1]) * sin
            at = start + step * np.arange(grid.samples)
            sums[n] += gain * sign * np.interp(at, 1.5 + np.arange(slope.size), slope, left=0, right=0)
            ends = np.interp(start + step * geometry.edges, np.arange(line.size), line, left=0, right=0)
            tails[n] += gain * sign / step * np.diff(ends)
    return sums, tails


@pytest.fixture(params=["cpu", "device"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def chosen(kind: str, engine: ShimEngine, numba_backend: Backend) -> Backend:
    return numba_backend if kind == "cpu" else shim_backend(engine)


def accumulator(backend: Backend, geometry: PlaneGeometry) -> PlaneAccumulator:
    if backend.on_device:
        return GpuPlaneAccumulator(backend, geometry, 3)
    return CpuPlaneAccumulator(backend, geometry)


@pytest.mark.parametrize("extend", [False, True])
def test_lines_are_their_definition(chosen: Backend, extend: bool) -> None:
    """Noise at any angle, grazing ones too, and weights of both signs: all kinds of lines, and their bins."""
    rng = np.random.default_rng(3)
    frames, gains = noise(8), rng.uniform(-1, 1, 8)
    angles = np.concatenate([rng.uniform(-4, 4, 6), [0.5, np.pi / 2 + 1e-6]])
    geometry = PlaneGeometry(SLANTED, ROWS, N, extend)
    made = accumulator(chosen, geometry)
    sums = made.zeros()
    made.add(sums, batch(frames, angles, gains))
    for name, grid in geometry.grids.items():
        expected, outside = by_definition(geometry, name, frames, angles, gains)
        scale, samples, tails = made.lines([sums], name, np.ones(1))
        found = scale * from_blocks(samples, grid.lines)
        # A place in a row is rounded to 1e-5 columns, by which noise changes a little.
        np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max(), err_msg=name)
        np.testing.assert_allclose(scale * tails, outside, atol=2e-4 * np.abs(outside).max(), err_msg=name)


def test_sets_are_added_up_with_their_weights(chosen: Backend) -> None:
    angles = np.arange(6) * 0.7
    geometry = PlaneGeometry(all_kinds(ROWS, N), ROWS, N, False)
    made = accumulator(chosen, geometry)
    sets = [made.zeros() for _ in range(3)]
    for k, each in enumerate(sets):
        made.add(each, batch(noise(6, k), angles))
    gains = np.array([0.3, 1.0, -0.5])
    for name, grid in geometry.grids.items():
        scale, samples, tails = made.lines(sets, name, gains)
        single = [made.lines([each], name, np.ones(1)) for each in sets]
        expected = sum(g * s * from_blocks(x, grid.lines) for g, (s, x, _) in zip(gains, single, strict=True))
        outside = sum(g * s * t for g, (s, _, t) in zip(gains, single, strict=True))
        np.testing.assert_allclose(
            scale * from_blocks(samples, grid.lines), expected, atol=1e-5 * np.abs(expected).max()
        )
        np.testing.assert_allclose(scale * tails, outside, atol=1e-5 * np.abs(outside).max())
    for k in range(len(geometry.horizontal)):
        alone = [made.horizontal([each], k, np.ones(1)) for each in sets]
        image = made.horizontal(sets, k, gains)
        expected = sum(g * one for g, one in zip(gains, alone, strict=True))
        np.testing.assert_allclose(image, expected, atol=1e-5 * np.abs(expected).max())


def test_repeats_bit_for_bit_in_any_pieces(numba_backend: Backend) -> None:
    geometry = PlaneGeometry(SLANTED, ROWS, N, False)
    made, frames, angles = CpuPlaneAccumulator(numba_backend, geometry), noise(11), np.arange(11) * 0.3
    results = []
    for size in (11, 4, 1):
        sums = made.zeros()
        for k in range(0, 11, size):
            made.add(sums, batch(frames[k : k + size], angles[k : k + size]))
        results.append(sums)
    for other in results[1:]:
        np.testing.assert_array_equal(other.vertical, results[0].vertical)
        np.testing.assert_array_equal(other.tails, results[0].tails)
        for mine, expected in zip(other.tilted, results[0].tilted, strict=True):
            np.testing.assert_array_equal(mine[0], expected[0])
            np.testing.assert_array_equal(mine[1], expected[1])


def test_sums_move_to_the_cpu_as_they_are(engine: ShimEngine, numba_backend: Backend) -> None:
    """All that an image is made of, and what is added afterwards."""
    backend = shim_backend(engine)
    geometry = PlaneGeometry(all_kinds(ROWS, N), ROWS, N, True)
    device, host = GpuPlaneAccumulator(backend, geometry, 1), CpuPlaneAccumulator(numba_backend, geometry)
    frames, angles = noise(4), np.arange(4) * 0.9
    before = device.zeros()
    device.add(before, batch(frames, angles))
    after = device.to_host(before, host)
    for name, grid in geometry.grids.items():
        there, here = device.lines([before], name, np.ones(1)), host.lines([after], name, np.ones(1))
        np.testing.assert_array_equal(from_blocks(here[1], grid.lines), from_blocks(there[1], grid.lines))
        np.testing.assert_array_equal(here[2], there[2])
    for k in range(len(geometry.horizontal)):
        gains = np.ones(1)
        np.testing.assert_allclose(host.horizontal([after], k, gains), device.horizontal([before], k, gains), rtol=1e-6)
    host.add(after, batch(-frames, angles))
    for name in geometry.grids:
        _, samples, _ = host.lines([after], name, np.ones(1))
        assert np.abs(samples).max() < 1e-4 * np.abs(device.lines([before], name, np.ones(1))[1]).max()


def test_a_part_of_a_batch_is_of_the_same_frames_and_owns_its_weights() -> None:
    frames, angles = noise(6), np.arange(6) * 0.1
    whole = FrameBatch(
        frames, ATTENUATION, no_correction(ROWS), angles, np.ones(6), CENTER, frames, np.ones((6, ROWS, 4)), 40
    )
    part = whole.part(2, 5)
    np.testing.assert_array_equal(part.frames, frames[2:5])
    np.testing.assert_array_equal(part.angles, angles[2:5])
    assert (part.place, len(part.moments)) == (42, 3)
    part.gains[:] = 5.0
    assert (whole.gains == 1.0).all()
    assert batch(frames, angles).part(0, 2).place is None
    assert len(batch(frames, angles).part(0, 2).attenuation) == 0


@pytest.mark.parametrize(
    ("height", "expected"), [(0.0, (0, 1, 0.0)), (4.3, (4, 5, 0.3)), (18.0, (18, 18, 0.0)), (18.0005, (18, 18, 0.0))]
)
def test_horizontal_planes_lie_between_two_rows(height: float, expected: tuple[int, int, float]) -> None:
    plane = Plane("p", (0.0, 0.0, height), (1.0, 0, 0), (0.0, 1, 0), (N, N))
    found = PlaneGeometry([plane], ROWS, N, False).mixed
    assert found[0][:2] == expected[:2]
    assert found[0][2] == pytest.approx(expected[2])


@pytest.mark.parametrize("height", [-0.5, 18.5, 1e5])
def test_horizontal_planes_outside_of_the_detector_see_nothing(height: float) -> None:
    plane = Plane("p", (0.0, 0.0, height), (1.0, 0, 0), (0.0, 1, 0), (N, N))
    assert PlaneGeometry([plane], ROWS, N, False).horizontal == []


@pytest.mark.parametrize(("columns", "extend", "fade"), [(35, False, 0), (35, True, 18), (36, True, 18)])
def test_rows_fade_over_half_a_width(columns: int, extend: bool, fade: int) -> None:
    """A cosine from the edge value to nothing, and the reach of the derivative in zeros."""
    geometry = PlaneGeometry(orthogonal_planes(ROWS, columns), ROWS, columns, extend)
    taper = geometry.taper
    assert (geometry.fade, taper.size) == (fade, fade + 3)
    assert not taper[fade:].any()
    expected = np.cos(np.pi / 2 * np.arange(1, fade + 1) / (fade + 1)) ** 2
    np.testing.assert_allclose(taper[:fade], expected, atol=1e-6)


def test_frames_that_are_no_numbers_spoil_their_rows_only(numba_backend: Backend) -> None:
    frames: Any = noise(2)
    frames[0, 4, 7] = np.nan
    geometry = PlaneGeometry(list(orthogonal_planes(ROWS, N)), ROWS, N, False)
    made = CpuPlaneAccumulator(numba_backend, geometry)
    sums = made.zeros()
    made.add(sums, batch(frames, np.array([0.3, 0.9])))
    _, samples, _ = made.lines([sums], "xz", np.ones(1))
    bad = np.isnan(from_blocks(samples, ROWS)).any(axis=1)
    assert bad.tolist() == [row == 4 for row in range(ROWS)]
