"""The plain way to live planes, as a rival: filter every row of every frame, then backproject it into each plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import prange

from streamer.core.arrays import Array, Image
from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import RampFilter
from streamer.core.jit import as_input, kernel
from streamer.core.planes.plane import Plane
from streamer.core.preprocessing.flat_field import FlatFieldCorrection


@kernel(parallel=True)
def backproject_lines(filtered: Array, height: Array, start: float, down: float, step: float, image: Array) -> None:
    """Add a filtered projection (rows, cols) to an image whose line i sees the detector row height[i].

    Pixel (i, j) lies at column start + i·down + j·step. Linear interpolation, nothing outside of the detector.
    """
    last = filtered.shape[1] - 1
    for i in prange(image.shape[0]):
        line, out, at = filtered[height[i]], image[i], start + i * down
        a, b = -at / step, (last - at) / step
        first, end = int(max(0.0, np.ceil(min(a, b)))), int(min(float(out.size), np.floor(max(a, b)) + 1.0))
        t0, dt = np.float32(at), np.float32(step)
        for j in range(first, end):
            t = t0 + np.float32(j) * dt
            k = min(max(np.int32(t), np.int32(0)), np.int32(last - 1))
            out[j] += line[k] + (t - np.float32(k)) * (line[k + 1] - line[k])


class PlainPlanes:
    """Sums of filtered backprojections in planes whose lines are horizontal, about the middle of the detector."""

    def __init__(self, backend: Backend, planes: Sequence[Plane], rows: int, columns: int) -> None:
        self._backend, self._planes, self._middle = backend, planes, (columns - 1) / 2
        self._ramp = RampFilter(columns)
        heights = (p.origin[2] + p.v[2] * np.arange(p.shape[0]) for p in planes)
        self._heights = [as_input(np.clip(np.rint(z), 0, rows - 1).astype(np.int64)) for z in heights]
        self.sums = {plane.name: np.zeros(plane.shape, np.float32) for plane in planes}

    def add_raw(self, raw: Array, correction: FlatFieldCorrection, angle_rad: float) -> None:
        """Add one raw projection (rows, columns)."""
        self.add(correction.attenuation(raw), angle_rad)

    def add(self, attenuation: Image, angle_rad: float) -> None:
        """Add one projection (rows, columns) float32; all weigh 1."""
        filtered, middle = self._ramp.apply(attenuation, self._backend.threads), self._middle
        cos, sin = np.cos(angle_rad), np.sin(angle_rad)
        for plane, height in zip(self._planes, self._heights, strict=True):
            (x, y, _), u, v = plane.origin, plane.u, plane.v
            start, step = middle + (x - middle) * cos + (y - middle) * sin, u[0] * cos + u[1] * sin
            step = np.copysign(max(abs(step), 1e-9), step)
            down = v[0] * cos + v[1] * sin
            backproject_lines(as_input(filtered), height, start, down, step, self.sums[plane.name])
