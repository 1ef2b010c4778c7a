"""Planes that contain a horizontal direction, from derivatives of the projections alone (no row is ever filtered).

Differentiated backprojection (Noo, Clackdoyle and Pack, Phys. Med. Biol. 49, 2004, 3903; Zeng, Med. Phys. 34, 2007):
b = ∫ sgn(cos(θ - φ)) ∂p/∂t dθ, accumulated along a line of direction φ, is 2π times the Hilbert transform of the image
on that line. The Hilbert transform commutes with a change of scale but for its sign, so this holds angle by angle: the
planes are those of filtered backprojection for any subset of the angles.

The line is infinite and b falls off as 1/x only. Beyond the samples b is kept as integrals over bins that double in
width; the integral of a derivative is a difference of two values of the projection, so the bins are nearly free and
exact at any distance, and no model of the tail has to be subtracted, nor a constant fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
import scipy.ndimage
from numba import prange
from numpy.typing import NDArray

from streamer.core.arrays import Array, Image
from streamer.core.jit import as_input, kernel
from streamer.core.planes.kernels import GRAZING_COSINE
from streamer.core.planes.plane import Plane
from streamer.core.simd.fft import fast_length, fft_tables, transform
from streamer.core.simd.plane_vectors import add_4, quarter_turn
from streamer.core.simd.row_vectors import LANES, points_to_rows, scale_point

LINE_MARGIN = 4
"""Samples of a line beyond the tomogram, on both sides."""

FIRST_BIN_WIDTH = 2.0  # samples

ALTERNATION_SPAN = 64
"""Samples over which the alternation of the discrete Hilbert kernel fades out and a line is continued."""

TAIL_PRECISION = 1e-7
"""Relative error of the images from the bins outside of their lines."""

ALIGNED_PX = 1e-6  # pixels


@dataclass(frozen=True)
class LineGrid:
    """How a plane is cut into horizontal lines.

    ``direction`` is the angle φ of the lines. Sample m of line n lies at ``first`` + m along them, counted from the
    axis of rotation, at offset[0] + n·offset[1] across them, and at detector row height[0] + n·height[1].
    Pixel (i, j) of the plane lies at sample sample[0] + sample[1]·i + sample[2]·j and, likewise, line[...].
    """

    direction: float
    first: float
    samples: int
    lines: int
    offset: tuple[float, float]
    height: tuple[float, float]
    sample: tuple[float, float, float]
    line: tuple[float, float, float]

    @property
    def vertical(self) -> bool:
        """True when the lines are the detector's rows, all at one distance from the axis."""
        return self.offset[1] == 0.0

    @property
    def course(self) -> tuple[float, float, float, float]:
        """The lines as ``kernels.ray_through_plane`` takes them."""
        return self.direction, self.first, *self.offset


def line_grid(plane: Plane, rows: int, columns: int) -> LineGrid:
    """The lines of a plane that is not horizontal, in a tomogram of (rows, columns, columns)."""
    middle = (columns - 1) / 2
    u, v = np.array(plane.u), np.array(plane.v)
    origin = np.array(plane.origin) - (middle, middle, 0.0)
    along = (u * v[2] - v * u[2])[:2]  # the combination of u and v that stays at one height
    along /= np.linalg.norm(along)
    lead = u if u[2] == 0.0 else v
    if along @ lead[:2] < 0:
        along = -along
    across = np.array((-along[1], along[0]))
    x0, xi, xj = origin[:2] @ along, v[:2] @ along, u[:2] @ along
    y0, yi, yj = origin[:2] @ across, v[:2] @ across, u[:2] @ across
    whole = -middle - LINE_MARGIN
    first = whole + (x0 - whole - np.round(x0 - whole))
    sample = (float(x0 - first), float(xi), float(xj))
    shared = (float(np.arctan2(along[1], along[0])), float(first), columns + 2 * LINE_MARGIN)
    if max(abs(yi), abs(yj)) < 1e-9 * max(abs(v[2]), abs(u[2])):
        line = (float(origin[2]), float(v[2]), float(u[2]))
        return LineGrid(*shared, rows, (float(y0), 0.0), (0.0, 1.0), sample, line)
    if u[2] == 0.0:
        lines, start, step, line = plane.shape[0], (y0, origin[2]), (yi, v[2]), (0.0, 1.0, 0.0)
    elif v[2] == 0.0:
        lines, start, step, line = plane.shape[1], (y0, origin[2]), (yj, u[2]), (0.0, 0.0, 1.0)
    else:
        rise = (yi, v[2]) if abs(v[2]) >= abs(u[2]) else (yj, u[2])
        step = tuple(np.array(rise) / np.hypot(*rise))
        corners = [i * v[2] + j * u[2] for i in (0, plane.shape[0] - 1) for j in (0, plane.shape[1] - 1)]
        place = np.array(corners) / step[1]
        lines = int(np.ceil(place.max() - place.min())) + 3
        back = place.min() - 1.0
        start = (y0 + back * step[0], origin[2] + back * step[1])
        line = (-float(back), float(v[2] / step[1]), float(u[2] / step[1]))
    offset, height = (float(start[0]), float(step[0])), (float(start[1]), float(step[1]))
    return LineGrid(*shared, lines, offset, height, sample, line)


