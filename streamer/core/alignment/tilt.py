"""Tilt of the axis of rotation in the plane of the detector: found from opposite views, and taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import prange
from scipy.ndimage import affine_transform, gaussian_filter

from streamer.core.alignment.estimate import confidence_of
from streamer.core.alignment.opposite_views import (
    FEW_ERRORS,
    FEW_PAIRS,
    across_the_seam,
    center_from_pair,
    opposite_pairs,
    seam_frames,
)
from streamer.core.alignment.registration import CORRELATED_PIXELS, MAX_MISMATCH
from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.on_device import OnDevice
from streamer.core.jit import as_input, kernel
from streamer.core.preprocessing.binning import bin_frame
from streamer.core.statistics import robust_sigma
from streamer.frames import BadInput

NEWTON_STEPS = 12
LOOK_PIXELS = 512  # side to which pictures are binned before their tilt is measured
MAX_TILT_RAD = np.deg2rad(5.0)
SYSTEMATIC_RAD = np.deg2rad(0.005)

FEWEST_ROWS = 8
"""Detector rows from which on a tilt is measured: wide views lift their edges by it, however few rows they have."""


@dataclass(frozen=True)
class Tilt:
    """Axis of rotation in the plane of the detector: at column center + tan(tilt_rad)·(row - middle row).

    ``sigma_rad`` standard error; ``confidence`` 0…1, 0 when the views did not match (then ``tilt_rad`` is 0).
    """

    center: float
    tilt_rad: float
    sigma_rad: float
    confidence: float


def tilt_from_pair(first: Array, opposite: Array) -> tuple[Tilt, float]:
    """Tilt from attenuation (rows, columns) of a view and of that half a turn later, and the mismatch that remains.

    Mirrored about a tilted axis, the opposite view is turned by twice the tilt: Gauss-Newton steps on two shifts and
    the turn, from where ``center_from_pair`` found the shifts. Raises BadInput when the shapes differ.
    """
    start = center_from_pair(first, opposite)
    rows, columns = first.shape
    middle = (columns - 1) / 2
    failed = Tilt(middle, 0.0, float("inf"), 0.0)
    if start.center is None or rows < FEWEST_ROWS:
        return failed, start.mismatch
    factor = max(1, -(-max(rows, columns) // LOOK_PIXELS))
    here, there = (_prepared(view, factor) for view in (first, np.asarray(opposite)[:, ::-1]))
    shape = here.shape
    y, x = np.meshgrid(*(np.arange(side) - (side - 1) / 2 for side in shape), indexing="ij")
    move = np.array([-start.dy / factor, (2 * start.center - (columns - 1)) / factor])
    turn, sigma, mismatch = 0.0, float("inf"), 1.0
    for _ in range(NEWTON_STEPS):
        c, s = np.cos(turn), np.sin(turn)
        matrix = np.array([[c, -s], [s, c]])  # (row, column): y' = y cos - x sin, x' = y sin + x cos
        origin = (np.array(shape) - 1) / 2
        moved = affine_transform(here, matrix, origin - matrix @ origin + move, order=3, mode="constant", cval=np.nan)
        valid = np.isfinite(moved)
        slope_y, slope_x = np.gradient(0.5 * (moved + there))
        valid &= np.isfinite(slope_x) & np.isfinite(slope_y)
        if np.count_nonzero(valid) < 0.2 * valid.size:
            return failed, 1.0
        model = np.stack([slope_y[valid], slope_x[valid], (slope_x * y - slope_y * x)[valid]], axis=1)
        model -= model.mean(axis=0)
        difference = (there - moved)[valid]
        difference -= difference.mean()
        normal = model.T @ model
        step = np.linalg.lstsq(normal, model.T @ difference, rcond=None)[0]
        size = float(np.std(moved[valid]) + np.std(there[valid]))
        mismatch = float(np.std(difference)) / size if size > 0 else 1.0
        sigma = float(np.std(difference) * np.sqrt(CORRELATED_PIXELS * np.linalg.pinv(normal)[2, 2])) / 2
        move += np.clip(step[:2], -2.0, 2.0)
        turn += float(np.clip(step[2], -0.02, 0.02))
        if float(np.abs(step[:2]).max()) < 1e-3 and abs(step[2]) < 1e-6:
            break
    tilt = turn / 2
    if mismatch > MAX_MISMATCH or abs(tilt) > MAX_TILT_RAD:
        return failed, mismatch
    center = middle + float(move[1]) * factor / 2 / np.cos(tilt) ** 2
    error = float(np.hypot(sigma, SYSTEMATIC_RAD))
    return Tilt(center, tilt, error, _tilt_confidence(error, rows)), mismatch


def find_tilt(attenuation: Array | OnDevice, angle_rad: Array, most: int = 5) -> Tilt:
    """Median over up to ``most`` opposite pairs of projections (angles, rows, columns); confidence 0 without any.

    Where a scan stops short of half a turn, its ends are extrapolated to meet, see ``across_the_seam``.
    """
    pairs = opposite_pairs(angle_rad)
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int)) if pairs else ()
    both = [
        (np.asarray(attenuation[i]), (1 - share) * np.asarray(attenuation[j]) + share * np.asarray(attenuation[k]))
        for i, j, k, share in (pairs[index] for index in chosen)
    ]
    if not both:
        seam = seam_frames(angle_rad)
        both = across_the_seam([np.asarray(attenuation[k]) for k in seam], np.asarray(angle_rad)[seam])
    found = [tilt for tilt, _ in (tilt_from_pair(*pair) for pair in both) if tilt.confidence > 0]
    if not found:
        return Tilt((attenuation.shape[2] - 1) / 2, 0.0, float("inf"), 0.0)
    angles = np.array([tilt.tilt_rad for tilt in found])
    own = float(np.median([tilt.sigma_rad for tilt in found]))
    few = len(found) < FEW_PAIRS
    scatter = FEW_ERRORS * own if few else 1.25 * robust_sigma(angles) / np.sqrt(len(found))
    sigma = max(scatter, own / np.sqrt(len(found)), SYSTEMATIC_RAD)
    center = float(np.median([tilt.center for tilt in found]))
    return Tilt(center, float(np.median(angles)), sigma, _tilt_confidence(sigma, attenuation.shape[1]))


def fit_axis(rows: Sequence[float], centers: Sequence[float], middle_row: float) -> Tilt:
    """The axis through centres found at several rows: a line by the median of all slopes (Theil and Sen).

    Up to three in ten of the centres may be wrong. Raises BadInput for fewer than three rows.
    """
    row, column = np.asarray(rows, np.float64), np.asarray(centers, np.float64)
    i, j = np.triu_indices(row.size, 1)
    apart = np.abs(row[j] - row[i]) > 0 if row.size >= 3 else np.zeros(0, bool)
    if not apart.any():
        raise BadInput(f"an axis needs centres at three or more rows, not {row.size}")
    slope = float(np.median((column[j] - column[i])[apart] / (row[j] - row[i])[apart]))
    rest = column - slope * (row - middle_row)
    center = float(np.median(rest))
    sigma = 1.2 * robust_sigma(rest) / max(float(np.std(row)) * np.sqrt(row.size), 1e-12)
    error = float(np.hypot(sigma, SYSTEMATIC_RAD))
    return Tilt(center, float(np.arctan(slope)), error, _tilt_confidence(error, int(np.ptp(row)) + 1))


class Straighten:
    """Turns projections so that a tilted axis stands upright at column ``tilt.center``; cubic interpolation.

    Two passes of four taps (columns, then rows; Catmull and Smith, SIGGRAPH 1980; Keys, IEEE Trans. ASSP 29, 1153,
    1981). Beyond the frame its edge is repeated.
    """

    def __init__(self, rows: int, columns: int, tilt: Tilt, threads: int = 1) -> None:
        if abs(tilt.tilt_rad) > MAX_TILT_RAD:
            raise BadInput(f"a tilt of {np.rad2deg(tilt.tilt_rad):.2f}° is more than can be a detector's")
        self._tilt, self._threads = tilt, threads
        self._between = np.empty((rows, columns), np.float32)

    def apply(self, attenuation: Image, out: Image | None = None, first_row: int = 0) -> Image:
        """Attenuation (rows, columns) float32 turned; ``out`` may be the input itself.

        For a part of the rows, from detector row ``first_row`` on, the result is right except near its ends, where it
        lacks the rows of ``source_rows``.
        """
        rows, columns = self._between.shape
        if attenuation.shape[1] != columns or not 0 <= first_row <= rows - attenuation.shape[0]:
            raise BadInput(
                f"a projection is {attenuation.shape} from row {first_row}, the tilt is for {self._between.shape}"
            )
        if out is None:
            out = np.empty(attenuation.shape, np.float32)
        rotate(
            as_input(attenuation, np.float32), self._tilt.tilt_rad, self._tilt.center, (rows - 1) / 2 - first_row,
            self._threads, self._between[: len(attenuation)], out,
        )  # fmt: skip
        return out

    def source_rows(self, first: int, last: int) -> tuple[int, int]:
        """Detector rows [a, b) from which the rows [first, last) are made."""
        rows, columns = self._between.shape
        tilt, center = abs(self._tilt.tilt_rad), self._tilt.center
        lean = max(center, columns - 1 - center) * np.sin(tilt) + rows / 2 * (1 - np.cos(tilt))
        reach = int(np.ceil(lean)) + 2
        return max(0, first - reach), min(rows, last + reach)


def straighten_bands(
    views: Image, heights: Values, thick: float, tilt_rad: float, center: float, middle: float
) -> Image:
    """Means of bands of rows, attenuation (n, bands, columns), as if the axis stood upright at column ``center``.

    ``heights`` (bands,) are the detector rows in their middles, each band is ``thick`` rows high, and ``middle`` is the
    row about which was turned. What the tilt lifts from one band to the next is mixed where they lie side by side;
    bands far apart are shifted only. Linear interpolation; beyond the edges the nearest values are taken.
    """
    bands, columns = views.shape[1:]
    across = np.arange(columns) - center
    up = (heights - middle)[:, None]
    column = np.clip(center + up * np.sin(tilt_rad) + across * np.cos(tilt_rad), 0, columns - 1)
    row = np.broadcast_to(heights[:, None], column.shape)
    if bands > 1 and np.diff(heights).max() <= 2 * thick:
        row = middle + up * np.cos(tilt_rad) - across * np.sin(tilt_rad)
    band = np.interp(row, heights, np.arange(bands))
    first, left = np.minimum(band.astype(int), max(0, bands - 2)), np.minimum(column.astype(int), columns - 2)
    below, right = (band - first).astype(np.float32), (column - left).astype(np.float32)
    last = np.minimum(first + 1, bands - 1)
    upper = (1 - right) * views[:, first, left] + right * views[:, first, left + 1]
    lower = (1 - right) * views[:, last, left] + right * views[:, last, left + 1]
    return np.asarray((1 - below) * upper + below * lower)


def _tilt_confidence(sigma_rad: float, rows: int) -> float:
    """Confidence from what the error moves the axis by at the upper and lower edge."""
    return confidence_of(sigma_rad * rows / 2)


def _prepared(view: Array, factor: int) -> Values:
    return np.asarray(gaussian_filter(bin_frame(view, factor, factor).astype(np.float64), 1.0))


@kernel(inline=True)
def _keys(f: Any) -> Any:
    """Weights of the pixels -1, 0, 1, 2 for a point at fraction f (float32) behind pixel 0; a = -1/2."""
    half, one, two = np.float32(0.5), np.float32(1.0), np.float32(2.0)
    g = one - f
    return (
        -half * f * g * g,
        one + f * f * (f + half * f - two - half),
        one + g * g * (g + half * g - two - half),
        (-half * g * f * f),
    )


@kernel(parallel=True)
def rotate(image: Array, tilt: float, center: float, middle: float, threads: int, between: Array, out: Array) -> None:
    """out(r, c) = image at r' = mid + y cos - x sin, c' = center + y sin + x cos, with x = c - center, y = r - mid."""
    rows, cols = image.shape
    cos, sin, tan = np.cos(tilt), np.sin(tilt), np.tan(tilt)
    # Columns first: between(v, x) = image(v, x / cos + v tan), then rows: out(y, x) = between(y cos - x sin, x).
    for thread in prange(threads):
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            start = center - center / cos + (r - middle) * tan
            for c in range(cols):
                t = min(max(start + c / cos, 0.0), cols - 1.0)
                i = int(t)
                w0, w1, w2, w3 = _keys(np.float32(t - i))
                i1, i2 = min(i + 1, cols - 1), min(i + 2, cols - 1)
                between[r, c] = w0 * image[r, max(i - 1, 0)] + w1 * image[r, i] + w2 * image[r, i1] + w3 * image[r, i2]
    for thread in prange(threads):
        for r in range(rows * thread // threads, rows * (thread + 1) // threads):
            start = middle + (r - middle) * cos + center * sin
            for c in range(cols):
                t = min(max(start - c * sin, 0.0), rows - 1.0)
                i = int(t)
                w0, w1, w2, w3 = _keys(np.float32(t - i))
                i1, i2 = min(i + 1, rows - 1), min(i + 2, rows - 1)
                out[r, c] = (
                    w0 * between[max(i - 1, 0), c] + w1 * between[i, c] + w2 * between[i1, c] + w3 * between[i2, c]
                )
