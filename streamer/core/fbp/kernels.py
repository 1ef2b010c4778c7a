"""Numba kernels of direct backprojection; the rules in ``jit`` hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from streamer.core.arrays import Array
from streamer.core.jit import kernel

EDGE_PX = 1e-3
"""A ray that misses the outermost pixel centre by less than this many pixels, through rounding, still counts as hit."""

TILE_PIXELS = 8  # on a side; the sums of a tile and ROWS_PER_PASS rows (16 KiB) stay in the level-1 cache
ROWS_PER_PASS = 64  # detector rows that share one pass over the angles

_ZERO = np.float32(0.0)


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
    if t < np.float32(-EDGE_PX) or t > last + np.float32(EDGE_PX):
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
    tiles_x, tiles_y = (nx + TILE_PIXELS - 1) // TILE_PIXELS, (ny + TILE_PIXELS - 1) // TILE_PIXELS
    tiles = tiles_x * tiles_y
    for thread in prange(threads):
        sums = np.empty((TILE_PIXELS, TILE_PIXELS, ROWS_PER_PASS), np.float32)
        # Tiles are dealt out in turn: those in the corners see fewer rays and would leave a thread idle.
        for tile in range(thread, tiles, threads):
            y0, x0 = (tile // tiles_x) * TILE_PIXELS, (tile % tiles_x) * TILE_PIXELS
            y1, x1 = min(y0 + TILE_PIXELS, ny), min(x0 + TILE_PIXELS, nx)
            for z0 in range(0, depth, ROWS_PER_PASS):
                nz = min(ROWS_PER_PASS, depth - z0)
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
