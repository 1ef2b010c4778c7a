"""Numba kernels of the iterative reconstruction: matched projectors and total variation.

The rules in ``jit`` hold: ``threads`` threads share out the outputs, every sum has a fixed order. Volumes are
(y, x, z) and projections (angle, column, z) with z last, so that one set of weights serves a line of memory.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from streamer.core.arrays import Array
from streamer.core.jit import kernel

FOOTPRINT_PHASES = 256
"""Positions of a pixel within a detector column for which its footprint is tabulated."""

EDGE_PAD = 2
"""Columns beyond both edges of the detector that projections have here; what falls there was not measured."""

TILE_PIXELS = 8
"""Side of the squares of pixels that a thread backprojects into at a time."""

RUNNING_SUMS = 8
"""Running sums that a long sum is split into, so that an addition need not wait for the one before."""

SMALL_VOLUME = 2**17
"""Voxels below which one thread does the prior: sooner done than others are woken, on a busy machine above all."""

_ZERO = np.float32(0.0)


@kernel(parallel=True)
def project(image: Array, cos: Array, sin: Array, table: Array, center: float, threads: int, out: Array) -> None:
    """out[a, EDGE_PAD + i, z] = Σ over pixels of their area that falls into column i, times their value.

    image (ny, nx, nz), out (angles, columns + 2·PAD, nz) float32; cos, sin (angles,) float64; table (angles,
    FOOTPRINT_PHASES + 1, 3) float32 the shares of a pixel in the nearest column and its neighbours.
    """
    ny, nx, nz = image.shape
    angles, columns = out.shape[0], out.shape[1] - 2 * EDGE_PAD
    for thread in prange(threads):
        for a in range(thread, angles, threads):
            out[a] = _ZERO
            for y in range(ny):
                start = center + (y - (ny - 1) * 0.5) * sin[a] - (nx - 1) * 0.5 * cos[a]
                for x in range(nx):
                    t = start + x * cos[a]
                    n = int(np.floor(t + 0.5))
                    if n < -1 or n > columns:
                        continue
                    k = int((t - n + 0.5) * FOOTPRINT_PHASES + 0.5)
                    w0, w1, w2 = table[a, k, 0], table[a, k, 1], table[a, k, 2]
                    value = image[y, x]
                    left, middle, right = out[a, n + EDGE_PAD - 1], out[a, n + EDGE_PAD], out[a, n + EDGE_PAD + 1]
                    for z in range(nz):
                        left[z] += w0 * value[z]
                        middle[z] += w1 * value[z]
                        right[z] += w2 * value[z]
            for c in range(EDGE_PAD):
                out[a, c] = _ZERO
                out[a, columns + 2 * EDGE_PAD - 1 - c] = _ZERO


@kernel(parallel=True)
def backproject(
    p: Array, cos: Array, sin: Array, table: Array, center: float, threads: int, scale: float, image: Array
) -> None:
    """image += scale · (transpose of ``project``) p, whose outer EDGE_PAD columns are 0; shapes and types as there."""
    ny, nx, nz = image.shape
    angles, columns = p.shape[0], p.shape[1] - 2 * EDGE_PAD
    tiles_x = (nx + TILE_PIXELS - 1) // TILE_PIXELS
    tiles = tiles_x * ((ny + TILE_PIXELS - 1) // TILE_PIXELS)
    for thread in prange(threads):
        sums = np.empty((TILE_PIXELS, TILE_PIXELS, nz), np.float32)
        for tile in range(thread, tiles, threads):
            y0, x0 = (tile // tiles_x) * TILE_PIXELS, (tile % tiles_x) * TILE_PIXELS
            y1, x1 = min(y0 + TILE_PIXELS, ny), min(x0 + TILE_PIXELS, nx)
            sums[:] = _ZERO
            for a in range(angles):
                for y in range(y0, y1):
                    start = center + (y - (ny - 1) * 0.5) * sin[a] - (nx - 1) * 0.5 * cos[a]
                    for x in range(x0, x1):
                        t = start + x * cos[a]
                        n = int(np.floor(t + 0.5))
                        if n < -1 or n > columns:
                            continue
                        k = int((t - n + 0.5) * FOOTPRINT_PHASES + 0.5)
                        w0, w1, w2 = table[a, k, 0], table[a, k, 1], table[a, k, 2]
                        left, middle, right = p[a, n + EDGE_PAD - 1], p[a, n + EDGE_PAD], p[a, n + EDGE_PAD + 1]
                        s = sums[y - y0, x - x0]
                        for z in range(nz):
                            s[z] += w0 * left[z] + w1 * middle[z] + w2 * right[z]
            for y in range(y0, y1):
                for x in range(x0, x1):
                    s, line = sums[y - y0, x - x0], image[y, x]
                    for z in range(nz):
                        line[z] += np.float32(scale) * s[z]


def tv_primal(noisy: Array, dual: Array, strength: float, low: float, threads: int, out: Array) -> None:
    """out = max(low, noisy + strength · div dual); dual (3, ny, nx, nz) along y, x, z; all float32."""
    if noisy.size < SMALL_VOLUME:
        _primal_rows(noisy, dual, strength, low, 0, len(noisy), out)
    else:
        _primal(noisy, dual, strength, low, threads, out)


def tv_dual(image: Array, step: float, momentum: float, threads: int, ahead: Array, dual: Array) -> None:
    """dual = ahead + step · grad image, cut to length 1 in every voxel; ahead = dual + momentum · (dual - dual before).

    image (ny, nx, nz); ahead and dual (3, ny, nx, nz); all float32.
    """
    if image.size < SMALL_VOLUME:
        _dual_rows(image, step, momentum, 0, len(image), ahead, dual)
    else:
        _dual(image, step, momentum, threads, ahead, dual)


@kernel(parallel=True)
def sums_of_move(ahead: Array, now: Array, before: Array, threads: int) -> tuple[float, float, float]:
    """Sums over the voxels of (ahead - now) · (now - before), of (now - before)², of now²; arrays (ny, nx, nz) float32.

    In float64, line by line of y, so that they do not depend on ``threads``.
    """
    ny = now.shape[0]
    lines = np.empty((ny, 3))
    for thread in prange(threads):
        for y in range(ny * thread // threads, ny * (thread + 1) // threads):
            _sums_of_line(ahead[y].ravel(), now[y].ravel(), before[y].ravel(), lines[y])
    uphill, change, size = 0.0, 0.0, 0.0
    for y in range(ny):
        uphill += lines[y, 0]
        change += lines[y, 1]
        size += lines[y, 2]
    return uphill, change, size


@kernel()
def _sums_of_line(ahead: Array, now: Array, before: Array, sums: Array) -> None:
    count = now.size
    whole = count - count % RUNNING_SUMS
    lanes = np.zeros((3, RUNNING_SUMS))
    for first in range(0, whole, RUNNING_SUMS):
        for k in range(RUNNING_SUMS):
            _add_voxel(ahead[first + k], now[first + k], before[first + k], lanes, k)
    for i in range(whole, count):
        _add_voxel(ahead[i], now[i], before[i], lanes, i - whole)
    for k in range(3):
        sums[k] = 0.0
        for lane in range(RUNNING_SUMS):
            sums[k] += lanes[k, lane]


@kernel(inline=True)
def _add_voxel(ahead: float, now: float, before: float, lanes: Array, k: int) -> None:
    value = np.float64(now)
    step = value - before
    lanes[0, k] += (ahead - value) * step
    lanes[1, k] += step * step
    lanes[2, k] += value * value


@kernel(parallel=True)
def look_ahead(now: Array, before: Array, factor: float, threads: int, ahead: Array) -> None:
    """ahead = now + factor · (now - before); arrays (ny, nx, nz) float32."""
    ny, by = now.shape[0], np.float32(factor)
    for thread in prange(threads):
        for y in range(ny * thread // threads, ny * (thread + 1) // threads):
            a, b, out = now[y].ravel(), before[y].ravel(), ahead[y].ravel()
            for i in range(a.size):
                out[i] = a[i] + by * (a[i] - b[i])


@kernel(parallel=True)
def _primal(noisy: Array, dual: Array, strength: float, low: float, threads: int, out: Array) -> None:
    ny = noisy.shape[0]
    for thread in prange(threads):
        _primal_rows(noisy, dual, strength, low, ny * thread // threads, ny * (thread + 1) // threads, out)


@kernel(parallel=True)
def _dual(image: Array, step: float, momentum: float, threads: int, ahead: Array, dual: Array) -> None:
    ny = image.shape[0]
    for thread in prange(threads):
        _dual_rows(image, step, momentum, ny * thread // threads, ny * (thread + 1) // threads, ahead, dual)


@kernel()
def _primal_rows(noisy: Array, dual: Array, strength: float, low: float, first: int, last: int, out: Array) -> None:
    """``tv_primal`` for first ≤ y < last. Lines of x and z are taken as one: long loops however few rows there are."""
    ny, nx, nz = noisy.shape
    line = nx * nz
    sources, targets, duals = noisy.reshape(ny, line), out.reshape(ny, line), dual.reshape(3, ny, line)
    weight, least = np.float32(strength), np.float32(low)
    for y in range(first, last):
        along_y, along_x, along_z = duals[0, y], duals[1, y], duals[2, y]
        # The component across the last pixel is 0: it serves as the one before the first.
        before = duals[0, y - 1 if y > 0 else ny - 1]
        source, target = sources[y], targets[y]
        for i in range(line):
            target[i] = along_y[i] - before[i] + along_x[i]
        for i in range(nz, line):
            target[i] -= along_x[i - nz]
        if nz > 1:
            target[0] += along_z[0]
            for i in range(1, line):
                target[i] += along_z[i] - along_z[i - 1]
        for i in range(line):
            target[i] = max(source[i] + weight * target[i], least)


@kernel()
def _dual_rows(image: Array, step: float, momentum: float, first: int, last: int, ahead: Array, dual: Array) -> None:
    """``tv_dual`` for first ≤ y < last."""
    ny, nx, nz = image.shape
    line = nx * nz
    images, aheads, duals = image.reshape(ny, line), ahead.reshape(3, ny, line), dual.reshape(3, ny, line)
    by, further, one = np.float32(step), np.float32(momentum), np.float32(1.0)
    depth = 3 if nz > 1 else 2
    slope = np.zeros((3, line), np.float32)
    shrink = np.empty(line, np.float32)
    for y in range(first, last):
        v = images[y]
        down = images[y + 1 if y + 1 < ny else y]
        # Few arrays in each loop: with more, the compiler does not see that they never overlap.
        for i in range(line):
            slope[0, i] = down[i] - v[i]
        for i in range(line - nz):
            slope[1, i] = v[i + nz] - v[i]
        slope[1, line - nz :] = _ZERO
        if nz > 1:
            for i in range(line - 1):
                slope[2, i] = v[i + 1] - v[i]
            for i in range(nz - 1, line, nz):
                slope[2, i] = _ZERO
        for k in range(depth):
            wanted, base = slope[k], aheads[k, y]
            for i in range(line):
                wanted[i] = base[i] + by * wanted[i]
        for i in range(line):
            shrink[i] = slope[0, i] * slope[0, i] + slope[1, i] * slope[1, i] + slope[2, i] * slope[2, i]
        for i in range(line):
            shrink[i] = one / max(one, np.sqrt(shrink[i]))
        for k in range(depth):
            wanted, base, kept = slope[k], aheads[k, y], duals[k, y]
            for i in range(line):
                found = wanted[i] * shrink[i]
                base[i] = found + further * (found - kept[i])
                kept[i] = found
