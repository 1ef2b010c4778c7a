"""The watched planes, cut out of the tomogram while its slices pass: final pictures that cost nothing to make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.planes.plane import Plane, Vector

Shape = tuple[int, int, int]


class PlaneCuts:
    """Takes the blocks of one tomogram (row, y, x) and keeps the pixels of planes that lie on its voxels."""

    def __init__(self, planes: Sequence[Plane], shape: Shape) -> None:
        """``planes`` of which ``on_voxels`` is true for this ``shape``."""
        self._planes = tuple(planes)
        self.images = {plane.name: np.zeros(plane.shape, np.float32) for plane in planes}
        """By name, (height, width); pixels outside of the blocks that were taken are 0."""
        # Voxel (x, y, z) of each pixel of the first line and of the first column.
        self._lines = [_voxels(plane, plane.v, plane.shape[0]) for plane in planes]
        self._columns = [_voxels(plane, plane.u, plane.shape[1]) for plane in planes]

    @staticmethod
    def on_voxels(planes: Sequence[Plane], shape: Shape) -> bool:
        """Whether the pixels of every plane are voxels of a tomogram of this shape, and its lines lie in one slice."""
        return all(_on_voxels(plane, shape) for plane in planes)

    def take(self, first: int, block: Image) -> None:
        """Cut the planes out of the slices ``first`` and following (rows, y, x)."""
        for plane, lines, columns in zip(self._planes, self._lines, self._columns, strict=True):
            image, heights = self.images[plane.name], lines[:, 2] - first
            x, y = columns[:, 0], columns[:, 1]
            if plane.horizontal:
                if 0 <= heights[0] < len(block):
                    dx, dy = (lines - lines[0])[:, :2].T
                    image[...] = block[heights[0], y + dy[:, None], x + dx[:, None]]
                continue
            inside = np.flatnonzero((heights >= 0) & (heights < len(block)))
            image[inside] = block[heights[inside, None], y, x]


def _voxels(plane: Plane, step: Vector, count: int) -> NDArray[np.int64]:
    """(x, y, z) of the pixels that are 0 … count - 1 steps away from the first one (count, 3)."""
    at = np.array(plane.origin) + np.arange(count)[:, None] * np.array(step)
    return np.asarray(np.rint(at), np.int64)


def _on_voxels(plane: Plane, shape: Shape) -> bool:
    whole = all(float(value).is_integer() for value in (*plane.origin, *plane.u, *plane.v))
    upright = plane.u[2] == 0.0 and plane.v[:2] == (0.0, 0.0)
    if not whole or not (plane.horizontal or upright):
        return False
    height, width = plane.shape
    origin, u, v = (np.array(value) for value in (plane.origin, plane.u, plane.v))
    corners = np.stack([origin + i * v + j * u for i in (0, height - 1) for j in (0, width - 1)])
    return bool((corners >= 0).all() and (corners < shape[::-1]).all())
