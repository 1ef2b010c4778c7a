"""A full turn about an axis near the edge of the detector ("half acquisition"): a field of view up to twice as wide.

Two ways to the same image. ``OffsetWeights`` lays each projection into a row of the doubled width, faded so that the
two views of a ray share it; filter it at that width and backproject with angular weights of period 2π. Nothing is
interpolated and no opposite view is needed: it works for odd and even numbers, any order, lost frames, and live (the
weighting of Wang, Med. Phys. 29, 1634, 2002, for parallel rays). ``extend_half_turn`` builds the classical sinogram of
half a turn, for the methods and programs that want one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import shift as spline_shift

from streamer.core.alignment.estimate import CenterEstimate, confidence_of
from streamer.core.alignment.opposite_views import opposite_pairs
from streamer.core.arrays import Array, Image, Values
from streamer.frames import BadInput

EDGE_COLUMNS = 2  # at either end of the detector, which are not used in the overlap
MIN_OVERLAP_PX = 16
MOST_PAIRS = 180
MOST_ROWS = 8
SEARCH_COLUMNS = 512  # to which, or up to twice that, rows are binned for the first search
GAUSS_TAPS = 4  # columns to either side that a Gaussian of one column reaches
PADDING_COLUMNS = GAUSS_TAPS + 3  # the taps, and what lies beyond the last whole column of the overlap
ERROR_GROUPS = 8  # sets of pairs; their scatter gives the error
NEWTON_STEPS = 12
SETTLED_PX = 1e-3
ROUNDING_SHARE = 1e-6  # of the mean: views that differ by less from it do not differ
SYSTEMATIC_PX = 0.02
MIN_MATCH = 0.3  # normalised correlation in the overlap below which nothing was found
CLEAR_LEAD = 0.13  # of the best correlation over the best one elsewhere, for full confidence
ELSEWHERE_PX = 6


class OffsetWeights:
    """Rows of the detector as faded parts of rows ``width`` wide, in which the axis lies in the middle.

    The edge far from the axis stays an edge of the wide rows, so that a truncated sample can be extended there.
    ``width`` is odd or even so that the axis, at column ``wide_center`` of the wide rows, is at (width - 1) / 2 + shift
    with \\|shift\\| ≤ 1/4; ``first`` is the wide column of detector column 0. Weights w and distance t from the axis:
    w(t) + w(-t) = 1 where both are seen, 1 where one is.
    """

    def __init__(self, columns: int, center: float) -> None:
        """Raises BadInput when the axis lies outside of the detector: there are rays then that nobody saw."""
        if not EDGE_COLUMNS < center < columns - 1 - EDGE_COLUMNS:
            raise BadInput(f"half acquisition needs an axis on the detector of {columns} columns, not at {center}")
        self.columns, self.center = columns, center
        self.width = round(2 * max(center, columns - 1 - center)) + 1
        self.first = 0 if 2 * center >= columns - 1 else self.width - columns
        self.wide_center = self.first + center
        self.weight: Image = column_weights(columns, center)

    def place(self, attenuation: Image, out: Image | None = None) -> Image:
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


def column_weights(columns: int, center: float) -> Image:
    """Weights (columns,) float32 by which the two opposite views of a ray share it; a sin² within the overlap."""
    middle = (columns - 1) / 2
    half = min(center, columns - 1 - center) - EDGE_COLUMNS
    t = np.arange(columns) - center
    if center > middle:  # the far side of the axis, t > half, is not on the detector
        t = -t
    fade = np.clip(0.5 + 0.5 * t / half, 0.0, 1.0) if half > 0 else (t > 0).astype(float)
    return (np.sin(0.5 * np.pi * fade) ** 2).astype(np.float32)


def extend_half_turn(attenuation: Image, angle_rad: Array, center: float) -> tuple[Image, Values, float]:
    """Half a turn, twice as wide: (projections (n, rows, width) float32, angle_rad (n,), centre).

    Of projections (angles, rows, columns) over a full turn, those whose opposite was measured, or can be interpolated
    between two near neighbours, are kept; the mirrored opposite is moved by a cubic spline and faded in. The angles lie
    in [0, π); views that were seen from both sides come once. Raises BadInput when no projection has an opposite.
    """
    wide = OffsetWeights(attenuation.shape[-1], center)
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


def find_overlap(attenuation: Image, angle_rad: Array, min_share: float = 0.05) -> Overlap:
    """Axis of a full-turn scan anywhere on the detector, from opposite views of projections (angles, rows, columns).

    Up to 180 pairs and 8 rows are laid over their mirror images at once: see ``OppositeViews``. At least ``min_share``
    of the columns must overlap. The answer is unknown without pairs, when the views do not match, or when two places
    match equally well.
    """
    rows = np.unique(np.linspace(0, attenuation.shape[1] - 1, min(MOST_ROWS, attenuation.shape[1])).astype(int))
    views = OppositeViews.of(attenuation[:, rows], angle_rad)
    return (
        Overlap(CenterEstimate.unknown("overlap"), 0.0, 0.0, "middle")
        if views is None
        else views.overlap(min_share=min_share)
    )


def facing_views(angle_rad: Array, most: int = MOST_PAIRS) -> list[tuple[int, int, int, float]]:
    """``opposite_pairs`` whose first view lies in the first half of the turn: up to ``most``, evenly spread."""
    theta = np.mod(np.asarray(angle_rad, np.float64), 2 * np.pi)
    pairs = [pair for pair in opposite_pairs(theta) if theta[pair[0]] < np.pi - 1e-9]
    return [pairs[k] for k in np.unique(np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int))]


class OppositeViews:
    """Rows of first views, and of their opposites mirrored about the middle column: laid over each other at the axis.

    A search of all whole shifts by correlation normalised over the overlap, then Gauss-Newton steps to a hundredth of a
    pixel (Lucas and Kanade, Proc. IJCAI 1981, 674). Both are smoothed by a Gaussian of one column; it is sampled where
    the shift points, which interpolates without an error of its own. The mean over the angles is subtracted first:
    stripes of the detector do not turn with the sample.
    """

    def __init__(self, here: Image, there: Image) -> None:
        """First views and mirrored opposites (rows, pairs, columns) float32; use ``of``."""
        self._here = np.pad(here, ((0, 0), (0, 0), (PADDING_COLUMNS, PADDING_COLUMNS)), mode="edge")
        smooth = (
            _moved(self._here, 0.0),
            _moved(np.pad(there, ((0, 0), (0, 0), (PADDING_COLUMNS, PADDING_COLUMNS)), mode="edge"), 0.0),
        )
        self._there = smooth[1]
        self._columns = here.shape[2]
        # Whole columns of a wide detector are finer than the steps that follow need.
        self._factor = max(1, self._columns // SEARCH_COLUMNS)
        spectra, self._power = zip(*(self._searched(lines) for lines in smooth), strict=True)
        self._cross = np.sum(spectra[0] * np.conj(spectra[1]), axis=1)

    @classmethod
    def of(cls, attenuation: Image, angle_rad: Array, most: int = MOST_PAIRS) -> OppositeViews | None:
        """Of projections (angles, rows, columns), up to ``most`` pairs; None where there are too few, or no contrast.

        Raises BadInput unless there is one angle for each.
        """
        if attenuation.ndim != 3 or attenuation.shape[0] != np.size(angle_rad):
            raise BadInput(f"projections {attenuation.shape} must be (angles, rows, columns) with one angle each")
        pairs = facing_views(angle_rad, most)
        if len(pairs) < 2 * ERROR_GROUPS:
            return None
        i, j, k = np.array([pair[:3] for pair in pairs]).T
        share = np.array([pair[3] for pair in pairs], np.float32)[:, None, None]
        level = attenuation.mean(axis=0, dtype=np.float64).astype(np.float32)
        here = attenuation[i] - level
        there = (attenuation[j] * (1 - share) + attenuation[k] * share - level)[..., ::-1]
        if min(np.ptp(here), np.ptp(there)) <= ROUNDING_SHARE * float(np.abs(level).max()):
            return None
        return cls(*(np.ascontiguousarray(lines.swapaxes(0, 1), np.float32) for lines in (here, there)))

    @property
    def rows(self) -> int:
        return len(self._there)

    def overlap(self, row: int | None = None, min_share: float = 0.05) -> Overlap:
        """The axis from one of the rows, or from all of them alike; see ``find_overlap``."""
        rows = slice(None) if row is None else slice(row, row + 1)
        columns = self._columns
        shifts, score = self._scores(rows, max(MIN_OVERLAP_PX, int(min_share * columns)))
        curve = ((columns - 1 + shifts) / 2, 1.0 - score)
        best = int(np.argmax(score))
        edged = np.pad(score, 1, constant_values=-2.0)
        rivals = (score >= edged[:-2]) & (score >= edged[2:]) & (np.abs(shifts - shifts[best]) > ELSEWHERE_PX)
        rival = float(score[rivals].max()) if rivals.any() else -1.0
        if score[best] < 0.5 * MIN_MATCH:
            return Overlap(
                CenterEstimate.unknown("overlap", curve),
                columns - abs(float(shifts[best])),
                float(score[best]),
                "middle",
            )
        start = float(shifts[best]) + self._factor * _vertex(*edged[best : best + 3])
        dx, match, sigma = self._refine(rows, start)
        center = (columns - 1 + dx) / 2
        overlap = columns - abs(dx)
        side = "middle" if abs(dx) < 0.1 * columns else "right" if dx > 0 else "left"
        # Binned columns have less noise: their best place is compared with their next.
        clear = min(1.0, max(0.0, (max(match, float(score[best])) - rival) / CLEAR_LEAD))
        confidence = confidence_of(sigma) * clear if match > MIN_MATCH and abs(dx - start) < ELSEWHERE_PX else 0.0
        if confidence < 0.01:
            return Overlap(CenterEstimate.unknown("overlap", curve), overlap, match, side)
        return Overlap(CenterEstimate(center, confidence, sigma, "overlap", curve), overlap, match, side)

    def _searched(self, lines: Image) -> tuple[NDArray[np.complex64], Values]:
        """Spectra of the lines, binned for the search, and their running power (rows, columns + 1)."""
        count = self._columns // self._factor
        binned = lines[..., : count * self._factor].reshape(*lines.shape[:2], count, self._factor).mean(axis=3)
        power = np.zeros((len(lines), count + 1))
        np.cumsum(np.einsum("rpc,rpc->rc", binned, binned), axis=1, out=power[:, 1:])
        length = int(scipy.fft.next_fast_len(2 * count, real=True))
        return scipy.fft.rfft(binned, length, axis=2), power

    def _scores(self, rows: slice, least: int) -> tuple[NDArray[np.int64], Values]:
        """Shifts dx (columns of the detector) and the correlation of there(t) with here(t + dx), normalised over what
        overlaps, of ``least`` columns or more."""
        here, there = (power[rows].sum(axis=0) for power in self._power)
        count = here.size - 1
        length = int(scipy.fft.next_fast_len(2 * count, real=True))
        cross = scipy.fft.irfft(self._cross[rows].sum(axis=0), length)
        least = -(-least // self._factor)
        shifts = np.arange(least - count, count - least + 1)
        first, last = np.maximum(0, shifts), np.minimum(count, count + shifts)
        energy = (here[last] - here[first]) * (there[last - shifts] - there[first - shifts])
        floor = 1e-3 * np.sqrt(here[-1] * there[-1]) * (last - first) / count
        return shifts * self._factor, cross[shifts % length] / np.maximum(np.sqrt(energy), floor)

    def _refine(self, rows: slice, dx: float) -> tuple[float, float, float]:
        """Sub-pixel shift, correlation there, and the error of the shift from the scatter among sets of pairs."""
        columns = self._columns
        match, steps = 0.0, np.zeros(ERROR_GROUPS)
        for _ in range(NEWTON_STEPS):
            c0, c1 = max(0, int(np.ceil(-dx))) + EDGE_COLUMNS, min(columns, int(np.floor(columns - dx))) - EDGE_COLUMNS
            if c1 - c0 < 8:
                return dx, 0.0, float("inf")
            a, b = _moved(self._here[rows], dx, c0, c1), self._there[rows, :, c0:c1]
            slope = np.gradient(0.5 * (a + b), axis=2)
            up, down = (np.einsum("rpc,rpc->p", slope, other, dtype=np.float64) for other in (b - a, slope))
            groups = [slice(g, None, ERROR_GROUPS) for g in range(ERROR_GROUPS)]
            steps = np.array([up[g].sum() / max(float(down[g].sum()), 1e-30) for g in groups])
            here, there, both = (np.einsum("rpc,rpc->", *two, dtype=np.float64) for two in ((a, a), (b, b), (a, b)))
            match = float(both / max(float(np.sqrt(here * there)), 1e-30))
            step = float(np.clip(up.sum() / max(float(down.sum()), 1e-30), -1.0, 1.0))
            dx += step
            if abs(step) < SETTLED_PX:
                break
        # The axis moves by half of the shift.
        sigma = 0.5 * float(np.std(steps, ddof=1)) / np.sqrt(ERROR_GROUPS)
        return dx, match, float(np.hypot(SYSTEMATIC_PX, sigma))


def _vertex(left: float, top: float, right: float) -> float:
    """Where a parabola through three equidistant values has its extremum, -1/2 … 1/2 from the middle one."""
    bend = 2 * top - left - right
    return float(np.clip(0.5 * (right - left) / bend, -0.5, 0.5)) if bend > 0 else 0.0


def _moved(padded: Image, dx: float, first: int = 0, last: int | None = None) -> Image:
    """Columns first … last-1 of padded lines (rows, pairs, columns), smoothed: at column t their value at t + dx."""
    last = padded.shape[2] - 2 * PADDING_COLUMNS if last is None else last
    whole = int(np.floor(dx))
    taps = np.arange(-GAUSS_TAPS, GAUSS_TAPS + 2)
    weights = np.exp(-0.5 * (taps - (dx - whole)) ** 2)
    out = np.zeros((*padded.shape[:2], last - first), np.float32)
    for tap, weight in zip(taps, (weights / weights.sum()).astype(np.float32), strict=True):
        begin = PADDING_COLUMNS + whole + int(tap)
        out += weight * padded[..., first + begin : last + begin]
    return out
