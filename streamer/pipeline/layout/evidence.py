"""What the projections of a scan show of its geometry: the evidence from which a layout is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.half_acquisition import ERROR_GROUPS, MOST_PAIRS, OppositeViews, facing_views
from streamer.core.alignment.registration import DISTINCT_ROWS
from streamer.core.alignment.tilt import Tilt, find_tilt
from streamer.core.alignment.truncation import PROJECTIONS_USED, Edge, measure_edges
from streamer.core.arrays import Image, Values
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.layout.layout import MIN_TILT_RAD
from streamer.pipeline.store import ProjectionStore

FINAL_ROWS, LIVE_ROWS = 16, 4
"""Detector rows from which the geometry is determined, at the end and while the scan runs."""

LIVE_EDGE_VIEWS = 48
"""Projections that show, while the scan runs, whether the sample is cut off."""

LIVE_PAIRS = 48
"""Opposite views that show, while the scan runs, the axis of a full turn on a detector of 1024 columns; a wider one
needs fewer."""


NOT_MEASURED = Tilt(0.0, 0.0, float("inf"), 0.0)


@dataclass(frozen=True)
class Evidence:
    """What is known of a scan's geometry.

    ``angle_rad`` of all projections; the ``edges``, left and right, of some of them; the ``estimate`` of the axis by
    the methods that expect it near the middle; ``center_px``, the axis as a detector column if it was given.

    What takes longer is called for only if needed: ``views``, opposite views of the detector rows ``band_rows``, None
    if there are too few; and ``tilt``, that of the axis from whole projections, None where it is upright or while the
    scan runs. Without ``band_rows`` the tilt of half acquisition is that of ``tilt``, too.
    """

    angle_rad: Values
    edges: tuple[Edge, Edge]
    estimate: CenterEstimate
    views: Callable[[], OppositeViews | None]
    tilt: Callable[[], Tilt | None]
    band_rows: Sequence[float] | None = None
    center_px: float | None = None


def measure_evidence(
    spec: ScanSpec,
    store: ProjectionStore,
    estimate: CenterEstimate,
    final: bool,
    center_px: float | None = None,
) -> Evidence:
    """Evidence of stored projections: of some of them while frames arrive, so that none of these has to wait.

    ``final``: of more of them, and also whether the axis of a plain scan is tilted, which takes longer.
    """
    rows = np.unique(np.linspace(0, store.all.shape[1] - 1, FINAL_ROWS if final else LIVE_ROWS).astype(int))
    angles = store.angles_rad

    def sinograms(numbers: NDArray[np.intp]) -> Image:
        return store.few(numbers, rows)

    @cache
    def views() -> OppositeViews | None:
        most = MOST_PAIRS if final else min(LIVE_PAIRS, max(2 * ERROR_GROUPS, LIVE_PAIRS * 1024 // spec.columns))
        pairs = np.array([pair[:3] for pair in facing_views(angles, most)], np.intp)
        numbers = np.unique(pairs)
        return OppositeViews.of(sinograms(numbers), angles[numbers], most)

    def tilt() -> Tilt | None:
        # Views of few rows were laid over each other without a turn.
        upright = estimate.tilt_rad is not None and abs(estimate.tilt_rad) <= 0.5 * MIN_TILT_RAD
        if not final or (upright and spec.rows >= DISTINCT_ROWS):
            return None
        return find_tilt(store.all, angles) if store.whole else NOT_MEASURED

    count = min(PROJECTIONS_USED if final else LIVE_EDGE_VIEWS, store.count)
    edges = measure_edges(sinograms(np.unique(np.linspace(0, store.count - 1, count).astype(int))))
    heights = (store.first_row + rows).tolist()
    return Evidence(angles, edges, estimate, views, tilt, heights, center_px)


def sinogram_evidence(
    spec: ScanSpec, angle_rad: Values, sinograms: Image, estimate: CenterEstimate, center_px: float | None = None
) -> Evidence:
    """Evidence of ``sinograms`` (projections, rows or bands of rows, columns), attenuation at ``angle_rad``.

    They show no tilt. Raises BadInput for shapes that do not belong together.
    """
    angles = np.asarray(angle_rad, np.float64).ravel()
    if sinograms.ndim != 3 or sinograms.shape[2] != spec.columns or len(sinograms) != angles.size:
        raise BadInput(f"sinograms {sinograms.shape} with {angles.size} angles of a scan of {spec.columns} columns")
    views = cache(lambda: OppositeViews.of(sinograms, angles))
    return Evidence(angles, measure_edges(sinograms), estimate, views, lambda: None, None, center_px)
