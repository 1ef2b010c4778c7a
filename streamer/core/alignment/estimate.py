"""The estimate of the axis of rotation, its confidence, and what the detector adds to every projection."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import maximum_filter1d, median_filter

from streamer.core.arrays import Array, Values

STRIPE_WINDOW = 11  # columns from whose median a stripe, alike in all projections, differs
WINDOWS_PER_DETECTOR = 24  # at least; small detectors have a narrower window

PARTNER, BESIDE = 0.3, 7  # share of it that a column of the sample shows on the other side of the axis, within so many

Curve = tuple[Values, Values]


@dataclass(frozen=True)
class CenterEstimate:
    """Detector column of the axis of rotation, or None when the data do not determine it.

    ``confidence`` 0…1; ``sigma_px`` standard error (infinite when unknown); ``curve`` the candidates and their score
    (the lowest is best) where the method searches, for a scientist to look at. ``center`` is that of the middle row;
    ``tilt_rad`` is the tilt of the axis, whose column grows by -tan(tilt) from row to row; None if not measured.
    """

    center: float | None
    confidence: float
    sigma_px: float
    method: str
    curve: Curve | None = field(default=None, compare=False)
    tilt_rad: float | None = field(default=None, compare=False)

    @classmethod
    def unknown(cls, method: str, curve: Curve | None = None) -> CenterEstimate:
        """The answer of a ``method`` that cannot determine the axis; ``curve`` shows what it saw."""
        return cls(None, 0.0, float("inf"), method, curve)


def confidence_of(sigma_px: float) -> float:
    """Confidence for a standard error: 0.96 at 0.1 px, 0.78 at a quarter, 0.37 at half a pixel, 0.02 at one.

    Half a pixel is where the error of the reconstruction has tripled (Shepp-Logan phantom of 512 columns).
    """
    return float(np.exp(-((sigma_px / 0.5) ** 2)))


def stripes_of(mean: Array) -> Values:
    """What the detector adds to every projection: the sharp deviations of their mean (..., columns) along the row.

    Stripes do not turn with the sample. They pull the centre of mass and the registration of opposite views to the
    middle of the detector, and the sharpest reconstruction to an axis that makes a dot of a ring.
    """
    wide = np.asarray(mean, np.float64)
    if wide.shape[-1] < 2 * STRIPE_WINDOW:
        return np.zeros_like(wide)
    # On a small detector the edge of a round sample is as sharp as a stripe, and as steady.
    width = min(STRIPE_WINDOW, max(3, wide.shape[-1] // WINDOWS_PER_DETECTOR | 1))
    half = width // 2
    # Beyond the edges the row goes on along a straight line, through neighbours that hold no stripe at the very edge.
    before, behind = _carried_on(wide[..., ::-1], width)[..., ::-1], _carried_on(wide, width)
    padded = np.concatenate([before, wide, behind], axis=-1)
    size = (1,) * (wide.ndim - 1) + (width,)
    return np.asarray(wide - median_filter(padded, size, mode="nearest")[..., half:-half])


def without_mirrored(stripes: Values, center: float) -> Values:
    """Stripes (..., columns) without those that have a like one on the other side of the axis, column ``center``.

    The walls of a round sample about the axis stay in their place as well, but on both sides.
    """
    opposite = np.rint(2 * center - np.arange(stripes.shape[-1])).astype(int)
    inside = (opposite >= 0) & (opposite < stripes.shape[-1])
    partner = np.clip(opposite, 0, stripes.shape[-1] - 1)
    bright, dark = (maximum_filter1d(sign * stripes, BESIDE, axis=-1)[..., partner] for sign in (1.0, -1.0))
    mirrored = inside & (np.where(stripes > 0, bright, dark) > PARTNER * np.abs(stripes))
    return np.where(mirrored, 0.0, stripes)


def _carried_on(wide: Values, width: int) -> Values:
    """The columns (..., width//2) behind the last, by the median level and slope of those before it."""
    inner = wide[..., -1 - width : -1]
    level = np.median(inner, axis=-1, keepdims=True)
    slope = np.median(np.diff(inner, axis=-1), axis=-1, keepdims=True)
    half = width // 2
    return np.asarray(level + slope * (half + 1 + np.arange(1, half + 1)))
