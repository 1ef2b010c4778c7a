"""Are flats flats and darks darks? Each against the others of its kind, and what the projections say of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, median_filter

from streamer.core.alignment.estimate import stripes_of
from streamer.core.statistics import robust_sigma

Array = NDArray[Any]

BLOCKS = 24
"""Along a side, parts of a frame whose mean brightness is compared."""

GROUPS = 3
"""Kinds of flats, or of darks, that are told apart."""

ALIKE = 0.05
"""Share by which the brightness of a part may differ, beyond noise and a change of the whole frame: a beam moves."""

FADES = 0.2
"""Share by which the whole frame may have become brighter or darker."""

NARROW = 5
"""Columns to whose median a pixel of a mean projection is compared: where the sample's slope is steep, it hides one."""

PARTNER = 0.3
"""Share of that by which the pixel on the other side of the axis must differ for the sample to be the cause."""

CHANGES, ECCENTRIC = 0.5, 11
"""Share of it by which such a pixel differs between the parts of the angles, where the sample lies up to half of so
many columns off the axis."""

BESIDE, HALF = 7, 0.5
"""Columns within which the other side of such a sample shows the same in all parts of the angles, and its share."""

PARTS, HALVES = 4, 2
"""Parts of the angles, in each half of which a pattern must show.

A sample's edge stays in its place over a few degrees only."""

PATTERN = 0.01
"""Attenuation by which a pixel of it must differ: one per cent of the light."""

LIGHT_VIEWS, DENSEST = 256, 6.0
"""Views, at most about, whose light is looked at, and the attenuation beyond which none is left."""

DEAD = 0.5
"""Attenuation by which a column differs from its neighbours, in all rows, when it is dead: no gain changes so much."""

DEAD_SHARE = 0.01
"""Share of the columns, at most, that are taken for dead. A detector has few of these; a new scan has them again."""

BRIGHTER = 0.1
"""Attenuation by which the open beam may have become brighter since the flats: more is no drift."""

LEAK = 0.02
"""Share of the beam that the darks may hold."""


