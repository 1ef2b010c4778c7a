"""Truncation: where the edges of the detector cut a sample off, and how much of it lies beyond them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamer.core.arrays import Array, Mask, Values
from streamer.core.statistics import medians, robust_sigma
from streamer.frames import BadInput

TOUCHING_SHARE = 0.1  # share of the peak attenuation at which an edge column holds sample
BEAM_CHANGE = 0.05  # attenuation by which the open beam may have drifted
PROJECTIONS_USED = 256  # at most, evenly spread over the scan
LEVEL_PARTS, SLOPE_PARTS = 64, 24  # the outermost of as many parts of the columns gives level, or slope
MOST_BEYOND = 0.25  # of the columns: limit of ``beyond_px``


@dataclass(frozen=True)
class Edge:
    """``share`` of the projections in which the sample reaches this edge. ``beyond_px``: the attenuation that lies
    beyond it, summed over columns, in units of that at the edge, where it is reached: from the slope there, as a mean.
    """

    share: float
    beyond_px: float


def measure_edges(sinograms: Array) -> tuple[Edge, Edge]:
    """Left and right edge, from attenuation (projections, rows or bands of rows, columns), up to 256 projections of it.

    An edge is reached when the median of its outermost 64th stands a tenth of the peak, and five times its noise, above
    an open beam that may have drifted by 5 %. Spots of one or two columns are not the peak. Beyond the edge the sample
    is taken to go on along a straight line, to half a width at most. Raises BadInput unless there are three axes and
    two columns.
    """
    if sinograms.ndim != 3 or sinograms.shape[2] < 2:
        raise BadInput(f"sinograms must be (projections, rows, columns), not {sinograms.shape}")
    if 0 in sinograms.shape:
        return Edge(0.0, 0.0), Edge(0.0, 0.0)
    looked = np.unique(np.linspace(0, len(sinograms) - 1, min(PROJECTIONS_USED, len(sinograms))).astype(int))
    views = sinograms[looked]
    columns = views.shape[2]
    strip = min(columns // 2, max(4, columns // LEVEL_PARTS))
    sides = views, views[..., ::-1]
    outermost = [np.asarray(side[..., :strip], np.float64) for side in sides]
    levels = np.stack([medians(side) for side in outermost])
    noise = np.median([robust_sigma(np.diff(side, axis=2)) if strip > 1 else 0.0 for side in outermost])
    beam = np.clip(levels.min(axis=(0, 2)), -BEAM_CHANGE, BEAM_CHANGE)[:, None]
    peak = float(np.percentile(np.asarray(_without_spots(views).max(axis=2), np.float64), 99.0))
    # The median of n values has sqrt(π/2n) of their noise, their differences √2 times it.
    limit = np.maximum(TOUCHING_SHARE * (peak - beam), 5.0 * noise * np.sqrt(np.pi / 4 / strip))
    left, right = (
        _edge(side, level - beam, (level - beam > limit) & (peak > 0))
        for side, level in zip(sides, levels, strict=True)
    )
    return left, right


def _without_spots(views: Array) -> Array:
    """The least of three columns beside each other: a dead pixel, dark in every projection, is no sample."""
    if views.shape[2] < 3:
        return views
    least = np.minimum(views[..., :-2], views[..., 1:-1])
    return np.minimum(least, views[..., 2:], out=least)


def _edge(side: Array, level: Values, touched: Mask) -> Edge:
    """Of views (projections, rows, columns) whose column 0 is at the edge, with the level (projections, rows) there."""
    if not touched.any():
        return Edge(0.0, 0.0)
    columns = side.shape[2]
    strip = max(1, min(columns // 2, max(4, columns // SLOPE_PARTS)))
    outer, inner = (medians(np.asarray(side[..., part : part + strip], np.float64)) for part in (0, strip))
    slope = (inner - outer)[touched] / strip
    height = level[touched]
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(slope > 0, height / slope, np.inf)
    beyond = np.minimum(0.5 * reach, MOST_BEYOND * columns)
    return Edge(float(touched.any(axis=1).mean()), float(height @ beyond / height.sum()))
