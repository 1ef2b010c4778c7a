"""Centre of rotation: several independent methods, one answer, and "unknown" rather than a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.center_of_mass import as_track
from streamer.core.alignment.estimate import CenterEstimate, confidence_of
from streamer.core.alignment.opposite_views import center_from_opposites
from streamer.core.alignment.trial_slices import center_from_sharpness
from streamer.core.arrays import Array
from streamer.core.backend.selection import Backend

AGREE_PX = 0.5  # two methods agree within this and three of their joint standard errors
ALONE = 0.9  # confidence of a method that no other confirms is cut to this share
CUT_OFF = 0.5  # share of the projections in which the sample reaches an edge of the detector
NEAR_PX = 3.0  # reach of the search once another method has told where to look


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
    scatter = float(np.sqrt(weight @ (centers - center) ** 2 / weight.sum()))
    sigma = float(np.hypot(1.0 / np.sqrt(weight.sum()), scatter))
    confidence = _joint(camp) * (1.0 - against) * (ALONE if len(camp) == 1 else 1.0)
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


def find_center(backend: Backend, attenuation: NDArray[np.float32], angle_rad: Array) -> CenterEstimate:
    """Centre of rotation of a recorded scan, attenuation (angles, rows, columns) float32, by all methods.

    The reconstructions of the sharpness method are tried last, near what moments and pairs agree on, and over its
    whole range when those cannot say or contradict each other; not for a sample that is wider than the detector, whose
    cut edges are the brightest thing in them.
    """
    track = as_track(backend, attenuation, angle_rad)
    first = [track.estimate(), center_from_opposites(attenuation, angle_rad)]
    guess = combine(first)
    if (track.truncation or 0.0) > CUT_OFF:
        return guess
    near = guess.center is not None and guess.confidence > 0.5
    last = center_from_sharpness(
        backend, attenuation, angle_rad, guess.center if near else None, NEAR_PX if near else None
    )
    return combine([*first, last])


def _agree(a: CenterEstimate, b: CenterEstimate) -> bool:
    if a.center is None or b.center is None:
        return False
    return abs(a.center - b.center) <= max(AGREE_PX, 3.0 * float(np.hypot(a.sigma_px, b.sigma_px)))


def _joint(group: Sequence[CenterEstimate]) -> float:
    """Confidence that at least one of several independent methods is right."""
    return 1.0 - float(np.prod([1.0 - e.confidence for e in group])) if group else 0.0
