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
from typing import Any

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

from streamer.core.kernels_live import REACH
from streamer.core.live_lanes import LANES
from streamer.core.planes import Plane

Array = NDArray[Any]
Image = NDArray[np.float32]

MARGIN = 4
"""Samples that a line goes on beyond the tomogram on both sides."""

FIRST_BIN = 2.0  # samples

PARITY = 64
"""Samples over which the alternation of the discrete Hilbert kernel dies away, and a line is continued."""

GRAZING = 1e-4
"""Smallest |cos| between ray and line that is told apart; a ray that is closer is turned so far. 0.1 voxel at 1000."""

ALIGNED = 1e-6  # pixels


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
    whole = -middle - MARGIN
    first = whole + (x0 - whole - np.round(x0 - whole))
    sample = (float(x0 - first), float(xi), float(xj))
    shared = (float(np.arctan2(along[1], along[0])), float(first), columns + 2 * MARGIN)
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
    reach = FIRST_BIN * (2.0 ** np.arange(int(np.ceil(np.log2(samples / GRAZING)))) - 1.0)
    return np.concatenate([-0.5 - reach[::-1], samples - 0.5 + reach])


def rays(grid: LineGrid, angle_rad: Array, center: float, side: int) -> NDArray[np.float64]:
    """Course of line 0 through the rows of derivatives, for each angle: (frames, 4) float64.

    Columns: place of sample 0, step from sample to sample, sign of the derivative, step from line to line. ``side`` is
    how far the row is extended to the left.
    """
    turned = np.asarray(angle_rad, np.float64) - grid.direction
    cos, sin = np.cos(turned), np.sin(turned)
    sign = np.where(cos < 0.0, -1.0, 1.0)
    step = sign * np.maximum(np.abs(cos), GRAZING)
    start = center + grid.first * step + grid.offset[0] * sin + side - (REACH - 0.5)
    return np.stack([start, step, sign, grid.offset[1] * sin], axis=1)


class HilbertLines:
    """The Hilbert transform of lines of a given number of samples, with the bins outside of them."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self._length = int(scipy.fft.next_fast_len(2 * (samples + PARITY), real=True))
        # 2/(π m) for odd m, 0 for even m is the band-limited kernel: 1/(π m) and an alternating part. The latter is of
        # high frequency, so it may die away, and must not see the line end: the samples are continued, and what the
        # smooth part makes of the continuation is taken off again.
        lag = np.arange(1, samples + PARITY)
        fade = np.where(lag < PARITY, 0.5 + 0.5 * np.cos(np.pi * lag / PARITY), 0.0)
        smooth = 1.0 / (2 * np.pi**2 * lag)
        half = smooth * (1.0 - (-1.0) ** lag * fade)
        kernel = np.zeros(self._length)
        kernel[1 : samples + PARITY] = half
        kernel[-1 : -samples - PARITY : -1] = -half
        self._gain: NDArray[np.complex64] = scipy.fft.rfft(kernel).astype(np.complex64)
        self._fade: Image = fade[: PARITY - 1].astype(np.float32)
        after = np.array([-self._fade @ smooth[x : x + PARITY - 1] for x in range(samples)][::-1])
        self._continued: Image = np.stack([-after[::-1], after]).astype(np.float32)
        self._far: Image = _far_field(samples).astype(np.float32)

    def apply(self, sums: Image, tails: Image, workers: int) -> Image:
        """Image on the lines: sums (lines, samples) and tails (lines, bins) in, (lines, samples) float32 out."""
        line = np.zeros((len(sums), self._length), np.float32)
        line[:, : self.samples] = sums
        # The period's end is where the line is continued to the left.
        line[:, self.samples : self.samples + PARITY - 1] = sums[:, -1:] * self._fade
        line[:, 1 - PARITY :] = sums[:, :1] * self._fade[::-1]
        spectrum = scipy.fft.rfft(line, axis=1, workers=workers)
        spectrum *= self._gain
        near = scipy.fft.irfft(spectrum, self._length, axis=1, workers=workers, overwrite_x=True)
        image: Image = near[:, : self.samples] + tails @ self._far
        image -= sums[:, [0, -1]] @ self._continued
        return image


def _far_field(samples: int) -> NDArray[np.float64]:
    """(bins, samples): what the unit integral of a bin adds to the image at each sample.

    Within a bin b is taken to run as 1/x, x from the middle: so it does, outside of the sample, once all angles are in.
    Then the mean of 1/(x - x') over a bin is [ln|1 - x/x'|]/x between its ends, by the logarithm of their ratio.
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


def from_blocks(sums: Image, rows: int) -> Image:
    """(blocks, samples, 16) as (rows, samples)."""
    samples = sums.shape[1]
    return np.ascontiguousarray(sums.transpose(0, 2, 1)).reshape(len(sums) * LANES, samples)[:rows]


def to_pixels(grid: LineGrid, lines: Image, shape: tuple[int, int]) -> Image:
    """The plane's pixels (height, width) from its lines (lines, samples): a copy where they coincide, else a spline."""
    (s0, si, sj), (n0, ni, nj) = grid.sample, grid.line
    if si == 0.0 and nj == 0.0 and abs(sj - 1) < ALIGNED and abs(ni - 1) < ALIGNED:
        m, n = round(s0), round(n0)
        inside = min(m, n) >= 0 and m + shape[1] <= lines.shape[1] and n + shape[0] <= lines.shape[0]
        if inside and abs(s0 - m) < 1e-4 and abs(n0 - n) < 1e-4:
            return lines[n : n + shape[0], m : m + shape[1]].copy()
    matrix, offset = np.array(((ni, nj), (si, sj))), np.array((n0, s0))
    image: Image = scipy.ndimage.affine_transform(
        lines, matrix, offset, shape, np.float32, order=3, mode="constant", cval=0.0
    )
    return image
