"""Reference for live planes: filtered backprojection of whole projections into planes, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamer.core.fbp.ramp_filter import RampFilter, angular_weights
from streamer.core.planes.plane import Plane


def filtered_planes(
    planes: Sequence[Plane],
    frames: np.ndarray,
    angles: np.ndarray,
    center: float,
    weights: np.ndarray | None = None,
    extend: bool = False,
) -> dict[str, np.ndarray]:
    """Planes (height, width) float64 from attenuation (frames, rows, columns) seen at ``angles`` (radian).

    Σ weight · filtered projection at each pixel, bilinear, nothing outside of the detector. Without ``weights``
    (radian) all frames weigh the same and together what they cover.
    """
    count, rows, columns = frames.shape
    used = np.full(count, angular_weights(angles).sum() / max(count, 1)) if weights is None else weights
    ramp, middle = RampFilter(columns, extend=extend), (columns - 1) / 2
    sums = {plane.name: np.zeros(plane.shape) for plane in planes}
    places = [_places(plane, middle) for plane in planes]
    for frame, angle, weight in zip(frames, angles, used, strict=True):
        filtered = ramp.apply(frame).astype(np.float64)
        for plane, (x, y, z) in zip(planes, places, strict=True):
            t = center + x * np.cos(angle) + y * np.sin(angle)
            seen = (t >= 0) & (t <= columns - 1) & (z >= 0) & (z <= rows - 1)
            c, r = np.clip(t.astype(int), 0, columns - 2), np.clip(z.astype(int), 0, rows - 1)
            below, f, g = np.minimum(r + 1, rows - 1), t - c, z - r
            upper = filtered[r, c] + f * (filtered[r, c + 1] - filtered[r, c])
            lower = filtered[below, c] + f * (filtered[below, c + 1] - filtered[below, c])
            sums[plane.name] += np.where(seen, weight * (upper + g * (lower - upper)), 0.0)
    return sums


def _places(plane: Plane, middle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y from the axis and z (height, width) of each pixel."""
    i, j = np.mgrid[: plane.shape[0], : plane.shape[1]]
    x, y, z = (o + j * u + i * v for o, u, v in zip(plane.origin, plane.u, plane.v, strict=True))
    return x - middle, y - middle, z
