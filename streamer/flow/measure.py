"""What is measured of a scan while its projections pass, and the Quality made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend import Backend
from streamer.core.center import (
    CenterEstimate,
    MomentTrack,
    PairMatch,
    center_from_opposites,
    center_from_pair,
    center_from_sharpness,
    combine,
)
from streamer.core.estimate import unknown
from streamer.core.filters import angular_weights
from streamer.core.quality import frc_resolution, motion_px, sample_signal, saturated_share
from streamer.frames import Quality, ScanSpec

Image = NDArray[np.float32]

SINOGRAM_ROWS = 8
"""Sinograms that are kept for the search of the centre at the end; each is the mean of a band of detector rows."""

BAND_ROWS = 16

SIGNAL_EVERY = 16
"""The sample's signal is measured in one of so many projections; it costs as much as filtering one."""

OPPOSITE_RAD = np.deg2rad(1.0)
"""How far from half a turn the opposite projection may be to show a drop of the sample."""

EXACT_RAD = 1e-3
NEAR_PX = 3.0
SURE = 0.5

CERTAIN = 0.96
"""Confidence from which on trial reconstructions, a second of work, would not move the centre by 0.1 px."""


class Measurements:
    """Fed by the pipeline with every flat and every projection of one scan."""

    def __init__(self, spec: ScanSpec, backend: Backend) -> None:
        self._spec, self._backend = spec, backend
        self.darks = self.flats = 0
        self._track = MomentTrack(backend)
        self._center = unknown("none")
        self._angles: list[float] = []
        starts = np.unique(np.linspace(0.1 * spec.rows, 0.9 * spec.rows, SINOGRAM_ROWS).astype(int))
        height = max(1, min(BAND_ROWS, spec.rows // 16))
        self._bands = [slice(max(0, min(start, spec.rows - height)), start + height) for start in starts.tolist()]
        self._sinograms = np.empty((spec.projections, len(self._bands), spec.columns), np.float32)
        self._first: Image | None = None
        self._opposite: Image | None = None
        self._opposite_gap = OPPOSITE_RAD
        self._snr: list[float] = []
        self._peak: list[float] = []
        self._saturated = 0.0

    @property
    def count(self) -> int:
        return len(self._angles)

    def projection(self, angle_rad: float, raw: NDArray[Any], attenuation: Image) -> None:
        """``raw`` as the detector sent it and its attenuation, both (rows, columns)."""
        number = self.count
        self._angles.append(angle_rad)
        for sinogram, band in zip(self._sinograms[number], self._bands, strict=True):
            attenuation[band].mean(axis=0, out=sinogram)
        self._track.add(angle_rad, attenuation)
        if raw.dtype.kind == "u" or self._spec.saturation is not None:
            self._saturated += saturated_share(raw, self._spec.saturation)
        if number % SIGNAL_EVERY == 0:
            signal = sample_signal(attenuation)
            self._snr.append(signal.snr)
            self._peak.append(signal.peak)
        if self._first is None:
            self._first = attenuation.copy()
            return
        gap = abs(abs(angle_rad - self._angles[0]) - np.pi)
        if gap < self._opposite_gap:
            self._opposite, self._opposite_gap = attenuation.copy(), gap

    def estimate_center(self) -> CenterEstimate:
        """From the centres of mass so far; cheap enough to ask twice a second."""
        self._center = self._track.estimate()
        return self._center

    def refine_center(self) -> CenterEstimate:
        """From everything: centres of mass, an opposite pair where there is one, and trial reconstructions."""
        if not self.count or not self._has_sample():
            self._center = unknown("none")
            return self._center
        angles, sinograms = np.array(self._angles), self._sinograms[: self.count]
        estimates = [self._track.estimate(), center_from_opposites(sinograms, angles)]
        if self._opposite is not None and self._first is not None and self._opposite_gap < EXACT_RAD:
            pair = np.stack([self._first, self._opposite])
            estimates.append(center_from_opposites(pair, np.array([0.0, np.pi])))
        guess = combine(estimates)
        if guess.confidence >= CERTAIN:
            self._center = guess
            return guess
        near = guess.center is not None and guess.confidence > SURE
        prior, reach = (guess.center, NEAR_PX) if near else (None, None)
        estimates.append(center_from_sharpness(self._backend, sinograms, angles, prior, reach))
        self._center = combine(estimates)
        return self._center

    def _has_sample(self) -> bool:
        """Noise alone has a sharpest reconstruction, too; it must not be asked for its centre."""
        return float(np.median(self._snr)) > 0.0

    def coverage(self) -> float:
        """Share of the wanted angular range that has come (of half a turn, where the scan is longer)."""
        if not self.count:
            return 0.0
        wanted = min(abs(np.deg2rad(self._spec.range_deg)), np.pi)
        return float(min(1.0, angular_weights(np.array(self._angles)).sum() / wanted))

    def quality(self, missing: int, corrupt: int, halves: tuple[Image, Image] | None) -> Quality:
        """All numbers so far. ``halves`` are the middle slice from the even and from the odd projections."""
        center = self._center.center
        pair = self._pair() if halves is not None else None
        return Quality(
            projections=self.count,
            expected=self._spec.projections,
            missing=missing,
            corrupt=corrupt,
            coverage=self.coverage(),
            snr=float(np.median(self._snr)) if self._snr else None,
            peak_attenuation=float(np.median(self._peak)) if self._peak else None,
            center_px=center,
            center_confidence=self._center.confidence,
            center_offset_px=None if center is None else center - (self._spec.columns - 1) / 2,
            motion_px=motion_px(self._track, pair),
            saturation=self._saturated / self.count if self.count else None,
            flat_drift=self._track.beam_drift,
            truncation=self._track.truncation,
            resolution_px=None if halves is None or len(halves[0]) < 16 else frc_resolution(*halves),
            flats=self.flats,
            darks=self.darks,
        )

    def _pair(self) -> PairMatch | None:
        if self._first is None or self._opposite is None:
            return None
        return center_from_pair(self._first, self._opposite)
