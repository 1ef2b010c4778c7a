"""Centre of rotation from opposite projections: half a turn apart, one is the mirror image of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, spline_filter

from streamer.core.alignment.estimate import CenterEstimate, Curve, confidence_of, stripes_of, without_mirrored
from streamer.core.alignment.row_binning import bin_rows, row_bin
from streamer.core.arrays import Array, Mask, Values
from streamer.core.statistics import robust_sigma
from streamer.frames import BadInput

COARSE_COLUMNS = 256  # columns of the pictures for the first search
COARSE_ROWS = 48
MIN_OVERLAP = 0.3  # share of the columns on which the two must overlap
MAX_DROP = 0.1  # share of the rows by which the sample may have moved
DISTINCT_ROWS = 16  # least number of rows for which movement along the axis is measured
MAX_MISMATCH = 0.45  # two pictures of noise alone differ by 0.71
SYSTEMATIC_PX = 0.01  # by which uneven illumination shifts all pairs alike
FEW_PAIRS_SHARE = 0.85  # of the confidence is left for one or two pairs, which none could contradict
EXACT_RAD = 1e-5
WIDEST_RAD = np.deg2rad(3.5)  # a mean of two views this far apart misplaces a point at 500 px by a quarter of a pixel
NEWTON_STEPS = 12
FEW_ERRORS = 1.5  # by which the error of a single pair exceeds that of noise: the two are not alike in all
FEW_PAIRS = 3  # least number of pairs whose scatter means something
END_FRAMES = 4  # projections at each end that are extrapolated when half a turn is not complete
MIN_FRAMES = 20  # least number of projections whose mean shows the stripes
MEAN_FRAMES = 96  # projections that are enough for that mean
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


def center_from_pair(p0: Array, p180: Array) -> PairMatch:
    """Match attenuation p0 (rows, columns) with p180, half a turn later.

    A search over all shifts by normalised cross-correlation of what overlaps (Padfield, IEEE Trans. Image Process. 21,
    2670, 2012), then Gauss-Newton steps to a hundredth of a pixel (Lucas and Kanade, Proc. IJCAI 1981, 674).
    Raises BadInput when the shapes differ.
    """
    if p0.shape != p180.shape or p0.ndim != 2:
        raise BadInput(f"opposite projections must have one shape (rows, columns), not {p0.shape} and {p180.shape}")
    match = register(bin_rows(np.asarray(p0, np.float64)), bin_rows(np.asarray(p180, np.float64)), row_bin(len(p0)))
    return PairMatch(match.center, match.dy, match.mismatch)


def opposite_pairs(angle_rad: Array) -> list[tuple[int, int, int, float]]:
    """Projections with an opposite: (i, j, k, share) means that i + half a turn lies between j and k.

    The opposite is (1-share)·j + share·k; j == k when it was measured itself. Whole turns do not matter. Between
    neighbours that are far apart nothing is interpolated, so that a scan of 0 … 179° has no pair.
    """
    theta = np.mod(np.asarray(angle_rad, np.float64), 2 * np.pi)
    if theta.size < 2:
        return []
    order = np.argsort(theta, kind="stable")
    # One neighbour from the turns before and after, so that the search never falls off an end.
    ring = np.concatenate((order[-1:], order, order[:1]))
    ordered = np.concatenate((theta[order[-1:]] - 2 * np.pi, theta[order], theta[order[:1]] + 2 * np.pi))
    wanted = np.mod(theta + np.pi, 2 * np.pi)
    after = np.clip(np.searchsorted(ordered, wanted), 1, ordered.size - 1)
    before = after - 1
    behind, ahead = wanted - ordered[before], ordered[after] - wanted
    near = np.where(ahead < behind, after, before)
    exact = np.abs(ordered[near] - wanted) < EXACT_RAD
    apart = ordered[after] - ordered[before]
    first, second = ring[np.where(exact, near, before)], ring[np.where(exact, near, after)]
    share = np.where(exact, 0.0, behind / np.where(apart > 0, apart, 1.0))
    kept = np.flatnonzero(exact | (apart <= WIDEST_RAD))
    return list(zip(*(column[kept].tolist() for column in (np.arange(theta.size), first, second, share)), strict=True))


def center_from_opposites(attenuation: Array, angle_rad: Array, most: int = 15) -> CenterEstimate:
    """Median over up to ``most`` opposite pairs of projections (angles, rows, columns); unknown without any.

    The two ends of a scan that stops short of half a turn by less than WIDEST_RAD are extrapolated to meet. The tilt of
    the axis is the median of all pairs, and is held while they are matched once more: one pair alone mixes it up with
    the centre. The curve is 1 - correlation, for all centres.
    """
    pairs = opposite_pairs(angle_rad)
    if pairs:
        chosen = np.unique(np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int))
        both = [_both(attenuation, *pairs[index]) for index in chosen]
    else:
        seam = seam_frames(angle_rad)
        both = across_the_seam([bin_rows(attenuation[k]) for k in seam], np.asarray(angle_rad)[seam])
    if not both:
        return CenterEstimate.unknown("pairs")
    squeeze = row_bin(attenuation.shape[1])
    if len(attenuation) >= MIN_FRAMES:
        used = np.unique(np.linspace(0, len(attenuation) - 1, min(MEAN_FRAMES, len(attenuation))).astype(int))
        mean = sum(np.asarray(bin_rows(attenuation[k]), np.float64) for k in used) / used.size
        about = register(*both[0], squeeze).center
        middle = (attenuation.shape[2] - 1) / 2
        stripes = without_mirrored(stripes_of(np.asarray(mean)), middle if about is None else about)
        both = [(one - stripes, other - stripes) for one, other in both]
    return from_matches([register(*pair, squeeze) for pair in both], both, squeeze)


def from_matches(
    matches: list[Match], both: list[tuple[Values, Values]], squeeze: int, again: bool = True
) -> CenterEstimate:
    """Median of the matches of ``both`` (binned rows, without stripes); ``again`` with their common lean held."""
    fit = [k for k, match in enumerate(matches) if match.center is not None]
    curve = _mean_curve([match.curve for match in matches])
    if not fit or len(fit) < 0.5 * len(matches):
        return CenterEstimate.unknown("pairs", curve)
    lean = float(np.median([matches[k].lean for k in fit]))
    tried, matches = len(matches), [matches[k] for k in fit]
    if again and len(fit) >= FEW_PAIRS:
        held = [register(*both[k], squeeze, start=match, lean=lean) for k, match in zip(fit, matches, strict=True)]
        matches = [match for match in held if match.center is not None] or matches
    centers = np.array([match.center for match in matches])
    # One pair cannot show its own scatter; what the two pictures differ in tells how well they fit.
    few = centers.size < FEW_PAIRS
    own = FEW_ERRORS * float(np.median([match.error_px for match in matches]))
    scatter = own if few else 1.25 * robust_sigma(centers) / np.sqrt(centers.size)
    sigma = float(np.hypot(SYSTEMATIC_PX, scatter))
    confidence = confidence_of(sigma) * min(1.0, centers.size / tried) * (FEW_PAIRS_SHARE if few else 1.0)
    if confidence < 0.01:
        return CenterEstimate.unknown("pairs", curve)
    return CenterEstimate(float(np.median(centers)), confidence, sigma, "pairs", curve, 0.5 * lean)


def _both(attenuation: Array, i: int, j: int, k: int, share: float) -> tuple[Values, Values]:
    one, other = bin_rows(attenuation[i]), bin_rows(attenuation[j])
    if j != k:
        other = (1 - share) * other + share * bin_rows(attenuation[k])
    return np.asarray(one, np.float64), np.asarray(other, np.float64)


def seam_frames(angle_rad: Array) -> NDArray[np.intp]:
    """Indices of the END_FRAMES projections at either end of a scan, by angle; none of a short scan."""
    theta = np.mod(np.asarray(angle_rad, np.float64), 2 * np.pi)
    if theta.size < 2 * END_FRAMES:
        return np.zeros(0, np.intp)
    order = np.argsort(theta)
    gap = np.diff(theta[order], append=theta[order[0]] + 2 * np.pi)
    order = np.roll(order, -int(np.argmax(gap)) - 1)
    return np.concatenate([order[:END_FRAMES], order[-END_FRAMES:]])


def across_the_seam(frames: Sequence[Array], angle_rad: Array) -> list[tuple[Values, Values]]:
    """One opposite pair for a scan that is a little shorter than half a turn, or none, from its ``seam_frames``.

    Straight lines through the projections at either end are extrapolated over half of the gap. What they get wrong
    is the same at both ends, but for terms of third order in the angle, and does not move the match. Where the steps
    are wide, fewer of the projections are used.
    """
    if len(frames) < 2 * END_FRAMES:
        return []
    since = np.mod(np.asarray(angle_rad, np.float64) - angle_rad[0], 2 * np.pi)
    missing = float(np.pi - since[-1])
    if not 0 < missing <= WIDEST_RAD:
        return []
    ends = []
    for inwards, target in (
        (range(END_FRAMES), -missing / 2),
        (range(-1, -1 - END_FRAMES, -1), since[-1] + missing / 2),
    ):
        used = [k for k in inwards if abs(since[k] - since[inwards[0]]) <= 2 * WIDEST_RAD]
        if len(used) < 2:
            return []
        at = since[used] - since[used].mean()
        weight = 1 / len(used) + at * (target - since[used].mean()) / max(float(at @ at), 1e-12)
        ends.append(np.tensordot(weight, np.stack([frames[k] for k in used]), axes=1).astype(np.float64))
    return [(ends[0], ends[1])]


def _mean_curve(curves: list[Curve]) -> Curve | None:
    same = [score for candidates, score in curves if candidates.size == curves[0][0].size > 0]
    return (curves[0][0], np.mean(same, axis=0)) if same else None


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
