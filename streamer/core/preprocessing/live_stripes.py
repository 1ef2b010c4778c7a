"""Stripes, distinguished from the sample while the scan runs: a detector column has the same offset at all angles.

The mean of all projections stands out in a column where the detector responds differently, but also where the sample
has an edge near the axis, or its outline. Means over sectors of the rotation separate the two: what differs between
sectors as much as it stands out belongs to the sample.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from streamer.core.arrays import Array, Image
from streamer.core.jit import as_input, kernel
from streamer.frames import BadInput

SECTOR_COUNT = 8
FEWEST_SECTORS = 3  # whose spread means something
LEAST_SECTOR_SHARE = 0.25  # of the projections of the fullest sector; emptier ones do not count
VARIANCE_PENALTY = 2.0  # the offset is reduced by this times variance over the sectors / offset²
FAINTEST_RING = 1e-4  # attenuation that no picture shows as a ring
LEVEL_REACH = 7  # columns on either side from which the level of a column is computed


class LiveStripeDetector:
    """Sums of the attenuation of each pixel over sectors of the rotation: up to 32 bytes per pixel.

    A scan in order of the angles fills the sectors one after the other; stripes are found from the third on.
    """

    def __init__(
        self, rows: int, columns: int, start_rad: float = 0.0, range_rad: float = np.pi, threads: int = 1
    ) -> None:
        """``start_rad`` and ``range_rad`` of the scan, which is divided into SECTOR_COUNT sectors."""
        self._sums = np.zeros((SECTOR_COUNT, rows, columns), np.float32)
        self._counts = np.zeros(SECTOR_COUNT, np.int64)
        self._start, self._direction = start_rad, np.sign(range_rad)
        self._span = min(abs(range_rad), 2 * np.pi) or 2 * np.pi
        self._threads = threads

    @property
    def count(self) -> int:
        """Projections so far."""
        return int(self._counts.sum())

    def add(self, attenuation: Image, angle_rad: float) -> None:
        """Add one projection (rows, columns) float32. Raises BadInput on another shape."""
        if attenuation.shape != self._sums.shape[1:]:
            raise BadInput(f"a projection is {attenuation.shape}, the stripes are counted for {self._sums.shape[1:]}")
        # An angle that rounding has put just before the start belongs to the first sector, not to the last.
        turned = (self._direction * (angle_rad - self._start) + 1e-6) % (2 * np.pi)
        sector = int(min(SECTOR_COUNT * turned / self._span, SECTOR_COUNT - 1))
        self._sums[sector] += attenuation
        self._counts[sector] += 1

    def mean(self) -> Image:
        """Mean attenuation (rows, columns) float32; zeros before the first projection."""
        total = self._sums[self._counts > 0].sum(axis=0, dtype=np.float64)
        return np.asarray(total / max(1, self.count), np.float32)

    def offset(self, late: Image | None = None) -> Image:
        """Offsets to subtract from every projection, float32 (rows, columns); zeros while too few sectors have data.

        Finds stripes of up to three columns, also in noise and on slopes. ``late`` (rows, columns) is a correction that
        will be added to all projections.
        """
        out = np.zeros(self._sums.shape[1:], np.float32)
        used = np.nonzero(self._counts > LEAST_SECTOR_SHARE * self._counts.max())[0]
        if used.size >= FEWEST_SECTORS:
            added = np.zeros(out.shape, np.float32) if late is None else late
            share = as_input(1.0 / np.maximum(self._counts, 1), np.float32)
            sums = as_input(self._sums)
            steady_offset(
                sums,
                as_input(used, np.int64),
                share,
                as_input(added),
                VARIANCE_PENALTY,
                FAINTEST_RING,
                self._threads,
                out,
            )
        return out


@kernel(inline=True)
def _stand_out(line: Array, out: Array) -> None:
    """out[c] = line[c] less the level there: median of the means of line[c-k] and line[c+k], k = 1, 2, 4, 5, 7.

    Both are (cols + 2·LEVEL_REACH,); the LEVEL_REACH values at either end are a margin that is filled here by
    mirroring. A slope has no effect, and two of the five pairs may hold another stripe: one of three columns never
    fills more.
    """
    cols = line.size - 2 * LEVEL_REACH
    for i in range(LEVEL_REACH):
        inner = min(i, cols - 1)
        line[LEVEL_REACH - 1 - i] = line[LEVEL_REACH + inner]
        line[LEVEL_REACH + cols + i] = line[LEVEL_REACH + cols - 1 - inner]
    for i in range(LEVEL_REACH, LEVEL_REACH + cols):
        a, b, c = line[i - 1] + line[i + 1], line[i - 2] + line[i + 2], line[i - 4] + line[i + 4]
        d, e = line[i - 5] + line[i + 5], line[i - 7] + line[i + 7]
        low_ab, high_ab = (a, b) if a < b else (b, a)
        low_cd, high_cd = (c, d) if c < d else (d, c)
        f = low_ab if low_ab > low_cd else low_cd
        g = high_ab if high_ab < high_cd else high_cd
        low, high = (f, g) if f < g else (g, f)
        high = e if e < high else high
        out[i] = line[i] - np.float32(0.5) * (low if low > high else high)


@kernel(parallel=True)
def steady_offset(
    sums: Array, used: Array, share: Array, added: Array, caution: float, faintest: float, threads: int, out: Array
) -> None:
    """out = mean·max(0, 1 - caution·variance/mean²), 0 where |mean| is not above ``faintest``; (rows, cols) float32.

    Mean and variance over the sectors ``used`` of how far share[s]·sums[s] + added stands out along the row; sums
    (sectors, rows, cols), share (sectors,). What stands out is taken twice: the first time, a curve leaves a trace.
    """
    rows, cols = out.shape
    count = used.size
    for thread in prange(threads):
        line, first = np.empty(cols + 2 * LEVEL_REACH, np.float32), np.empty(cols + 2 * LEVEL_REACH, np.float32)
        total, squares = np.empty(cols, np.float32), np.empty(cols, np.float32)
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            total[:] = np.float32(0.0)
            squares[:] = np.float32(0.0)
            for k in range(count):
                s = used[k]
                for c in range(cols):
                    line[LEVEL_REACH + c] = share[s] * sums[s, r, c] + added[r, c]
                _stand_out(line, first)
                _stand_out(first, line)
                for c in range(cols):
                    away = line[LEVEL_REACH + c]
                    total[c] += away
                    squares[c] += away * away
            for c in range(cols):
                mean = total[c] / np.float32(count)
                power = mean * mean
                variance = (squares[c] - np.float32(count) * power) / np.float32(count - 1)
                if abs(mean) > faintest and caution * variance < power:
                    kept = np.float32(1.0) - np.float32(caution) * max(variance, np.float32(0.0)) / power
                    out[r, c] = mean * kept
                else:
                    out[r, c] = np.float32(0.0)
