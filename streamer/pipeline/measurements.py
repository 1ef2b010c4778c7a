"""What is measured of a scan while its projections pass, and the Quality made of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.center import combine, refine_center, with_motion
from streamer.core.alignment.center_of_mass import MomentTrack
from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.live_opposite_views import PairTrack
from streamer.core.alignment.opposite_views import center_from_opposites
from streamer.core.alignment.tilt import straighten_bands
from streamer.core.alignment.truncation import measure_edges
from streamer.core.arrays import Image, Values
from streamer.core.backend.on_device import Projections
from streamer.core.backend.selection import Backend
from streamer.core.quality.angles import check_angles
from streamer.core.quality.halves import clear_frequency, first_half, shared_aliasing
from streamer.core.quality.live import SEEN, turn_seen
from streamer.core.quality.motion.consistency import (
    moments_of,
    open_beam,
    path_model,
    pixel_noise,
    residual,
    sudden_px,
)
from streamer.core.quality.motion.neighbours import sudden_between_px
from streamer.core.quality.motion.rigid_body import RigidBody, path_px, rigid_body
from streamer.core.quality.signal import sample_signal
from streamer.frames import Quality, ScanSpec
from streamer.pipeline.bands import Bands
from streamer.pipeline.coverage import covered_share, widest_gap
from streamer.pipeline.detector_figures import SAMPLE_LEVEL, detector_figures, flats_about

SIGNAL_EVERY = 64
SIGNAL_FIRST = 4
"""The sample's signal is measured in the first projections and in one of so many: it takes as long as some frames."""

WHOLE = 0.5
"""Share of the projections that may be cut off at an edge for the rigid-body test to make sense."""

BEYOND = 0.05
"""Share of the columns that a sample reaches beyond the edge when it is more than touched."""

ONE_SIDED = 0.1
"""Share of the projections cut off at one edge that are at the other, too, where the sample is only wide."""

SEQUENTIAL_DEG = 10.0
"""Step of the angle, at most, between projections whose places may be compared one by one."""

