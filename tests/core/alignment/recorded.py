"""Scans of random bodies, and their centre from all projections by the methods that a running scan uses."""

from __future__ import annotations

import numpy as np

from streamer.core.alignment.center import refine_center
from streamer.core.alignment.center_of_mass import MomentTrack
from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.opposite_views import center_from_opposites
from streamer.core.arrays import Array, Image
from streamer.core.backend.selection import Backend
from streamer.core.preprocessing.flat_field import row_moments_of
from streamer.phantoms import body_projections, random_body


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


def noisy_scan(seed: int, angles: np.ndarray) -> tuple[np.ndarray, float]:
    """Projections (angles, 16, columns) of a random body with noise of 1 to 8 %, and the column of their axis."""
    rng = np.random.default_rng(seed)
    columns = int(rng.integers(150, 230))
    center = (columns - 1) / 2 + rng.uniform(-0.05, 0.05) * columns
    frames = body_projections(random_body(rng, columns), 16, columns, angles, center)
    return (frames + rng.normal(0, rng.uniform(0.01, 0.08), frames.shape)).astype(np.float32), center
