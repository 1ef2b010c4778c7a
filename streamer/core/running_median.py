"""Running medians along the rows of an image."""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from streamer.core.arrays import Array
from streamer.core.jit import as_input, kernel
from streamer.frames import BadInput


def median_rows(image: Array, window: int, threads: int = 1) -> NDArray[np.float32]:
    """Running median along the rows of image (rows, columns) over ``window`` columns (odd), mirrored at the ends."""
    if window < 1 or window % 2 == 0:
        raise BadInput(f"a running median needs an odd window, not {window}")
    out = np.empty(image.shape, np.float32)
    running_median(as_input(image, np.float32), min(window // 2, image.shape[1] - 1), threads, out)
    return out


@kernel()
def median_line(line: Array, half: int, window: Array, out: Array) -> None:
    """Running median of line (n,) over 2·half+1 values, mirrored at the ends (half < n); ``window`` is scratch."""
    n, size = line.size, 2 * half + 1
    for i in range(size):
        j = i - half
        j = -1 - j if j < 0 else j
        j = 2 * n - 1 - j if j >= n else j
        value = line[j]
        k = i
        while k > 0 and window[k - 1] > value:
            window[k] = window[k - 1]
            k -= 1
        window[k] = value
    out[0] = window[half]
    for i in range(1, n):
        gone, come = i - 1 - half, i + half
        gone = -1 - gone if gone < 0 else gone
        come = 2 * n - 1 - come if come >= n else come
        old, new = line[gone], line[come]
        low, high = 0, size
        while low < high:  # first place that is not below the value that leaves
            middle = (low + high) >> 1
            if window[middle] < old:
                low = middle + 1
            else:
                high = middle
        k = min(low, size - 1)
        while k < size - 1 and window[k + 1] < new:
            window[k] = window[k + 1]
            k += 1
        while k > 0 and window[k - 1] > new:
            window[k] = window[k - 1]
            k -= 1
        window[k] = new
        out[i] = window[half]


@kernel(parallel=True)
def running_median(image: Array, half: int, threads: int, out: Array) -> None:
    """out[r, c] = median of image[r, c-half … c+half]; both (rows, cols) float32, half < cols."""
    rows = image.shape[0]
    for thread in prange(threads):
        window = np.empty(2 * half + 1, np.float32)
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            median_line(image[r], half, window, out[r])