def bin_edges(samples: int) -> NDArray[np.float64]:
    """Edges (bins + 1,) of the bins outside of a line, as sample numbers; the middle bin is the line itself."""
    reach = FIRST_BIN_WIDTH * (2.0 ** np.arange(int(np.ceil(np.log2(samples / GRAZING_COSINE)))) - 1.0)
    return np.concatenate([-0.5 - reach[::-1], samples - 0.5 + reach])


@kernel(parallel=True)
def transform_lines(
    sums: Array, tails: Array, scale: Any, fade: Array, gain: Array, stages: Array, factors: Array, stages_back: Array,
    factors_back: Array, shares: Array, courses: Array, threads: int, image: Array,
) -> None:  # fmt: skip
    """image = scale times the convolution of lines with an odd kernel, and what lies outside of them.

    image (lines, samples) and tails (lines, bins) float32; sums (blocks, samples, 16) float32, a block being 16 lines;
    i·``gain`` float32 is the kernel's transform over its length; stages and factors are those of ``fft_tables``
    forward and back. ``fade`` continues the lines at both ends. The tails and the first and the last sample have
    ``shares`` (bins + 2, 8·n) float64 in ``courses`` (samples, 8·n) float32 along the line.
    """
    blocks, samples, _ = sums.shape
    lines, bins = tails.shape
    rank, flat, length = courses.shape[1], sums.reshape(-1), gain.size
    for thread in prange(threads):
        points, work = np.empty(length * LANES, np.float32), np.empty(2 * length * LANES, np.float32)
        ones, tile = np.ones(LANES, np.float32), np.empty(LANES * LANES, np.float32)
        outside = np.zeros(rank * LANES, np.float32)
        for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
            at, size = block * samples * LANES, samples * LANES
            depth = min(LANES, lines - block * LANES)
            for k in range(size):
                points[k] = scale * flat[at + k]
            points[size:] = np.float32(0.0)
            for lane in range(depth):
                for j in range(rank):
                    share = points[lane] * shares[bins, j] + points[size - LANES + lane] * shares[bins + 1, j]
                    for k in range(bins):
                        share += scale * tails[block * LANES + lane, k] * shares[k, j]
                    outside[j * LANES + lane] = share
            for k in range(fade.size):
                scale_point(points, size - LANES, fade[k], points, size + k * LANES)
                # The period's end is where the line is continued to the left.
                scale_point(points, 0, fade[k], points, (length - 1 - k) * LANES)
            transform(points, 0, points, 0, work, stages, factors)
            for k in range(length):
                quarter_turn(points, k * LANES, gain[k])
            transform(points, 0, points, 0, work, stages_back, factors_back)
            for x in range(samples):
                c = courses[x]
                for j in range(0, rank, 8):
                    k = j * LANES
                    add_4(points, x * LANES, outside, k, c[j], c[j + 1], k + 2 * LANES, c[j + 2], c[j + 3],
                          k + 4 * LANES, c[j + 4], c[j + 5], k + 6 * LANES, c[j + 6], c[j + 7])  # fmt: skip
            for x in range(0, samples, LANES):
                points_to_rows(points, x * LANES, ones, 0, tile, 0, LANES)
                count = min(LANES, samples - x)
                for lane in range(depth):
                    line, source = image[block * LANES + lane, x : x + count], tile[lane * LANES :]
                    for k in range(count):
                        line[k] = source[k]


