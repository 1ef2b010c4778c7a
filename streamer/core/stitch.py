"""A full turn about an axis near the edge of the detector ("half acquisition"): a field of view up to twice as wide.

Two ways to the same image. ``OffsetWeights`` lays each projection into a row of the doubled width, faded so that the
two views of a ray share it; filter it at that width and backproject with angular weights of period 2π. Nothing is
interpolated and no opposite view is needed: it works for odd and even numbers, any order, lost frames, and live (the
weighting of Wang, Med. Phys. 29, 1634, 2002, for parallel rays). ``extend_half_turn`` builds the classical sinogram of
half a turn, for the methods and programs that want one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, spline_filter1d
from scipy.ndimage import shift as spline_shift

from streamer.core.estimate import CenterEstimate, trust, unknown
from streamer.core.filters import angular_weights
from streamer.core.pairs import opposite_pairs
from streamer.frames import BadInput

Rows = NDArray[np.float32]
Image = NDArray[np.float64]

EDGE = 2  # columns at the end of the detector that are not trusted in the overlap
MIN_OVERLAP_PX = 16
MOST_PAIRS = 180
MOST_ROWS = 8
GROUPS = 8  # sets of pairs whose scatter gives the error
STEPS = 12
SYSTEMATIC_PX = 0.02
MIN_MATCH = 0.3  # normalised correlation in the overlap below which nothing was found
CLEAR = 0.15  # by which the best correlation must beat the next one that lies elsewhere
ELSEWHERE_PX = 6


class OffsetWeights:
    """Rows of the detector as faded parts of rows ``width`` wide, in which the axis lies in the middle.

    The edge that is far from the axis stays the edge of the wide rows, so that what is cut off there can be carried on.
    ``width`` is odd or even so that the axis, at column ``wide_center`` of the wide rows, is at (width - 1) / 2 + shift
    with \\|shift\\| ≤ 1/4; ``first`` is the wide column of detector column 0. Weights w and distance t from the axis:
    w(t) + w(-t) = 1 where both are seen, 1 where one is.
    """

    def __init__(self, columns: int, center: float, blend: float = 1.0) -> None:
        """``blend`` is the share (0…1) of the overlap over which the two views fade into each other.

        Raises BadInput when the axis lies outside of the detector: there are rays then that nobody saw.
        """
        if not EDGE < center < columns - 1 - EDGE or not 0 < blend <= 1:
            raise BadInput(f"half acquisition needs an axis on the detector of {columns} columns, not at {center}")
        self.columns, self.center = columns, center
        self.width = round(2 * max(center, columns - 1 - center)) + 1
        self.first = 0 if 2 * center >= columns - 1 else self.width - columns
        self.wide_center = self.first + center
        self.weight: Rows = column_weights(columns, center, blend)

    def place(self, attenuation: Rows, out: Rows | None = None) -> Rows:
        """Rows (..., columns) weighted and laid into zeros (..., width) float32; fills ``out`` when given."""
        if attenuation.shape[-1] != self.columns:
            raise BadInput(f"rows of {attenuation.shape[-1]} columns given to weights for {self.columns}")
        if out is None:
            out = np.empty((*attenuation.shape[:-1], self.width), np.float32)
        if out.shape != (*attenuation.shape[:-1], self.width):
            raise BadInput(f"rows {attenuation.shape} do not fill {out.shape}; they become {self.width} columns wide")
        end = self.first + self.columns
        out[..., : self.first] = 0.0
        out[..., end:] = 0.0
        np.multiply(attenuation, self.weight, out=out[..., self.first : end])
        return out


def column_weights(columns: int, center: float, blend: float = 1.0) -> Rows:
    """Weights (columns,) float32 by which the two opposite views of a ray share it; a sin² within the overlap."""
    middle = (columns - 1) / 2
    half = min(center, columns - 1 - center) - EDGE
    t = np.arange(columns) - center
    if center > middle:  # the far side of the axis, t > half, is not on the detector
        t = -t
    fade = np.clip(0.5 + 0.5 * t / (half * blend), 0.0, 1.0) if half > 0 else (t > 0).astype(float)
    return (np.sin(0.5 * np.pi * fade) ** 2).astype(np.float32)


def offset_angular_weights(angle_rad: NDArray[Any]) -> NDArray[np.float64]:
    """Quadrature weights (radian) of a full turn of ``OffsetWeights`` rows: Voronoi cells modulo 2π, not π."""
    return angular_weights(angle_rad, 2 * np.pi)


def extend_half_turn(
    attenuation: Rows, angle_rad: NDArray[Any], center: float, blend: float = 1.0
) -> tuple[Rows, NDArray[np.float64], float]:
    """Half a turn, twice as wide: (projections (n, rows, width) float32, angle_rad (n,), centre).

    Of projections (angles, rows, columns) over a full turn, those whose opposite was measured, or can be interpolated
    between two near neighbours, are kept; the mirrored opposite is moved by a cubic spline and faded in. The angles lie
    in [0, π); views that were seen from both sides come once. Raises BadInput when no projection has an opposite.
    """
    wide = OffsetWeights(attenuation.shape[-1], center, blend)
    theta = np.mod(np.asarray(angle_rad, np.float64), 2 * np.pi)
    pairs = [pair for pair in opposite_pairs(theta) if theta[pair[0]] < np.pi - 1e-9]
    if not pairs:
        raise BadInput("no projection has its opposite: half acquisition needs a full turn")
    rows = attenuation.shape[1]
    out = np.empty((len(pairs), rows, wide.width), np.float32)
    # Mirroring about the axis takes wide column w to 2·wide_center - w, that is, mirrored column + twice the offset.
    move = 2 * wide.wide_center - (wide.width - 1)
    for n, (i, j, k, share) in enumerate(pairs):
        opposite = attenuation[j] if j == k else (1 - share) * attenuation[j] + share * attenuation[k]
        mirrored = wide.place(np.asarray(opposite, np.float32))[:, ::-1]
        moved = mirrored if abs(move) < 1e-6 else spline_shift(mirrored, (0.0, move), order=3, mode="constant")
        out[n] = wide.place(attenuation[i]) + moved
    angles = np.array([theta[i] for i, *_ in pairs])
    return out, angles, wide.wide_center


@dataclass(frozen=True)
class Overlap:
    """Half acquisition as found: ``estimate`` of the axis, ``overlap_px`` columns seen from both sides, ``match`` the
    correlation of the two views there (1: the same), ``side`` on which the axis lies ("left", "right" or "middle").
    """

    estimate: CenterEstimate
    overlap_px: float
    match: float
    side: str


def find_overlap(attenuation: Rows, angle_rad: NDArray[Any], min_share: float = 0.05) -> Overlap:
    """Axis of a full-turn scan anywhere on the detector, from opposite views of projections (angles, rows, columns).

    All pairs and up to 8 rows are laid over their mirror images at once: correlation normalised over the overlap, for
    every whole shift, then Gauss-Newton steps to a hundredth of a pixel. The mean over the angles is taken off first:
    stripes of the detector do not turn with the sample. At least ``min_share`` of the columns must overlap.
    The answer is unknown without pairs, when the views do not match, or when two places match equally well.
    """
    if attenuation.ndim != 3 or attenuation.shape[0] != np.size(angle_rad):
        raise BadInput(f"projections {attenuation.shape} must be (angles, rows, columns) with one angle each")
    columns = attenuation.shape[2]
    views = _opposite_views(attenuation, angle_rad)
    if views is None:
        return Overlap(unknown("overlap"), 0.0, 0.0, "middle")
    here, there = views
    least = max(MIN_OVERLAP_PX, int(min_share * columns))
    shifts, score = _shift_scores(here, there, least)
    curve = ((columns - 1 + shifts) / 2, 1.0 - score)
    best = int(np.argmax(score))
    edged = np.pad(score, 1, constant_values=-2.0)
    rivals = (score >= edged[:-2]) & (score >= edged[2:]) & (np.abs(shifts - shifts[best]) > ELSEWHERE_PX)
    rival = float(score[rivals].max()) if rivals.any() else -1.0
    dx, match, sigma = _refine(here, there, float(shifts[best]))
    center = (columns - 1 + dx) / 2
    overlap = columns - abs(dx)
    side = "middle" if abs(dx) < 0.1 * columns else "right" if dx > 0 else "left"
    clear = min(1.0, max(0.0, (match - rival) / CLEAR))
    confidence = trust(sigma) * clear if match > MIN_MATCH and abs(dx - shifts[best]) < ELSEWHERE_PX else 0.0
    if confidence < 0.01:
        return Overlap(unknown("overlap", curve), overlap, match, side)
    return Overlap(CenterEstimate(center, confidence, sigma, "overlap", curve), overlap, match, side)


def _opposite_views(attenuation: Rows, angle_rad: NDArray[Any]) -> tuple[Image, Image] | None:
    """(lines, columns) of some rows of first views and of their mirrored opposites, smoothed, without stripes."""
    theta = np.mod(np.asarray(angle_rad, np.float64), 2 * np.pi)
    pairs = [pair for pair in opposite_pairs(theta) if theta[pair[0]] < np.pi - 1e-9]
    if len(pairs) < 2 * GROUPS:
        return None
    rows = np.unique(np.linspace(0, attenuation.shape[1] - 1, min(MOST_ROWS, attenuation.shape[1])).astype(int))
    level = attenuation[:, rows].mean(axis=0, dtype=np.float64)
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(MOST_PAIRS, len(pairs))).astype(int))
    here, there = [], []
    for i, j, k, share in (pairs[index] for index in chosen):
        opposite = (1 - share) * attenuation[j][rows] + share * attenuation[k][rows]
        here.append(attenuation[i][rows] - level)
        there.append((opposite - level)[:, ::-1])
    stacked = (np.concatenate(here), np.concatenate(there))
    first, second = (gaussian_filter1d(lines, 1.0, axis=1) for lines in stacked)
    return (first, second) if np.ptp(first) > 0 and np.ptp(second) > 0 else None


def _shift_scores(here: Image, there: Image, least: int) -> tuple[NDArray[np.int64], Image]:
    """Whole shifts dx and the correlation of there(t) with here(t + dx), normalised over what overlaps."""
    columns = here.shape[1]
    length = int(scipy.fft.next_fast_len(2 * columns, real=True))
    spectra = [scipy.fft.rfft(lines, length, axis=1) for lines in (here, there)]
    cross = scipy.fft.irfft(np.sum(spectra[0] * np.conj(spectra[1]), axis=0), length)
    shifts = np.arange(least - columns, columns - least + 1)
    power = [np.concatenate(([0.0], np.cumsum(np.sum(lines**2, axis=0)))) for lines in (here, there)]
    first, last = np.maximum(0, shifts), np.minimum(columns, columns + shifts)
    energy_here = power[0][last] - power[0][first]
    energy_there = power[1][last - shifts] - power[1][first - shifts]
    floor = 1e-3 * np.sqrt(power[0][-1] * power[1][-1]) * (last - first) / columns
    return shifts, cross[shifts % length] / np.maximum(np.sqrt(energy_here * energy_there), floor)


def _refine(here: Image, there: Image, dx: float) -> tuple[float, float, float]:
    """Sub-pixel shift, correlation there, and the error of the shift from the scatter among sets of pairs."""
    columns = here.shape[1]
    coefficients = spline_filter1d(here, order=3, axis=1, mode="nearest")
    match, steps = 0.0, np.zeros(GROUPS)
    for _ in range(STEPS):
        moved = spline_shift(coefficients, (0.0, -dx), order=3, mode="nearest", prefilter=False)
        c0, c1 = max(0, int(np.ceil(-dx))) + EDGE, min(columns, int(np.floor(columns - dx))) - EDGE
        if c1 - c0 < 8:
            return dx, 0.0, float("inf")
        a, b = moved[:, c0:c1], there[:, c0:c1]
        slope = np.gradient(0.5 * (a + b), axis=1)
        up, down = np.sum(slope * (b - a), axis=1), np.sum(slope**2, axis=1)
        groups = [slice(g, None, GROUPS) for g in range(GROUPS)]
        steps = np.array([up[g].sum() / max(float(down[g].sum()), 1e-30) for g in groups])
        match = float(np.sum(a * b) / max(float(np.sqrt(np.sum(a**2) * np.sum(b**2))), 1e-30))
        step = float(np.clip(up.sum() / max(float(down.sum()), 1e-30), -1.0, 1.0))
        dx += step
        if abs(step) < 1e-3:
            break
    # The axis moves by half of the shift.
    sigma = 0.5 * float(np.std(steps, ddof=1)) / np.sqrt(GROUPS)
    return dx, match, float(np.hypot(SYSTEMATIC_PX, sigma))
