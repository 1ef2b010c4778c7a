"""Lines through planes, and the Hilbert transform along them, against geometry and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from streamer.core.planes.hilbert import (
    FIRST_BIN_WIDTH,
    LINE_MARGIN,
    HilbertLines,
    LineGrid,
    bin_edges,
    line_grid,
    to_blocks,
    to_pixels,
)
from streamer.core.planes.kernels import GRAZING_COSINE
from streamer.core.planes.plane import Plane, orthogonal_planes
from tests.core.plane_suite import all_kinds

ROWS, N = 23, 41


def random_planes(count: int) -> list[Plane]:
    rng = np.random.default_rng(5)
    planes = []
    for k in range(count):
        u, v, origin = rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 3), rng.uniform(0, N, 3)
        if k % 3 == 1:
            u[2] = 0.0
        if k % 3 == 2:
            v[2] = 0.0
        planes.append(Plane(f"p{k}", tuple(origin.tolist()), tuple(u.tolist()), tuple(v.tolist()), (13, 17)))
    return planes


SLANTED = [plane for plane in all_kinds(ROWS, N) if not plane.horizontal] + random_planes(30)


@pytest.mark.parametrize("plane", SLANTED, ids=lambda plane: plane.name)
def test_every_pixel_lies_on_its_line(plane: Plane) -> None:
    """Sample and line of a pixel lead back to its place in the tomogram."""
    grid = line_grid(plane, ROWS, N)
    i, j = np.mgrid[: plane.shape[0], : plane.shape[1]]
    sample = grid.sample[0] + grid.sample[1] * i + grid.sample[2] * j
    line = grid.line[0] + grid.line[1] * i + grid.line[2] * j
    along, across = grid.first + sample, grid.offset[0] + grid.offset[1] * line
    cos, sin = np.cos(grid.direction), np.sin(grid.direction)
    middle = (N - 1) / 2
    height = grid.height[0] + grid.height[1] * line
    found = np.stack([middle + along * cos - across * sin, middle + along * sin + across * cos, height])
    expected = np.array(plane.origin)[:, None, None] + np.multiply.outer(plane.u, j) + np.multiply.outer(plane.v, i)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    if not grid.vertical:
        assert line.min() >= -1e-9
        assert line.max() <= grid.lines - 1 + 1e-9


def test_lines_reach_across_the_tomogram() -> None:
    """And lie on the pixels' grid where the plane is one of the usual ones."""
    for plane in orthogonal_planes(ROWS, N)[1:]:
        grid = line_grid(plane, ROWS, N)
        assert (grid.vertical, grid.lines, grid.samples) == (True, ROWS, N + 2 * LINE_MARGIN)
        assert grid.first == -(N - 1) / 2 - LINE_MARGIN
        assert grid.sample == (LINE_MARGIN, 0.0, 1.0)
        assert grid.line == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("samples", [1, 40, 2049])
def test_bins_double_up_to_the_grazing_ray(samples: int) -> None:
    edges = bin_edges(samples)
    width = np.diff(edges)
    middle = len(width) // 2
    assert width[middle] == samples
    np.testing.assert_allclose(width[middle + 1 :], FIRST_BIN_WIDTH * 2.0 ** np.arange(middle))
    np.testing.assert_allclose(edges + edges[::-1], samples - 1, atol=1e-6)
    assert edges[-1] >= samples / GRAZING_COSINE


def transformed(b: np.ndarray, tails: np.ndarray, lines: int = 1, threads: int = 1) -> np.ndarray:
    """The transform of a line and of its bins, many times over."""
    many = np.repeat(b[None], lines, axis=0).astype(np.float32)
    outside = np.repeat(tails[None], lines, axis=0).astype(np.float32)
    return HilbertLines(b.size).apply(to_blocks(many), outside, 1.0, threads)


