"""Single bad pixels: zingers, hit by a particle in one frame, and those that are dead, hot or noisy in all of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from streamer.core.jit import as_input, kernel
from streamer.frames import BadInput

Array = NDArray[Any]
Image = NDArray[np.float32]

SAMPLE = 65_536  # pixels that are enough to measure the noise
MOST = 0.02  # share of the pixels of a frame that may be zingers; beyond, it is no zingers
FAINTEST = 0.05  # relative excess below which nothing is called a zinger, however little noise there is
BLOCK = 64  # columns that are passed over together when none of them is suspect
REACH = 2  # pixels to either side that are the neighbourhood of a suspect pixel


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


def remove_zingers(
    attenuation: Image, sigmas: float = 8.0, noise: float | None = None, threads: int = 1, most: float = MOST
) -> int:
    """Replace zingers in attenuation (rows, columns) float32, in place, and say how many there were.

    A zinger counts too much: its transmission exceeds that of the median of its 3 × 3 neighbourhood by more than
    ``sigmas`` standard deviations of photon noise; it becomes that median. So up to four pixels that touch are found.
    Dark spots are left alone: they are ``defects`` of the detector. ``noise`` is that of the open beam (``beam_noise``
    of this or of an earlier frame). When more than a share ``most`` of the pixels qualify, the frame is left as it is:
    the answer is -1, and the frame is to be judged otherwise. Works on attenuation, as raw frames hold the pattern of
    the flats.
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
    find_zingers(as_input(attenuation), max(sigmas * noise, FAINTEST), threads, place, value, count)
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


