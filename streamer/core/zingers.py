"""Single bad pixels: zingers, hit by a particle in one frame, and those that are dead, hot or noisy in all of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from streamer.core.jit import as_input, kernel
from streamer.frames import BadInput

Array = NDArray[Any]
Image = NDArray[np.float32]

SAMPLE = 65_536  # pixels that are enough to measure the noise
MOST = 0.02  # share of the pixels of a frame that may be zingers; beyond, it is no zingers
FAINTEST = 0.05  # relative excess below which nothing is called a zinger, however little noise there is
WINDOW = 5  # pixels on a side of the neighbourhood of a suspect pixel


def beam_noise(attenuation: Image) -> float:
    """Noise of the attenuation in the open beam (rows, columns), for photon statistics: there exp(a/2) times as much.

    From second differences along the rows, which a smooth sample does not have; the median is blind to zingers.
    """
    rows, columns = attenuation.shape
    if columns < 3:
        return 0.0
    values = attenuation[:: max(1, rows * columns // SAMPLE)]
    bend = np.abs(values[:, :-2] - 2 * values[:, 1:-1] + values[:, 2:])
    return 1.4826 * float(np.median(bend * np.exp(-0.5 * values[:, 1:-1]))) / math.sqrt(6.0)


def remove_zingers(attenuation: Image, sigmas: float = 8.0, noise: float | None = None, threads: int = 1) -> int:
    """Replace zingers in attenuation (rows, columns) float32, in place, and say how many there were.

    A zinger counts too much: its transmission exceeds that of the median of its 3 × 3 neighbourhood by more than
    ``sigmas`` standard deviations of photon noise; it becomes that median. So up to four pixels that touch are found.
    Dark spots are left alone: they are ``defects`` of the detector. ``noise`` is that of the open beam (``beam_noise``
    of this or of an earlier frame). When more than 2 % of the pixels qualify, the frame is left as it is: the answer is
    -1, and the frame is to be judged otherwise. Works on attenuation, as raw frames hold the pattern of the flats.
    """
    if attenuation.ndim != 2 or attenuation.dtype != np.float32 or sigmas <= 0:
        raise BadInput(f"zingers: float32 (rows, columns) wanted, not {attenuation.dtype} {attenuation.shape}")
    rows, columns = attenuation.shape
    if min(rows, columns) < 3:
        return 0
    noise = beam_noise(attenuation) if noise is None else noise
    most = max(16, int(MOST * rows * columns) // threads)
    place, value = np.empty((threads, most), np.int64), np.empty((threads, most), np.float32)
    count = np.zeros(threads, np.int64)
    find_zingers(as_input(attenuation), max(sigmas * noise, FAINTEST), threads, place, value, count)
    if (count > most).any():
        return -1
    flat = attenuation.reshape(-1) if attenuation.flags.c_contiguous else None
    for part in range(threads):
        where, what = place[part, : count[part]], value[part, : count[part]]
        if flat is None:
            attenuation[where // columns, where % columns] = what
        else:
            flat[where] = what
    return int(count.sum())


class PixelStatistics:
    """Mean and variance of each pixel over darks or flats, of any real type."""

    def __init__(self) -> None:
        self._first: NDArray[np.float64] | None = None
        self._sum = self._squares = np.zeros((0, 0))
        self.count = 0

    def add(self, pixels: Array) -> None:
        """Add one frame (rows, columns). Raises BadInput when it differs in shape from those before."""
        if self._first is None:
            # Differences from the first frame, so that the square of a large mean does not drown the variance.
            self._first = np.asarray(pixels, np.float64)
            self._sum, self._squares = np.zeros(pixels.shape), np.zeros(pixels.shape)
        if pixels.shape != self._first.shape:
            raise BadInput(f"a flat or dark is {pixels.shape}, those before it {self._first.shape}")
        difference = pixels - self._first
        self._sum += difference
        self._squares += difference**2
        self.count += 1

    @property
    def mean(self) -> Image:
        if self._first is None:
            raise BadInput("there is no flat or dark to take the mean of")
        return (self._first + self._sum / self.count).astype(np.float32)

    @property
    def variance(self) -> Image:
        """Variance within the series, counts² (rows, columns); zeros for a single frame."""
        if self.count < 2:
            return np.zeros(self._sum.shape, np.float32)
        return (np.maximum(self._squares - self._sum**2 / self.count, 0) / (self.count - 1)).astype(np.float32)


def defects(
    flats: PixelStatistics, darks: PixelStatistics | None = None, sigmas: float = 8.0, response: float = 0.5
) -> NDArray[np.bool_]:
    """True (rows, columns) for pixels not to be used: dead, hot, stuck, or noisy.

    Dead or hot: the net flat is below ``response`` or above 1/``response`` times the median of its 5 × 5 neighbours,
    and by more than ``sigmas`` of the spread that all pixels show (a scintillator is uneven, but smoothly).
    Hot: the dark is above its neighbours by ``sigmas`` and by a twentieth of the flat. Noisy or stuck: in four flats or
    more, a variance 10 times higher, or 100 times lower, than that of its neighbours, and beyond the scatter of an
    estimate from so few flats.
    """
    net = flats.mean.astype(np.float64)
    if darks is not None:
        if darks.mean.shape != net.shape:
            raise BadInput(f"the darks are {darks.mean.shape}, the flats {net.shape}")
        net -= darks.mean
    bad = ~np.isfinite(net) | (net <= 0)
    net = np.where(bad, 0.0, net)
    around = np.maximum(median_filter(net, WINDOW, mode="mirror"), 1e-12)
    ratio = net / around
    spread = 1.4826 * float(np.median(np.abs(ratio - np.median(ratio))))
    bad |= ((ratio < response) | (ratio > 1 / response)) & (np.abs(ratio - 1) > sigmas * spread)
    if darks is not None:
        dark = np.nan_to_num(darks.mean.astype(np.float64))
        excess = dark - median_filter(dark, WINDOW, mode="mirror")
        bad |= (excess > sigmas * 1.4826 * float(np.median(np.abs(excess)))) & (excess > 0.05 * around)
    if flats.count >= 4:
        variance = flats.variance.astype(np.float64)
        usual = np.maximum(median_filter(variance, WINDOW, mode="mirror"), 1e-12)
        chance = (1 + sigmas * np.sqrt(2 / (flats.count - 1))) ** 2
        bad |= variance > max(10.0, chance) * usual
        bad |= 100.0 * variance < usual
    return np.asarray(bad, np.bool_)


def without(flat: Array, bad: NDArray[np.bool_]) -> Image:
    """The mean flat with NaN at bad pixels: ``Correction`` then mends them, in every projection, within their row."""
    if flat.shape != bad.shape:
        raise BadInput(f"the flat is {flat.shape}, the map of bad pixels {bad.shape}")
    return np.where(bad, np.float32(np.nan), np.asarray(flat, np.float32)).astype(np.float32)


@kernel(parallel=True)
def find_zingers(image: Array, limit: float, parts: int, place: Array, value: Array, count: Array) -> None:
    """List pixels of image (rows, cols) with exp(median - pixel) - 1 > limit · exp(median / 2), and their medians.

    place (parts, n) int64 row·cols + column, value (parts, n) float32, count (parts,) how many were found by each part;
    more than n are counted, not listed. The median is that of the 3 × 3 pixels, mirrored at the edges.
    """
    rows, cols = image.shape
    least = np.float32(np.log1p(limit))
    for part in prange(parts):
        nine = np.empty(9, np.float32)
        flag = np.empty(cols, np.uint8)
        found = 0
        for r in range(rows * part // parts, rows * (part + 1) // parts):
            up, down = (r - 1 if r > 0 else 1), (r + 1 if r < rows - 1 else rows - 2)
            # Five of nine must lie above by the limit, so at least one of any four neighbours does (for a ≥ 0).
            any_flag = np.uint8(0)
            for c in range(1, cols - 1):
                high = max(max(image[r, c - 1], image[r, c + 1]), max(image[up, c], image[down, c]))
                flag[c] = np.uint8(high > image[r, c] + least)
                any_flag |= flag[c]
            flag[0] = flag[cols - 1] = np.uint8(1)
            for c in range(cols):
                if not flag[c] or (not any_flag and 0 < c < cols - 1):
                    continue
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
                middle = nine[4]
                rise = middle - image[r, c]
                if rise > 0 and np.exp(rise) - 1 > limit * np.exp(np.float32(0.5) * max(middle, np.float32(0.0))):
                    if found < place.shape[1]:
                        place[part, found] = r * cols + c
                        value[part, found] = middle
                    found += 1
        count[part] = found
