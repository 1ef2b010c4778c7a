"""Opposite projections picked out while a scan runs: the centre of rotation from half a turn on, in bounded memory."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np

from streamer.core.alignment.estimate import CenterEstimate, stripes_of, without_mirrored
from streamer.core.alignment.opposite_views import (
    END_FRAMES,
    EXACT_RAD,
    MIN_FRAMES,
    WIDEST_RAD,
    across_the_seam,
    from_matches,
    seam_frames,
)
from streamer.core.alignment.registration import Match, register
from streamer.core.alignment.row_binning import bin_rows, row_bin
from streamer.core.arrays import Image, Values
from streamer.core.backend.on_device import Projections

ANCHOR_COUNT = 7  # projections that are kept until their opposite comes
APART_RAD = np.pi / (ANCHOR_COUNT + 1)  # the least between their angles, modulo half a turn


@dataclass(frozen=True, eq=False)
class _View:
    """One projection that is kept, its rows binned."""

    angle_rad: float
    rows: Image


@dataclass
class _Anchor:
    """A projection and those nearest to half a turn from it, on both sides (the same when it came exactly)."""

    view: _View
    before: _View | None = None
    after: _View | None = None

    def gap(self, angle_rad: float) -> float:
        return _turned(angle_rad - self.view.angle_rad - math.pi)

    def offer(self, angle_rad: float, attenuation: Projections) -> None:
        """Take a projection that is at most WIDEST_RAD from half a turn away, if it is nearer than those before."""
        gap = self.gap(angle_rad)
        below = -np.inf if self.before is None else self.gap(self.before.angle_rad)
        above = np.inf if self.after is None else self.gap(self.after.angle_rad)
        if not below < gap < above:
            return
        view = _View(angle_rad, _kept(attenuation))
        if gap < EXACT_RAD:
            self.before = view
        if gap > -EXACT_RAD:
            self.after = view

    def pair(self) -> tuple[tuple[float, ...], Values, Values] | None:
        """Identity of this pair, the projection and its opposite; None while the opposite is unknown."""
        if self.before is None or self.after is None:
            return None
        below, above = self.gap(self.before.angle_rad), self.gap(self.after.angle_rad)
        if above - below > WIDEST_RAD:
            return None
        share = -below / (above - below) if above - below > EXACT_RAD else 0.0
        opposite = (1 - share) * np.asarray(self.before.rows, np.float64) + share * self.after.rows
        key = (self.view.angle_rad, self.before.angle_rad, self.after.angle_rad)
        return key, np.asarray(self.view.rows, np.float64), opposite


class PairTrack:
    """Up to ANCHOR_COUNT opposite pairs of projections that come in any order, matched once each.

    Kept are projections with binned rows (``rowbins``): three for each pair, and those at the two ends of a scan of
    half a turn, which are carried on to meet where there is no pair.
    """

    def __init__(self, start_rad: float, range_rad: float) -> None:
        """``start_rad`` and ``range_rad`` as announced; they only say where the ends of half a turn are expected."""
        self._start, self._range, self._sign = start_rad, range_rad, float(np.sign(range_rad))
        self._seamed = abs(abs(range_rad) - np.pi) <= WIDEST_RAD
        self._anchors: list[_Anchor] = []
        self._ends: tuple[list[_View], list[_View]] = ([], [])
        self._matches: dict[tuple[float, ...], Match] = {}
        self._squeeze = 1

    def add(self, angle_rad: float, attenuation: Projections) -> None:
        """Look at one projection, attenuation (rows, columns) float32, which may lie on a device; a few are copied."""
        self._squeeze = row_bin(len(attenuation))
        for anchor in self._anchors:
            if abs(anchor.gap(angle_rad)) <= WIDEST_RAD:
                anchor.offer(angle_rad, attenuation)
        if len(self._anchors) < ANCHOR_COUNT and all(self._is_apart(angle_rad, anchor) for anchor in self._anchors):
            self._anchors.append(_Anchor(_View(angle_rad, _kept(attenuation))))
        if self._seamed:
            self._at_the_ends(angle_rad, attenuation)

    def so_far(self) -> PairTrack:
        """What is known at this moment, to be asked on another thread while projections come here.

        Both know the matches that either has made; one is asked at a time.
        """
        seen = copy.copy(self)
        seen._anchors = [replace(anchor) for anchor in self._anchors]
        seen._ends = (self._ends[0].copy(), self._ends[1].copy())
        return seen

    def _is_apart(self, angle_rad: float, anchor: _Anchor) -> bool:
        apart = (angle_rad - anchor.view.angle_rad) % np.pi
        return bool(min(apart, np.pi - apart) >= APART_RAD)

    def _at_the_ends(self, angle_rad: float, attenuation: Projections) -> None:
        since = (angle_rad - self._start) * self._sign
        for views, depth, side in zip(self._ends, (since, abs(self._range) - since), (1, -1), strict=True):
            if abs(depth) > 3 * WIDEST_RAD:
                continue
            outermost = sorted(views, key=lambda view: side * view.angle_rad * self._sign)
            if len(views) == END_FRAMES:
                last = (outermost[-1].angle_rad - self._start) * self._sign
                if depth >= (last if side == 1 else abs(self._range) - last):
                    continue
                views.remove(outermost[-1])
            views.append(_View(angle_rad, _kept(attenuation)))

    def estimate(self, mean: Values | None, frames: int, final: bool = False) -> CenterEstimate:
        """Axis from the pairs so far; unknown before there is one.

        ``mean`` (binned rows, columns) of the ``frames`` so far shows the stripes. One new pair is matched in a call,
        which takes as long as some frames; ``final`` matches all, then again with the axis' common tilt held.
        """
        pairs = self._pairs()
        # What was matched before rests on the stripes of that moment, and the final answer not on when it was asked.
        for old in self._matches.keys() - (set() if final else pairs.keys()):
            del self._matches[old]
        fresh = [key for key in pairs if key not in self._matches]
        clean = pairs
        if mean is not None and frames >= MIN_FRAMES and pairs and (fresh or final):
            stripes = without_mirrored(stripes_of(mean), self._about(pairs))
            clean = {key: (one - stripes, other - stripes) for key, (one, other) in pairs.items()}
        for key in fresh if final else fresh[:1]:
            self._matches[key] = register(*clean[key], self._squeeze)
        if not self._matches:
            return CenterEstimate.unknown("pairs")
        both = [clean[key] for key in self._matches]
        return from_matches(list(self._matches.values()), both, self._squeeze, again=final)

    def _about(self, pairs: dict[tuple[float, ...], tuple[Values, Values]]) -> float:
        """Where the axis is, about; near the middle where stripes are stronger than the sample."""
        found = [match.center for match in self._matches.values() if match.center is not None]
        one, other = next(iter(pairs.values()))
        first = None if found else register(one, other, self._squeeze).center
        middle = (one.shape[1] - 1) / 2
        return float(np.median(found)) if found else middle if first is None else first

    def _pairs(self) -> dict[tuple[float, ...], tuple[Values, Values]]:
        found = [pair for anchor in self._anchors if (pair := anchor.pair()) is not None]
        if found:
            return {key: (one, other) for key, one, other in found}
        views = [view for end in self._ends for view in end]
        angles = np.array([view.angle_rad for view in views])
        order = seam_frames(angles)
        seam = across_the_seam([views[k].rows for k in order], angles[order]) if order.size else []
        return {tuple(np.sort(angles).tolist()): pair for pair in seam}


def _kept(attenuation: Projections) -> Image:
    rows: Image = bin_rows(attenuation)
    return rows.copy() if rows.base is not None or rows is attenuation else rows


def _turned(angle_rad: float) -> float:
    """The angle within half a turn on both sides."""
    return (angle_rad + math.pi) % (2 * math.pi) - math.pi
