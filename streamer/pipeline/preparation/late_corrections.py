"""Corrections that become known after a projection was stored, and are added when it is read again.

The attenuation was computed with the darks and flats before the scan. Flats that come later, the interpolation
between two sets of them, and the offsets of detector columns all add to it: images that are the same for every
projection, and patterns times a number that depends on when in the scan the projection was taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from streamer.core.arrays import Image, Values
from streamer.core.jit import as_input
from streamer.core.preprocessing.beam_drift import BeamDrift, drift_from_margins, remove_drift
from streamer.core.preprocessing.dead_pixels import DeadPixels
from streamer.core.preprocessing.eigen_flats import EigenFlats, add_weighted
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.core.preprocessing.flat_pair import FlatPair, add_late

Smooth = Callable[[Image], Image]

NO_IMAGE = as_input(np.zeros((1, 1), np.float32))
MEAN_FRACTIONS = 64  # of the scan, over which the mean of what changes is taken


@dataclass(frozen=True)
class DeferredCorrections:
    """Corrections to add to stored attenuation (rows, cols).

    ``static`` (rows, cols) float32 is added to every projection; ``pair`` is the change between two sets of flats, less
    what the correction of the drift has subtracted already: ``drift`` (terms, 2), offset and slope per column of each
    of ``pair.terms()``, and ``weights`` (terms, n) of the eigen-flats ``components`` (n, rows, cols). ``dead`` are the
    pixels that only the late flats showed to be dead.
    """

    static: Image | None = None
    pair: FlatPair | None = None
    drift: Values | None = None
    weights: Values | None = None
    components: Image | None = None
    dead: DeadPixels | None = None

    def __bool__(self) -> bool:
        return self.static is not None or self.pair is not None or self.dead is not None

    def apply(self, source: Image, fraction: float, rows: slice, out: Image, threads: int) -> None:
        """out = source + terms at ``fraction`` of the scan; both are the detector rows ``rows`` of one projection."""
        base = slope = share = 0.0
        if self.pair is not None:
            base, share = self.pair.shares(fraction)
            if self.drift is not None:
                taken = self._coefficients(fraction) @ self.drift
                base, slope = base - taken[0], slope - taken[1]
        static = NO_IMAGE if self.static is None else as_input(self.static[rows])
        pattern = NO_IMAGE if self.pair is None else as_input(self.pair.pattern[rows])
        add_late(as_input(source), static, self.static is not None, pattern, share, base, slope, threads, out)
        if self.weights is not None and self.components is not None:
            amount = as_input(self._coefficients(fraction) @ self.weights, np.float32)
            add_weighted(out, as_input(self.components[:, rows]), amount, threads)
        if self.dead is not None:
            self.dead.rows(rows).fill(out)

    def mean(self, last: float, shape: tuple[int, int]) -> Image:
        """Mean (rows, cols) = ``shape`` over the scan from its begin to the fraction ``last``."""
        image = np.zeros(shape, np.float32) if self.static is None else self.static.copy()
        if self.pair is None:
            return image
        many = np.mean([self._coefficients(f) for f in np.linspace(0.0, last, MEAN_FRACTIONS)], axis=0)
        power = np.ones(shape, np.float32)
        for coefficient in many:
            image += np.float32(coefficient) * power
            power *= self.pair.pattern
        if self.drift is not None:
            offset, slope = many @ self.drift
            remove_drift(image, BeamDrift(offset, slope, 0.0))
        if self.weights is not None and self.components is not None:
            image += np.tensordot((many @ self.weights).astype(np.float32), self.components, 1)
        return image

    def smoothed(self, smooth: Smooth) -> DeferredCorrections:
        """The same for attenuation after phase retrieval ``smooth``: right to first order in the terms."""
        terms = self if self.static is None else replace(self, static=smooth(self.static.copy()))
        if self.pair is not None:
            terms = replace(terms, pair=self.pair.with_pattern(smooth(self.pair.pattern.copy())))
        if self.components is not None:
            terms = replace(terms, components=np.stack([smooth(image.copy()) for image in self.components]))
        return terms

    def without_offset(self, offset: Image) -> DeferredCorrections:
        """The same, with an offset (rows, cols) of the columns subtracted."""
        return replace(self, static=-offset if self.static is None else self.static - offset)

    def raised(self, change: float) -> DeferredCorrections:
        """The same, with ``change`` (attenuation) added to the static term."""
        return self if self.static is None or change == 0 else replace(self, static=self.static + np.float32(change))

    def _coefficients(self, fraction: float) -> Values:
        assert self.pair is not None
        return np.array(self.pair.coefficients(fraction))


def two_sets(before: Image, after: Image, margins: tuple[int, int], eigen: EigenFlats | None) -> DeferredCorrections:
    """Terms from net mean flats (rows, cols) before and after the scan.

    ``margins``: columns on the left and right from which the drift of each projection was measured, (0, 0) for none;
    ``eigen``: the eigen-flats that were fitted to each projection. Raises BadInput when one set saw no beam.
    """
    pair = FlatPair(before, after)
    terms = DeferredCorrections(pair=pair)
    if any(margins):
        found = [drift_from_margins(image, *margins) for image in pair.terms()]
        terms = replace(terms, drift=np.array([(drift.offset, drift.slope) for drift in found]))
    if eigen is not None and len(eigen.components):
        fitted = np.stack([eigen.weights(image) for image in pair.terms()])
        terms = replace(terms, weights=fitted, components=eigen.components)
    return terms


def only_after(
    live: FlatFieldCorrection, known: FlatFieldCorrection, shape: tuple[int, int], margins: tuple[int, int]
) -> DeferredCorrections:
    """Terms when all flats came after the scan: ``live`` has seen projections (rows, cols) without them, ``known`` has
    them; ``margins`` as in ``two_sets``.
    """
    frame = np.zeros(shape, np.float32)
    seen, true = live.tables(frame), known.tables(frame)
    static = true.log_flat - seen.log_flat
    true.dead.fill(static)
    if any(margins):
        remove_drift(static, drift_from_margins(static, *margins))
    return DeferredCorrections(static=static, dead=true.dead if len(true.dead) else None)
