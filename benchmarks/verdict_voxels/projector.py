"""Line integrals of a body of voxels at any pose, and a plain filtered backprojection.

A voxel at (x, y) from the axis falls on s = x·cos θ + y·sin θ, in detector columns from the axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from benchmarks.verdict_voxels.bodies import VOXEL, Volume, grid

Floats = NDArray[np.float64]
GUARD = 4
PAD = 10
"""Rows of the body above and below the detector."""

FIELDS = ("angle", "x", "y", "across", "along", "scale", "roll", "bend", "density", "gone")


@dataclass
class Pose:
    """Where the body is in each projection (n,).

    ``angle`` in degrees; ``x`` and ``y`` in pixels with the body; ``across`` and ``along`` in pixels of the detector;
    ``scale`` is the size (the mass stays), ``density`` multiplies the attenuation; ``roll`` in degrees turns the image;
    ``bend`` moves each row by so many columns per row from the middle; ``gone`` is the share of the rows, from row 0,
    whose part of the body is absent.
    """

    angle: Floats
    x: Floats = field(init=False)
    y: Floats = field(init=False)
    across: Floats = field(init=False)
    along: Floats = field(init=False)
    scale: Floats = field(init=False)
    roll: Floats = field(init=False)
    bend: Floats = field(init=False)
    density: Floats = field(init=False)
    gone: Floats = field(init=False)

    def __post_init__(self) -> None:
        for name in FIELDS[1:]:
            setattr(self, name, np.full(len(self.angle), 1.0 if name in ("scale", "density") else 0.0))

    def table(self) -> Floats:
        """All of it, (n, fields)."""
        return np.stack([getattr(self, name) for name in FIELDS], axis=1)


class Projector:
    """Projects one body onto a detector of ``rows`` × ``columns``; ``axis`` is the column of the rotation axis."""

    def __init__(self, body: Volume, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        points = grid(body.shape[1] * VOXEL / 2, rows, PAD)
        filled = body.any(axis=0)
        y, x = np.broadcast_arrays(points.y[0], points.x[0])
        self._x, self._y = x[filled], y[filled]
        self._densities = np.ascontiguousarray(body[:, filled].T * VOXEL**2, np.float32)

    def lines(self, pose: Pose, axis: float, known: tuple[Floats, Floats] | None = None) -> Floats:
        """Line integrals (n, rows, columns). ``known`` are table and lines of a pose, used again where it is equal."""
        table = pose.table()
        out = np.empty((len(table), self.rows, self.columns))
        for i, (angle, x, y, across, along, scale, roll, bend, density, gone) in enumerate(table):
            if known is not None and i < len(known[0]) and np.array_equal(known[0][i], table[i]):
                out[i] = known[1][i]
                continue
            image = self._image(np.deg2rad(angle), x, y, axis + across, scale)
            if gone:
                image[PAD : PAD + round(gone * self.rows)] = 0.0
                image[:PAD] = 0.0
            out[i] = density * self._onto_detector(image, along, roll, bend, scale, axis)
        return out

    def _image(self, theta: float, dx: float, dy: float, axis: float, scale: float) -> Floats:
        """One projection (z, 2 × columns) in bins half a pixel wide."""
        bins = round(self.columns / VOXEL)
        at = scale * ((self._x + dx) * np.cos(theta) + (self._y + dy) * np.sin(theta)) + axis
        fine = np.clip((at + 0.5) / VOXEL - 0.5 + GUARD, 0, bins + 2 * GUARD - 2)
        first = fine.astype(np.int32)
        share = (fine - first).astype(np.float32)
        matrix = sparse.csc_matrix(
            (
                np.stack([1 - share, share], axis=1).ravel(),
                np.stack([first, first + 1], axis=1).ravel(),
                np.arange(0, 2 * len(first) + 1, 2),
            ),
            shape=(bins + 2 * GUARD, len(first)),
        )
        return np.asarray((matrix @ self._densities)[GUARD:-GUARD].T, float) / scale

    def _onto_detector(
        self, image: Floats, along: float, roll: float, bend: float, scale: float, axis: float
    ) -> Floats:
        if along or roll or bend or scale != 1:
            middle = (self.rows - 1) / 2 + PAD
            z, bins = np.meshgrid(np.arange(image.shape[0]), np.arange(image.shape[1]), indexing="ij")
            tilt = np.deg2rad(roll)
            column = (bins + 0.5) * VOXEL - 0.5 - axis
            source_z = middle + ((z - middle) * np.cos(tilt) - column * np.sin(tilt) - along) / scale
            moved = (z - middle) * np.sin(tilt) + column * (np.cos(tilt) - 1) - bend * (z - middle)
            image = ndimage.map_coordinates(image, [source_z, bins + moved / VOXEL], order=3, mode="nearest")
        kept = image[PAD : PAD + self.rows]
        return np.asarray(kept.reshape(self.rows, self.columns, 2).sum(axis=2))


def backproject(lines: Floats, angles_deg: Floats, axis: float) -> Floats:
    """Plain filtered backprojection (rows, columns, columns) of lines (n, rows, columns), each angle of equal weight.

    The kernel is that of Ramachandran and Lakshminarayanan (1971), without a window.
    """
    n, rows, columns = lines.shape
    size = 1 << int(np.ceil(np.log2(2 * columns)))
    lag = np.fft.fftfreq(size, 1 / size)
    kernel = np.where(lag % 2 == 1, -1 / (np.pi * np.where(lag == 0, 1, lag)) ** 2, 0.0)
    kernel[0] = 0.25
    filtered = np.fft.irfft(np.fft.rfft(lines, size) * np.fft.rfft(kernel).real, size)[..., :columns]
    across = np.arange(columns) - (columns - 1) / 2
    out = np.zeros((rows, columns * columns))
    for image, theta in zip(filtered, np.deg2rad(angles_deg), strict=True):
        at = (across[None, :] * np.cos(theta) + across[:, None] * np.sin(theta) + axis).ravel()
        first = np.clip(at.astype(np.int64), 0, columns - 2)
        share = np.clip(at - first, 0, 1)
        out += image[:, first] * (1 - share) + image[:, first + 1] * share
    return np.asarray(out.reshape(rows, columns, columns) * np.pi / n)