def brightness(frame: Array) -> Array:
    """Mean brightness (≤ 24, ≤ 24) of the parts of a frame (rows, columns); pixels that are no numbers are left out.

    So are those that a 32-bit detector masks (2³² - 1): in their sum the light of the others would be lost.
    """
    rows, columns = frame.shape
    down, across = max(1, rows // BLOCKS), max(1, columns // BLOCKS)
    part = frame[: rows // down * down, : columns // across * across]
    cut = np.asarray(part, np.float32)
    counted = np.isfinite(cut) if part.dtype != np.uint32 else part < np.iinfo(np.uint32).max
    blocks = np.where(counted, cut, 0.0).reshape(rows // down, down, columns // across, across)
    return np.asarray(blocks.mean(axis=(1, 3)))


@dataclass
class Group:
    """Frames that look alike: the mean of their brightness, and their numbers."""

    mean: Array
    numbers: list[int] = field(default_factory=list)


class AlikeFrames:
    """Sorts the flats, or the darks, of a scan by what they look like, in constant memory for each kind.

    A flat with the sample in, or with the shutter closed, is in another group than the rest.
    """

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.count = 0

    def add(self, frame: Array) -> int:
        """The group of a frame (rows, columns). There are up to ``GROUPS``; then the nearest has to do."""
        seen, noise = brightness(frame), _part_noise(frame)
        scale = max(float(np.median(np.abs(seen))), 1e-9)
        alike = (k for k, group in enumerate(self.groups) if _alike(seen, group.mean, scale, noise))
        number = next(alike, len(self.groups))
        if number == GROUPS:
            number = min(range(GROUPS), key=lambda k: float(np.mean(np.abs(self.groups[k].mean - seen))))
        if number == len(self.groups):
            self.groups.append(Group(np.zeros(seen.shape)))
        group = self.groups[number]
        group.numbers.append(self.count)
        group.mean += (seen - group.mean) / len(group.numbers)
        self.count += 1
        return number

    def chosen(self, brightest: bool) -> int:
        """The group to be used: the largest, or among those as large the brightest (flats) or darkest (darks)."""
        sign = 1.0 if brightest else -1.0
        return max(
            range(len(self.groups)),
            key=lambda k: (len(self.groups[k].numbers), sign * float(self.groups[k].mean.mean())),
        )

    def others(self, chosen: int) -> list[int]:
        """Numbers, from 0 in the order in which they came, of the frames that are not in the chosen group."""
        return sorted(n for k, group in enumerate(self.groups) if k != chosen for n in group.numbers)


def _part_noise(frame: Array) -> float:
    """Standard error of the brightness of a part, by the differences between neighbouring pixels of some rows."""
    rows, columns = frame.shape
    some = np.asarray(frame[:: max(1, rows // 32)], np.float64)
    steps = np.diff(np.where(np.isfinite(some), some, np.nan), axis=1)
    steps = steps[~np.isnan(steps)]
    pixel = robust_sigma(steps) / np.sqrt(2.0) if steps.size else 0.0
    return float(pixel / np.sqrt(max(1, rows // BLOCKS) * max(1, columns // BLOCKS)))


def _alike(a: Array, b: Array, scale: float, noise: float) -> bool:
    change = float(np.median(a) / np.median(b)) if np.median(b) else 1.0
    if not 1 - FADES < change < 1 + FADES:
        return abs(float(np.median(a - b))) < 4 * noise
    return bool(np.percentile(np.abs(a - change * b), 99) < ALIKE * scale + 5 * noise)


def light_in_darks(dark: Array, flat: Array) -> float:
    """Share of the beam that mean darks (rows, columns) show: how much of the flat's pattern is in them. 0 if unsure.

    The dark level itself, however high, is no light: it has a pattern of its own.
    """
    d, f = brightness(dark).ravel(), brightness(flat).ravel()
    beam = f - d
    spread = beam - np.median(beam)
    if float(np.std(spread)) < 1e-3 * max(float(np.median(np.abs(beam))), 1e-9):
        return 0.0
    # Blocks that saw no beam at all tell the dark level; the others must not follow the beam.
    model = np.stack([np.ones_like(beam), beam], axis=1)
    solution = np.linalg.lstsq(model, d, rcond=None)[0]
    rest = d - model @ solution
    error = max(robust_sigma(rest), 1e-12) / np.sqrt(float(spread @ spread))
    share = float(solution[1])
    share = share / (1.0 + share) if share > 0 else 0.0
    return share if solution[1] > 6.0 * error and share > LEAK / 4 else 0.0


def negative_share(mean: Array, beam: float, noise: float) -> float:
    """Share of pixels of the mean attenuation (rows, columns) that is clearly below that of the open beam.

    Matter only adds attenuation: where it is negative, the flats held something. ``noise`` of a pixel of the mean.
    """
    limit = 0.02 + 6.0 * noise
    wide = brightness(mean)
    return float(np.mean(wide < max(beam, -BRIGHTER) - limit))


def dead_columns(mean: Array) -> NDArray[np.bool_]:
    """Mask (columns,) of the dead ones, by the mean attenuation (rows, columns) of all projections."""
    dead = np.asarray((np.abs(stripes_of(mean)) > DEAD).all(axis=0))
    return dead if 0 < np.count_nonzero(dead) <= DEAD_SHARE * dead.size else np.zeros_like(dead)


def bridged(views: Array, dead: NDArray[np.bool_]) -> Array:
    """Views (n, rows, columns) in which the ``dead`` columns are interpolated; the same ones where there are none."""
    if not dead.any():
        return views
    alive = np.flatnonzero(~dead)
    gaps = np.flatnonzero(dead)
    after = np.clip(np.searchsorted(alive, gaps), 1, alive.size - 1)
    left, right = alive[after - 1], alive[after]
    share = np.clip((gaps - left) / (right - left), 0.0, 1.0).astype(views.dtype)
    out = views.copy()
    out[..., gaps] = (1 - share) * views[..., left] + share * views[..., right]
    return out


def pattern_rms(views: Array, angle_rad: NDArray[np.float64], center: float, noise: float, flats: int) -> float:
    """Rms (attenuation) of what the detector adds to single pixels of all projections, views (n, rows, columns).

    Counted is what differs sharply from its neighbours in the row, in each eighth of the angles alike: columns whose
    gain changed, hot pixels. A round sample about the axis, column ``center``, leaves sharp edges at all angles as
    well, but on both sides; those do not count. ``noise`` is that of a pixel of one view, and there were ``flats``.
    Behind dense parts, which let few quanta through, it is larger.
    """
    order = np.argsort(np.mod(angle_rad, np.pi), kind="stable")
    eighths = np.array_split(order, PARTS * HALVES)
    means = np.stack([views[some].mean(axis=0, dtype=np.float64) for some in eighths])
    # The variance of the attenuation goes as one over the light.
    lost = np.exp(np.clip(views[:: max(1, len(views) // LIGHT_VIEWS)], 0.0, DENSEST)).mean(axis=0, dtype=np.float64)
    variance = noise**2 * (np.maximum(1.0, lost / lost.mean()) * PARTS / len(views) + 1.0 / max(1, flats))
    # A column that differs in all rows stands out of less noise.
    all_rows = np.sqrt(variance.mean(axis=0, keepdims=True) / views.shape[1])
    whole = means.mean(axis=1, keepdims=True)
    return max(_lasting(means, center, np.sqrt(variance)), _lasting(whole, center, all_rows))


def _sharp(means: Array) -> tuple[Array, Array]:
    """What means (parts, rows, columns) differ sharply by from their neighbours in the row, and how much of it, with
    one sign, they have in common.
    """
    sharp = means - median_filter(means, (1, 1, NARROW), mode="nearest")
    return sharp, np.where(np.ptp(np.sign(sharp), axis=0) == 0, np.abs(sharp).min(axis=0), 0.0)


def _lasting(means: Array, center: float, error: Array) -> float:
    """``pattern_rms`` of means (parts · halves, rows, columns) of the angles, with a pixel's error (rows, columns) in a
    part."""
    columns = means.shape[2]
    sharp, lasting = _sharp(means.reshape(PARTS, HALVES, *means.shape[1:]).mean(axis=1))
    sign, limit = np.sign(sharp[0]), np.maximum(PATTERN, 4.0 * error)
    finer, steady = _sharp(means)
    found = (lasting > limit) & (steady > np.maximum(PATTERN, 4.0 * np.sqrt(HALVES) * error))
    opposite = np.rint(2 * center - np.arange(columns)).astype(int)
    inside = (opposite >= 0) & (opposite < columns)
    mirrored = np.zeros_like(found)
    partner = np.clip(opposite, 0, columns - 1)
    # A gain is the same at all angles; an edge that is nearly round about the axis comes and goes.
    changes = np.ptp(finer, axis=0) > np.maximum(CHANGES * np.abs(finer).mean(axis=0), 4.0 * np.sqrt(HALVES) * error)
    for side in (1.0, -1.0):
        same = maximum_filter((lasting > PARTNER * limit) & (sign == side), (1, NARROW), mode="constant")
        around = maximum_filter(side * sharp > PARTNER * limit, (1, 1, ECCENTRIC), mode="constant").all(axis=0)
        # A wall beside the axis lasts on the one side, and on the other goes to and fro within some columns.
        beside = maximum_filter(side * finer, (1, 1, BESIDE), mode="constant").min(axis=0)
        alike = beside[:, partner] > HALF * steady
        mirrored |= (same[:, partner] | alike | (around[:, partner] & changes)) & inside & (sign == side)
    return float(np.sqrt(np.mean(np.where(found & ~mirrored, sharp.mean(axis=0), 0.0) ** 2)))


def shadow_share(mean: Array, deep: float = 4.0) -> float:
    """Share of pixels of the mean attenuation (rows, columns) through which no light ever comes."""
    return float(np.mean(mean > deep))


def unlit_columns(alive: NDArray[np.bool_]) -> float:
    """Share of the columns without beam in the rows that have any; ``alive`` (rows, columns) by the flats."""
    share = alive.mean(axis=1)
    lit = share > 0.1
    return 0.0 if not lit.any() else float(1.0 - np.median(share[lit]))
