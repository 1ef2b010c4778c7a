"""Numba kernels from counts to attenuation: one difference, one logarithm, one set of row sums, one filling of pixels.

The row functions are inlined into the kernels that use them: ``prepare_frames`` here, and the kernel of the live
planes, which prepares frames on its way. numba's cache on disk does not notice a change of an inlined function: delete
``__pycache__`` of those kernels after editing one. The rules in ``jit`` hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from streamer.core.arrays import Array
from streamer.core.jit import kernel

PIXEL_KINDS = {"|u1": 1, "<u2": 2, "<u4": 4, "<f4": 8}
"""How the bytes of raw frames are read. One compilation for all types takes a quarter of the time of one for each."""

ATTENUATION = 0
"""Kind of frames that are attenuation already."""


def moment_margin(columns: int) -> int:
    """Columns at either edge whose sums are among the moments of a row."""
    return max(1, columns // 50)


_LN2 = np.float32(0.6931471805599453)
_SQRT_HALF_BITS = np.int32(0x3F3504F3)  # bit pattern of float32(sqrt(1/2))
_ZERO, _ONE, _TWO = np.float32(0.0), np.float32(1.0), np.float32(2.0)
_THIRD, _FIFTH, _SEVENTH = np.float32(1 / 3), np.float32(1 / 5), np.float32(1 / 7)


@kernel(inline=True)
def _net_signal(raw: Array, dark: Array, low: Any, high: Any, net: Array) -> None:
    """net = clip(raw - dark, low, high) for a row; NaN counts as low."""
    for c in range(net.size):
        # Float32 holds the short types exactly; left alone, numba takes the difference in float64, at half the speed.
        value = np.float32(raw[c]) - dark[c]
        at_least = value if value > low else low
        net[c] = at_least if at_least < high else high


@kernel(inline=True)
def _net_signal_of_long(raw: Array, dark: Array, low: Any, high: Any, net: Array) -> None:
    """As ``_net_signal`` for uint32, which float32 cannot hold exactly: the difference is float64."""
    for c in range(net.size):
        value = raw[c] - dark[c]
        at_least = value if value > low else low
        net[c] = np.float32(at_least if at_least < high else high)


@kernel()
def read_row(raw: Array, kind: int, dark: Array, low: Any, high: Any, net: Array) -> None:
    """net = clip(raw - dark, low, high) for a row of bytes (uint8), see PIXEL_KINDS; NaN counts as low."""
    if kind == 1:
        _net_signal(raw, dark, low, high, net)
    elif kind == 2:
        _net_signal(raw.view(np.uint16), dark, low, high, net)
    elif kind == 4:
        _net_signal_of_long(raw.view(np.uint32), dark, low, high, net)
    else:
        _net_signal(raw.view(np.float32), dark, low, high, net)


@kernel(inline=True)
def twice_atanh(s: Any) -> Any:
    """ln((1 + s) / (1 - s)) = 2 atanh(s) to the seventh order: for |s| < 0.172 its error is below 3e-8; float32."""
    q = s * s
    return (s + s) * (_ONE + q * (_THIRD + q * (_FIFTH + q * _SEVENTH)))


# Inlined, because only within a parallel loop does numba divide without asking for zeros, 16 numbers at a time.
@kernel(inline=True)
def subtract_logarithm(level: Array, net: Array, out: Array) -> None:
    """out = level - ln(net) for one row of positive float32; ``net`` is lost.

    The logarithm splits off the power of two and sums atanh((m-1)/(m+1)) on [sqrt(1/2), sqrt(2)): its error is that of
    the float32 sum, below 1e-6, and the loop turns into vector instructions, which a call of libm does not.
    """
    bits = net.view(np.int32)
    for c in range(out.size):
        power = np.int32(np.int32(bits[c] - _SQRT_HALF_BITS) >> np.int32(23))
        bits[c] = np.int32(bits[c] - np.int32(power << np.int32(23)))
        m = net[c]
        out[c] = level[c] - (np.float32(power) * _LN2 + twice_atanh((m - _ONE) / (m + _ONE)))


@kernel(inline=True)
def fill_row(row: Array, first: int, last: int, dead: Array, share: Array) -> None:
    """Fill the dead pixels first … last-1 of the list (see ``DeadPixels``), which lie in this row."""
    for n in range(first, last):
        a, b = dead[1, n], dead[2, n]
        row[dead[0, n]] = _ZERO if a < 0 else row[a] + share[n] * (row[b] - row[a])


@kernel(inline=True)
def sum_row(row: Array, margin: int, out: Array) -> None:
    """Moments of one row, out (4,) float64: Σ v, Σ v·(column - middle), Σ v over the first and the last ``margin``."""
    middle = (row.size - 1) * 0.5
    # Four running sums each: one alone waits for its own last addition.
    m0, m1, m2, m3 = 0.0, 0.0, 0.0, 0.0
    f0, f1, f2, f3 = 0.0, 0.0, 0.0, 0.0
    for c in range(0, row.size - 3, 4):
        a, b, d, e = np.float64(row[c]), np.float64(row[c + 1]), np.float64(row[c + 2]), np.float64(row[c + 3])
        x = c - middle
        m0 += a
        m1 += b
        m2 += d
        m3 += e
        f0 += a * x
        f1 += b * (x + 1.0)
        f2 += d * (x + 2.0)
        f3 += e * (x + 3.0)
    for c in range(row.size - row.size % 4, row.size):
        m0 += row[c]
        f0 += row[c] * (c - middle)
    left, right = 0.0, 0.0
    for c in range(margin):
        left += row[c]
        right += row[row.size - 1 - c]
    out[0], out[1] = (m0 + m1) + (m2 + m3), (f0 + f1) + (f2 + f3)
    out[2], out[3] = left, right


@kernel(parallel=True)
def prepare_frames(
    raw: Array, kind: int, dark: Array, log_flat: Array, low: Any, high: Any, dead_from: Array, dead: Array,
    share: Array, margin: int, threads: int, attenuation: Array, moments: Array,
) -> None:  # fmt: skip
    """attenuation (frames, rows, cols) float32 = log_flat - ln(clip(raw - dark, low, high)), dead pixels filled.

    raw (frames, rows, bytes of a row) uint8 of a ``kind`` of PIXEL_KINDS; see ``CorrectionTables`` for the others.
    moments (frames, rows, 4) float64, see ``sum_row``, are written unless there are none.
    """
    frames, rows, cols = attenuation.shape
    for thread in prange(threads):
        net = np.empty(cols, np.float32)
        # Frame by frame: rows of several frames, written in turn, would share sets of the cache.
        for f in range(frames):
            for r in range(rows * thread // threads, rows * (thread + 1) // threads):
                row = attenuation[f, r]
                read_row(raw[f, r], kind, dark[r], low, high, net)
                subtract_logarithm(log_flat[r], net, row)
                fill_row(row, dead_from[r], dead_from[r + 1], dead, share)
                if moments.shape[0] > 0:
                    sum_row(row, margin, moments[f, r])


@kernel(parallel=True)
def row_moments(attenuation: Array, margin: int, threads: int, moments: Array) -> None:
    """Moments (frames, rows, 4) float64 of every row of attenuation (frames, rows, cols) float32, see ``sum_row``."""
    frames, rows, _ = attenuation.shape
    for thread in prange(threads):
        for f in range(frames):
            for r in range(rows * thread // threads, rows * (thread + 1) // threads):
                sum_row(attenuation[f, r], margin, moments[f, r])


@kernel()
def fill_pixels(image: Array, dead_from: Array, dead: Array, share: Array) -> None:
    """Fill the dead pixels of image (rows, cols) from live neighbours in their rows; see ``DeadPixels``."""
    for r in range(image.shape[0]):
        fill_row(image[r], dead_from[r], dead_from[r + 1], dead, share)