class PixelStatistics:
    """Mean and variance of each pixel over darks or flats, of any real type. Keeps 24 bytes per pixel."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._first: Image | None = None
        self._difference = np.zeros((0, 0), np.float32)
        self._sum = self._squares = np.zeros((0, 0))
        self._told = 0  # frames in ``_mean`` and ``_variance``
        self._mean = self._variance = np.zeros((0, 0), np.float32)
        self.count = 0

    def add(self, pixels: Array) -> None:
        """Add one frame (rows, columns). Raises BadInput when it differs in shape from those before."""
        if pixels.ndim != 2:
            raise BadInput(f"a flat or dark must be (rows, columns), not {pixels.shape}")
        if self._first is None:
            # Differences from the first frame, so that the square of a large mean does not drown the variance.
            self._first = np.array(pixels, np.float32)
            self._difference = np.empty(pixels.shape, np.float32)
            self._sum, self._squares = np.zeros(pixels.shape), np.zeros(pixels.shape)
        if pixels.shape != self._first.shape:
            raise BadInput(f"a flat or dark is {pixels.shape}, those before it {self._first.shape}")
        exact = np.float32 if pixels.dtype.kind in "bu" and pixels.dtype.itemsize < 4 else np.float64
        with np.errstate(invalid="ignore", over="ignore"):  # a detector may send infinities
            np.subtract(pixels, self._first, out=self._difference, dtype=exact, casting="unsafe")
        add_squares(as_input(self._difference), self._threads, self._sum, self._squares)
        self.count += 1

    @property
    def mean(self) -> Image:
        """Mean frame, float32 (rows, columns). Raises BadInput before the first frame."""
        self._tell()
        return self._mean

    @property
    def variance(self) -> Image:
        """Variance within the series, counts² (rows, columns); zeros for a single frame. Raises BadInput before it."""
        self._tell()
        return self._variance

    def _tell(self) -> None:
        if self._first is None:
            raise BadInput("there is no flat or dark to take the mean of")
        if self._told < self.count:
            self._told = self.count
            self._mean, self._variance = np.empty_like(self._first), np.empty_like(self._first)
            first, total, squares = (as_input(array) for array in (self._first, self._sum, self._squares))
            mean_and_variance(first, total, squares, self.count, self._threads, self._mean, self._variance)
            self._mean.flags.writeable = self._variance.flags.writeable = False


def defects(
    flats: PixelStatistics,
    darks: PixelStatistics | None = None,
    sigmas: float = 8.0,
    response: float = 0.5,
    threads: int = 1,
) -> NDArray[np.bool_]:
    """True (rows, columns) for pixels not to be used: dead, hot, stuck, or noisy.

    Dead or hot: the net flat is below ``response`` or above 1/``response`` times the median of its 5 × 5 neighbours,
    and by more than ``sigmas`` of the spread that all pixels show (a scintillator is uneven, but smoothly).
    Hot: the dark is above its neighbours by ``sigmas`` and by a twentieth of the flat. Noisy or stuck: in four flats or
    more, a variance 10 times higher, or 100 times lower, than that of its neighbours, and beyond the scatter of an
    estimate from so few flats.
    """
    net = flats.mean
    if darks is not None:
        if darks.mean.shape != net.shape:
            raise BadInput(f"the darks are {darks.mean.shape}, the flats {net.shape}")
        net = net - darks.mean
    bad = ~np.isfinite(net) | (net <= 0)
    net = np.where(bad, np.float32(0.0), net)
    around = np.maximum(neighbourhood(net, threads), np.float32(1e-12))
    ratio = net / around
    some = _some(ratio)
    spread = 1.4826 * float(np.median(np.abs(some - np.median(some))))
    bad |= ((ratio < response) | (ratio > 1 / response)) & (np.abs(ratio - 1) > sigmas * spread)
    if darks is not None:
        dark = np.nan_to_num(darks.mean)
        excess = dark - neighbourhood(dark, threads)
        usual = 1.4826 * float(np.median(_some(np.abs(excess))))
        bad |= (excess > sigmas * usual) & (excess > 0.05 * around)
    if flats.count >= 4:
        variance = np.nan_to_num(flats.variance)
        expected = neighbourhood(variance, threads)
        typical = np.float32(np.median(_some(variance)))
        chance = (1 + sigmas * np.sqrt(2 / (flats.count - 1))) ** 2
        if typical > 0:  # flats that do not differ at all were averaged, or made up
            bad |= variance > max(10.0, chance) * np.maximum(expected, typical)
            bad |= 100.0 * variance < expected
    return np.asarray(bad, np.bool_)


def _some(values: Array) -> Array:
    """Pixels that are enough to take a median of."""
    return values.reshape(-1)[:: max(1, values.size // SAMPLE)]


def neighbourhood(image: Image, threads: int = 1) -> Image:
    """Level around each pixel of a finite image (rows, columns): median over five rows of medians over five columns.

    Eight of the 25 pixels may be anything, wherever they are; mirrored at the edges.
    """
    padded = np.pad(np.asarray(image, np.float32), REACH, mode="symmetric")
    lines, out = np.empty((padded.shape[0], image.shape[1]), np.float32), np.empty(image.shape, np.float32)
    median_of_five(as_input(padded), 0, 1, threads, lines)
    median_of_five(as_input(lines), 1, 0, threads, out)
    return out


def without(flat: Array, bad: NDArray[np.bool_]) -> Image:
    """The mean flat with NaN at bad pixels: ``Correction`` then mends them, in every projection, within their row."""
    if flat.shape != bad.shape:
        raise BadInput(f"the flat is {flat.shape}, the map of bad pixels {bad.shape}")
    return np.where(bad, np.float32(np.nan), np.asarray(flat, np.float32)).astype(np.float32)


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
def find_zingers(image: Array, limit: float, parts: int, place: Array, value: Array, count: Array) -> None:
    """List pixels of image (rows, cols) with exp(median - pixel) - 1 > limit · exp(median / 2), and their medians.

    place (parts, n) int64 row·cols + column, value (parts, n) float32, count (parts,) how many were found by each part;
    more than n are counted, not listed. The median is that of the 3 × 3 pixels, mirrored at the edges.
    """
    rows, cols = image.shape
    least, one, zero = np.float32(np.log1p(limit)), np.float32(1.0), np.float32(0.0)
    steep = np.float32(0.5 * limit / (1.0 + limit))
    for part in prange(parts):
        nine = np.empty(9, np.float32)
        flag = np.empty(cols, np.uint8)
        found = 0
        for r in range(rows * part // parts, rows * (part + 1) // parts):
            up, down = (r - 1 if r > 0 else 1), (r + 1 if r < rows - 1 else rows - 2)
            # Five of nine must lie above by the limit, so one of any four neighbours does. With pixel ≤ median,
            # ln(1 + limit·exp(median/2)) ≥ ln(1 + limit) + y/(1 + y), as ln(1 + y) ≥ y/(1 + y).
            for c in range(1, cols - 1):
                p = image[r, c]
                high = max(max(image[r, c - 1], image[r, c + 1]), max(image[up, c], image[down, c]))
                q = p if p > zero else zero
                y = steep * (q + np.float32(0.25) * q * q)
                flag[c] = np.uint8(high > p + (least + y / (one + y)))
            # At the two ends not all neighbours exist, so they are always looked at.
            flag[0] = flag[cols - 1] = np.uint8(1)
            for c0 in range(0, cols, BLOCK):
                c1 = min(c0 + BLOCK, cols)
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
                            place[part, found] = r * cols + c
                            value[part, found] = middle
                        found += 1
        count[part] = found


@kernel(parallel=True)
def add_squares(difference: Array, parts: int, total: Array, squares: Array) -> None:
    """total += difference, squares += difference²; (rows, cols), float32 into float64."""
    rows, cols = difference.shape
    for part in prange(parts):
        for r in range(rows * part // parts, rows * (part + 1) // parts):
            for c in range(cols):
                value = np.float64(difference[r, c])
                total[r, c] += value
                squares[r, c] += value * value


@kernel(parallel=True)
def mean_and_variance(
    first: Array, total: Array, squares: Array, count: int, parts: int, mean: Array, variance: Array
) -> None:
    """Of ``count`` frames, from the first one and the sums (float64) of what they differ from it; (rows, cols)."""
    rows, cols = first.shape
    share, other = 1.0 / count, 1.0 / max(1, count - 1)
    for part in prange(parts):
        for r in range(rows * part // parts, rows * (part + 1) // parts):
            for c in range(cols):
                mean[r, c] = np.float32(first[r, c] + total[r, c] * share)
                spread = (squares[r, c] - total[r, c] * total[r, c] * share) * other
                variance[r, c] = np.float32(spread if not spread < 0.0 else 0.0)


@kernel(parallel=True)
def median_of_five(image: Array, down: int, across: int, parts: int, out: Array) -> None:
    """out[r, c] = median of image[r + i·down, c + i·across], i = 0 … 4; float32, image larger than out by the reach."""
    rows, cols = out.shape
    for part in prange(parts):
        for r in range(rows * part // parts, rows * (part + 1) // parts):
            # Lines whose pixels are neighbours in memory, whatever the direction: then this turns into vectors.
            line_a, line_b = image[r, :cols], image[r + down, across : across + cols]
            line_c = image[r + 2 * down, 2 * across : 2 * across + cols]
            line_d = image[r + 3 * down, 3 * across : 3 * across + cols]
            line_e = image[r + 4 * down, 4 * across : 4 * across + cols]
            for i in range(cols):
                a, b, c, d, e = line_a[i], line_b[i], line_c[i], line_d[i], line_e[i]
                # The largest of the smaller and the smallest of the larger of two pairs are neither first nor last.
                low_ab, high_ab = (a, b) if a < b else (b, a)
                low_cd, high_cd = (c, d) if c < d else (d, c)
                f = low_ab if low_ab > low_cd else low_cd
                g = high_ab if high_ab < high_cd else high_cd
                low, high = (f, g) if f < g else (g, f)
                high = e if e < high else high
                out[r, i] = low if low > high else high
