"""Do the projections belong to one rigid sample that turned as the angles say? Moments, order by order.

The moment of order k of a projection, Σ v·t^k over the columns t from the axis, is a trigonometric polynomial of degree
k in the angle, of the parity of k (Helgason-Ludwig conditions; Natterer, The Mathematics of Computerized Tomography,
1986, II.4). Order 0 is the mass, order 1 the path of the centre of mass, order 2 what turns and grows. Along the axis
of rotation, every row keeps its mass. What does not fit is told as a displacement in pixels, and as a course in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.statistics import robust_sigma

Series = NDArray[np.float64]

FEWEST = 16  # projections that a fit of the moments needs
MARGIN = 0.02  # of the columns at either side that are taken for open beam
ALIKE = 0.03  # attenuation by which both margins of an open beam may differ
EVEN = 0.1  # attenuation by which a margin may change for the beam to be the cause
CUT = 0.03  # of the densest rays, attenuation in a margin from which on the sample reaches over the edge
RISE = 0.05  # of a margin's attenuation, by which that beside it, or the other, differs where it is the sample's
MOST = 0.3  # of the projections one after the other in which the sample covers both margins, those that must show it
LACKS = 2.5  # times their scatter, by which mass must lack and a level be too high for a sample in the margins
FEW = 0.3  # of the projections, from which on those that are not cut off suffice
PARTS, LOWER = 9, 0.4  # of the scan, from which its beam is found; share of the projections that must see it
TRIM = 0.02  # of the residuals, the largest, that single bad projections may make
CERTAIN = 5.0  # standard errors by which the scatter must exceed that of the noise
STEPS = 24  # times at which a sudden change is looked for
SUDDEN, STEADY = 0.5, 0.5  # share of the scatter that a step or a drift must account for to be named


@dataclass(frozen=True)
class Course:
    """What one series (n,) does in time beyond what rotation explains, in its own unit.

    ``fast`` rms of what changes from one projection to the next, beyond the noise: vibration. ``slow`` rms of the rest.
    ``kind`` "none", "jump", "drift" or "restless" (sway, several jumps), and ``when``, the share of the scan at which
    the jump lies. ``noise`` expected of one projection.
    """

    fast: float
    slow: float
    noise: float
    kind: str = "none"
    when: float = 0.5

    @property
    def rms(self) -> float:
        return float(np.hypot(self.fast, self.slow))


@dataclass(frozen=True)
class Moments:
    """Of n projections in the order of time: mass (pixels² times attenuation per pixel, summed over all rows), centre
    of mass and second moment about the middle column divided by the typical mass, and the noise of one value of each.

    ``radius`` is the rms distance of the mass from the middle.
    """

    mass: Series
    first: Series
    second: Series
    noise: tuple[float, float, float]
    radius: float


def pixel_noise(views: NDArray[Any]) -> float:
    """Standard deviation of a pixel of views (n, rows, columns), by second differences along the columns.

    It is the rms over the columns, as dense ones are noisier; in each of them a median, which edges do not change. Fine
    structure, which does, changes little from one view to the next: their difference shows the noise better then.
    """
    if views.shape[-1] < 3:
        return 0.0
    some = views[:: max(1, len(views) // 64)]
    found = [_bends(some)]
    if len(views) > 64:
        first = np.arange(0, len(views) - 1, max(2, len(views) // 64))
        found.append(_bends(views[first] - views[first + 1]) / np.sqrt(2.0))
    return float(min(found))


def _bends(views: NDArray[Any]) -> float:
    bend = np.abs(views[..., :-2] - 2.0 * views[..., 1:-1] + views[..., 2:])
    per_column = 1.4826 * np.median(bend.reshape(-1, bend.shape[-1]), axis=0) / np.sqrt(6.0)
    return float(np.sqrt(np.mean(np.square(per_column))))


def open_beam(views: NDArray[Any]) -> Series:
    """Attenuation (n, columns) of the open beam in views (n, rows, columns), in the order of time.

    Each view has the level of the emptier of its margins. Where that stands above what a beam that fades has, and the
    columns beside both margins above that again, the sample covers both, and the level is that of the fading beam. From
    one margin to the other the beam goes along a line that changes slowly, as that of a beam that moves; a large steady
    difference is the sample's. A sample that covers both a little shows by the mass that it then lacks.
    """
    margin = max(2, int(MARGIN * views.shape[2]))
    left, right = _strips(views, 0, margin), _strips(views, -margin, margin)
    (first, spread), (last, other) = _fading(left), _fading(right)
    slope = last - first
    if abs(float(slope.mean())) > ALIKE:
        slope = slope - slope.mean()
    if max(np.ptp(first), np.ptp(last), spread, other) > EVEN:
        slope = np.zeros(len(views))
    level = np.minimum(left + 0.5 * slope, right - 0.5 * slope)
    faded, scatter = _fading(level)
    level = np.where(_covered(views, left, right, level - faded, scatter, margin), faded, level)
    level = _as_mass_keeps(views, level)
    return np.asarray(level[:, None] + slope[:, None] * np.linspace(-0.5, 0.5, views.shape[2]))


def always_covered(views: NDArray[Any]) -> bool:
    """Whether both margins of the mean of views (n, rows, columns) differ from what lies beside them: no beam does."""
    margin = max(2, int(MARGIN * views.shape[2]))
    mean = views.mean(axis=0, keepdims=True)
    sides = [(_strips(mean, 0, margin), margin), (_strips(mean, -margin, margin), -2 * margin)]
    return all(abs(_strips(mean, beside, margin) - side)[0] > RISE * side[0] > 0 for side, beside in sides)


def _covered(
    views: NDArray[Any], left: Series, right: Series, excess: Series, scatter: float, margin: int
) -> NDArray[np.bool_]:
    """Which views (n, rows, columns) have a sample in both margins, whose attenuation is left and right (n,).

    The emptier one stands by ``excess`` (n,) above a beam that scatters. A beam that became darker did so alike at both
    margins and beside them; a sample does not, in most of the projections one after the other in which it is there.
    """
    above = excess > 4 * scatter
    rise = np.minimum(_strips(views, margin, margin) - left, _strips(views, -2 * margin, margin) - right)
    sample = above & ((rise > RISE * excess) | (np.abs(left - right) > RISE * excess + 4 * scatter))
    run = np.cumsum(np.diff(above, prepend=False))
    share = np.bincount(run, sample) / np.maximum(np.bincount(run), 1)
    return np.asarray(above & (share[run] > MOST))


def _as_mass_keeps(views: NDArray[Any], level: Series) -> Series:
    """The ``level`` (n,) of the beam in views (n, rows, columns), less what the margins hold of the sample.

    The mass of a sample does not depend on the angle. A beam that became darker leaves it as it is; a level that stands
    too high, since the sample covers the margins, takes away as much from each pixel. Only what explains more than half
    of the mass that lacks is taken back.
    """
    pixels = views[0].size
    mass = views.sum(axis=(1, 2), dtype=np.float64) / pixels - level
    if mass.size < FEWEST:
        return level
    lacks = np.median(mass) - mass
    scatter = robust_sigma(np.diff(mass)) / np.sqrt(2.0)
    near = np.abs(lacks) <= 2.0 * scatter + 1e-12
    time = np.stack([np.ones(mass.size), np.linspace(-1.0, 1.0, mass.size)], axis=1)
    usual = time @ np.linalg.lstsq(time[near], level[near], rcond=None)[0]
    above = level - usual
    certain = (lacks > LACKS * scatter) & (above > LACKS * robust_sigma(np.diff(level)) / np.sqrt(2.0))
    return np.asarray(np.where(certain & (np.abs(lacks - above) < 0.5 * lacks), usual, level))


def _strips(views: NDArray[Any], first: int, width: int) -> Series:
    """Mean (n,) of ``width`` columns of views (n, rows, columns) from the column ``first`` on."""
    first %= views.shape[2]
    return np.asarray(views[..., first : first + width].mean(axis=(1, 2)), np.float64)


def uncut(views: NDArray[Any], beam: Series, noise: float) -> NDArray[np.bool_]:
    """Mask (n,) of the views (n, rows, columns) whose sample lies within the detector; all, where nearly all are cut.

    ``beam`` is that of ``open_beam``, ``noise`` of one pixel.
    """
    margin = max(2, int(MARGIN * views.shape[2]))
    net = views[..., :margin] - beam[:, None, :margin], views[..., -margin:] - beam[:, None, -margin:]
    sides = np.stack([side.mean(axis=2) for side in net])
    peak = float(np.percentile(views[:: max(1, len(views) // 64)], 99.5))
    error = noise / np.sqrt(margin)
    one = sides.max(axis=(0, 2)) < CUT * peak + 6 * error
    # What is the same in all rows stands out of less noise.
    all_rows = sides.mean(axis=2).max(axis=0) < 0.3 * CUT * peak + 5 * error / np.sqrt(views.shape[1])
    whole = one & all_rows
    return whole if np.count_nonzero(whole) > max(FEW * whole.size, FEWEST) else np.ones_like(whole)


def _fading(level: Series) -> tuple[Series, float]:
    """A parabola in time (n,) through the lower part of a margin's attenuation, and the scatter about it.

    It begins with that of many, through the medians of three parts of the scan each, to which the nearest 40 % of the
    values are nearest (least quantile; Rousseeuw, J. Am. Stat. Assoc. 79, 871, 1984): the sample may cover the rest.
    """
    time = np.linspace(-1.0, 1.0, level.size)
    model = np.stack([np.ones_like(time), time, time**2], axis=1)
    if level.size < FEWEST:
        return np.full(level.size, np.median(level)), 0.0
    parts = np.array_split(np.arange(level.size), min(PARTS, level.size // 3))
    at, value = (np.array([np.median(series[part]) for part in parts]) for series in (time, level))
    triples = np.array(list(combinations(range(len(parts)), 3)))
    vander = np.stack([np.ones_like(at), at, at**2], axis=1)
    some = slice(None, None, max(1, level.size // 256))
    found = np.linalg.solve(vander[triples], value[triples][..., None])[..., 0]
    found = np.concatenate([found, np.array([[np.median(value), 0.0, 0.0]])])
    away = np.abs(level[some] - found @ model[some].T)
    nearest = np.partition(away, int(LOWER * away.shape[1]), axis=1)[:, int(LOWER * away.shape[1])]
    best = int(np.argmin(nearest))
    fitted, scatter = model @ found[best], 1.9 * float(nearest[best])  # 40 % of normal values lie within 0.52 sigma
    for _ in range(6):
        low = np.abs(level - fitted) <= 3 * scatter + 1e-12
        low |= level < fitted
        fitted = model @ np.linalg.lstsq(model[low], level[low], rcond=None)[0]
        scatter = robust_sigma((level - fitted)[low])
    return fitted, scatter


def moments_of(views: NDArray[Any], beam: Series, noise: float) -> Moments | None:
    """Moments of views (n, rows, columns), attenuation in which ``beam`` (n, columns) is that of the open beam.

    ``noise`` of one of their pixels. None without a sample: its mass is no more than five times its noise.
    """
    _, rows, columns = views.shape
    t = np.arange(columns) - (columns - 1) / 2
    line = views.sum(axis=1, dtype=np.float64) - rows * beam
    mass = line.sum(axis=1)
    typical = float(np.median(mass))
    margin = max(2, int(MARGIN * columns))
    beam_noise = noise / np.sqrt(margin * rows)
    scale = noise * np.sqrt(rows)

    def error(power: int) -> float:
        return float(np.hypot(scale * np.sqrt(np.sum(t ** (2.0 * power))), beam_noise * rows * abs(np.sum(t**power))))

    if typical <= 5.0 * error(0):
        return None
    first, second = line @ t / typical, line @ t**2 / typical
    profile = np.clip(line.mean(axis=0), 0, None)
    radius = float(np.sqrt(profile @ t**2 / max(float(profile.sum()), 1e-12)))
    return Moments(mass, first, second, (error(0), error(1) / typical, error(2) / typical), max(radius, 1.0))


def harmonics(angle_rad: Series, order: int) -> Series:
    """Columns (n, order + 1) of the trigonometric polynomials of degree ``order`` and of its parity."""
    columns = []
    for k in range(order % 2, order + 1, 2):
        columns.append(np.cos(k * angle_rad))
        if k:
            columns.append(np.sin(k * angle_rad))
    return np.stack(columns, axis=1)


def path_model(angle_rad: Series) -> Series:
    """Columns (n, 3) of the path of a point that turns about an axis: where the axis is, and a circle about it."""
    return np.stack([np.ones_like(angle_rad), np.cos(angle_rad), np.sin(angle_rad)], axis=1)


def residual(model: Series, y: Series) -> Series:
    """What the best linear fit of ``model`` (n, k) leaves of y (n,), one round of it without gross outliers."""
    rest = y - model @ np.linalg.lstsq(model, y, rcond=None)[0]
    scale = robust_sigma(rest)
    near = np.abs(rest) <= 6.0 * scale + 1e-12
    if near.all() or np.count_nonzero(near) < 2 * model.shape[1]:
        return rest
    return np.asarray(y - model @ np.linalg.lstsq(model[near], y[near], rcond=None)[0])


def course(rest: Series, noise: float, parameters: int) -> Course:
    """What a residual (n,), in the order of time, does beyond ``noise`` of each value. ``parameters`` were fitted.

    The largest 2 % of the values do not count, which single bad projections may make.
    """
    n = rest.size
    freedom = max(1, n - parameters)
    steps = np.diff(rest) / np.sqrt(2.0)
    total, quick = _mean_square(rest) * n / freedom, _mean_square(steps)
    chance = CERTAIN * np.sqrt(2.0 / freedom)
    fast = max(0.0, quick - noise**2 * (1 + chance * np.sqrt(1.5)))
    excess = total - noise**2
    if excess <= chance * noise**2 and fast == 0.0:
        return Course(0.0, 0.0, noise)
    white = max(noise**2, quick)
    slow = max(0.0, total - white * (1 + chance))
    return Course(float(np.sqrt(fast)), float(np.sqrt(slow)), noise, *_kind(rest))


def _mean_square(values: Series) -> float:
    """Without the largest 2 %, which hold 11 % of the variance of noise."""
    kept = np.sort(np.square(values))[: max(1, values.size - int(np.ceil(TRIM * values.size)))]
    return float(kept.mean() / (1 - 5.6 * TRIM)) if values.size > 1 / TRIM else float(kept.mean())


def _kind(rest: Series) -> tuple[str, float]:
    """Which simple course in time explains most of a residual, if it explains half of it."""
    n = rest.size
    time = np.arange(n) / (n - 1) - 0.5
    total = float(rest @ rest)
    level = rest - rest.mean()
    drift = float((time @ level) ** 2 / (time @ time))
    steps = np.unique(np.linspace(0.06 * n, 0.94 * n, STEPS).astype(int))
    sums = np.cumsum(level)
    jumps = sums[steps - 1] ** 2 * n / (steps * (n - steps))
    best = int(np.argmax(jumps))
    if max(drift, float(jumps[best])) < SUDDEN * total:
        return "restless", 0.5
    if drift > jumps[best]:
        return "drift", 0.5
    return "jump", float(steps[best] / n)


def sudden_px(y: Series, noise: float) -> float:
    """What a path (n,) in the order of time does from one value to the next, however the rest of it goes.

    Twice the rms beyond ``noise`` of one value, or a step that stands eight times above what lines through the four
    values on either side scatter, whichever is larger. More of the path cannot undo it.
    """
    if y.size < FEWEST:
        return 0.0
    quick = robust_sigma(y[2:] - 2 * y[1:-1] + y[:-2]) / np.sqrt(6.0)
    vibration = 2 * float(np.sqrt(max(0.0, quick**2 - (1.5 * noise) ** 2)))
    # A line through four values, half a step beyond its end: minus a half, zero, a half, one.
    ahead = np.array([-0.5, 0.0, 0.5, 1.0])
    before = np.convolve(y, ahead[::-1], "valid")[: y.size - 7]
    after = np.convolve(y, ahead, "valid")[4:]
    step = after - before
    scatter = max(robust_sigma(step), noise)
    highest = float(np.abs(step).max())
    return max(vibration, highest if highest > 8 * scatter else 0.0)
