"""What is measured of a scan while its projections pass, and the Quality made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.center import combine, refine_center, with_motion
from streamer.core.alignment.center_of_mass import MomentTrack
from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.live_opposite_views import PairTrack
from streamer.core.alignment.opposite_views import center_from_opposites
from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.quality.frc import frc_resolution
from streamer.core.quality.signal import PAIR_MISMATCH, motion_px, sample_signal, saturated_share
from streamer.frames import Quality, ScanSpec

SINOGRAM_ROWS = 8
"""Sinograms that are kept for the search of the centre at the end; each is the mean of a band of detector rows."""

BAND_ROWS = 16

SIGNAL_EVERY = 64
SIGNAL_FIRST = 4
"""The sample's signal is measured in the first projections and in one of so many: it takes as long as some frames."""

SATURATION_ROWS = 4
"""Saturated pixels are counted in every so-manieth row, in other ones each time."""

MOST_PAIRS = 7
"""Opposite pairs that are looked for among stored projections when none was noticed as they came."""


class Measurements:
    """Fed by the pipeline with every flat and every projection of one scan."""

    def __init__(self, spec: ScanSpec, backend: Backend) -> None:
        self._spec, self._backend = spec, backend
        self.darks = self.flats = 0
        self.dark_flat_share = 0.0
        self._track = MomentTrack(backend)
        self._pairs = PairTrack(np.deg2rad(spec.start_deg), np.deg2rad(spec.range_deg))
        self._center = CenterEstimate.unknown("none")
        self._angles: list[float] = []
        self._bands = _bands(spec.rows)
        self._sinograms = np.empty((spec.projections, len(self._bands), spec.columns), np.float32)
        self._snr: list[float] = []
        self._peak: list[float] = []
        self._saturated = 0.0

    @property
    def count(self) -> int:
        return len(self._angles)

    @property
    def center(self) -> CenterEstimate:
        """The latest answer of ``estimate_center`` or ``refine_center``, with the curve it was picked from."""
        return self._center

    def projection(
        self, angle_rad: float, raw: NDArray[Any], attenuation: Image, sums: NDArray[np.float64] | None = None
    ) -> None:
        """``raw`` as the detector sent it and its attenuation, both (rows, columns).

        ``sums`` (rows, 4) of the attenuation, as ``kernels.row_moments`` gives them, where they are known already.
        """
        number = self.count
        self._angles.append(angle_rad)
        if number < len(self._sinograms):
            for sinogram, (start, weights) in zip(self._sinograms[number], self._bands, strict=True):
                np.dot(weights, attenuation[start : start + weights.size], out=sinogram)
        self._track.add(angle_rad, attenuation, sums)
        self._pairs.add(angle_rad, attenuation)
        if raw.dtype.kind == "u" or self._spec.saturation is not None:
            step = min(SATURATION_ROWS, len(raw))
            self._saturated += saturated_share(raw[number % step :: step], self._spec.saturation)
        if number < SIGNAL_FIRST or number % SIGNAL_EVERY == 0:
            signal = sample_signal(attenuation)
            self._snr.append(signal.snr)
            self._peak.append(signal.peak)

    def estimate_center(self) -> CenterEstimate:
        """From the centres of mass and the opposite pairs so far; cheap enough to ask twice a second.

        Not more than one new pair is matched in a call, which takes some tens of milliseconds.
        """
        found = combine([self._track.estimate(), self._pairs.estimate(self._track.mean, self.count)])
        self._center = with_motion(found, self._track.across_px())
        return self._center

    def refine_center(self, stored: Image | None = None) -> CenterEstimate:
        """From everything: centres of mass, opposite pairs, and trial reconstructions where those do not suffice.

        ``stored`` is the attenuation of all projections (n, rows, columns) in the order in which they came, where it
        was kept; without it, what this object kept has to do.
        """
        self._center = with_motion(self._refined(stored), self._track.across_px())
        return self._center

    def _refined(self, stored: Image | None) -> CenterEstimate:
        if not self.count or not self._has_sample():
            return CenterEstimate.unknown("none")
        pairs = self._pairs.estimate(self._track.mean, self.count, final=True)
        if pairs.center is None and stored is not None:
            pairs = center_from_opposites(stored, np.array(self._angles), MOST_PAIRS)
        sinograms = self._sinograms[: self.count]
        angles = np.array(self._angles[: len(sinograms)])
        return refine_center(self._backend, [self._track.estimate(), pairs], sinograms, angles, self._track.truncation)

    def _has_sample(self) -> bool:
        """Noise alone has a sharpest reconstruction, too; it must not be asked for its centre."""
        return float(np.median(self._snr)) > 0.0

    def coverage(self, period: float = np.pi) -> float:
        """Share of the wanted angular range that has come, of up to one ``period`` after which views repeat."""
        if not self.count:
            return 0.0
        wanted = min(abs(np.deg2rad(self._spec.range_deg)), period)
        return float(min(1.0, angular_weights(np.array(self._angles), period).sum() / wanted))

    def quality(self, missing: int, corrupt: int, halves: tuple[Image, Image] | None, period: float = np.pi) -> Quality:
        """All numbers so far. ``halves`` are the middle slice from the even and from the odd projections; ``period`` is
        the angle in radian after which views repeat.
        """
        center = self._center.center
        return Quality(
            projections=self.count,
            expected=self._spec.projections,
            missing=missing,
            corrupt=corrupt,
            coverage=self.coverage(period),
            snr=float(np.median(self._snr)) if self._snr else None,
            peak_attenuation=float(np.median(self._peak)) if self._peak else None,
            center_px=center,
            center_confidence=self._center.confidence,
            center_offset_px=None if center is None else center - (self._spec.columns - 1) / 2,
            motion_px=motion_px(self._track, self._pairs.worst_drop(PAIR_MISMATCH)),
            saturation=self._saturated / self.count if self.count else None,
            flat_drift=self._track.beam_drift,
            truncation=self._track.truncation,
            resolution_px=None if halves is None or len(halves[0]) < 16 else frc_resolution(*halves),
            flats=self.flats,
            darks=self.darks,
            dark_flat_share=self.dark_flat_share,
        )


def _bands(rows: int) -> list[tuple[int, Image]]:
    """First row of each band, and the weights (height,) of its rows; all rows of a small detector."""
    height = max(1, min(BAND_ROWS, rows // SINOGRAM_ROWS))
    spare = max(0, rows - SINOGRAM_ROWS * height)
    starts = np.unique(np.linspace(0.1 * spare, rows - height - 0.1 * spare, SINOGRAM_ROWS).astype(int))
    weights = np.full(height, 1.0 / height, np.float32)
    return [(start, weights) for start in starts.tolist()]
