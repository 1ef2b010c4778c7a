"""Centre of rotation: several independent methods, one answer, and "unknown" rather than a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from streamer.core.alignment.estimate import CenterEstimate, confidence_of
from streamer.core.alignment.half_acquisition import find_overlap
from streamer.core.alignment.trial_slices import center_from_sharpness
from streamer.core.arrays import Array, Image
from streamer.core.backend.selection import Backend

AGREE_PX = 0.5  # two methods agree within this and three of their joint standard errors
ALONE_SHARE = 0.9  # confidence of a method that no other confirms is cut to this share
CUT_OFF_SHARE = 0.5  # share of the projections in which the sample reaches an edge of the detector
SURE_CONFIDENCE = 0.5  # confidence from which on trial reconstructions search near the estimate only
NEAR_PX = 3.0  # reach of that search
CERTAIN_CONFIDENCE = 0.96  # confidence from which on trial reconstructions would not move the centre by 0.1 px


def combine(estimates: Sequence[CenterEstimate]) -> CenterEstimate:
    """One estimate from those of several methods.

    The most trusted group of methods that agree gives the centre, weighted by 1/sigma². Agreement raises the
    confidence, a method that contradicts lowers it by its own; when the camps are equally strong, it is near 0.
    """
    known = [e for e in estimates if e.center is not None and e.confidence > 0]
    if not known:
        return CenterEstimate.unknown("none")
    camps = [[other for other in known if _agree(leader, other)] for leader in known]
    camp = max(camps, key=lambda group: (_joint(group), len(group)))
    against = _joint([e for e in known if e not in camp])
    weight = np.array([1.0 / e.sigma_px**2 for e in camp])
    centers = np.array([e.center for e in camp], np.float64)
    center = float(weight @ centers / weight.sum())
    # Methods that differ by more than their errors have larger ones.
    freedom = max(1, len(camp) - 1)
    excess = max(1.0, float(np.sqrt(weight @ (centers - center) ** 2 / freedom)))
    sigma = excess / float(np.sqrt(weight.sum()))
    confidence = _joint(camp) * (1.0 - against) * (ALONE_SHARE if len(camp) == 1 else 1.0)
    # The curve of the most precise method of the camp that has one.
    exact = sorted(camp, key=lambda e: e.sigma_px)
    curve = next((e.curve for e in [*exact, *estimates] if e.curve is not None), None)
    tilt = next((e.tilt_rad for e in exact if e.tilt_rad is not None), None)
    return CenterEstimate(
        center, min(confidence, confidence_of(sigma)), sigma, "+".join(e.method for e in camp), curve, tilt
    )


def with_motion(estimate: CenterEstimate, motion_px: float | None) -> CenterEstimate:
    """The estimate, trusted less when the sample jumped by ``motion_px`` across the axis: there are two axes then."""
    if estimate.center is None or not motion_px:
        return estimate
    sigma = float(np.hypot(estimate.sigma_px, 0.5 * motion_px))
    return replace(estimate, sigma_px=sigma, confidence=min(estimate.confidence, confidence_of(sigma)))


def refine_center(
    backend: Backend,
    estimates: Sequence[CenterEstimate],
    sinograms: Image,
    angle_rad: Array,
    truncation: float | None,
) -> CenterEstimate:
    """Centre of a complete scan from the ``estimates`` of centres of mass and opposite views, and by trying.

    ``sinograms`` (angles, rows, columns) attenuation float32, ``truncation`` the share of the projections in which the
    sample reaches an edge. Trial reconstructions search near what the estimates agree on, or over their whole range
    when the estimates are unknown or contradict each other; they are left out when they could not improve the answer.
    """
    guess = combine(estimates)
    if guess.confidence >= CERTAIN_CONFIDENCE:
        return guess
    if (truncation or 0.0) > CUT_OFF_SHARE:
        # Cut edges are the brightest thing in a trial reconstruction; opposite rows need no whole sample.
        return combine([*estimates, find_overlap(sinograms[:, ::2], angle_rad).estimate])
    near = guess.center is not None and guess.confidence > SURE_CONFIDENCE
    prior, reach = (guess.center, NEAR_PX) if near else (None, None)
    return combine([*estimates, center_from_sharpness(backend, sinograms, angle_rad, prior, reach)])


def _agree(a: CenterEstimate, b: CenterEstimate) -> bool:
    if a.center is None or b.center is None:
        return False
    return abs(a.center - b.center) <= max(AGREE_PX, 3.0 * float(np.hypot(a.sigma_px, b.sigma_px)))


def _joint(group: Sequence[CenterEstimate]) -> float:
    """Confidence that at least one of several independent methods is right."""
    return 1.0 - float(np.prod([1.0 - e.confidence for e in group])) if group else 0.0
