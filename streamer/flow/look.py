"""A look at what was stored of a scan so far: which geometry it has."""

from __future__ import annotations

import numpy as np

from streamer.core.estimate import CenterEstimate
from streamer.core.geometry import find_tilt
from streamer.flow.layout import MIN_TILT_RAD, Layout, LayoutOptions, choose_layout
from streamer.flow.store import AttenuationStore
from streamer.frames import ScanSpec

ROWS = 16
"""Detector rows from which the geometry is told."""


def see_layout(
    spec: ScanSpec, store: AttenuationStore, estimate: CenterEstimate, options: LayoutOptions, final: bool
) -> Layout:
    """``layout.choose_layout`` from stored projections. ``final``: also whether the axis leans, which takes longer."""
    rows = np.unique(np.linspace(0, store.all.shape[1] - 1, ROWS).astype(int))
    leans = estimate.tilt_rad is None or abs(estimate.tilt_rad) > 0.5 * MIN_TILT_RAD
    tilt = None
    if final and leans and options.tilt == "auto" and store.whole:
        tilt = find_tilt(store.all, store.angles_rad)
    heights = (store.first_row + rows).tolist()
    return choose_layout(spec, store.angles_rad, store.all[:, rows], estimate, options, tilt, heights)