@pytest.mark.parametrize("samples", [200, 201, 333])
def test_slow_tails_in_closed_form(samples: int) -> None:
    """f = 1/(1 + x²/a²) has b = 2π·H f = 2π·(x/a)/(1 + x²/a²), which is known in the bins, too."""
    a, middle = 12.0, (samples - 1) / 2
    x, edges = np.arange(samples) - middle, bin_edges(samples) - middle
    b = 2 * np.pi * (x / a) / (1 + (x / a) ** 2)
    picture = transformed(b, np.diff(np.pi * a * np.log1p((edges / a) ** 2)))[0]
    sign = np.sign(picture[samples // 2])
    assert np.abs(sign * picture - 1 / (1 + (x / a) ** 2))[2:-2].max() < 5e-4


@pytest.mark.parametrize("place", [0.0, 31.4, -55.0])
def test_gaussian_in_closed_form(place: float) -> None:
    """H exp(-x²/2σ²) is Dawson's function, wherever it lies on the line."""
    samples, sigma = 257, 6.0
    x = np.arange(samples) - 128.0 - place
    edges = bin_edges(samples) - 128.0 - place
    b = 2 * np.pi * 2 / np.sqrt(np.pi) * scipy.special.dawsn(x / (np.sqrt(2) * sigma))
    # Far out 2/√π·D(t) is 1/(√π·t), the field of the total mass.
    far = 2 * np.pi * np.sqrt(2 / np.pi) * sigma
    with np.errstate(divide="ignore"):
        tails = far * np.diff(np.log(np.abs(edges)))
    tails[len(tails) // 2] = 0.0
    picture = transformed(b, tails)[0]
    expected = np.exp(-0.5 * (x / sigma) ** 2)
    assert np.abs(np.sign(picture[np.argmax(expected)]) * picture - expected)[2:-2].max() < 2e-3


def test_it_is_linear_and_turns_the_sign_of_odd_functions() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=(2, 90))
    bins = len(bin_edges(90)) - 1
    a, b = rng.normal(size=(2, bins))
    both = transformed(one - 2 * two, a - 2 * b)
    np.testing.assert_allclose(both, transformed(one, a) - 2 * transformed(two, b), atol=1e-4)
    np.testing.assert_allclose(transformed(one[::-1], a[::-1]), -transformed(one, a)[:, ::-1], atol=1e-4)


@pytest.mark.parametrize("lines", [1, 15, 16, 17, 40])
def test_lines_are_alike_whatever_their_number_and_threads(lines: int) -> None:
    rng = np.random.default_rng(2)
    b, tails = rng.normal(size=101), rng.normal(size=len(bin_edges(101)) - 1)
    expected = transformed(b, tails)
    one_thread = transformed(b, tails, lines)
    assert one_thread.shape == (lines, 101)
    # Two lines are the real and the imaginary part of one transform, which rounds both.
    np.testing.assert_allclose(one_thread, np.repeat(expected, lines, axis=0), atol=1e-6)
    for threads in (2, 5):
        np.testing.assert_array_equal(transformed(b, tails, lines, threads), one_thread)


@pytest.mark.parametrize("lines", [1, 16, 21])
def test_blocks_hold_the_lines_and_zeros(lines: int) -> None:
    rows = np.random.default_rng(3).normal(size=(lines, 7)).astype(np.float32)
    blocks = to_blocks(rows)
    assert blocks.shape == (-(-lines // 16), 7, 16)
    back = blocks.transpose(0, 2, 1).reshape(-1, 7)
    np.testing.assert_array_equal(back[:lines], rows)
    assert not back[lines:].any()


class TestPixels:
    lines = np.add.outer(3.0 * np.arange(30), np.arange(50)).astype(np.float32)  # a ramp, which a spline keeps

    def grid(self, sample: tuple[float, float, float], line: tuple[float, float, float]) -> LineGrid:
        return LineGrid(0.0, 0.0, 50, 30, (0.0, 0.0), (0.0, 1.0), sample, line)

    def test_pixels_on_samples_are_copied(self) -> None:
        found = to_pixels(self.grid((4.0, 0.0, 1.0), (2.0, 1.0, 0.0)), self.lines, (20, 40))
        np.testing.assert_array_equal(found, self.lines[2:22, 4:44])
        found[:] = 0
        assert self.lines[2, 4] == 10.0, "a copy, not a view"

    @pytest.mark.parametrize("sample", [(10.3, 0.1, 0.5), (12.0, -0.2, 0.25)])
    @pytest.mark.parametrize("line", [(10.7, 0.4, -0.1), (11.0, 0.5, 0.0)])
    def test_other_pixels_are_interpolated(
        self, sample: tuple[float, float, float], line: tuple[float, float, float]
    ) -> None:
        i, j = np.mgrid[:12, :20]
        expected = 3 * (line[0] + line[1] * i + line[2] * j) + sample[0] + sample[1] * i + sample[2] * j
        found = to_pixels(self.grid(sample, line), self.lines, (12, 20))
        np.testing.assert_allclose(found, expected, atol=0.05)

    def test_pixels_beyond_the_lines_are_zero(self) -> None:
        found = to_pixels(self.grid((0.0, 0.0, 1.0), (100.0, 1.0, 0.0)), self.lines, (5, 5))
        assert not found.any()
