"""Two sets of flats, before and after the scan, and the interpolation between them.

The correction is a sum of a few images, each times one number per projection, that is added to the attenuation. So
flats taken after the scan need no second look at the raw data.
"""

from __future__ import annotations

from copy import copy

import numpy as np
from numba import prange

from streamer.core.arrays import Array, Image
from streamer.core.jit import as_input, kernel
from streamer.core.preprocessing.kernels import twice_atanh
from streamer.frames import BadInput

LOG_TERMS = 3  # of the series of the logarithm; the next is below 1e-4 for a pattern that moved by 14 %


class FlatPair:
    """Flats before and after the scan, F(s) = (1-s)·before + s·after for the fraction 0 ≤ s ≤ 1 of the scan.

    ln F(s) - ln before = ln(1 + s(g-1)) + u·q - u²·q²/2 + u³·q³/3, with the change g of the whole beam, the pattern
    q = after/(g·before) - 1 and u = s·g/(1 + s(g-1)).
    """

    def __init__(self, before: Array, after: Array) -> None:
        """Net mean flats (dark subtracted), any real type (rows, columns). Pixels dead in either are left alone.

        Raises BadInput when the shapes differ or the beam was off in one.
        """
        if before.shape != after.shape:
            raise BadInput(f"the flats before are {before.shape}, those after {after.shape}")
        first, last = np.asarray(before, np.float64), np.asarray(after, np.float64)
        alive = np.isfinite(first) & np.isfinite(last) & (first > 0) & (last > 0)
        if not alive.any():
            raise BadInput("no pixel saw the beam both before and after the scan")
        ratio = np.ones(first.shape)
        np.divide(last, first, out=ratio, where=alive)
        self.gain = float(np.median(ratio[alive]))
        pattern = np.where(alive, ratio / self.gain - 1.0, 0.0)
        # The series is for a pattern that changed a little; what changed by half is no beam but a speck of dust.
        self.pattern: Image = as_input(np.clip(pattern, -0.5, 0.5), np.float32)

    def with_pattern(self, pattern: Image) -> FlatPair:
        """The same change of the whole beam, with another pattern (rows, columns), as phase retrieval leaves it."""
        other = copy(self)
        other.pattern = as_input(pattern, np.float32)
        return other

    def shares(self, fraction: float) -> tuple[float, float]:
        """(ln of the beam's change, u) at ``fraction`` of the scan."""
        now = 1.0 + fraction * (self.gain - 1.0)
        return float(np.log(now)), fraction * self.gain / now

    def terms(self) -> list[Image]:
        """Images (one, q, q², q³): times ``coefficients`` they sum up to the correction, as far as the series goes."""
        return [np.ones_like(self.pattern), *(self.pattern**power for power in range(1, LOG_TERMS + 1))]

    def coefficients(self, fraction: float) -> list[float]:
        """One number for each of ``terms`` at ``fraction`` of the scan; the rest of the series is below q⁴/4."""
        change, share = self.shares(fraction)
        return [change, *(-((-share) ** power) / power for power in range(1, LOG_TERMS + 1))]


@kernel(parallel=True)
def add_late(
    source: Array,
    static: Array,
    use_static: bool,
    pattern: Array,
    share: float,
    base: float,
    slope: float,
    threads: int,
    out: Array,
) -> None:
    """out = source + static + base + slope·(column - middle) + ln(1 + share·pattern); all (rows, cols) float32.

    Without ``use_static``, or with a share of 0, static or pattern are not read and may have another shape.
    ``out`` may be ``source``. ln(1 + y) = 2 atanh(y / (2 + y)): its error is below 1e-6 for y ≥ -0.4, 1.3e-5 at -1/2,
    where ``FlatPair`` cuts the pattern.
    """
    rows, cols = source.shape
    u = np.float32(share)
    for thread in prange(threads):
        line = np.empty(cols, np.float32)
        for c in range(cols):
            line[c] = np.float32(base + slope * (c - 0.5 * (cols - 1)))
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            if use_static:
                for c in range(cols):
                    out[r, c] = source[r, c] + (line[c] + static[r, c])
            else:
                for c in range(cols):
                    out[r, c] = source[r, c] + line[c]
            if share != 0.0:
                for c in range(cols):
                    y = u * pattern[r, c]
                    out[r, c] += twice_atanh(y / (np.float32(2.0) + y))
