"""The centre of a recorded scan, all projections at once, by the methods that a running scan uses."""

from __future__ import annotations

from streamer.core.alignment.center import refine_center
from streamer.core.alignment.center_of_mass import MomentTrack
from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.opposite_views import center_from_opposites
from streamer.core.arrays import Array, Image
from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.flat_field import row_moments_of


def as_track(attenuation: Image, angle_rad: Array) -> MomentTrack:
    """Track of all projections (angles, rows, columns)."""
    track = MomentTrack()
    for angle, frame, moments in zip(angle_rad, attenuation, row_moments_of(attenuation), strict=True):
        track.add(float(angle), frame, moments)
    return track


def find_center(backend: Backend, attenuation: Image, angle_rad: Array) -> CenterEstimate:
    """Centre of rotation from projections (angles, rows, columns)."""
    track = as_track(attenuation, angle_rad)
    estimates = [track.estimate(), center_from_opposites(attenuation, angle_rad)]
    return refine_center(backend, estimates, attenuation, angle_rad, track.truncation)
