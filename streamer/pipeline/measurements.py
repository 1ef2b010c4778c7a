"""What is measured of a scan while its projections pass, and the Quality made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from streamer.core.alignment.center import combine, refine_center, with_motion
from streamer.core.alignment.center_of_mass import MomentTrack
from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.live_opposite_views import PairTrack
from streamer.core.alignment.opposite_views import center_from_opposites
from streamer.core.alignment.truncation import measure_edges
from streamer.core.arrays import Image, Values
from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.quality.angles import check_angles
from streamer.core.quality.consistency import moments_of, open_beam, path_model, pixel_noise, residual, sudden_px
from streamer.core.quality.fields import bridged, dead_columns, negative_share, pattern_rms, shadow_share
from streamer.core.quality.halves import first_half
from streamer.core.quality.live import SEEN, turn_seen
from streamer.core.quality.rigid_body import RigidBody, path_px, rigid_body
from streamer.core.quality.signal import sample_signal
from streamer.frames import Quality, ScanSpec

SINOGRAM_ROWS = 8
"""Sinograms that are kept for the search of the centre at the end; each is the mean of a band of detector rows."""

BAND_ROWS = 16

SIGNAL_EVERY = 64
SIGNAL_FIRST = 4
"""The sample's signal is measured in the first projections and in one of so many: it takes as long as some frames."""

WHOLE = 0.5
"""Share of the projections that may be cut off at an edge for the rigid-body test to make sense."""

BEYOND = 0.05
"""Share of the columns that a sample reaches beyond the edge when it is more than touched."""

ONE_SIDED = 0.1
"""Share of the projections cut off at one edge that are at the other, too, where the sample is only wide."""

SAMPLE_LEVEL = 0.05
"""Share of the densest columns' mean attenuation that a column of the sample has."""

SEQUENTIAL_DEG = 10.0
"""Step of the angle, at most, between projections whose places may be compared one by one."""

COMPLETE = 0.99
"""Coverage from which on projections can be compared with those of their own reconstruction."""

GAP = 2.5
"""Usual steps between angles beyond which a step is a gap; those of golden angles differ by 2.6, their mean by less."""

MOST_PAIRS = 7
"""Opposite pairs that are looked for among stored projections when none was noticed as they came."""


