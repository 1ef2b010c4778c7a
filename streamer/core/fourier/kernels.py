"""Numba kernels of Fourier gridding: projections into a Fourier grid, and the grid into slices.

All float arrays are flat, writable float32 that hold points of 16 detector rows (see ``simd.row_vectors``), unless said
otherwise. ``threads`` is the number of threads; they write disjoint memory in a fixed order, so results are
bit-identical between runs and do not depend on ``threads``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from streamer.core.arrays import Array
from streamer.core.jit import kernel
from streamer.core.simd import row_vectors as lanes
from streamer.core.simd.fft import transform
from streamer.core.simd.row_vectors import LANES

TILE_RADII = 16
"""Radii that are gridded together: the points that neighbouring angles touch in this range stay in the cache."""

COLUMNS_PER_PASS = 8
"""Columns of the grid that are transformed together, so that memory is read in long stretches."""

LINES_AHEAD = 16
"""Lines of the grid that are prefetched when columns are read; the hardware does not foresee them."""

PHASES_PER_POINT = 4
"""Entries per grid point of the table of phases that move the centre late."""

SEAM_POINTS = 1.0
"""Grid points on either side of the seam over which the sign of a late move changes (see ``finish_block``)."""

OUTWARD_NUDGE = 2.0**-16
"""Grid points by which samples are moved outwards. A sample on a grid point must reach equally far on either side of
the middle, or the transforms of real rows lose their symmetry and rows that share a lane leak into each other."""

POLYNOMIAL_TERMS = 4
"""Coefficients of the even and of the odd part of each gridding weight (degree 7)."""


@kernel()
def _fill_factors(gain: Array, turn: float, weight: float, real: Array, imaginary: Array) -> None:
    """real[j] + i·imaginary[j] = weight·gain[j]·exp(i·j·turn), half of it for j = 0; float32, ``gain`` float64."""
    near_cos, near_sin = np.empty(TILE_RADII), np.empty(TILE_RADII)
    for k in range(TILE_RADII):
        near_cos[k], near_sin[k] = np.cos(k * turn), np.sin(k * turn)
    for j0 in range(0, gain.size, TILE_RADII):
        # By the sums of two angles, sine and cosine are evaluated for few of them.
        cos, sin = weight * np.cos(j0 * turn), weight * np.sin(j0 * turn)
        for k in range(min(TILE_RADII, gain.size - j0)):
            real[j0 + k] = gain[j0 + k] * (cos * near_cos[k] - sin * near_sin[k])
            imaginary[j0 + k] = gain[j0 + k] * (sin * near_cos[k] + cos * near_sin[k])
    real[0], imaginary[0] = real[0] * np.float32(0.5), imaginary[0] * np.float32(0.5)


@kernel()
def _load_rows(rows: Array, at: int, columns: int, last: int, taper: Array, length: int, points: Array) -> None:
    """16 detector rows of ``columns`` from rows[at:] into ``length`` points.

    ``taper`` continues the edge values beyond both ends; the right continuation follows the row, the left one lies at
    the end of the period. Points between are not written.
    """
    whole = columns // LANES * LANES
    for c in range(0, whole, LANES):
        lanes.rows_to_points(rows, at + c, columns, last, points, c * LANES)
    for c in range(whole, columns):
        for lane in range(LANES):
            points[c * LANES + lane] = rows[at + min(lane, last) * columns + c]
    for k in range(taper.size):
        lanes.scale_point(points, (columns - 1) * LANES, taper[k], points, (columns + k) * LANES)
        lanes.scale_point(points, 0, taper[k], points, (length - 1 - k) * LANES)


@kernel()
def _weigh(u0: float, v0: float, du: float, dv: float, count: int, pitch: int, c: Array, w: Array, place: Array) -> int:
    """Gridding weights and places of ``count`` samples on a line of the grid; returns the place of the first.

    Sample s lies at (u0 + s·du, v0 + s·dv). w[k·TILE_RADII + s], k = 0 … 3 along u, 4 … 7 along v, on grid points from
    one before the sample to two behind it. place[s]: the first of these points, relative to the returned one.
    """
    # Places relative to a corner are small numbers, which float32 holds to a millionth of a grid point.
    left, low = int(np.floor(u0)) - TILE_RADII, int(np.floor(v0)) - TILE_RADII
    u, v = np.float32(u0 - left), np.float32(v0 - low)
    step_u, step_v = np.float32(du), np.float32(dv)
    p0, p1, p2, p3 = c[0], c[1], c[2], c[3]
    q0, q1, q2, q3 = c[4], c[5], c[6], c[7]
    r0, r1, r2, r3 = c[8], c[9], c[10], c[11]
    s0, s1, s2, s3 = c[12], c[13], c[14], c[15]
    line = np.int32(pitch)
    for s in range(count):
        x, y = u + np.float32(s) * step_u, v + np.float32(s) * step_v
        i, k = np.int32(x), np.int32(y)
        place[s] = np.int32(np.int32(k * line) + i)
        f = (x - np.float32(i)) - np.float32(0.5)
        g = f * f
        even, odd = p0 + g * (p1 + g * (p2 + g * p3)), f * (q0 + g * (q1 + g * (q2 + g * q3)))
        w[s], w[3 * TILE_RADII + s] = even + odd, even - odd
        even, odd = r0 + g * (r1 + g * (r2 + g * r3)), f * (s0 + g * (s1 + g * (s2 + g * s3)))
        w[TILE_RADII + s], w[2 * TILE_RADII + s] = even + odd, even - odd
        f = (y - np.float32(k)) - np.float32(0.5)
        g = f * f
        even, odd = p0 + g * (p1 + g * (p2 + g * p3)), f * (q0 + g * (q1 + g * (q2 + g * q3)))
        w[4 * TILE_RADII + s], w[7 * TILE_RADII + s] = even + odd, even - odd
        even, odd = r0 + g * (r1 + g * (r2 + g * r3)), f * (s0 + g * (s1 + g * (s2 + g * s3)))
        w[5 * TILE_RADII + s], w[6 * TILE_RADII + s] = even + odd, even - odd
    return (low - 1) * pitch + left - 1


@kernel()
def _add_tile(
    j0: int, count: int, du: float, dv: float, size: int, pitch: int, coefficients: Array, w: Array, place: Array,
    spectrum: Array, at: int, step: int, real: Array, imaginary: Array, sign: Any, grid: Array, grid_at: int,
) -> None:  # fmt: skip
    """Add ``count`` samples from radius j0 on of one projection, which lie ``step`` apart, to the grid of one block.

    Prefetches the points that the next tile of this direction needs first: of the 4 x 4 those of the leading side, and
    the middle of the side towards which the line drifts.
    """
    middle = size * 0.5 + sign * OUTWARD_NUDGE
    corner = _weigh(middle + j0 * du, middle + j0 * dv, du, dv, count, pitch, coefficients, w, place)
    line = pitch * LANES
    ahead = int(np.floor(TILE_RADII * dv + 0.5)) * line + int(np.floor(TILE_RADII * du + 0.5)) * LANES
    right, upper = (3 * LANES if du > 0.0 else 0), (3 * line if dv > 0.0 else 0)
    along = abs(du) > abs(dv)
    side, next_on_side = ahead + (right if along else upper), (line if along else LANES)
    drift, next_on_drift = ahead + (upper if along else right), (LANES if along else line)
    for s in range(count):
        to = grid_at + (corner + np.int64(place[s])) * LANES
        lanes.prefetch(grid, to + side)
        lanes.prefetch(grid, to + side + next_on_side)
        lanes.prefetch(grid, to + side + 2 * next_on_side)
        lanes.prefetch(grid, to + side + 3 * next_on_side)
        lanes.prefetch(grid, to + drift + next_on_drift)
        lanes.prefetch(grid, to + drift + 2 * next_on_drift)
        lanes.add_weighted(
            spectrum, at + s * step, real[j0 + s], sign * imaginary[j0 + s], w, s, TILE_RADII, grid, to, line
        )  # fmt: skip


@kernel(parallel=True)
def add_projections(
    rows: Array, shape: tuple[int, int, int], first_row: int, end_row: int, order: Array, batch: int, weight: Array,
    turn: Array, gain: Array, du: Array, dv: Array, coefficients: Array, taper: Array, stages: Array, turns: Array,
    size: int, pitch: int, first_block: int, last_block: int, work: Array, grid: Array,
) -> None:  # fmt: skip
    """Transform projections and add them to the grids of blocks of 16 rows, ``batch`` of them at a time.

    Blocks first_block … last_block - 1; block 0 begins at ``first_row`` of rows (angles, rows, columns), which are flat
    and of the given ``shape``; rows from ``end_row`` on are not read. In the given
    ``order``, each with its ``weight``, ``turn`` (phase from one radius to the next) and steps du, dv on the grid, all
    (angles,) float64. ``gain`` (radii,) float64. ``stages`` and ``turns`` are the transform's tables. The grid has
    ``size`` lines of ``pitch`` points per block. ``work`` (parts, …): batch + 3 transforms, 2 · batch · radii.
    """
    all_rows, columns = shape[1], shape[2]
    radii, parts = gain.size, work.shape[0]
    length = 1
    for k in range(stages.shape[0]):
        length *= abs(stages[k, 0])
    transformed = length * LANES
    one = np.float32(1.0)
    for part in prange(parts):
        points, ping, spectra = (
            work[part, :transformed],
            work[part, transformed : 3 * transformed],
            work[part, 3 * transformed :],
        )
        factors = work[part, work.shape[1] - 2 * batch * radii :].reshape(2, batch, radii)
        real, imaginary = factors[0], factors[1]
        w, place = np.empty(8 * TILE_RADII, np.float32), np.empty(TILE_RADII, np.int32)
        points[:] = np.float32(0.0)  # also behind the rows, where it stays
        for first in range(0, order.size, batch):
            count = min(batch, order.size - first)
            for n in range(count):
                a = order[first + n]
                _fill_factors(gain, turn[a], weight[a], real[n], imaginary[n])
            blocks = last_block - first_block
            for block in range(first_block + blocks * part // parts, first_block + blocks * (part + 1) // parts):
                begin = first_row + block * LANES
                last = min(LANES, end_row - begin) - 1
                grid_at = block * size * pitch * LANES
                for n in range(count):
                    _load_rows(
                        rows, (order[first + n] * all_rows + begin) * columns, columns, last, taper, length, points
                    )
                    transform(points, 0, spectra, n * transformed, ping, stages, turns)
                for j0 in range(0, radii, TILE_RADII):
                    end = min(j0 + TILE_RADII, radii)
                    for n in range(count):
                        a = order[first + n]
                        _add_tile(
                            j0, end - j0, du[a], dv[a], size, pitch, coefficients, w, place, spectra,
                            n * transformed + j0 * LANES, LANES, real[n], imaginary[n], one, grid, grid_at,
                        )  # fmt: skip
                    # Negative radii, the other half of the line. Of radius 0 each half has a half.
                    near = max(j0, 1)
                    for n in range(count):
                        a = order[first + n]
                        _add_tile(
                            near, end - near, -du[a], -dv[a], size, pitch, coefficients, w, place, spectra,
                            (n + 1) * transformed - near * LANES, -LANES, real[n], imaginary[n], -one, grid, grid_at,
                        )  # fmt: skip
                        if j0 == 0:
                            _add_tile(
                                0, 1, -du[a], -dv[a], size, pitch, coefficients, w, place, spectra, n * transformed,
                                -LANES, real[n], imaginary[n], -one, grid, grid_at,
                            )  # fmt: skip


@kernel()
def _read_columns(
    grid: Array, grid_at: int, u0: int, wide: int, low: int, high: int, size: int, pitch: int, columns: Array
) -> None:
    """Points low … high-1 of ``wide`` columns of the grid from u0 on, one column behind the other."""
    for v in range(low, high):
        for k in range(wide):
            at = grid_at + (v * pitch + u0 + k) * LANES
            lanes.prefetch(grid, at + LINES_AHEAD * pitch * LANES)
            lanes.copy_point(grid, at, columns, (k * size + v) * LANES)


@kernel()
def _read_shifted_columns(
    grid: Array, grid_at: int, u0: int, wide: int, low: int, high: int, size: int, pitch: int, cos: float, sin: float,
    phase_real: Array, phase_imaginary: Array, columns: Array,
) -> None:  # fmt: skip
    """As ``_read_columns``, each point times the phase of its distance from the middle (see ``finish_block``)."""
    middle, finest = size // 2, phase_real.size - 1
    for v in range(low, high):
        y = float(v - middle)
        for k in range(wide):
            x = float(u0 + k - middle)
            side = min(max((y * cos - x * sin) / SEAM_POINTS, -1.0), 1.0)
            radius = min(int(np.sqrt(x * x + y * y) * PHASES_PER_POINT + 0.5), finest)
            at = grid_at + (v * pitch + u0 + k) * LANES
            lanes.prefetch(grid, at + LINES_AHEAD * pitch * LANES)
            lanes.rotate_phase(
                grid, at, phase_real[radius], np.float32(side) * phase_imaginary[radius], columns,
                (k * size + v) * LANES,
            )  # fmt: skip


@kernel(parallel=True)
def finish_block(
    grid: Array, grid_at: int, size: int, pitch: int, radius: float, stages: Array, turns: Array, scale: Array,
    cos: float, sin: float, phase_real: Array, phase_imaginary: Array, temporary: Array, work: Array, out: Array,
    out_row: int, rows: int, aligned: bool,
) -> None:  # fmt: skip
    """Inverse transform of the grid of one block into ``rows`` slices out[out_row:] (…, n, n); the grid stays.

    ``scale`` (n,) undoes the gridding along one axis. Outside ``radius`` (grid points) around its middle the grid is
    zero. First the columns, of which only the n points that are wanted go to ``temporary`` (n, pitch), then the lines.
    ``work`` (parts, …): room for COLUMNS_PER_PASS + 2 transforms each, at least 4. ``aligned``: every row of ``out``
    begins at a multiple of 16 bytes and of 16 columns.

    A late shift: unless ``phase_real`` is empty, a point at distance r from the middle is multiplied by
    phase_real[r·PHASES_PER_POINT] ± i·phase_imaginary[r·PHASES_PER_POINT], + on the left of the direction (cos, sin), -
    on its right.
    """
    n = scale.size
    half, middle, parts = n // 2, size // 2, work.shape[0]
    groups = (size + COLUMNS_PER_PASS - 1) // COLUMNS_PER_PASS
    transformed = size * LANES
    for part in prange(parts):
        ping, columns = work[part, : 2 * transformed], work[part, 2 * transformed :]
        for group in range(groups * part // parts, groups * (part + 1) // parts):
            u0 = group * COLUMNS_PER_PASS
            wide = min(COLUMNS_PER_PASS, size - u0)
            nearest = max(0.0, max(u0 - middle, middle - (u0 + wide - 1)))
            reach = int(np.sqrt(max(0.0, radius * radius - nearest * nearest))) + 1
            low, high = max(0, middle - reach), min(size, middle + reach + 1)
            for k in range(wide):
                columns[k * transformed : k * transformed + low * LANES] = np.float32(0.0)
                columns[k * transformed + high * LANES : (k + 1) * transformed] = np.float32(0.0)
            if phase_real.size == 0:
                _read_columns(grid, grid_at, u0, wide, low, high, size, pitch, columns)
            else:
                _read_shifted_columns(
                    grid, grid_at, u0, wide, low, high, size, pitch, cos, sin, phase_real, phase_imaginary, columns
                )
            for k in range(wide):
                transform(columns, k * transformed, columns, k * transformed, ping, stages, turns)
            for y in range(n):
                # The upper half of the slice lies at the end of the transformed column.
                r = y - half if y >= half else y - half + size
                for k in range(wide):
                    lanes.stream_point(columns, k * transformed + r * LANES, temporary, (y * pitch + u0 + k) * LANES)
        lanes.fence()
    flat = out.reshape(-1)
    for part in prange(parts):
        ping, line, slices = (
            work[part, : 2 * transformed],
            work[part, 2 * transformed : 3 * transformed],
            work[part, 3 * transformed :],
        )
        share = np.empty(n, np.float32)
        for y in range(n * part // parts, n * (part + 1) // parts):
            transform(temporary, y * pitch * LANES, line, 0, ping, stages, turns)
            for x in range(n):
                share[x] = scale[y] * scale[x]
            _store_rows(line, (size - half) * LANES, share, 0, half, slices, size)
            _store_rows(line, 0, share, half, n, slices, size)
            for z in range(rows):
                at = ((out_row + z) * n + y) * n
                if aligned:
                    for x in range(0, n, LANES):
                        lanes.stream_row(slices, z * size + x, flat, at + x)
                else:
                    flat[at : at + n] = slices[z * size : z * size + n]
        lanes.fence()


@kernel()
def _store_rows(points: Array, at: int, scale: Array, begin: int, end: int, rows: Array, pitch: int) -> None:
    """Points from ``at`` on, times ``scale``, become the elements begin … end-1 of 16 rows, ``pitch`` apart."""
    whole = begin + (end - begin) // LANES * LANES
    for x in range(begin, whole, LANES):
        lanes.points_to_rows(points, at + (x - begin) * LANES, scale, x, rows, x, pitch)
    for x in range(whole, end):
        for lane in range(LANES):
            rows[lane * pitch + x] = points[at + (x - begin) * LANES + lane] * scale[x]


@kernel(parallel=True)
def clear(grid: Array, threads: int) -> None:
    """Set all points of the grid to zero."""
    points = grid.size // LANES
    for thread in prange(threads):
        for k in range(points * thread // threads, points * (thread + 1) // threads):
            lanes.clear_point(grid, k * LANES)
