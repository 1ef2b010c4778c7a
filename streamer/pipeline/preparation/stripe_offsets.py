"""Offsets of detector columns, measured repeatedly as the scan grows."""

from __future__ import annotations

import numpy as np

from streamer.core.arrays import Image
from streamer.core.preprocessing.live_stripes import LiveStripeDetector
from streamer.frames import ScanSpec

FEWEST_PROJECTIONS = 32
"""Projections before which their mean still looks like the sample."""

GROWTH_FACTOR = 1.25
"""Factor by which the number of projections must grow before the stripes are measured again."""

WORTH_A_REPLAY = 1.0
"""Rms change of the offsets, in units of the noise of the mean projection. Those of a perfect detector change by as
much when the projections have doubled; so a scan has few replays."""

CLEAR_SIGMAS = 5.0
"""Standard deviations of the noise of the mean, above which an offset counts in ``columns``."""


class StripeOffsets:
    """Subtract ``offset`` (rows, columns) float32 from every projection; None before it was measured.

    ``columns`` is the number of pixels of the detector with a clear offset.
    """

    def __init__(self, spec: ScanSpec, threads: int) -> None:
        turn = (float(np.deg2rad(spec.start_deg)), float(np.deg2rad(spec.range_deg)))
        self._detector = LiveStripeDetector(spec.rows, spec.columns, *turn, threads)
        self._fewest = min(FEWEST_PROJECTIONS, spec.projections)
        self._measured = 0  # projections when it was measured last
        self.offset: Image | None = None
        self.columns = 0

    def add(self, attenuation: Image, angle_rad: float) -> None:
        """Count one projection (rows, columns)."""
        self._detector.add(attenuation, angle_rad)

    def due(self, at_once: bool) -> bool:
        """Whether there are enough projections to ``measure``; ``at_once``: even if few were added since."""
        count = self._detector.count
        return count >= self._fewest and (at_once or count >= GROWTH_FACTOR * self._measured)

    def measure(self, late: Image, noise: float) -> bool:
        """Measure the offsets; False when they changed too little to be used.

        ``late`` (rows, columns) is the correction that is added to all projections later, ``noise`` that of one
        projection (attenuation).
        """
        self._measured = self._detector.count
        found, noise = self._detector.offset(late), noise / np.sqrt(self._measured)
        change = found if self.offset is None else found - self.offset
        if float(np.sqrt(np.mean(np.square(change)))) <= WORTH_A_REPLAY * noise:
            return False
        self.offset = found
        self.columns = int(np.count_nonzero(np.abs(found) > CLEAR_SIGMAS * noise))
        return True
