"""Numba kernels of the CPU backend.

Rules that all of them keep:

- ``threads`` is the number of threads to use. Work is cut into that many ranges of *outputs*, so that no two threads
  write the same element and every element is summed in a fixed order: results are bit-identical between runs and do
  not depend on ``threads``.
- Maths is float32, but geometry that is shared by a whole line of pixels is worked out in float64 and rounded once.
- Arrays that are read come from ``jit.as_input``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from streamer.core.arrays import Array
from streamer.core.jit import kernel

EDGE = 1e-3
"""A ray that misses the outermost pixel centre by less than this many pixels, through rounding, still counts as hit."""

TILE = 8  # pixels; the sums of a tile of 8 x 8 pixels and Z_BLOCK rows (16 KiB) stay in the level-1 cache
Z_BLOCK = 64  # detector rows that share one pass over the angles

_LN2 = np.float32(0.6931471805599453)
_SQRT_HALF_BITS = np.int32(0x3F3504F3)  # bit pattern of float32(sqrt(1/2))
_ONE = np.float32(1.0)
_THIRD, _FIFTH, _SEVENTH, _NINTH = np.float32(1 / 3), np.float32(1 / 5), np.float32(1 / 7), np.float32(1 / 9)
_ZERO = np.float32(0.0)


@kernel(parallel=True)
def attenuate(raw: Array, dark: Array, log_flat: Array, low: float, high: float, threads: int, out: Array) -> None:
    """out = log_flat - ln(clip(raw - dark, low, high)); all (rows, cols), raw of any real type, the rest float32.

    The difference is formed in float64, so that 32-bit counters lose nothing. The logarithm splits off the power of
    two and sums atanh((m-1)/(m+1)) to the ninth order on [sqrt(1/2), sqrt(2)); its error is below 1e-6, and
    the loop turns into vector instructions, which a call of libm does not. NaN counts as ``low``.
    """
    rows, cols = out.shape
    for thread in prange(threads):
        net = np.empty(cols, np.float32)
        bits = net.view(np.int32)
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            for c in range(cols):
                value = np.float64(raw[r, c]) - np.float64(dark[r, c])
                at_least = value if value > low else low
                net[c] = np.float32(at_least if at_least < high else high)
            for c in range(cols):
                power = np.int32(np.int32(bits[c] - _SQRT_HALF_BITS) >> np.int32(23))
                bits[c] = np.int32(bits[c] - np.int32(power << np.int32(23)))
                m = net[c]
                s = (m - _ONE) / (m + _ONE)
                q = s * s
                series = _ONE + q * (_THIRD + q * (_FIFTH + q * (_SEVENTH + q * _NINTH)))
                out[r, c] = log_flat[r, c] - (np.float32(power) * _LN2 + (s + s) * series)


@kernel()
def fill_dead_pixels(image: Array, row: Array, col: Array, left: Array, right: Array, share: Array) -> None:
    """Replace listed pixels of image (rows, cols) by (1-share)·image[row, left] + share·image[row, right].

    ``left`` and ``right`` must be pixels that are not listed themselves. left < 0 means "nothing to take from": 0.
    """
    for k in range(row.size):
        if left[k] < 0:
            image[row[k], col[k]] = _ZERO
        else:
            a = image[row[k], left[k]]
            image[row[k], col[k]] = a + share[k] * (image[row[k], right[k]] - a)


@kernel()
def to_z_contiguous(filtered: Array, out: Array) -> None:
    """out[col, row] = filtered[row, col], in blocks that fit the cache."""
    rows, cols = filtered.shape
    for r0 in range(0, rows, 16):
        for c0 in range(0, cols, 16):
            for c in range(c0, min(c0 + 16, cols)):
                for r in range(r0, min(r0 + 16, rows)):
                    out[c, r] = filtered[r, c]


@kernel(inline=True)
def _ray(t: Any, last: Any, weight: Any) -> Any:
    """Left pixel (uint32) and the two weights (float32) of linear interpolation at column t; 0 where the ray misses."""
    if t < np.float32(-EDGE) or t > last + np.float32(EDGE):
        return np.uint32(0), np.float32(0.0), np.float32(0.0)
    i = np.uint32(min(max(t, np.float32(0.0)), last - np.float32(1.0)))
    f = t - np.float32(i)
    return i, (np.float32(1.0) - f) * weight, f * weight


@kernel(parallel=True)
def backproject_rows(p: Array, cos: Array, sin: Array, weight: Array, center: float, threads: int, out: Array) -> None:
    """out[z, y, x] = Σ_a weight[a] · p[a, column(a, x, y), z], linear interpolation in the column.

    p (angles, cols, nz) filtered projections with z last: the column and its weights are the same for all z, so the
    innermost loop runs over contiguous memory. Four angles share one read and write of the sums. cos, sin, weight are
    float32 (n,) padded with weight 0 to a multiple of four; out (nz, ny, nx) float32 is overwritten.
    """
    angles, cols, depth = p.shape
    ny, nx = out.shape[1], out.shape[2]
    last = np.float32(cols - 1)
    mid_x, mid_y = np.float32((nx - 1) * 0.5), np.float32((ny - 1) * 0.5)
    axis = np.float32(center)
    tiles_x, tiles_y = (nx + TILE - 1) // TILE, (ny + TILE - 1) // TILE
    tiles = tiles_x * tiles_y
    for thread in prange(threads):
        sums = np.empty((TILE, TILE, Z_BLOCK), np.float32)
        # Tiles are dealt out in turn: those in the corners see fewer rays and would leave a thread idle.
        for tile in range(thread, tiles, threads):
            y0, x0 = (tile // tiles_x) * TILE, (tile % tiles_x) * TILE
            y1, x1 = min(y0 + TILE, ny), min(x0 + TILE, nx)
            for z0 in range(0, depth, Z_BLOCK):
                nz = min(Z_BLOCK, depth - z0)
                sums[:] = _ZERO
                for a in range(0, angles, 4):
                    # Angles past the end repeat the last one; their weight is 0.
                    b1, b2, b3 = min(a + 1, angles - 1), min(a + 2, angles - 1), min(a + 3, angles - 1)
                    for y in range(y0, y1):
                        dy = np.float32(y) - mid_y
                        for x in range(x0, x1):
                            dx = np.float32(x) - mid_x
                            i0, v0, w0 = _ray(axis + (dx * cos[a] + dy * sin[a]), last, weight[a])
                            i1, v1, w1 = _ray(axis + (dx * cos[a + 1] + dy * sin[a + 1]), last, weight[a + 1])
                            i2, v2, w2 = _ray(axis + (dx * cos[a + 2] + dy * sin[a + 2]), last, weight[a + 2])
                            i3, v3, w3 = _ray(axis + (dx * cos[a + 3] + dy * sin[a + 3]), last, weight[a + 3])
                            p0, q0 = p[a, i0, z0 : z0 + nz], p[a, i0 + 1, z0 : z0 + nz]
                            p1, q1 = p[b1, i1, z0 : z0 + nz], p[b1, i1 + 1, z0 : z0 + nz]
                            p2, q2 = p[b2, i2, z0 : z0 + nz], p[b2, i2 + 1, z0 : z0 + nz]
                            p3, q3 = p[b3, i3, z0 : z0 + nz], p[b3, i3 + 1, z0 : z0 + nz]
                            s = sums[y - y0, x - x0]
                            for z in range(nz):
                                s[z] += (
                                    v0 * p0[z] + w0 * q0[z] + v1 * p1[z] + w1 * q1[z]
                                    + v2 * p2[z] + w2 * q2[z] + v3 * p3[z] + w3 * q3[z]
                                )  # fmt: skip
                for z in range(nz):
                    for y in range(y0, y1):
                        for x in range(x0, x1):
                            out[z0 + z, y, x] = sums[y - y0, x - x0, z]


@kernel(parallel=True)
def row_moments(image: Array, margin: int, threads: int, out: Array) -> None:
    """Sums of every row of image (rows, cols) float32, for centres of mass; out (rows, 4) float64.

    out[r] = Σ v, Σ v·(column - (cols-1)/2), Σ v over the first ``margin`` columns, Σ v over the last ``margin``.
    """
    rows, cols = image.shape
    middle = (cols - 1) * 0.5
    for thread in prange(threads):
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            # Four running sums each: one alone waits for its own last addition.
            m0, m1, m2, m3 = 0.0, 0.0, 0.0, 0.0
            f0, f1, f2, f3 = 0.0, 0.0, 0.0, 0.0
            for c in range(0, cols - 3, 4):
                a, b, d, e = image[r, c], image[r, c + 1], image[r, c + 2], image[r, c + 3]
                x = c - middle
                m0 += a
                m1 += b
                m2 += d
                m3 += e
                f0 += a * x
                f1 += b * (x + 1.0)
                f2 += d * (x + 2.0)
                f3 += e * (x + 3.0)
            for c in range(cols - cols % 4, cols):
                m0 += image[r, c]
                f0 += image[r, c] * (c - middle)
            left, right = 0.0, 0.0
            for c in range(margin):
                left += image[r, c]
                right += image[r, cols - 1 - c]
            out[r, 0], out[r, 1] = (m0 + m1) + (m2 + m3), (f0 + f1) + (f2 + f3)
            out[r, 2], out[r, 3] = left, right
