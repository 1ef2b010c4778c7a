"""Stripes of a sinogram, which become rings: detector columns that answer differently from their neighbours.

``live_stripes`` finds them while the scan runs. At the end of the scan ``remove_stripes`` cleans whole sinograms after
Vo, Atwood and Drakopoulos, Opt. Express 26, 28396 (2018): dead columns, wide stripes and, by sorting, stripes whose
strength varies with the attenuation. Only the search for dead columns, which compares neighbours in angle, depends on
the order of the angles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import prange

from streamer.core.arrays import Array, Image, Mask
from streamer.core.jit import as_input, kernel
from streamer.core.running_median import median_line, median_rows
from streamer.frames import BadInput

RANK_WINDOW = 11  # columns over which ranks are smoothed
WIDE_WINDOW = 81  # columns of the running median above which wide stripes stand out
WIDE_SIGMAS = 10.0  # robust standard deviations by which the edge of a wide stripe stands out
FLICKER_FACTOR = 3.0  # by which a dead or fluctuating column varies less or more over the angles than others
SORTED_COLUMNS = 16  # columns that are sorted together: one cache line of the sinogram
RADIX_BITS = 11
RADIX_VALUES = 1 << RADIX_BITS
FLICKER_REACH = 5  # projections on either side whose mean the flicker of a column is measured against
EDGE_COLUMNS = 3  # columns on either side of a wide stripe, whose mean is the level at its edge
MOST_DEAD_SHARE = 0.05
WIDTHS_PER_WINDOW = 5  # at least; wider stripes cannot be distinguished from the curve of a sample
SLOPE_WINDOW = 21  # columns of the running median that removes the slope of the sample before jumps are found


@dataclass(frozen=True)
class StripeCount:
    """Columns, summed over the detector rows, that were replaced: ``dead`` from their neighbours, ``large`` by rank."""

    dead: int
    large: int


def remove_stripes(block: Image, order: Array | None = None, threads: int = 1) -> StripeCount:
    """Remove stripes from attenuation (angles, rows, columns) float32, in place; returns the number of bad columns.

    ``order`` sorts the projections by angle (``np.argsort(angle_rad)``) if they are not sorted. The values must be
    finite. Needs 8 bytes per sample of one detector row and thread. Raises BadInput on another shape or dtype.
    """
    if block.ndim != 3 or block.dtype != np.float32 or not block.flags.c_contiguous or 0 in block.shape:
        raise BadInput(f"sinograms must be contiguous float32 (angles, rows, columns), not {block.dtype} {block.shape}")
    angles, rows, columns = block.shape
    ranks = np.arange(angles) if order is None else np.asarray(order)
    if ranks.shape != (angles,):
        raise BadInput(f"{angles} projections with an order of {ranks.shape}")
    dead = np.zeros((rows, columns), np.bool_)
    if angles > 4 * FLICKER_REACH:
        flicker = np.empty((rows, columns), np.float32)
        column_flicker(block, as_input(ranks, np.int64), FLICKER_REACH, threads, flicker)
        dead = _is_dead(flicker, threads)
        fill_columns(block, as_input(dead), threads)
    wide = _is_wide(block.mean(axis=0, dtype=np.float64).astype(np.float32), threads)
    sort_stripes(block, as_input(wide), min(RANK_WINDOW // 2, columns - 1), threads)
    return StripeCount(int(dead.sum()), int(wide.sum()))


def _is_dead(flicker: Image, threads: int) -> Mask:
    usual = median_rows(flicker, WIDE_WINDOW, threads)
    floor = 1e-6 * float(usual.max()) + 1e-12
    dead: Mask = (flicker > FLICKER_FACTOR * (usual + floor)) | (FLICKER_FACTOR * flicker < usual - floor)
    # Many such columns in a row are a smooth sample in a scan without noise, not a bad detector.
    dead[dead.mean(axis=1) > MOST_DEAD_SHARE] = False
    return dead


def _is_wide(mean: Image, threads: int) -> Mask:
    """Columns of wide stripes: between a jump of the mean row and a like one back, within a fifth of the window.

    A sample, averaged over the angles, hardly jumps; if it does, as a cylinder on the axis, it does not jump back.
    """
    jump = np.diff(mean, axis=1, append=mean[:, -1:])
    jump = jump - median_rows(jump, SLOPE_WINDOW, threads)
    size = np.abs(jump)
    # Where the sample has structure, a jump must stand out of that structure, not of the noise in the open beam.
    usual = np.maximum(median_rows(size, WIDE_WINDOW, threads), np.median(size, axis=1, keepdims=True))
    clear = size > WIDE_SIGMAS * (1.4826 * usual + 1e-7)
    wide = np.zeros(mean.shape, np.bool_)
    for r in np.nonzero(clear.any(axis=1))[0]:
        columns = np.nonzero(clear[r])[0]
        # A blurred edge jumps in several columns; they count as one.
        breaks = (np.diff(columns) > 1) | (np.diff(np.sign(jump[r, columns])) != 0)
        parts = np.split(columns, np.nonzero(breaks)[0] + 1)
        height = [float(jump[r, part].sum()) for part in parts]
        pairs = [
            (int(parts[k][-1]) - int(parts[i][0]), i, k)
            for i in range(len(parts))
            for k in range(i + 1, len(parts))
            if height[i] * height[k] < 0 and 0.6 < -height[k] / height[i] < 1.6
        ]
        taken: set[int] = set()
        for width, i, k in sorted(pairs):
            first, last = int(parts[i][0]), min(int(parts[k][-1]) + 1, mean.shape[1] - 1)
            if width > WIDE_WINDOW // WIDTHS_PER_WINDOW or taken & {i, k}:
                continue
            # Between the jumps the row must lie above the line through its sides by the height of the jumps.
            line = np.linspace(mean[r, first], mean[r, last], last - first + 1)
            raised = (mean[r, first : last + 1] - line)[1:-1] / height[i]
            if raised.size and np.percentile(raised, 20) > 0.6 and np.percentile(raised, 80) < 1.6:
                taken |= {i, k}
                # What is narrower than half of the small window, sorting smooths away at less cost to the sample.
                wide[r, first : last + 1] = last - first - 1 >= RANK_WINDOW // 2
    return wide


@kernel(parallel=True)
def column_flicker(block: Array, order: Array, reach: int, threads: int, out: Array) -> None:
    """Mean |p - mean of p over ``reach`` neighbours in angle on either side|; block (angles, rows, cols)."""
    angles, rows, cols = block.shape
    size = np.float32(1.0 / (2 * reach + 1))
    for thread in prange(threads):
        total = np.empty(cols, np.float32)
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            for c in range(cols):
                out[r, c] = np.float32(0.0)
                total[c] = np.float32(0.0)
            for a in range(angles):
                new, old = order[a], order[max(a - 2 * reach - 1, 0)]
                middle = order[max(a - reach, 0)]
                drop = np.float32(1.0) if a > 2 * reach else np.float32(0.0)
                take = np.float32(1.0) if a >= 2 * reach else np.float32(0.0)
                for c in range(cols):
                    total[c] += block[new, r, c] - drop * block[old, r, c]
                    out[r, c] += take * abs(block[middle, r, c] - total[c] * size)
            for c in range(cols):
                out[r, c] /= np.float32(max(1, angles - 2 * reach))


@kernel()
def _argsort(values: Array, keys: Array, spare_keys: Array, index: Array, spare: Array, counts: Array) -> None:
    """index[k] = place of the k-th smallest of values (n,) float32, equal ones in their order; radix sort.

    keys, spare_keys uint32 (n,), index, spare int32 (n,), counts int32 (3, RADIX_VALUES) are scratch.
    """
    n = values.size
    bits = values.view(np.uint32)
    counts[:] = 0
    for i in range(n):
        b = bits[i]
        # Floats sort as integers once the sign bit is flipped, and all bits of negative ones.
        key = np.uint32(~b) if b >> np.uint32(31) else np.uint32(b | np.uint32(0x80000000))
        keys[i] = key
        index[i] = i
        counts[0, key & np.uint32(RADIX_VALUES - 1)] += 1
        counts[1, (key >> np.uint32(RADIX_BITS)) & np.uint32(RADIX_VALUES - 1)] += 1
        counts[2, key >> np.uint32(2 * RADIX_BITS)] += 1
    source_key, source, target_key, target = keys, index, spare_keys, spare
    for level in range(3):
        place = 0
        for digit in range(RADIX_VALUES):
            number = counts[level, digit]
            counts[level, digit] = place
            place += number
        down = np.uint32(level * RADIX_BITS)
        for i in range(n):
            key = source_key[i]
            digit = (key >> down) & np.uint32(RADIX_VALUES - 1)
            at = counts[level, digit]
            counts[level, digit] = at + 1
            target_key[at] = key
            target[at] = source[i]
        source_key, source, target_key, target = target_key, target, source_key, source
    index[:] = source


@kernel()
def _fill_columns(lines: Array, bad: Array, margin: int) -> None:
    """Columns marked in bad (cols,) of lines (n, cols) get, line by line, a slope between what lies on either side.

    Each side is the mean of up to ``margin`` good columns; with one side only, its value is carried on.
    """
    count, cols = lines.shape
    c = 0
    while c < cols:
        if not bad[c]:
            c += 1
            continue
        end = c
        while end < cols and bad[end]:
            end += 1
        for k in range(count):
            first, last, n_first, n_last = np.float32(0), np.float32(0), 0, 0
            for i in range(margin):
                if c - 1 - i >= 0 and not bad[c - 1 - i]:
                    first += lines[k, c - 1 - i]
                    n_first += 1
                if end + i < cols and not bad[end + i]:
                    last += lines[k, end + i]
                    n_last += 1
            if n_first + n_last == 0:
                break
            a = first / np.float32(n_first) if n_first else last / np.float32(n_last)
            b = last / np.float32(n_last) if n_last else a
            for i in range(c, end):
                lines[k, i] = a + np.float32((i - c + 1) / (end - c + 1)) * (b - a)
        c = end


@kernel(parallel=True)
def fill_columns(block: Array, bad: Array, threads: int) -> None:
    """Interpolate columns marked in bad (rows, cols) of block (angles, rows, cols), in each projection."""
    rows = block.shape[1]
    for thread in prange(threads):
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            _fill_columns(block[:, r], bad[r], 1)


@kernel(parallel=True)
def sort_stripes(block: Array, wide: Array, half: int, threads: int) -> None:
    """Equalise the columns of block (angles, rows, cols) rank by rank, in place.

    Each column is sorted over the angles; ranks of columns in wide (rows, cols) are interpolated from both sides, then
    every rank is smoothed by a running median over 2·half+1 columns, and each value goes back to where it came from.
    """
    angles, rows, cols = block.shape
    for thread in prange(threads):
        ranked = np.empty((angles, cols), np.float32)
        places = np.empty((cols, angles), np.int32)
        columns = np.empty((SORTED_COLUMNS, angles), np.float32)
        keys, spare_keys = np.empty(angles, np.uint32), np.empty(angles, np.uint32)
        spare, counts = np.empty(angles, np.int32), np.empty((3, RADIX_VALUES), np.int32)
        window, line = np.empty(2 * half + 1, np.float32), np.empty(cols, np.float32)
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            for c0 in range(0, cols, SORTED_COLUMNS):
                width = min(SORTED_COLUMNS, cols - c0)
                for a in range(angles):
                    for i in range(width):
                        columns[i, a] = block[a, r, c0 + i]
                for i in range(width):
                    _argsort(columns[i], keys, spare_keys, places[c0 + i], spare, counts)
                for k in range(angles):
                    for i in range(width):
                        ranked[k, c0 + i] = columns[i, places[c0 + i, k]]
            _fill_columns(ranked, wide[r], EDGE_COLUMNS)
            if half > 0:
                for k in range(angles):
                    line[:] = ranked[k]
                    median_line(line, half, window, ranked[k])
            for c0 in range(0, cols, SORTED_COLUMNS):
                width = min(SORTED_COLUMNS, cols - c0)
                for k in range(angles):
                    for i in range(width):
                        columns[i, places[c0 + i, k]] = ranked[k, c0 + i]
                for a in range(angles):
                    for i in range(width):
                        block[a, r, c0 + i] = columns[i, a]
