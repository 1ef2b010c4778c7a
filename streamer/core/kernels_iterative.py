"""Numba kernels of the iterative reconstruction: matched projectors and total variation.

The rules of ``kernels_cpu`` hold: ``parts`` threads share out the outputs, every sum has a fixed order. Volumes are
(y, x, z) and projections (angle, column, z) with z last, so that one set of weights serves a line of memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from streamer.core.jit import kernel

Array = NDArray[Any]

PHASES = 256
"""Positions of a pixel within a detector column for which its footprint is tabulated."""

PAD = 2
"""Columns beyond both edges of the detector that projections have here; what falls there was not measured."""

TILE = 8

_ZERO = np.float32(0.0)


@kernel(parallel=True)
def project(
    image: Array, cos: Array, sin: Array, table: Array, center: float, parts: int, scale: float, out: Array
) -> None:
    """out[a, PAD + i, z] = scale · Σ over pixels of their area that falls into column i, times their value.

    image (ny, nx, nz), out (angles, columns + 2·PAD, nz) float32; cos, sin (angles,) float64; table (angles,
    PHASES + 1, 3) float32 the shares of a pixel in the nearest column and its neighbours.
    """
    ny, nx, nz = image.shape
    angles, columns = out.shape[0], out.shape[1] - 2 * PAD
    for part in prange(parts):
        for a in range(part, angles, parts):
            out[a] = _ZERO
            for y in range(ny):
                start = center + (y - (ny - 1) * 0.5) * sin[a] - (nx - 1) * 0.5 * cos[a]
                for x in range(nx):
                    t = start + x * cos[a]
                    n = int(np.floor(t + 0.5))
                    if n < -1 or n > columns:
                        continue
                    k = int((t - n + 0.5) * PHASES + 0.5)
                    s = np.float32(scale)
                    w0, w1, w2 = table[a, k, 0] * s, table[a, k, 1] * s, table[a, k, 2] * s
                    value = image[y, x]
                    left, middle, right = out[a, n + PAD - 1], out[a, n + PAD], out[a, n + PAD + 1]
                    for z in range(nz):
                        left[z] += w0 * value[z]
                        middle[z] += w1 * value[z]
                        right[z] += w2 * value[z]
            for c in range(PAD):
                out[a, c] = _ZERO
                out[a, columns + 2 * PAD - 1 - c] = _ZERO


@kernel(parallel=True)
def backproject(
    p: Array, cos: Array, sin: Array, table: Array, center: float, parts: int, scale: float, image: Array
) -> None:
    """image += scale · (transpose of ``project``) p; shapes and types as there, the outer PAD columns of p are 0."""
    ny, nx, nz = image.shape
    angles, columns = p.shape[0], p.shape[1] - 2 * PAD
    tiles_x = (nx + TILE - 1) // TILE
    tiles = tiles_x * ((ny + TILE - 1) // TILE)
    for part in prange(parts):
        sums = np.empty((TILE, TILE, nz), np.float32)
        for tile in range(part, tiles, parts):
            y0, x0 = (tile // tiles_x) * TILE, (tile % tiles_x) * TILE
            y1, x1 = min(y0 + TILE, ny), min(x0 + TILE, nx)
            sums[:] = _ZERO
            for a in range(angles):
                for y in range(y0, y1):
                    start = center + (y - (ny - 1) * 0.5) * sin[a] - (nx - 1) * 0.5 * cos[a]
                    for x in range(x0, x1):
                        t = start + x * cos[a]
                        n = int(np.floor(t + 0.5))
                        if n < -1 or n > columns:
                            continue
                        k = int((t - n + 0.5) * PHASES + 0.5)
                        w0, w1, w2 = table[a, k, 0], table[a, k, 1], table[a, k, 2]
                        left, middle, right = p[a, n + PAD - 1], p[a, n + PAD], p[a, n + PAD + 1]
                        s = sums[y - y0, x - x0]
                        for z in range(nz):
                            s[z] += w0 * left[z] + w1 * middle[z] + w2 * right[z]
            for y in range(y0, y1):
                for x in range(x0, x1):
                    s, line = sums[y - y0, x - x0], image[y, x]
                    for z in range(nz):
                        line[z] += np.float32(scale) * s[z]


@kernel(parallel=True)
def tv_primal(noisy: Array, dual: Array, strength: float, low: float, parts: int, out: Array) -> None:
    """out = max(low, noisy + strength · div dual); dual (3, ny, nx, nz) along y, x, z; all float32."""
    ny, nx, nz = noisy.shape
    weight, least = np.float32(strength), np.float32(low)
    for part in prange(parts):
        for y in range(ny * part // parts, ny * (part + 1) // parts):
            for x in range(nx):
                here_y, here_x, here_z = dual[0, y, x], dual[1, y, x], dual[2, y, x]
                # The component across the last pixel is 0, and stands for the one before the first.
                before_y, before_x = dual[0, y - 1 if y > 0 else ny - 1, x], dual[1, y, x - 1 if x > 0 else nx - 1]
                line, source = out[y, x], noisy[y, x]
                for z in range(nz):
                    line[z] = here_y[z] - before_y[z] + here_x[z] - before_x[z] + here_z[z]
                for z in range(1, nz):
                    line[z] -= here_z[z - 1]
                for z in range(nz):
                    line[z] = max(source[z] + weight * line[z], least)


@kernel(parallel=True)
def tv_dual(image: Array, step: float, momentum: float, parts: int, ahead: Array, dual: Array) -> None:
    """dual = ahead + step · grad image, cut to length 1 in every voxel; ahead = dual + momentum · (dual - dual before).

    image (ny, nx, nz); ahead and dual (3, ny, nx, nz); all float32.
    """
    ny, nx, nz = image.shape
    by, further = np.float32(step), np.float32(momentum)
    one = np.float32(1.0)
    for part in prange(parts):
        zero = np.zeros(nz, np.float32)
        slope = np.zeros(nz, np.float32)
        for y in range(ny * part // parts, ny * (part + 1) // parts):
            for x in range(nx):
                v = image[y, x]
                down = image[y + 1, x] if y + 1 < ny else v
                next_x = image[y, x + 1] if x + 1 < nx else v
                for z in range(nz - 1):
                    slope[z] = v[z + 1] - v[z]
                a0, a1, a2 = ahead[0, y, x], ahead[1, y, x], ahead[2, y, x]
                d0, d1, d2 = dual[0, y, x], dual[1, y, x], dual[2, y, x]
                flat = nz == 1
                for z in range(nz):
                    g0 = a0[z] + by * (down[z] - v[z])
                    g1 = a1[z] + by * (next_x[z] - v[z])
                    g2 = zero[z] if flat else a2[z] + by * slope[z]
                    shrink = one / max(one, np.sqrt(g0 * g0 + g1 * g1 + g2 * g2))
                    g0, g1, g2 = g0 * shrink, g1 * shrink, g2 * shrink
                    a0[z] = g0 + further * (g0 - d0[z])
                    a1[z] = g1 + further * (g1 - d1[z])
                    a2[z] = g2 + further * (g2 - d2[z])
                    d0[z], d1[z], d2[z] = g0, g1, g2
