"""Laying one projection over the mirrored opposite one: their shift, drop and lean, to a hundredth of a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.ndimage import affine_transform, gaussian_filter, spline_filter

from streamer.core.alignment.estimate import Curve
from streamer.core.arrays import Array, Mask, Values

COARSE_COLUMNS = 256  # columns of the pictures for the first search
COARSE_ROWS = 48
MIN_OVERLAP = 0.3  # share of the columns on which the two must overlap
MAX_DROP = 0.1  # share of the rows by which the sample may have moved
DISTINCT_ROWS = 16  # least number of rows for which movement along the axis is measured
MAX_MISMATCH = 0.45  # two pictures of noise alone differ by 0.71
NEWTON_STEPS = 12
CORRELATED_PIXELS = 12.0  # pixels of smoothed noise that are worth one
MOST_LEAN = np.deg2rad(6.0)


@dataclass(frozen=True)
class PairMatch:
    """Result of laying one projection over the mirrored opposite one.

    ``center`` column of the axis; ``dy`` detector rows by which the sample dropped in between; ``mismatch`` what
    differs after that, as a share of what there is (0 the same, 0.71 unrelated). ``center`` is None when the two do not
    fit.
    """

    center: float | None
    dy: float
    mismatch: float


@dataclass(frozen=True)
class Match(PairMatch):
    """``lean`` is the angle (radian) between the two pictures, twice the tilt of the axis; ``error_px`` the standard
    error of the centre by what the two differ in.
    """

    lean: float
    curve: Curve
    error_px: float = float("inf")


def register(p0: Array, p180: Array, squeeze: int = 1, start: Match | None = None, lean: float | None = None) -> Match:
    """Match of two pictures whose rows are ``squeeze`` detector rows high, from the beginning or from ``start``.

    ``lean`` None means: find it.
    """
    rows, cols = p0.shape
    smooth = (1.0 if rows >= DISTINCT_ROWS else 0.0, 1.0)
    first = gaussian_filter(np.asarray(p0, np.float64), smooth)
    mirror = gaussian_filter(np.asarray(p180, np.float64)[:, ::-1], smooth)
    curve = (np.zeros(0), np.zeros(0)) if start is None else start.curve
    if float(np.ptp(first)) == 0.0 or float(np.ptp(mirror)) == 0.0:
        return Match(None, 0.0, 1.0, 0.0, curve)
    factor, height = max(1, cols // COARSE_COLUMNS), max(1, rows // COARSE_ROWS)
    if start is None or start.center is None:
        shift, drop, score = _best_shift(_bin(first, height, factor), _bin(mirror, height, factor))
        dx, dz = float(shift * factor), float(drop * height)
        lags = np.arange(score.size) - score.size // 2
        curve = ((cols - 1 + lags * factor) / 2, 1.0 - score)
    else:
        dx, dz = 2 * start.center - (cols - 1), -start.dy / squeeze
    dx, dz, found, mismatch, error = _refine(first, mirror, dx, dz, squeeze, lean)
    if round(dz) and not _has_dropped(first, mirror, dx, dz, found, squeeze):
        dx, dz, found, mismatch, error = _refine(first, mirror, dx, 0.0, squeeze, lean)
        dz = 0.0
    # mirror(t) = first(t + dx) and mirror(t) = p0(2·center - (cols-1) + t)
    center = None if mismatch > MAX_MISMATCH or abs(dx) > (1 - MIN_OVERLAP) * cols else (cols - 1 + dx) / 2
    return Match(center, -dz * squeeze, mismatch, found, curve, 0.5 * error)


def _best_shift(first: Values, mirror: Values) -> tuple[int, int, Values]:
    """Whole-pixel (dx, dz) with mirror(z, t) ≈ first(z + dz, t + dx), by correlation normalised over the overlap.

    And the best correlation for each dx, whose middle element is dx = 0.
    """
    shape = [scipy.fft.next_fast_len(2 * side, real=True) for side in first.shape]

    def spectrum(a: Values) -> Values:
        return np.asarray(scipy.fft.rfft2(a, shape))

    def correlate(a: Values, b: Values) -> Values:
        return np.asarray(scipy.fft.irfft2(a * np.conj(b), shape))

    one = spectrum(np.ones_like(first))
    a, b = first - first.mean(), mirror - mirror.mean()
    at_a, at_b = spectrum(a), spectrum(b)
    overlap = np.maximum(np.rint(correlate(one, one)), 1.0)
    sum_a, sum_b = correlate(at_a, one), correlate(one, at_b)
    cross = correlate(at_a, at_b) - sum_a * sum_b / overlap
    power_a = np.maximum(correlate(spectrum(a**2), one) - sum_a**2 / overlap, 0.0)
    power_b = np.maximum(correlate(one, spectrum(b**2)) - sum_b**2 / overlap, 0.0)
    # Where almost nothing varies, the quotient means nothing.
    floor = 0.02 * np.sqrt(float(np.sum(a**2)) * float(np.sum(b**2)))
    score = cross / np.maximum(np.sqrt(power_a * power_b), floor)
    dz = scipy.fft.fftfreq(shape[0], 1.0 / shape[0])[:, None]
    rows, cols = first.shape
    reach = int((1 - MIN_OVERLAP) * cols)
    lags = np.arange(-reach, reach + 1)
    drop = MAX_DROP * rows if rows >= DISTINCT_ROWS else 0.0
    allowed = np.where(np.abs(dz) <= drop, score[:, lags], -2.0)
    row, column = np.unravel_index(int(np.argmax(allowed)), allowed.shape)
    return int(lags[column]), int(dz[row, 0]), np.asarray(allowed.max(axis=0))


def _refine(
    first: Values, mirror: Values, dx: float, dz: float, squeeze: int, lean: float | None
) -> tuple[float, float, float, float, float]:
    """Sub-pixel (dx, dz), the turn between the two (radian), the mismatch, and the standard error of dx.

    The brightness may differ by an offset.

    mirror(z, t) ≈ first(z + dz + turn·(t - middle), t + dx - turn·(z - middle)). A row is ``squeeze`` columns high.
    """
    rows, cols = first.shape
    vertical = rows >= DISTINCT_ROWS
    turning = vertical and lean is None
    most_drop = MAX_DROP * rows + 1.0
    turn, mismatch, edge, error = lean or 0.0, 1.0, 3, float("inf")
    alike = CORRELATED_PIXELS if vertical else float(np.sqrt(CORRELATED_PIXELS))
    spline = spline_filter(first, order=3, mode="nearest")
    z, t = (np.arange(rows) - (rows - 1) / 2)[:, None], (np.arange(cols) - (cols - 1) / 2)[None, :]
    for _ in range(NEWTON_STEPS):
        c0, c1 = max(0, int(np.ceil(-dx))) + edge, min(cols, int(np.floor(cols - dx))) - edge
        r0, r1 = 0, rows
        if vertical:
            r0, r1 = max(0, int(np.ceil(-dz))) + edge, min(rows, int(np.floor(rows - dz))) - edge
        if c1 - c0 < 8 or r1 - r0 < (4 if vertical else 1):
            return dx, dz, turn, 1.0, float("inf")
        matrix = np.array([[1.0, turn / squeeze], [-turn * squeeze, 1.0]])
        middle = np.array([(rows - 1) / 2, (cols - 1) / 2])
        offset = middle - matrix @ middle + (dz, dx)
        moved = affine_transform(spline, matrix, offset, mode="nearest", prefilter=False)
        a, b = moved[r0:r1, c0:c1], mirror[r0:r1, c0:c1]
        difference = (b - b.mean()) - (a - a.mean())
        size = float(np.sqrt(np.mean((a - a.mean()) ** 2)) + np.sqrt(np.mean((b - b.mean()) ** 2)))
        mismatch = float(np.sqrt(np.mean(difference**2))) / size if size > 0 else 1.0
        # The gradient of the mean of both: noise in one alone would shorten every step.
        mean = 0.5 * (a + b)
        slopes = [np.gradient(mean, axis=1)] + ([np.gradient(mean, axis=0)] if vertical else [])
        if turning:
            across, along = slopes
            slopes.append(along * t[:, c0:c1] / squeeze - across * z[r0:r1] * squeeze)
        model = np.stack([(slope - slope.mean()).ravel() for slope in slopes], axis=1)
        normal = model.T @ model
        step = np.linalg.lstsq(normal, model.T @ difference.ravel(), rcond=None)[0]
        error = float(np.sqrt(alike * np.mean(difference**2) * np.linalg.pinv(normal)[0, 0]))
        step[:2] = np.clip(step[:2], -2.0, 2.0)
        dx += float(step[0])
        # What looks alike at all heights would run away along the axis.
        dz = float(np.clip(dz + step[1], -most_drop, most_drop)) if vertical else dz
        turn = float(np.clip(turn + step[2], -MOST_LEAN, MOST_LEAN)) if turning else turn
        if float(np.abs(step[:2]).max()) < 2e-3:
            break
    return dx, dz, turn, mismatch, error


def _has_dropped(first: Values, mirror: Values, dx: float, dz: float, turn: float, squeeze: int) -> bool:
    """Whether the two fit clearly better with the drop than without; a rod looks alike at all heights.

    Both drops have the same fraction of a row, as interpolation takes off noise.
    """
    rows, cols = first.shape
    c0, c1 = max(0, int(np.ceil(-dx))) + 3, min(cols, int(np.floor(cols - dx))) - 3
    cut = int(np.ceil(abs(dz))) + 3
    if c1 - c0 < 8 or rows - 2 * cut < 4:
        return False
    spline = spline_filter(first, order=3, mode="nearest")
    matrix = np.array([[1.0, turn / squeeze], [-turn * squeeze, 1.0]])
    middle = np.array([(rows - 1) / 2, (cols - 1) / 2])
    without, with_it = (
        float(
            np.var(
                mirror
                - affine_transform(spline, matrix, middle - matrix @ middle + (z, dx), mode="nearest", prefilter=False),
                where=_inside(first.shape, cut, c0, c1),
            )
        )
        for z in (dz - round(dz), dz)
    )
    # Smoothed noise: CORRELATED_PIXELS pixels count as one. The best of many drops is better by chance, see the tests.
    count = (rows - 2 * cut) * (c1 - c0) / CORRELATED_PIXELS
    return bool(count * (without - with_it) > (50 + 4 * np.sqrt(count)) * with_it)


def _inside(shape: tuple[int, int], cut: int, c0: int, c1: int) -> Mask:
    inside = np.zeros(shape, np.bool_)
    inside[cut : shape[0] - cut, c0:c1] = True
    return inside


def _bin(image: Values, down: int, across: int) -> Values:
    rows, cols = image.shape[0] // down * down, image.shape[1] // across * across
    if down == 1 and across == 1:
        return image
    return np.asarray(image[:rows, :cols].reshape(rows // down, down, cols // across, across).mean(axis=(1, 3)))
