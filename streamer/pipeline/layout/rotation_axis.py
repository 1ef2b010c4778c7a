"""Where the axis of a scan lies, and how its projections are laid out about it: measured, given, or not known yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.arrays import Image
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.layout.evidence import see_layout
from streamer.pipeline.layout.layout import Layout, choose_layout, is_full_turn
from streamer.pipeline.layout.options import LayoutOptions
from streamer.pipeline.store import AttenuationStore


class Axis:
    """Decides on the layout; what follows from it is up to ``reconstruction``. An axis that the operator gave goes
    before what is measured.
    """

    def __init__(self, spec: ScanSpec, options: LayoutOptions, fixed: float | None = None) -> None:
        """``fixed`` is the operator's axis, a detector column. Raises BadInput as ``fix``."""
        self._spec, self._options, self._fixed = spec, options, fixed
        told = [center for center in (fixed, spec.center_px) if center is not None]
        self.known = bool(told)
        """Whether there is any reason for the axis of the layout: measured or told."""
        self.first = Layout(spec.rows, spec.columns, told[0] if told else (spec.columns - 1) / 2)
        """What to begin with, before any frame has come."""
        self._check(self.first.detector_center)
        self.final = False
        """True once ``refine`` has decided."""

    def _check(self, center: float) -> None:
        columns = self._spec.columns
        if not abs(center - (columns - 1) / 2) < columns:
            raise BadInput(f"centre {center:g}: too far from the detector, which has columns 0 to {columns - 1}")

    def fix(self, center: float | None, layout: Layout) -> Layout:
        """Hold the axis at a detector column (None: find it). Raises BadInput if no slice could be made about it."""
        if center is not None:
            self._check(center)
            self.known = True
            layout = replace(layout, half=False).at(center)
        self._fixed = center
        return layout

    def begin(self, attenuation: Image, angle_rad: float, estimate: CenterEstimate, layout: Layout) -> Layout:
        """The layout by the first projection (rows, columns): it tells whether the sample reaches over the edges."""
        options = LayoutOptions(geometry="plain", tilt="off")
        center = layout.detector_center
        return choose_layout(self._spec, np.array([angle_rad]), attenuation[None], estimate, options, center_px=center)

    def track(self, store: AttenuationStore, found: CenterEstimate, sure: float, layout: Layout, look: bool) -> Layout:
        """The layout by what has come so far; ``found`` counts from confidence ``sure`` on.

        Only with ``look`` is it told from the projections. A full turn waits for its second half, when opposite views
        have come.
        """
        center = found.center if found.confidence >= sure and self._fixed is None else None
        self.known = self.known or center is not None
        if look and (store.count > 0.5 * self._spec.projections or not is_full_turn(self._spec)):
            return self._seen(store, found, center, layout, final=False)
        return layout if center is None or layout.half else layout.at(center)

    def refine(self, store: AttenuationStore, found: CenterEstimate, layout: Layout) -> Layout:
        """The layout for good, from all projections."""
        center = found.center if self._fixed is None else None
        self.final = True
        return self._seen(store, found, center, layout, final=True)

    def _seen(
        self, store: AttenuationStore, found: CenterEstimate, center: float | None, before: Layout, final: bool
    ) -> Layout:
        """As far as the projections tell; about ``center``, or as ``before``, if they tell nothing better."""
        layout = see_layout(self._spec, store, found, self._options, final, self._fixed)
        self.known = self.known or layout.half
        if layout.half or self._fixed is not None:
            return layout
        return layout.at(before.detector_center if center is None else center)
