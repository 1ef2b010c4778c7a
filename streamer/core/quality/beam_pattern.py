"""Did the pattern of the beam move on the detector since the flats?

Mirrors, crystals and windows give a beam stripes and spots. The flats take them away while they stay in their place;
when they move, every projection keeps the slope of the flats' logarithm, times the shift. That is sought in all columns
at once beside the sample, where nothing else changes; where it leaves no room, in all of them, most of all in those
where it changes little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter1d

Array = NDArray[Any]

SOFT_PX = 1.5
"""Width of the Gaussian under which the flats are looked at: what is finer belongs to the pixels, and stays."""

HALO, FAINT = 6, 0.05
"""Rows beside those asked for that are looked at; share of the typical beam below which a pixel has none."""

COARSE = 1 / 5
"""Share of the columns over whose mean a pattern of the beam stands out."""

VIEWS = 400
"""Projections, at most about, that are looked at."""

ROUNDS = 3
"""Of finding where the pattern is, and how much the sample changes in each column besides."""

PARTS = 8
"""Parts of the scan, in time, each of which has a place of the pattern of its own."""

VISIBLE = 0.01
"""Attenuation from which on a pattern matters: columns that change by less are all alike."""

CERTAIN, AGREE = 8.0, 2.5
"""Standard errors, in the rms over the parts, by which their places must differ; by the scatter within the parts, and
by that between blocks of columns: what the sample adds goes slowly with the angle, but is not the same everywhere."""

BLOCKS = 8
"""Of neighbouring columns."""

ROOM, NARROWEST = 0.06, 6
"""Share of the columns, and number of them, free of the sample, from which on the pattern is sought there alone."""

FEWEST = 4 * PARTS
"""Projections without which nothing is said."""


@dataclass(frozen=True)
class MovedPattern:
    """``shift_px`` rms displacement of the beam's pattern since the flats, and the rms ``attenuation`` it adds."""

    shift_px: float
    attenuation: float


def around(first: int, count: int, rows: int) -> slice:
    """Rows of a flat of so many that ``flat_slopes`` needs for ``count`` of them from ``first`` on."""
    return slice(max(0, first - HALO), min(rows, first + count + HALO))


def flat_slopes(net_flat: Array, first: int, count: int) -> tuple[Array, Array]:
    """Slopes (columns,), across and down, of the logarithm of a flat (rows, columns) without its darks: means over
    ``count`` rows from ``first`` on. Pixels without beam have none.
    """
    flat = np.asarray(net_flat, np.float64)
    level = float(np.nanmedian(flat)) if np.isfinite(flat).any() else 0.0
    if level <= 0:
        return np.zeros(flat.shape[1]), np.zeros(flat.shape[1])
    lit = np.isfinite(flat) & (flat > FAINT * level)
    share = gaussian_filter(lit.astype(np.float64), SOFT_PX, mode="nearest")
    soft = gaussian_filter(np.where(lit, np.log(np.where(lit, flat, level)), 0.0), SOFT_PX, mode="nearest")
    soft /= np.maximum(share, 1e-6)
    down = np.gradient(soft, axis=0) if len(flat) > 1 else np.zeros_like(soft)
    whole, own = share > 0.99, slice(first, first + count)
    across, down = (np.where(whole, slope, 0.0)[own].mean(axis=0) for slope in (np.gradient(soft, axis=1), down))
    return across, down


def moved_pattern(views: Array, slopes: Array, free: NDArray[np.bool_] | None = None) -> MovedPattern:
    """By views (n, bands, columns) of attenuation in the order of time, and slopes (directions, bands, columns) of the
    flats. ``free`` (columns,) are those that the sample never covers. Nothing has moved where no movement is certain.
    """
    if free is not None and np.count_nonzero(free) >= max(NARROWEST, ROOM * free.size):
        return _moved(views[..., free], slopes[..., free], _less_mean)
    return _moved(views, slopes, _sharp) if views.shape[2] >= 16 else MovedPattern(0.0, 0.0)


def _less_mean(values: Array) -> Array:
    """Values (..., bands, columns) less their mean: a beam that fades has not moved."""
    return np.asarray(values - values.mean(axis=(-2, -1), keepdims=True))


def _sharp(values: Array) -> Array:
    """What stands out of values (..., columns): a sample is smoother."""
    wide = int(COARSE * values.shape[-1]) | 1
    return np.asarray(values - uniform_filter1d(values, wide, axis=-1, mode="nearest"))


def _moved(views: Array, slopes: Array, sharp: Callable[[Array], Array]) -> MovedPattern:
    """``moved_pattern`` by what ``sharp`` leaves of views and slopes."""
    n = len(views)
    if n < FEWEST:
        return MovedPattern(0.0, 0.0)
    seen = sharp(views[:: -(-n // VIEWS)].astype(np.float32))
    best = MovedPattern(0.0, 0.0)
    for slope in slopes:
        pattern = sharp(slope)
        if not pattern.any():
            continue
        place = np.zeros(len(seen))
        for _ in range(ROUNDS):
            # The pattern itself is no reason to trust a column less.
            rest = seen - (place[:, None, None] * pattern).astype(np.float32)
            weight = 1.0 / (np.var(rest, axis=0) + VISIBLE**2)
            parts = np.einsum("nbc,bc->nc", seen, weight * pattern)
            strength = np.sum(weight * pattern**2, axis=0)
            place = parts.sum(axis=1) / float(strength.sum())
        shift = _displacement(place, parts, strength)
        size = shift * float(np.sqrt(np.mean(pattern**2)))
        best = max(best, MovedPattern(shift, size), key=lambda found: found.attenuation)
    return best


def _displacement(place: Array, parts: Array, strength: Array) -> float:
    """Rms of a place (n,), in the order of time, if it certainly differs between the parts of the scan; else 0.

    It is the sum of ``parts`` (n, columns) over that of their ``strength`` (columns,): what moves does so everywhere.
    The flats show where it was at first; that the noise of their slopes is in the views as well moves nothing.
    """
    means = _means(place)
    # A steady drift is no scatter: within each part, too, the place may go along a line.
    rest = np.concatenate([_beside_a_line(part) for part in np.array_split(place, PARTS)])
    # Neighbours that agree are not noise: fewer values than there are.
    alike = float(np.clip(rest[1:] @ rest[:-1] / max(float(rest @ rest), 1e-30), 0.0, 0.95))
    error = float(np.std(rest)) * np.sqrt((1 + alike) / (1 - alike) / (len(place) // PARTS))
    blocks = np.array_split(np.arange(strength.size), BLOCKS)
    apart = np.stack([_means(parts[:, some].sum(axis=1)) - means * strength[some].sum() for some in blocks])
    apart -= apart.mean(axis=1, keepdims=True)
    between = float(np.sqrt(np.mean(np.sum(apart**2, axis=0)) * BLOCKS / (BLOCKS - 1)) / strength.sum())
    if float(np.std(means)) <= max(CERTAIN * error, AGREE * between):
        return 0.0
    return float(np.sqrt(np.mean((means - means[0]) ** 2)))


def _means(values: Array) -> Array:
    return np.array([part.mean() for part in np.array_split(values, PARTS)])


def _beside_a_line(values: Array) -> Array:
    time = np.arange(values.size) - (values.size - 1) / 2
    return np.asarray(values - values.mean() - time * (time @ values) / (time @ time))
