"""The beam while the sample is in it: two sets of flats, drift by monitor or margins, eigen-flats.

All corrections are sums of a few images times one number per projection, added to the attenuation. The ramp filter is
linear, so they may as well be filtered once and added to projections that were filtered before the correction was
known: flats that come after the scan need no second look at the raw data.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from streamer.core.jit import as_input, kernel
from streamer.frames import BadInput

Array = NDArray[Any]
Image = NDArray[np.float32]

TERMS = 3  # of the series of the logarithm; the next is below 1e-4 for a pattern that moved by 14 %
OPEN_SIGMAS = 4.0  # margins that differ by more from the rest of the beam hold the sample
MOST_FLATS = 50  # from which components are taken; more add time, not knowledge
SPREAD = 3.0  # eigenvalue over the median one from which a component is more than noise
ROUNDS = 6  # re-weighted least squares
BLOCK = 8  # pixels, at least, that are averaged to one when weights are looked for
BLOCKS = 96  # along a side, at most about, that are looked at
MOST_DRIFT = 0.5  # a margin with more attenuation is no beam that faded since the flats
NOISE_ROWS = 128  # of the margins, that tell the noise


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

    def apply(self, attenuation: Image, fraction: float, threads: int = 1) -> None:
        """Make attenuation (rows, columns) float32, worked out with the flats before, right for F(s); in place."""
        if attenuation.shape != self.pattern.shape:
            raise BadInput(f"a projection is {attenuation.shape}, the flats are {self.pattern.shape}")
        change, share = self.shares(fraction)
        add_log_pattern(attenuation, self.pattern, change, share, threads)

    def terms(self) -> list[Image]:
        """Images (one, q, q², q³): filtered, and times ``coefficients``, they are added to filtered projections."""
        return [np.ones_like(self.pattern), *(self.pattern**power for power in range(1, TERMS + 1))]

    def coefficients(self, fraction: float) -> list[float]:
        """One number for each of ``terms``; what the series leaves out is below q⁴/4."""
        change, share = self.shares(fraction)
        return [change, *(-((-share) ** power) / power for power in range(1, TERMS + 1))]


@dataclass(frozen=True)
class BeamDrift:
    """Attenuation that the open beam shows though nothing is in it: ``offset`` in the middle column, ``slope`` per
    column, and the standard error of the offset. Subtract ``offset + slope·(column - middle)``.
    """

    offset: float
    slope: float
    sigma: float


def drift_from_monitor(reading: float, reference: float) -> BeamDrift:
    """Drift from a beam monitor now and at the time of the flats. Raises BadInput unless both are positive."""
    if not (reading > 0 and reference > 0):
        raise BadInput(f"beam monitor: readings {reading} and {reference} must be positive")
    return BeamDrift(float(-np.log(reading / reference)), 0.0, 0.0)


def open_margins(attenuation: Image, wanted: int = 16) -> tuple[int, int]:
    """Columns at the left and right end that the sample leaves free in a projection (rows, columns): ≤ ``wanted``.

    A column is free when it differs from the outermost four by less than four times their noise. Take the least over
    the projections so far. (0, 0) cannot be told from an edge within the sample; see ``core.moments`` for truncation.
    A side whose outermost columns show an attenuation above 0.5, either way, is taken to be within the sample.
    """
    rows, columns = attenuation.shape
    wanted = min(wanted, columns // 4)
    if wanted == 0:
        return 0, 0
    some = slice(None, None, max(1, rows // NOISE_ROWS))
    counts = []
    for side in (attenuation[:, : max(2, wanted)], attenuation[:, ::-1][:, : max(2, wanted)]):
        jump = float(np.median(np.abs(np.diff(side[some], axis=1))))
        noise = 1.4826 * jump / np.sqrt(2.0 * rows) + 1e-6
        level = side[:, :wanted].mean(axis=0, dtype=np.float64)
        edge = float(np.median(level[:4]))
        away = np.abs(level - edge) > OPEN_SIGMAS * noise + 1e-3
        free = int(np.argmax(away)) if away.any() else wanted
        counts.append(free if abs(edge) <= MOST_DRIFT else 0)
    return counts[0], counts[1]


def drift_from_margins(attenuation: Image, left: int, right: int) -> BeamDrift:
    """Drift from the columns beside the sample in attenuation (rows, columns): ``left`` and ``right`` of them.

    With one margin the offset alone is known, with two the slope as well. Raises BadInput with neither.
    """
    columns = attenuation.shape[1]
    if left <= 0 and right <= 0:
        raise BadInput("the sample leaves no column free: the drift of the beam must come from a monitor")
    middle = (columns - 1) / 2
    found = []
    for part, x in (
        (attenuation[:, :left], (left - 1) / 2),
        (attenuation[:, columns - right :], columns - (right + 1) / 2),
    ):
        if part.size:
            # Rows are averaged by their median: the sample, or its holder, may reach the edge in a few.
            value = float(np.median(part.mean(axis=1, dtype=np.float64)))
            found.append((x - middle, value, float(np.std(part)) / np.sqrt(part.size)))
    sigma = float(np.sqrt(sum(s**2 for *_, s in found)) / len(found))
    if len(found) == 1:
        return BeamDrift(found[0][1], 0.0, sigma)
    (x0, v0, _), (x1, v1, _) = found
    slope = (v1 - v0) / (x1 - x0)
    return BeamDrift(v0 - slope * x0, slope, sigma)


def remove_drift(attenuation: Image, drift: BeamDrift) -> None:
    """Subtract the drift from attenuation (rows, columns) float32, in place."""
    columns = attenuation.shape[1]
    attenuation -= (drift.offset + drift.slope * (np.arange(columns) - (columns - 1) / 2)).astype(np.float32)


class EigenFlats:
    """Patterns in which the beam moves, from the scatter of the flats, and their share in each projection.

    After Van Nieuwenhove et al., Opt. Express 23, 27975 (2015), with two changes that make it live: components of the
    logarithm of the flats, which add to the attenuation, and weights from re-weighted least squares on the gradient of
    the binned projection, which tends to the minimum of its total variation and needs no search.
    """

    def __init__(self, flats: Array, most: int = 3, smooth_px: float = 1.0, threads: int = 1) -> None:
        """``flats`` net single flats (n ≥ 3, rows, columns). ``components`` (≤ ``most``, rows, columns) float32, each
        with an rms of one; ``strength`` their rms in the flats. Components no stronger than noise are left out.
        ``smooth_px`` is the width of the Gaussian that takes the photon noise off them.
        """
        self._threads = threads
        if flats.ndim != 3 or len(flats) < 3:
            raise BadInput(f"eigen-flats need three single flats or more, not {flats.shape}")
        chosen = flats[np.unique(np.linspace(0, len(flats) - 1, min(len(flats), MOST_FLATS)).astype(int))]
        net = np.asarray(chosen, np.float32)
        alive = np.isfinite(net).all(axis=0) & (net > 0).all(axis=0)
        logs = np.log(np.where(alive, net, np.float32(1.0)))
        logs -= logs.mean(axis=0)
        table = logs.reshape(len(logs), -1)
        values, vectors = np.linalg.eigh((table @ table.T).astype(np.float64))
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        # One of the eigenvalues is 0, as the mean was taken off. Noise alone gives a band of nearly equal ones.
        noise = max(float(np.median(values[:-1])), 1e-12 * float(values[0]))
        count = min(int(np.count_nonzero(values > SPREAD * noise)), most, max(1, len(logs) // 2 - 1))
        shape = flats.shape[1:]
        found = [gaussian_filter(np.tensordot(vectors[:, k], logs, 1), smooth_px) for k in range(count)]
        rms = [max(float(np.sqrt(np.mean(image.astype(np.float64) ** 2))), 1e-12) for image in found]
        self.components: Image = as_input(
            np.stack([image / size for image, size in zip(found, rms, strict=True)])
            if found
            else np.zeros((0, *shape)),
            np.float32,
        )
        self.strength = np.array([size / np.sqrt(len(logs)) for size in rms])
        self._small = np.stack([_binned(image, threads) for image in self.components]) if found else np.zeros((0, 1, 1))
        self._slopes = np.stack([_slopes(image) for image in self._small], axis=1) if found else np.zeros((1, 0))

    def weights(self, attenuation: Image) -> NDArray[np.float64]:
        """How much of each component lies on attenuation (rows, columns): what to add to make it smoothest."""
        if attenuation.shape != self.components.shape[1:]:
            raise BadInput(f"a projection is {attenuation.shape}, the eigen-flats {self.components.shape[1:]}")
        weight: NDArray[Any] = np.zeros(len(self.components))
        if not weight.size:
            return weight
        target = _slopes(_binned(attenuation, self._threads))
        trusted = np.ones(target.size)
        for _ in range(ROUNDS):
            model = self._slopes * trusted[:, None]
            weight = np.asarray(np.linalg.lstsq(model.T @ self._slopes, -(model.T @ target), rcond=None)[0])
            rest = np.abs(target + self._slopes @ weight)
            # |gradient| as a weighted square; the sample's edges, of which there are few, hardly count.
            trusted = 1.0 / np.maximum(rest, 0.1 * float(np.median(rest)) + 1e-12)
        return np.asarray(weight, np.float64)

    def apply(self, attenuation: Image, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Correct attenuation (rows, columns) float32 in place; the weights that were used."""
        weights = self.weights(attenuation) if weights is None else weights
        add_weighted(attenuation, self.components, as_input(np.asarray(weights), np.float32), self._threads)
        return weights


