"""Zingers: pixels hit by a particle in a single frame."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from streamer.core.arrays import Array, Image
from streamer.core.jit import as_input, kernel
from streamer.frames import BadInput

NOISE_SAMPLE = 65_536  # pixels from which the noise is measured
MOST_ZINGERS = 0.02  # share of the pixels of a frame; if more stand out, they are no zingers
LEAST_EXCESS = 0.05  # relative excess that a zinger has, however little noise there is
SKIPPED_COLUMNS = 64  # columns that are skipped together when none of them is suspect


def beam_noise(attenuation: Image) -> float:
    """Noise (standard deviation) of attenuation (rows, columns) in the open beam; photon noise is exp(a/2) times that.

    Measured by second differences along the rows, which a smooth sample does not have; their median ignores zingers.
    """
    rows, columns = attenuation.shape
    if columns < 3:
        return 0.0
    values = attenuation[:: max(1, rows * columns // NOISE_SAMPLE)]
    bend = np.abs(values[:, :-2] - 2 * values[:, 1:-1] + values[:, 2:])
    return 1.4826 * float(np.median(bend * np.exp(-0.5 * values[:, 1:-1]))) / math.sqrt(6.0)


def remove_zingers(
    attenuation: Image, sigmas: float = 8.0, noise: float | None = None, threads: int = 1, most: float = MOST_ZINGERS
) -> int:
    """Replace zingers in attenuation (rows, columns) float32, in place; returns their number.

    The transmission of a zinger exceeds that of the median of its 3 × 3 neighbourhood by more than ``sigmas`` standard
    deviations of photon noise; it is replaced by that median. Up to four pixels that touch are found. Dark spots stay:
    they are ``defects`` of the detector. ``noise`` is that of the open beam (``beam_noise`` of this or of an earlier
    frame). If more than a share ``most`` of the pixels stand out, the frame is left as it is, and the result is -1: too
    many to be zingers. Raises BadInput for another dtype or number of axes, and unless ``sigmas`` is positive.
    """
    if attenuation.ndim != 2 or attenuation.dtype != np.float32 or sigmas <= 0:
        raise BadInput(f"zingers: float32 (rows, columns) wanted, not {attenuation.dtype} {attenuation.shape}")
    rows, columns = attenuation.shape
    if rows < 2 or columns < 3:
        return 0
    noise = beam_noise(attenuation) if noise is None else noise
    room = max(16, int(most * rows * columns))
    place, value = np.empty((threads, room), np.int64), np.empty((threads, room), np.float32)
    count = np.zeros(threads, np.int64)
    find_zingers(as_input(attenuation), max(sigmas * noise, LEAST_EXCESS), threads, place, value, count)
    if count.sum() > room:
        return -1
    flat = attenuation.reshape(-1) if attenuation.flags.c_contiguous else None
    for part in range(threads):
        where, what = place[part, : count[part]], value[part, : count[part]]
        if flat is None:
            attenuation[where // columns, where % columns] = what
        else:
            flat[where] = what
    return int(count.sum())


@kernel()
def _median_of_nine(image: Array, r: int, c: int, nine: Array) -> float:
    """Median of the 3 × 3 pixels around image[r, c], mirrored at the edges; ``nine`` (9,) float32 is scratch."""
    rows, cols = image.shape
    up, down = (r - 1 if r > 0 else 1), (r + 1 if r < rows - 1 else rows - 2)
    left, right = (c - 1 if c > 0 else 1), (c + 1 if c < cols - 1 else cols - 2)
    size = 0
    for i in (up, r, down):
        for j in (left, c, right):
            v = image[i, j]
            k = size
            while k > 0 and nine[k - 1] > v:
                nine[k] = nine[k - 1]
                k -= 1
            nine[k] = v
            size += 1
    middle: float = nine[4]
    return middle


@kernel(parallel=True)
def find_zingers(image: Array, limit: float, threads: int, place: Array, value: Array, count: Array) -> None:
    """List pixels of image (rows, cols) with exp(median - pixel) - 1 > limit · exp(median / 2), and their medians.

    place (threads, n) int64 holds row·cols + column, value (threads, n) float32 the medians, count (threads,) the
    numbers found; more than n are counted, not listed. The median is that of 3 × 3 pixels, mirrored at the edges.
    """
    rows, cols = image.shape
    least, one, zero = np.float32(np.log1p(limit)), np.float32(1.0), np.float32(0.0)
    steep = np.float32(0.5 * limit / (1.0 + limit))
    for thread in prange(threads):
        nine = np.empty(9, np.float32)
        flag = np.empty(cols, np.uint8)
        found = 0
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            up, down = (r - 1 if r > 0 else 1), (r + 1 if r < rows - 1 else rows - 2)
            # Five of nine must lie above by the limit, so one of any four neighbours does. With pixel ≤ median,
            # ln(1 + limit·exp(median/2)) ≥ ln(1 + limit) + y/(1 + y), as ln(1 + y) ≥ y/(1 + y).
            for c in range(1, cols - 1):
                p = image[r, c]
                high = max(max(image[r, c - 1], image[r, c + 1]), max(image[up, c], image[down, c]))
                q = p if p > zero else zero
                y = steep * (q + np.float32(0.25) * q * q)
                flag[c] = np.uint8(high > p + (least + y / (one + y)))
            # The two end columns lack neighbours: they always count as suspect.
            flag[0] = flag[cols - 1] = np.uint8(1)
            for c0 in range(0, cols, SKIPPED_COLUMNS):
                c1 = min(c0 + SKIPPED_COLUMNS, cols)
                any_flag = np.uint8(0)
                for c in range(c0, c1):
                    any_flag |= flag[c]
                if not any_flag:
                    continue
                for c in range(c0, c1):
                    if not flag[c]:
                        continue
                    middle = _median_of_nine(image, r, c, nine)
                    rise, behind = middle - image[r, c], middle if middle > 0.0 else 0.0
                    if rise > 0 and np.exp(rise) - 1 > limit * np.exp(0.5 * behind):
                        if found < place.shape[1]:
                            place[thread, found] = r * cols + c
                            value[thread, found] = middle
                        found += 1
        count[thread] = found
