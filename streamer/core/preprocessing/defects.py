"""Defects of the detector: pixels that are dead, hot, stuck or noisy in every frame."""

from __future__ import annotations

import numpy as np
from numba import prange

from streamer.core.arrays import Array, Image, Mask
from streamer.core.jit import as_input, kernel
from streamer.frames import BadInput

DEFECT_SIGMAS = 8.0  # of the scatter of good pixels, beyond which a pixel is bad
DEAD_RESPONSE = 0.5  # of its neighbours, below which a pixel is dead; above the reciprocal it is hot
MEDIAN_SAMPLE = 65_536  # pixels that are enough to measure the noise
MEDIAN_REACH = 2  # pixels to either side that are the neighbourhood of a suspect pixel
MOST_MASKED = 0.25  # share of pixels that may be masked where no dark says that they are not lit instead


class PixelStatistics:
    """Mean and variance of each pixel over darks or flats, of any real type. Keeps 24 bytes per pixel."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._first: Image | None = None
        self._difference = np.zeros((0, 0), np.float32)
        self._sum = self._squares = np.zeros((0, 0))
        self._evaluated = 0  # frames in ``_mean`` and ``_variance``
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
        self._evaluate()
        return self._mean

    @property
    def variance(self) -> Image:
        """Variance within the series, counts² (rows, columns); zeros for a single frame. Raises BadInput before it."""
        self._evaluate()
        return self._variance

    def _evaluate(self) -> None:
        if self._first is None:
            raise BadInput("there is no flat or dark to take the mean of")
        if self._evaluated < self.count:
            self._evaluated = self.count
            self._mean, self._variance = np.empty_like(self._first), np.empty_like(self._first)
            first, total, squares = (as_input(array) for array in (self._first, self._sum, self._squares))
            mean_and_variance(first, total, squares, self.count, self._threads, self._mean, self._variance)
            self._mean.flags.writeable = self._variance.flags.writeable = False


def masked_by_value(flats: PixelStatistics, darks: PixelStatistics | None, dtype: str) -> Mask:
    """True (rows, columns) for pixels that always had the largest number of ``dtype``: the detector masked them.

    Photon counters send 2^n - 1 for gaps between their modules and for known defects. Where there are no darks, a beam
    that is too bright looks alike: more than a quarter of the pixels are not taken for masked.
    """
    kind = np.dtype(dtype)
    if kind.kind != "u":
        return np.zeros(flats.mean.shape, np.bool_)
    top = np.float32(np.iinfo(kind).max)
    masked = flats.mean == top
    if darks is not None:
        return np.asarray(masked & (darks.mean == top))
    return np.asarray(masked if masked.mean() <= MOST_MASKED else np.zeros_like(masked))


def defects(
    flats: PixelStatistics, darks: PixelStatistics | None = None, threads: int = 1, known: Mask | None = None
) -> Mask:
    """True (rows, columns) for pixels not to be used: ``known`` ones, and those that are dead, hot, stuck, or noisy.

    Dead or hot: the net flat is below half or above twice the level of its 5 × 5 neighbours, and differs by more than
    DEFECT_SIGMAS times the spread of all pixels (a scintillator is uneven, but smoothly). Hot: the dark exceeds its
    neighbours by DEFECT_SIGMAS and by a twentieth of the flat. Noisy or stuck: in four flats or more, the variance is
    10 times higher, or 100 times lower, than that of its neighbours, beyond the scatter of an estimate from a few
    flats. Raises BadInput when the shapes of ``darks`` and ``flats`` differ, or without a flat.
    """
    net = flats.mean
    if darks is not None:
        if darks.mean.shape != net.shape:
            raise BadInput(f"the darks are {darks.mean.shape}, the flats {net.shape}")
        net = net - darks.mean
    bad = ~np.isfinite(net) | (net <= 0)
    if known is not None:
        bad |= known
    net = np.where(bad, np.float32(0.0), net)
    around = np.maximum(neighbourhood(net, threads), np.float32(1e-12))
    ratio = net / around
    some = _some(ratio)
    spread = 1.4826 * float(np.median(np.abs(some - np.median(some))))
    bad |= ((ratio < DEAD_RESPONSE) | (ratio > 1 / DEAD_RESPONSE)) & (np.abs(ratio - 1) > DEFECT_SIGMAS * spread)
    if darks is not None:
        dark = np.nan_to_num(darks.mean)
        excess = dark - neighbourhood(dark, threads)
        usual = 1.4826 * float(np.median(_some(np.abs(excess))))
        bad |= (excess > DEFECT_SIGMAS * usual) & (excess > 0.05 * around)
    if flats.count >= 4:
        variance = np.nan_to_num(flats.variance)
        expected = neighbourhood(variance, threads)
        typical = np.float32(np.median(_some(variance)))
        chance = (1 + DEFECT_SIGMAS * np.sqrt(2 / (flats.count - 1))) ** 2
        if typical > 0:  # flats that do not differ at all were averaged, or made up
            bad |= variance > max(10.0, chance) * np.maximum(expected, typical)
            bad |= 100.0 * variance < expected
    return np.asarray(bad, np.bool_)


def _some(values: Array) -> Array:
    """Pixels that are enough to take a median of."""
    return values.reshape(-1)[:: max(1, values.size // MEDIAN_SAMPLE)]


def neighbourhood(image: Image, threads: int = 1) -> Image:
    """Level around each pixel of a finite image (rows, columns): median over five rows of medians over five columns.

    Eight of the 25 pixels may be anything, wherever they are; mirrored at the edges.
    """
    padded = np.pad(np.asarray(image, np.float32), MEDIAN_REACH, mode="symmetric")
    lines, out = np.empty((padded.shape[0], image.shape[1]), np.float32), np.empty(image.shape, np.float32)
    median_of_five(as_input(padded), 0, 1, threads, lines)
    median_of_five(as_input(lines), 1, 0, threads, out)
    return out


def mask_pixels(flat: Array, bad: Mask) -> Image:
    """Float32 copy of the mean ``flat`` (rows, columns), NaN where ``bad``: ``FlatFieldCorrection`` fills those pixels.

    Raises BadInput when the shapes differ.
    """
    if flat.shape != bad.shape:
        raise BadInput(f"the flat is {flat.shape}, the map of bad pixels {bad.shape}")
    return np.where(bad, np.float32(np.nan), np.asarray(flat, np.float32)).astype(np.float32)


@kernel(parallel=True)
def add_squares(difference: Array, threads: int, total: Array, squares: Array) -> None:
    """total += difference, squares += difference²; (rows, cols), float32 into float64."""
    rows, cols = difference.shape
    for thread in prange(threads):
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            for c in range(cols):
                value = np.float64(difference[r, c])
                total[r, c] += value
                squares[r, c] += value * value


@kernel(parallel=True)
def mean_and_variance(
    first: Array, total: Array, squares: Array, count: int, threads: int, mean: Array, variance: Array
) -> None:
    """Of ``count`` frames, from the first one and the sums (float64) of what they differ from it; (rows, cols)."""
    rows, cols = first.shape
    share, other = 1.0 / count, 1.0 / max(1, count - 1)
    for thread in prange(threads):
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            for c in range(cols):
                mean[r, c] = np.float32(first[r, c] + total[r, c] * share)
                spread = (squares[r, c] - total[r, c] * total[r, c] * share) * other
                variance[r, c] = np.float32(spread if not spread < 0.0 else 0.0)


@kernel(parallel=True)
def median_of_five(image: Array, down: int, across: int, threads: int, out: Array) -> None:
    """out[r, c] = median of image[r + i·down, c + i·across], i = 0 … 4; float32, image larger than out by the reach."""
    rows, cols = out.shape
    for thread in prange(threads):
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
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