class Measurements:
    """Fed by the pipeline with every flat and every projection of one scan."""

    def __init__(self, spec: ScanSpec, backend: Backend) -> None:
        self._spec, self._backend = spec, backend
        self.darks = self.flats = 0
        self.dark_flat_share = 0.0
        self._track = MomentTrack()
        self._pairs = PairTrack(np.deg2rad(spec.start_deg), np.deg2rad(spec.range_deg))
        self._center = CenterEstimate.unknown("none")
        self._angles: list[float] = []
        self._index: list[int] = []
        self._row_sums = np.empty((spec.projections, spec.rows), np.float32)
        self._tested: tuple[int, RigidBody | None] = (-1, None)
        self._bands = _bands(spec.rows)
        self._sinograms = np.empty((spec.projections, len(self._bands), spec.columns), np.float32)
        self._snr: list[float] = []
        self._peak: list[float] = []

    @property
    def count(self) -> int:
        return len(self._angles)

    @property
    def center(self) -> CenterEstimate:
        """The latest answer of ``estimate_center`` or ``refine_center``, with the curve it was picked from."""
        return self._center

    def projection(self, angle_rad: float, index: int, attenuation: Image, moments: Values) -> None:
        """Take in the attenuation (rows, columns) of the frame ``index``, and the moments (rows, 4) of its rows."""
        number = self.count
        self._angles.append(angle_rad)
        self._index.append(index)
        if number < len(self._sinograms):
            self._row_sums[number] = moments[:, 0]
            for sinogram, (start, weights) in zip(self._sinograms[number], self._bands, strict=True):
                np.dot(weights, attenuation[start : start + weights.size], out=sinogram)
        self._track.add(angle_rad, attenuation, moments)
        self._pairs.add(angle_rad, attenuation)
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
        """Share of the wanted angular range that has come, of up to one ``period`` after which views repeat.

        Where projections are missing, a gap of more than ``GAP`` usual ones was not measured.
        """
        if not self.count:
            return 0.0
        wanted = min(abs(np.deg2rad(self._spec.range_deg)), period)
        angles = np.array(self._angles)
        covered = float(angular_weights(angles, period).sum())
        if 1 < self.count < self._spec.projections:
            covered = min(covered, _without_gaps(angles, period))
        return float(min(1.0, covered / wanted))

    def live_motion_px(self) -> float | None:
        """What the sample does across the axis that no later projection can undo.

        By steps from one projection to the next, where angles follow each other; by the path of its centre of mass,
        where the projections show most of a half turn. None where many of them are cut off, or without a sample.
        """
        if (self._track.truncation or 0) > WHOLE:
            return None
        order = np.argsort(self._index)
        theta = np.array(self._angles)[order]
        follows = bool(np.median(np.abs(np.diff(theta))) <= np.deg2rad(SEQUENTIAL_DEG))
        around = turn_seen(theta) >= SEEN
        if not (follows or around):
            return None
        views = self._views()[order]
        moments = moments_of(views, open_beam(views), pixel_noise(views))
        if moments is None:
            return None
        rest = residual(path_model(theta), moments.first)
        return max(sudden_px(rest, moments.noise[1]) if follows else 0.0, path_px(views, theta, moments) * around)

    @property
    def turn_seen(self) -> float:
        """Share of a half turn that the projections show, see ``live.turn_seen``."""
        return turn_seen(np.array(self._angles))

    def first_half(self, period: float) -> NDArray[np.bool_]:
        """Which projections, in the order in which they came, make one of two halves, see ``halves.first_half``."""
        return first_half(np.array(self._angles), np.array(self._index, np.int64), period)

    def _views(self) -> Image:
        """Sinograms of the bands (n, bands, columns) without the detector's dead columns."""
        views = self._sinograms[: self.count]
        return bridged(views, dead_columns(views.mean(axis=0)))

    def cut_on_one_side(self) -> bool:
        """Whether most projections are cut off, and all at the same edge of the detector: the axis is a guess then."""
        if (self._track.truncation or 0.0) <= WHOLE:
            return False
        first, last = sorted(measure_edges(self._views()), key=lambda edge: edge.share)
        return first.share < ONE_SIDED * last.share and last.beyond_px > BEYOND * self._spec.columns

    def rigid_body(self, tilt_rad: float = 0.0) -> RigidBody | None:
        """How far the projections are from those of one rigid sample; None where it cannot be told."""
        if self._tested[0] != self.count:
            self._tested = (self.count, self._rigid_body(tilt_rad))
        return self._tested[1]

    def _rigid_body(self, tilt_rad: float) -> RigidBody | None:
        if not self.count or (self._track.truncation or 0.0) > WHOLE or self.count > len(self._sinograms):
            return None
        views = self._views()
        if tilt_rad:
            middles = np.array([start + (weights.size - 1) / 2 for start, weights in self._bands])
            lean = np.tan(tilt_rad) * (middles - (self._spec.rows - 1) / 2)
            views = np.stack(
                [ndimage.shift(views[:, k], (0, by), order=1, mode="nearest") for k, by in enumerate(lean)], 1
            )
        angles, index = np.array(self._angles), np.array(self._index)
        sums, complete = self._row_sums[: self.count], self.coverage() > COMPLETE
        return rigid_body(self._backend, views, angles, index, self._center.center, sums, complete)

    def detector(self, stripes: bool) -> dict[str, Any]:
        """What the projections say of the detector and the fields: see Quality. ``stripes`` are taken care of."""
        dead = dead_columns(self._sinograms[: self.count].mean(axis=0))
        views = bridged(self._sinograms[: self.count], dead)
        noise = pixel_noise(views) * np.sqrt(self._bands[0][1].size)
        mean = views.mean(axis=0)
        center = self._center.center
        known = center is not None and not stripes
        thick = self._bands[0][1].size
        beam = float(np.median(open_beam(views)))
        return {
            "noise": noise,
            "projections_per_column": self._per_column(mean - beam),
            "dead_columns": int(np.count_nonzero(dead)),
            "shadow": shadow_share(mean),
            "negative": negative_share(mean, beam, noise / np.sqrt(thick * self.count)),
            "pattern": pattern_rms(views, np.array(self._angles), center, noise / np.sqrt(thick), max(1, self.flats))
            if known and center is not None
            else None,
        }

    def _per_column(self, mean: Image) -> float | None:
        """Projections in half a turn for each column of the sample's width, by the mean (bands, columns) of them."""
        center, ordered = self._center.center, np.sort(np.mod(self._angles, np.pi))
        edges = np.flatnonzero(mean.max(axis=0) > SAMPLE_LEVEL * float(np.percentile(mean, 99)))
        if center is None or not edges.size:
            return None
        width = 2 * max(center - edges[0], edges[-1] - center, 1.0)
        # Views of a full turn may repeat those of its first half; interlaced turns lie between each other's.
        gaps = np.diff(ordered, append=ordered[0] + np.pi)
        directions = int(np.count_nonzero(gaps > 0.1 * np.pi / self.count))
        return float(directions / min(width, self._spec.columns))

    def quality(
        self,
        missing: int,
        corrupt: int,
        resolution_px: float | None,
        resolution_at: int = 0,
        period: float = np.pi,
        final: bool = False,
        tilt_rad: float = 0.0,
        stripes: bool = False,
    ) -> Quality:
        """All numbers so far. ``period`` is the angle in radian after which views repeat. ``final``: with the tests
        that need the whole scan.
        """
        center = self._center.center
        rigid = self.rigid_body(tilt_rad) if final else None
        sudden = None if final or self.count < SIGNAL_EVERY else self.live_motion_px()
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
            motion_px=sudden if rigid is None else rigid.motion_px,
            misfit_px=None if rigid is None else rigid.misfit_px,
            mass_change=None if rigid is None else rigid.mass_change,
            flat_drift=self._track.beam_drift,
            truncation=self._track.truncation,
            resolution_px=resolution_px,
            resolution_at=resolution_at,
            flats=self.flats,
            darks=self.darks,
            dark_flat_share=self.dark_flat_share,
            columns=self._spec.columns,
            angle_findings=self._angle_findings() if final else (),
            **(self.detector(stripes) if final and self.count else {}),
        )

    def _angle_findings(self) -> tuple[str, ...]:
        angles, index = np.rad2deg(self._angles), np.array(self._index, np.int64)
        return check_angles(index, angles, self._spec.range_deg, self._spec.projections).words


def _without_gaps(angle_rad: NDArray[np.float64], period: float) -> float:
    """Angle (radian) that is covered when each gap counts as one usual step."""
    ordered = np.sort(np.mod(angle_rad, period))
    steps = np.diff(ordered, append=ordered[0] + period)
    steps = steps[steps > 1e-3 * period / steps.size]
    if steps.size < 2:
        return float(steps.sum())
    usual = (steps.sum() - steps.max()) / (steps.size - 1)
    return float(np.where(steps > GAP * usual, usual, steps).sum())


def _bands(rows: int) -> list[tuple[int, Image]]:
    """First row of each band, and the weights (height,) of its rows; all rows of a small detector."""
    height = max(1, min(BAND_ROWS, rows // SINOGRAM_ROWS))
    spare = max(0, rows - SINOGRAM_ROWS * height)
    starts = np.unique(np.linspace(0.1 * spare, rows - height - 0.1 * spare, SINOGRAM_ROWS).astype(int))
    weights = np.full(height, 1.0 / height, np.float32)
    return [(start, weights) for start in starts.tolist()]