class HilbertLines:
    """The Hilbert transform of lines of a given number of samples, with the bins outside of them. Thread-safe."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        length = fast_length(2 * (samples + ALTERNATION_SPAN))
        # 2/(π m) for odd m, 0 for even m is the band-limited kernel: 1/(π m) and an alternating part. The latter is of
        # high frequency, so it may fade out, but it must not see the line end: the samples are continued, and what the
        # smooth part makes of the continuation is subtracted again.
        lag = np.arange(1, samples + ALTERNATION_SPAN)
        fade = np.where(lag < ALTERNATION_SPAN, 0.5 + 0.5 * np.cos(np.pi * lag / ALTERNATION_SPAN), 0.0)
        smooth = 1.0 / (2 * np.pi**2 * lag)
        half = smooth * (1.0 - (-1.0) ** lag * fade)
        kernel = np.zeros(length)
        kernel[1 : samples + ALTERNATION_SPAN] = half
        kernel[-1 : -samples - ALTERNATION_SPAN : -1] = -half
        self._gain = as_input(scipy.fft.fft(kernel).imag / length, np.float32)
        self._fade = as_input(fade[: ALTERNATION_SPAN - 1], np.float32)
        self._tables = fft_tables(length, -1), fft_tables(length, 1)
        after = np.array(
            [-fade[: ALTERNATION_SPAN - 1] @ smooth[x : x + ALTERNATION_SPAN - 1] for x in range(samples)][::-1]
        )
        # The effect of a bin is smooth along the line, so a few courses suffice for all bins.
        left, size, right = np.linalg.svd(np.stack([*_far_field(samples), after[::-1], -after]), full_matrices=False)
        rank = -(-min(len(size), int(np.count_nonzero(size > TAIL_PRECISION * size[0]))) // 8) * 8
        courses = np.zeros((rank, samples))
        shares = np.zeros((len(left), rank))
        kept = min(rank, len(size))
        courses[:kept], shares[:, :kept] = right[:kept], left[:, :kept] * size[:kept]
        self._shares, self._courses = as_input(shares), as_input(courses.T, np.float32)

    def apply(self, sums: Image, tails: Image, scale: float, threads: int) -> Image:
        """Image on the lines: sums (blocks, samples, 16) and tails (lines, bins) in, (lines, samples) float32 out.

        A block is 16 lines; those of the last block may lie beyond the end. The result is ``scale`` times the
        transform.
        """
        image = np.empty((len(tails), self.samples), np.float32)
        there, back = self._tables
        transform_lines(
            sums, as_input(tails), np.float32(scale), self._fade, self._gain, there.stages, there.factors, back.stages,
            back.factors, self._shares, self._courses, threads, image,
        )  # fmt: skip
        return image


@lru_cache(4)
def hilbert_lines(samples: int) -> HilbertLines:
    """Those of the lengths last used are kept: they take as long to make as some frames to fold in."""
    return HilbertLines(samples)


def _far_field(samples: int) -> NDArray[np.float64]:
    """(bins, samples): what the unit integral of a bin adds to the image at each sample.

    Within a bin b is taken as 1/x, x from the middle: outside of the sample it is, once all angles are in. Then the
    mean of 1/(x - x') over a bin is [ln|1 - x/x'|]/x between its ends, over the logarithm of their ratio.
    """
    middle = (samples - 1) / 2
    x = (np.arange(samples) - middle)[:, None]
    edges = bin_edges(samples) - middle
    safe = np.where(x == 0.0, 1e-9, x)
    primitive = np.log1p(-safe / edges) / safe
    ratio = np.log(np.abs(edges[1:] / edges[:-1]))
    half = len(ratio) // 2
    ratio[half] = 1.0
    mean = (primitive[:, :-1] - primitive[:, 1:]) / ratio / (2 * np.pi**2)
    mean[:, half] = 0.0  # the line itself
    return np.asarray(mean.T)


def to_blocks(lines: Image) -> Image:
    """(lines, samples) as (blocks, samples, 16), with zeros after the last line."""
    count, samples = lines.shape
    padded = np.zeros((-(-count // LANES) * LANES, samples), np.float32)
    padded[:count] = lines
    return np.ascontiguousarray(padded.reshape(-1, LANES, samples).transpose(0, 2, 1))


def to_pixels(grid: LineGrid, lines: Image, shape: tuple[int, int]) -> Image:
    """The plane's pixels (height, width) from its lines (lines, samples): a copy where they coincide, else a spline."""
    (s0, si, sj), (n0, ni, nj) = grid.sample, grid.line
    if si == 0.0 and nj == 0.0 and abs(sj - 1) < ALIGNED_PX and abs(ni - 1) < ALIGNED_PX:
        m, n = round(s0), round(n0)
        inside = min(m, n) >= 0 and m + shape[1] <= lines.shape[1] and n + shape[0] <= lines.shape[0]
        if inside and abs(s0 - m) < 1e-4 and abs(n0 - n) < 1e-4:
            return lines[n : n + shape[0], m : m + shape[1]].copy()
    matrix, offset = np.array(((ni, nj), (si, sj))), np.array((n0, s0))
    image: Image = scipy.ndimage.affine_transform(
        lines, matrix, offset, shape, np.float32, order=3, mode="constant", cval=0.0
    )
    return image
