"""Tracks the rotation axis of a scan and chooses the layout of its projections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.arrays import Image
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.layout.choice import MIN_CONFIDENCE, choose_layout, is_full_turn
from streamer.pipeline.layout.evidence import measure_evidence, sinogram_evidence
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.layout.options import LayoutOptions
from streamer.pipeline.store import ProjectionStore


class LayoutTracker:
    """Decides on the layout, and applies nothing. An axis that an operator fixed takes precedence over measurements."""

    def __init__(
        self, spec: ScanSpec, options: LayoutOptions, fixed: float | None = None, before: float | None = None
    ) -> None:
        """``fixed`` is the operator's axis, a detector column, ``before`` that of the scan before on the same detector:
        the layout begins there, and ends there only if the axis is found there. Raises BadInput as ``fix``.
        """
        self._spec, self._options, self._fixed, self._before = spec, options, fixed, before
        given = [center for center in (fixed, spec.center_px) if center is not None]
        self.known = bool(given)
        """Whether there is any reason for the axis of the layout: measured, fixed or announced."""
        begun = [*given, *([] if before is None else [before]), self._middle]
        self.first = Layout(spec.rows, spec.columns, begun[0])
        """The layout before any frame has come."""
        self._check(self.first.detector_center)
        self.final = False
        """True once ``refine`` has decided."""

    @property
    def _middle(self) -> float:
        return (self._spec.columns - 1) / 2

    def _check(self, center: float) -> None:
        columns = self._spec.columns
        if not abs(center - self._middle) < columns:
            raise BadInput(f"centre {center:g}: too far from the detector, which has columns 0 to {columns - 1}")

    @property
    def likely(self) -> bool:
        """Whether the axis is ``known``, or was there in the scan before."""
        return self.known or self._before is not None

    def fix(self, center: float | None, layout: Layout) -> Layout:
        """Hold the axis at a detector column (None: find it). Raises BadInput if no slice could be made about it."""
        if center is not None:
            self._check(center)
            self.known = True
            layout = replace(layout, half=False).at(center)
        self._fixed = center
        return layout

    def take(self, likely: bool, final: bool) -> None:
        """The layout is decided elsewhere; ``likely`` and ``final`` are those of the tracker there."""
        self.known, self.final = likely, final

    def begin(self, attenuation: Image, angle_rad: float, estimate: CenterEstimate, layout: Layout) -> Layout:
        """The layout by the first projection (rows, columns): it shows whether the sample fits on the detector."""
        center = layout.detector_center
        seen = sinogram_evidence(self._spec, np.array([angle_rad]), attenuation[None], estimate, center)
        return choose_layout(self._spec, seen, LayoutOptions(geometry="plain", tilt="off"))

    def track(self, store: ProjectionStore, found: CenterEstimate, sure: float, layout: Layout, look: bool) -> Layout:
        """The layout by what has come so far; ``found`` counts from confidence ``sure`` on.

        Only with ``look`` are projections examined, and those of a full turn only in its second half, when opposite
        views have come.
        """
        center = found.center if found.confidence >= sure and self._fixed is None else None
        self.known = self.known or center is not None
        if look and (store.count > 0.5 * self._spec.projections or not is_full_turn(self._spec)):
            return self._measured(store, found, center, layout, final=False)
        return layout if center is None or layout.half else layout.at(center)

    def refine(self, store: ProjectionStore, found: CenterEstimate, layout: Layout) -> Layout:
        """The final layout, from all projections."""
        center = found.center if self._fixed is None else None
        self.final = True
        if not self.known and self._before is not None:
            layout = layout.at(self._middle)  # two scans alike have tomograms alike, whatever came before them
        self.known = self.known or (found.center is not None and found.confidence >= MIN_CONFIDENCE)
        return self._measured(store, found, center, layout, final=True)

    def _measured(
        self, store: ProjectionStore, found: CenterEstimate, center: float | None, before: Layout, final: bool
    ) -> Layout:
        """By the projections; about ``center``, or as ``before``, if they show nothing better."""
        seen = measure_evidence(self._spec, store, found, final, self._fixed)
        layout = choose_layout(self._spec, seen, self._options)
        self.known = self.known or layout.half
        if layout.half or self._fixed is not None:
            return layout
        return layout.at(before.detector_center if center is None else center)