def _binned(image: Image, threads: int) -> Image:
    """Means over blocks; the remainder at the ends is left out."""
    down, across = (max(1, min(max(BLOCK, side // BLOCKS), side // 16)) for side in image.shape)
    out = np.empty((image.shape[0] // down, image.shape[1] // across), np.float32)
    mean_blocks(as_input(image, np.float32), down, across, threads, out)
    return out


def _slopes(image: Array) -> NDArray[np.float64]:
    """Differences to the next pixel, both ways, in one row."""
    values = np.asarray(image, np.float64)
    return np.concatenate([np.diff(values, axis=0).ravel(), np.diff(values, axis=1).ravel()])


@kernel(parallel=True)
def mean_blocks(image: Array, down: int, across: int, parts: int, out: Array) -> None:
    """out[i, j] = mean of the block of down × across pixels of image that begins at (i·down, j·across); float32."""
    rows, cols = out.shape
    share = np.float32(1.0 / (down * across))
    for part in prange(parts):
        line = np.empty(cols * across, np.float32)
        for i in range(rows * part // parts, rows * (part + 1) // parts):
            line[:] = np.float32(0.0)
            for r in range(i * down, (i + 1) * down):
                for c in range(cols * across):
                    line[c] += image[r, c]
            for j in range(cols):
                total = np.float32(0.0)
                for c in range(j * across, (j + 1) * across):
                    total += line[c]
                out[i, j] = total * share


@kernel(parallel=True)
def add_weighted(image: Array, stack: Array, weights: Array, parts: int) -> None:
    """image += Σ weights[k]·stack[k]; image (rows, cols), stack (n, rows, cols), weights (n,), float32."""
    rows, cols = image.shape
    for part in prange(parts):
        for r in range(rows * part // parts, rows * (part + 1) // parts):
            for k in range(weights.size):
                weight = weights[k]
                for c in range(cols):
                    image[r, c] += weight * stack[k, r, c]


@kernel(parallel=True)
def add_log_pattern(image: Array, pattern: Array, change: float, share: float, parts: int) -> None:
    """image += change + ln(1 + share·pattern), all (rows, cols) float32; |share·pattern| ≤ 1/2 or so.

    ln(1 + y) = 2 atanh(y / (2 + y)), summed to the seventh order: its error is below 1e-6, and it turns into vectors.
    """
    rows, cols = image.shape
    base, u = np.float32(change), np.float32(share)
    for part in prange(parts):
        for r in range(rows * part // parts, rows * (part + 1) // parts):
            for c in range(cols):
                y = u * pattern[r, c]
                s = y / (np.float32(2.0) + y)
                q = s * s
                series = np.float32(1.0) + q * (np.float32(1 / 3) + q * (np.float32(1 / 5) + q * np.float32(1 / 7)))
                image[r, c] += base + (s + s) * series


@kernel(parallel=True)
def add_late(
    source: Array,
    static: Array,
    use_static: bool,
    pattern: Array,
    share: float,
    base: float,
    slope: float,
    parts: int,
    out: Array,
) -> None:
    """out = source + static + base + slope·(column - middle) + ln(1 + share·pattern); all (rows, cols) float32.

    Without ``use_static``, or with a share of 0, static or pattern are not looked at and may have another shape.
    ``out`` may be ``source``. The logarithm is that of ``add_log_pattern``.
    """
    rows, cols = source.shape
    u = np.float32(share)
    for part in prange(parts):
        line = np.empty(cols, np.float32)
        for c in range(cols):
            line[c] = np.float32(base + slope * (c - 0.5 * (cols - 1)))
        for r in range(rows * part // parts, rows * (part + 1) // parts):
            if use_static:
                for c in range(cols):
                    out[r, c] = source[r, c] + (line[c] + static[r, c])
            else:
                for c in range(cols):
                    out[r, c] = source[r, c] + line[c]
            if share != 0.0:
                for c in range(cols):
                    y = u * pattern[r, c]
                    s = y / (np.float32(2.0) + y)
                    q = s * s
                    series = np.float32(1.0) + q * (np.float32(1 / 3) + q * (np.float32(1 / 5) + q * np.float32(1 / 7)))
                    out[r, c] += (s + s) * series