COMPLETE = 0.97
"""Coverage from which on projections can be compared with those of their own reconstruction."""

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
        self._bands = Bands(spec)
        self._tested: tuple[int, RigidBody | None] = (-1, None)
        self._snr: list[float] = []
        self._peak: list[float] = []
        self._flats: list[Image] = []  # rows about each band

    @property
    def count(self) -> int:
        return self._bands.count

    @property
    def center(self) -> CenterEstimate:
        """The latest answer of ``estimate_center`` or ``refine_center``, with the curve it was picked from."""
        return self._center

    def begin(self, dark: Image | None, flat: Image | None) -> None:
        """Before the first projection: mean dark and flat (rows, columns), NaN where a defect is known."""
        self._flats = flats_about(self._bands, dark, flat)

    def projections(
        self, angles_rad: Sequence[float], index: Sequence[int], attenuation: Projections, moments: Values
    ) -> None:
        """Take in the attenuation (n, rows, columns) of n frames, which may lie on a device, and the moments (n, rows,
        4) of their rows."""
        first = self.count
        self._bands.add(angles_rad, index, attenuation, moments)
        self._track.add(angles_rad, attenuation, moments)
        for number, (angle, image) in enumerate(zip(angles_rad, attenuation, strict=True), first):
            self._pairs.add(angle, image)
            if number < SIGNAL_FIRST or number % SIGNAL_EVERY == 0:
                signal = sample_signal(image)
                self._snr.append(signal.snr)
                self._peak.append(signal.peak)

    def so_far(self) -> Measurements:
        """What is known at this moment, to be asked on another thread while projections come here; it takes none."""
        seen = copy.copy(self)
        seen._track, seen._pairs = self._track.so_far(), self._pairs.so_far()
        seen._bands = self._bands.so_far()
        seen._snr, seen._peak = self._snr.copy(), self._peak.copy()
        return seen

    def estimate_center(self) -> CenterEstimate:
        """From the centres of mass and the opposite pairs so far; cheap enough to ask twice a second.

        Not more than one new pair is matched in a call, which takes some tens of milliseconds.
        """
        found = combine([self._track.estimate(), self._pairs.estimate(self._track.mean, self.count)])
        self._center = with_motion(found, self._track.across_px())
        return self._center

    def refine_center(self, stored: Projections | None = None) -> CenterEstimate:
        """From everything: centres of mass, opposite pairs, and trial reconstructions where those do not suffice.

        ``stored`` is the attenuation of all projections (n, rows, columns) in the order in which they came, where it
        was kept; without it, what this object kept has to do.
        """
        self._center = with_motion(self._refined(stored), self._track.across_px())
        return self._center

    def _refined(self, stored: Projections | None) -> CenterEstimate:
        if not self.count or not self._has_sample():
            return CenterEstimate.unknown("none")
        pairs = self._pairs.estimate(self._track.mean, self.count, final=True)
        if pairs.center is None and stored is not None:
            pairs = center_from_opposites(stored, np.array(self._bands.angles), MOST_PAIRS)
        sinograms = self._bands.sinograms
        angles = np.array(self._bands.angles[: len(sinograms)])
        return refine_center(self._backend, [self._track.estimate(), pairs], sinograms, angles, self._track.truncation)

    def _has_sample(self) -> bool:
        """Noise alone has a sharpest reconstruction, too; it must not be asked for its centre."""
        return float(np.median(self._snr)) > 0.0

    def _wanted(self) -> tuple[NDArray[np.float64], float]:
        """Angles (n,) that are to cover a range without a gap, and that range; radian.

        Of a scan with several tomograms those of the latest one, as each turn has the angles of the one before.
        """
        spec, angles = self._spec, np.array(self._bands.angles)
        wanted = abs(float(np.deg2rad(spec.range_deg)))
        if spec.tomogram_deg is None:
            return angles, wanted
        latest = np.argsort(self._bands.index)[-spec.projections_per_tomogram :]
        return angles[latest], min(float(np.deg2rad(spec.tomogram_deg)), wanted)

    def coverage(self, period: float = np.pi) -> float:
        """Share of the wanted angular range that has come, of up to one ``period`` after which views repeat."""
        angles, wanted = self._wanted()
        return covered_share(angles, min(wanted, period), period)

    def gap_deg(self, period: float = np.pi) -> float | None:
        """Widest arc (degrees) of the wanted angles that no projection shows; see ``widest_gap``."""
        gap = widest_gap(*self._wanted(), period)
        return None if gap is None else float(np.rad2deg(gap))

    def live_motion_px(self) -> float | None:
        """What the sample does across the axis that no later projection can undo.

        By steps from one projection to the next, where angles follow each other; by the path of its centre of mass,
        where the projections show most of a half turn. None where many of them are cut off, or without a sample.
        """
        if (self._track.truncation or 0) > WHOLE:
            return None
        order = np.argsort(self._bands.index)
        theta = np.array(self._bands.angles)[order]
        follows = bool(np.median(np.abs(np.diff(theta))) <= np.deg2rad(SEQUENTIAL_DEG))
        around = turn_seen(theta) >= SEEN
        if not (follows or around):
            return None
        views = self._bands.views()[order]
        moments = moments_of(views, open_beam(views), pixel_noise(views))
        if moments is None:
            return None
        rest = residual(path_model(theta), moments.first)
        return max(sudden_px(rest, moments.noise[1]) if follows else 0.0, path_px(views, theta, moments) * around)

    def _cut_motion_px(self) -> float | None:
        """What a sample does that is cut off in most projections; None where their angles are far apart."""
        order = np.argsort(self._bands.index)
        steps = np.abs(np.diff(np.array(self._bands.angles)[order]))
        if (self._track.truncation or 0) <= WHOLE or not steps.size or np.median(steps) > np.deg2rad(SEQUENTIAL_DEG):
            return None
        views = self._bands.views()[order]
        return sudden_between_px(views, pixel_noise(views))

    @property
    def turn_seen(self) -> float:
        """Share of a half turn that the projections show, see ``live.turn_seen``."""
        return turn_seen(np.array(self._bands.angles))

    def first_half(self, period: float) -> NDArray[np.bool_]:
        """Which projections, in the order in which they came, make one of two halves, see ``halves.first_half``."""
        return first_half(np.array(self._bands.angles), np.array(self._bands.index, np.int64), period)

    def shared_aliasing(self, first: NDArray[np.bool_], center: float) -> float:
        """What the half ``first`` (n,) and the other one alias alike about the axis, see ``halves.shared_aliasing``."""
        return shared_aliasing(np.array(self._bands.angles), first, center)

    def clear_frequency(self, first: NDArray[np.bool_], center: float) -> float:
        """To which frequency both halves have all the directions they need, see ``halves.clear_frequency``."""
        mean = self._track.mean
        if mean is None:
            return 0.0
        profile = mean.max(axis=0) - mean.max(axis=0).min()
        edges = np.flatnonzero(profile > SAMPLE_LEVEL * float(np.percentile(profile, 99)))
        radius = max(center - edges[0], edges[-1] - center, 1.0) if edges.size else self._spec.columns
        return clear_frequency(np.array(self._bands.angles), first, radius, self._spec.columns)

    def dead_columns(self) -> NDArray[np.bool_]:
        """Mask (columns,) of those that are dead, by all projections so far, see ``fields.dead_columns``."""
        return self._bands.dead_columns()

    def cut_on_one_side(self) -> bool:
        """Whether most projections are cut off, and all at the same edge of the detector: the axis is a guess then."""
        if (self._track.truncation or 0.0) <= WHOLE:
            return False
        first, last = sorted(measure_edges(self._bands.views()), key=lambda edge: edge.share)
        return first.share < ONE_SIDED * last.share and last.beyond_px > BEYOND * self._spec.columns

    def rigid_body(self, tilt_rad: float = 0.0) -> RigidBody | None:
        """How far the projections are from those of one rigid sample; None where it cannot be told."""
        if self._tested[0] != self.count:
            self._tested = (self.count, self._rigid_body(tilt_rad))
        return self._tested[1]

    def _rigid_body(self, tilt_rad: float) -> RigidBody | None:
        if not self.count or (self._track.truncation or 0.0) > WHOLE or not self._bands.whole:
            return None
        views = self._bands.views()
        middles = np.asarray(self._bands.first_rows + (self._bands.height - 1) / 2, np.float64)
        if tilt_rad:
            axis = (self._spec.columns - 1) / 2 if self._center.center is None else self._center.center
            upright = (self._spec.rows - 1) / 2
            views = straighten_bands(views, middles, self._bands.height, tilt_rad, axis, upright)
        angles, index = np.array(self._bands.angles), np.array(self._bands.index)
        sums, complete = self._bands.row_sums, self.coverage() > COMPLETE
        return rigid_body(self._backend, views, angles, index, self._center.center, sums, complete, middles)

    def _detector(self, stripes: bool) -> dict[str, Any]:
        flats, center = (self._flats, self.flats), self._center.center
        return detector_figures(self._bands, self._track, center, self._spec.rows, *flats, stripes)

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
        whole = self._detector(stripes) if final and self.count else {"flat_drift": self._track.beam_drift}
        sudden = None if self.count < SIGNAL_EVERY else self._cut_motion_px() if final else self.live_motion_px()
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
            center_sigma_px=None if center is None else self._center.sigma_px,
            center_offset_px=None if center is None else center - (self._spec.columns - 1) / 2,
            motion_px=sudden if rigid is None else rigid.motion_px,
            misfit_px=None if rigid is None else rigid.misfit_px,
            mass_change=None if rigid is None else rigid.mass_change,
            afterglow=None if rigid is None else rigid.lag,
            truncation=self._track.truncation,
            resolution_px=resolution_px,
            resolution_at=resolution_at,
            flats=self.flats,
            darks=self.darks,
            dark_flat_share=self.dark_flat_share,
            columns=self._spec.columns,
            angle_findings=self._angle_findings() if final else (),
            gap_deg=self.gap_deg(period) if final else None,
            **whole,
        )

    def _angle_findings(self) -> tuple[str, ...]:
        angles, index = np.rad2deg(self._bands.angles), np.array(self._bands.index, np.int64)
        return check_angles(index, angles, self._spec.range_deg, self._spec.projections).words
