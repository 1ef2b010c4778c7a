"""Centre of rotation from opposite projections: half a turn apart, one is the mirror image of the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.estimate import CenterEstimate, Curve, confidence_of, stripes_of, without_mirrored
from streamer.core.alignment.registration import Match, PairMatch, register
from streamer.core.alignment.row_binning import bin_rows, row_bin
from streamer.core.arrays import Array, Values
from streamer.core.backend.on_device import OnDevice
from streamer.core.statistics import robust_sigma
from streamer.frames import BadInput

SYSTEMATIC_PX = 0.005  # by which uneven illumination shifts all pairs alike
FEW_PAIRS_SHARE = 0.85  # of the confidence is left for one or two pairs, which none could contradict
EXACT_RAD = 1e-5
WIDEST_RAD = np.deg2rad(3.5)  # a mean of two views this far apart misplaces a point at 500 px by a quarter of a pixel
FEW_ERRORS = 1.5  # by which the error of a single pair exceeds that of noise: the two are not alike in all
FEW_PAIRS = 3  # least number of pairs whose scatter means something
END_FRAMES = 4  # projections at each end that are extrapolated when half a turn is not complete
MIN_FRAMES = 20  # least number of projections whose mean shows the stripes
MEAN_FRAMES = 96  # projections that are enough for that mean


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


def center_from_opposites(attenuation: Array | OnDevice, angle_rad: Array, most: int = 15) -> CenterEstimate:
    """Median over up to ``most`` opposite pairs of projections (angles, rows, columns); unknown without any.

    Of projections on a device only binned rows are downloaded.

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


def _both(attenuation: Array | OnDevice, i: int, j: int, k: int, share: float) -> tuple[Values, Values]:
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
