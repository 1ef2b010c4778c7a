"""A look at what was stored of a scan so far: which geometry it has."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.half_acquisition import GROUPS, MOST_PAIRS, OppositeViews, facing_views
from streamer.core.alignment.tilt import Tilt, find_tilt
from streamer.core.alignment.truncation import LOOKS, measure_edges
from streamer.frames import ScanSpec
from streamer.pipeline.layout.layout import MIN_TILT_RAD, Evidence, Layout, best_layout
from streamer.pipeline.layout.options import LayoutOptions
from streamer.pipeline.store import AttenuationStore

ROWS, LIVE_ROWS = 16, 4
"""Detector rows from which the geometry is told, in the end and while the scan runs."""

GLANCE = 48
"""Projections that tell while the scan runs whether the sample is cut off."""

LIVE_PAIRS = 48
"""Opposite views that tell while the scan runs where the axis of a full turn lies, on a detector of 1024 columns: a
wider one needs fewer."""


def see_layout(
    spec: ScanSpec,
    store: AttenuationStore,
    estimate: CenterEstimate,
    options: LayoutOptions,
    final: bool,
    center_px: float | None = None,
) -> Layout:
    """``layout.best_layout`` by stored projections: some while frames come, so that none of them has to wait.

    ``final``: from more of them, and also whether the axis of a plain scan leans, which takes longer.
    ``center_px``: the axis, where it was given.
    """
    rows = np.unique(np.linspace(0, store.all.shape[1] - 1, ROWS if final else LIVE_ROWS).astype(int))
    angles = store.angles_rad

    def some(numbers: NDArray[np.intp]) -> NDArray[np.float32]:
        return np.asarray(store.all[numbers[:, None], rows])

    @cache
    def views() -> OppositeViews | None:
        most = MOST_PAIRS if final else min(LIVE_PAIRS, max(2 * GROUPS, LIVE_PAIRS * 1024 // spec.columns))
        pairs = np.array([pair[:3] for pair in facing_views(angles, most)], np.intp)
        numbers = np.unique(pairs)
        return OppositeViews.of(some(numbers), angles[numbers], most)

    def tilt() -> Tilt | None:
        leans = estimate.tilt_rad is None or abs(estimate.tilt_rad) > 0.5 * MIN_TILT_RAD
        return find_tilt(store.all, angles) if final and leans and store.whole else None

    count = min(LOOKS if final else GLANCE, store.count)
    edges = measure_edges(some(np.unique(np.linspace(0, store.count - 1, count).astype(int))))
    heights = (store.first_row + rows).tolist()
    return best_layout(spec, Evidence(angles, edges, estimate, views, tilt, heights, center_px), options)
