"""A look at what was stored of a scan so far: which geometry it has."""

from __future__ import annotations

import numpy as np

from streamer.core.estimate import CenterEstimate
from streamer.core.geometry import find_tilt
from streamer.flow.layout import MIN_TILT_RAD, Layout, LayoutOptions, choose_layout, is_full_turn
from streamer.flow.store import AttenuationStore
from streamer.frames import ScanSpec

ROWS, LIVE_ROWS = 16, 4
"""Detector rows from which the geometry is told, in the end and while the scan runs."""

GLANCE = 48
"""Projections that tell while the scan runs whether the sample is cut off; opposite views need all of them."""


def see_layout(
    spec: ScanSpec, store: AttenuationStore, estimate: CenterEstimate, options: LayoutOptions, final: bool
) -> Layout:
    """``layout.choose_layout`` from stored projections. ``final``: also whether the axis leans, which takes longer."""
    rows = np.unique(np.linspace(0, store.all.shape[1] - 1, ROWS if final else LIVE_ROWS).astype(int))
    leans = estimate.tilt_rad is None or abs(estimate.tilt_rad) > 0.5 * MIN_TILT_RAD
    tilt = None
    if final and leans and options.tilt == "auto" and store.whole:
        tilt = find_tilt(store.all, store.angles_rad)
    heights = (store.first_row + rows).tolist()
    numbers = np.arange(store.count)
    if not final and not is_full_turn(spec):
        numbers = np.unique(np.linspace(0, store.count - 1, min(GLANCE, store.count)).astype(int))
    sinograms = store.all[numbers[:, None], rows]
    return choose_layout(spec, store.angles_rad[numbers], sinograms, estimate, options, tilt, heights)
