"""Centre of rotation by trying: the reconstruction with the right axis is the one with the least |f|.

A wrong axis smears every edge into a bow with dark and bright flanks; the sum is conserved, so that the absolute
values grow (metric IA of Donath et al., J. Opt. Soc. Am. A 23, 1048, 2006). Works for any range of at least half a
turn, without a pair of opposite views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from streamer.core.alignment.estimate import CenterEstimate, confidence_of, stripes_of, without_mirrored
from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.selection import Backend
from streamer.core.fbp.backprojection import backproject_rows
from streamer.core.fbp.ramp_filter import RampFilter, angular_weights
from streamer.core.masks import circle_mask
from streamer.core.statistics import robust_sigma

WIDE_COLUMNS = 192  # columns of the sinograms in the wide search
NARROW_COLUMNS = 512  # columns of the sinograms in the narrow search, which tries fractions of a pixel
MOST_ANGLES = 256
WIDE_ANGLES = 96  # in the wide search
MIN_ANGLES = 20
MIN_RANGE = np.deg2rad(165.0)
WIDE_REACH = 0.15  # share of the columns by which the axis may be off the middle
VOTING_SINOGRAMS = 4  # one from each of as many sections of the detector
SINOGRAM_ROWS = 16  # adjacent rows that are averaged into one sinogram, against noise
NARROW_STEPS = np.array([-0.7, -0.35, 0.0, 0.35, 0.7])  # narrow search, in columns of its sinograms
MAJORITY_SHARE = 0.6  # share of the votes that must agree
AXIS_LEAN = 0.003  # columns per row, the expected tilt of an axis; clear votes may show another
FEW_VOTES_PX = 0.6  # standard error of a single vote, which cannot show its own scatter


@dataclass(frozen=True)
class _Stack:
    """Sinograms (angles, sinograms, columns) that share their angles, and where they lie (detector row)."""

    lines: Image
    angle_rad: Values
    height: Values


def center_from_sharpness(
    backend: Backend,
    sinograms: Image,
    angle_rad: Array,
    prior: float | None = None,
    reach_px: float | None = None,
) -> CenterEstimate:
    """Axis from sinograms (angles, rows, columns), attenuation float32; a few rows with much structure are enough.

    ``prior`` is where to look (default: the middle), ``reach_px`` how far on both sides (default 15 % of the columns).
    Each sinogram votes with the even and with the odd angles of a half turn, or with each half of a full one; the
    scatter of the votes is the standard error, and votes all over the range mean "unknown", as does less than about
    half a turn. The curve is the mean cost of all votes in the wide search.
    """
    columns = sinograms.shape[2]
    start = (columns - 1) / 2 if prior is None else prior
    reach = WIDE_REACH * columns if reach_px is None else reach_px
    theta = np.asarray(angle_rad, np.float64)
    subsets = _subsets(theta)
    if not subsets:
        return CenterEstimate.unknown("sharpness")
    lines, height = _telling_sinograms(sinograms, start)
    stacks = [_Stack(lines[used], theta[used], height) for used in subsets]
    squeeze, fine = max(1, -(-columns // WIDE_COLUMNS)), max(1, -(-columns // NARROW_COLUMNS))
    grid = _grid(start, reach, min(float(squeeze), max(0.5, reach / 6)))
    curves = np.concatenate([_curves(backend, _thinned(stack), grid, squeeze) for stack in stacks])
    mean = np.mean(curves / curves.mean(axis=1, keepdims=True), axis=0)
    best = grid[curves.argmin(axis=1)]
    together = float(grid[int(mean.argmin())])
    agree = np.abs(best - together) <= max(1.5 * squeeze, 0.02 * reach)
    if np.mean(agree) < MAJORITY_SHARE or abs(together - start) > 0.98 * reach:
        return CenterEstimate.unknown("sharpness", (grid, mean))
    near = float(np.mean(best[agree]))
    for _ in range(3):  # the lowest point must lie within the narrow search
        around = near + fine * NARROW_STEPS
        lowest = np.concatenate([_lowest(around, _curves(backend, stack, around, fine)) for stack in stacks])
        found = float(np.median(lowest))
        if abs(found - near) < 0.6 * fine * NARROW_STEPS[-1]:
            break
        near = found
    heights = np.tile(height, len(stacks)) - (sinograms.shape[1] - 1) / 2
    return _verdict(lowest, heights, float(np.mean(agree)), fine, (grid, mean))


def _thinned(stack: _Stack) -> _Stack:
    step = -(-stack.angle_rad.size // WIDE_ANGLES)
    return _Stack(stack.lines[::step], stack.angle_rad[::step], stack.height)


def _verdict(votes: Values, height: Values, share: float, width: int, curve: tuple[Values, Values]) -> CenterEstimate:
    """Median of the votes, projected to the middle row along the tilted axis."""
    center, slope = float(np.median(votes)), 0.0
    noise = max(robust_sigma(votes), 0.02)
    near = height - height.mean()
    spread = float(near @ near)
    if spread > 0:
        # A line whose slope is regularised by what is known of axes (ridge regression).
        slope = float(near @ np.clip(votes - center, -3 * noise, 3 * noise)) / (spread + (noise / AXIS_LEAN) ** 2)
    leaning = votes - slope * height
    center = float(np.median(leaning))
    agree = np.abs(leaning - center) < 0.75 * width
    share = min(share, float(np.mean(agree)))
    if share < MAJORITY_SHARE:
        return CenterEstimate.unknown("sharpness", curve)
    scatter = 1.25 * float(np.std(leaning[agree])) / np.sqrt(np.count_nonzero(agree))
    # Two votes agree by chance, and stripes pull those of one sinogram alike.
    sigma = float(np.linalg.norm([0.04 * width, scatter, AXIS_LEAN * float(height.mean()), FEW_VOTES_PX / votes.size]))
    confidence = confidence_of(sigma) * share * (1.0 - 1.0 / votes.size)
    if confidence < 0.01:
        return CenterEstimate.unknown("sharpness", curve)
    return CenterEstimate(center, confidence, sigma, "sharpness", curve)


def _curves(backend: Backend, stack: _Stack, grid: Values, squeeze: int, window: str = "hann") -> Values:
    """Mean |f| (sinograms, candidates) float64 within the circle of the reconstruction, for each candidate axis.

    ``grid`` are columns of the detector, the sinograms are binned by ``squeeze``. All candidates are reconstructed in
    one pass, as if they were detector rows: the axis is moved exactly, by a phase in the Fourier transform that filters
    the row, so that interpolation treats all candidates alike.
    """
    angles, count, full = stack.lines.shape
    columns = full // squeeze
    binned = stack.lines[..., : columns * squeeze].reshape(angles, count, columns, squeeze).mean(axis=3)
    ramp = RampFilter(columns, window, extend=True)
    spectrum = ramp.spectrum(binned, backend.threads)
    middle = (columns - 1) / 2
    frequency = np.fft.rfftfreq(ramp.length)
    moved = np.empty((angles, columns, count, grid.size), np.float32)
    for index, candidate in enumerate((grid + 0.5) / squeeze - 0.5):
        phase = np.exp(2j * np.pi * frequency * (candidate - middle)).astype(np.complex64)
        rows = scipy.fft.irfft(spectrum * phase, n=ramp.length, axis=-1, workers=backend.threads, overwrite_x=True)
        moved[..., index] = rows[..., :columns].transpose(0, 2, 1)
    out = np.empty((count * grid.size, columns, columns), np.float32)
    theta = stack.angle_rad
    flat = moved.reshape(angles, columns, -1)
    backproject_rows(backend, flat, theta, angular_weights(theta), middle, out)
    # The whole circle, though candidates off the middle are not seen from all sides there: a smaller one would cut off
    # more of the sample the further a candidate is from the middle, and the least would be what was cut off.
    mask = circle_mask(columns, 0.98)
    cost = [float(np.mean(np.abs(image[mask]), dtype=np.float64)) for image in out]
    return np.reshape(cost, (count, grid.size))


def _telling_sinograms(sinograms: Image, about: float) -> tuple[Image, Values]:
    """Sinograms (angles, n, columns) for the search, and their heights: means of adjacent rows, without stripes that
    are not mirrored ``about`` the likely axis.

    One is taken from each of VOTING_SINOGRAMS sections of the detector, where it varies most, so that their votes are
    independent. Sections with hardly any structure do not vote.
    """
    strength = np.array([float(np.var(sinograms[:, row])) for row in range(sinograms.shape[1])])
    chosen, height, weight = [], [], []
    for section in np.array_split(np.arange(strength.size), min(VOTING_SINOGRAMS, strength.size)):
        best = int(section[int(np.argmax(strength[section]))])
        first = max(int(section[0]), min(best - SINOGRAM_ROWS // 2, int(section[-1]) + 1 - SINOGRAM_ROWS))
        last = min(first + SINOGRAM_ROWS, int(section[-1]) + 1)
        mean = sinograms[:, first:last].mean(axis=1)
        chosen.append(mean - without_mirrored(stripes_of(np.median(mean, axis=0)), about))
        height.append(0.5 * (first + last - 1))
        weight.append(strength[best])
    telling = np.array(weight) >= 0.1 * max(weight)
    return np.stack(chosen, axis=1).astype(np.float32)[:, telling], np.array(height)[telling]


def _subsets(theta: Values) -> list[NDArray[np.intp]]:
    """Indices of the angles for each vote: each half of a full turn, or the even and the odd ones of a half turn.

    A full turn is not tried in one go: with a wrong axis it gives a doubled image, which is no less positive.
    """
    folded = np.mod(theta, 2 * np.pi)
    ordered = np.sort(folded)
    gap = np.diff(ordered, append=ordered[0] + 2 * np.pi)
    behind = np.roll(ordered, -1)[int(np.argmax(gap))]  # the first angle behind the widest gap
    since = np.mod(folded - behind + 1e-9, 2 * np.pi)
    halves = []
    for turn in (since < np.pi, since >= np.pi):
        half = np.flatnonzero(turn)
        half = half[np.argsort(since[half])]
        if half.size >= MIN_ANGLES and np.ptp(since[half]) >= MIN_RANGE:
            halves.append(half)
    if len(halves) == 1:
        halves = [halves[0][0::2], halves[0][1::2]]
    return [half[:: -(-half.size // MOST_ANGLES)] for half in halves]


def _grid(middle: float, radius: float, step: float) -> Values:
    count = max(1, int(np.ceil(radius / step)))
    return np.asarray(middle + step * np.arange(-count, count + 1))


def _lowest(grid: Values, curves: Values) -> Values:
    """Lowest points of curves (n, candidates), each that of a parabola through all of it, within the grid's ends."""
    at = grid - grid.mean()
    bend, lean, _ = np.polyfit(at, curves.T, 2)
    lowest = np.where(bend > 0, -0.5 * lean / np.where(bend > 0, bend, 1.0), at[np.argmin(curves, axis=1)])
    return np.asarray(grid.mean() + np.clip(lowest, at[0], at[-1]))
