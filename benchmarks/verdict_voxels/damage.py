"""How much worse a tomogram is, measured against the body itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from benchmarks.verdict.resolution import true_resolution
from benchmarks.verdict_voxels.bodies import band_limited, truth
from benchmarks.verdict_voxels.projector import PAD, Floats, backproject
from benchmarks.verdict_voxels.setup import Recording, Setup

Slices = NDArray[np.float32]
EVERY = 3
"""Each third detector row is looked at, from row 0."""


def field_of_view(columns: int) -> NDArray[np.bool_]:
    """Pixels (columns, columns) that every projection sees."""
    across = np.arange(columns) - (columns - 1) / 2
    return np.asarray(np.hypot(across[:, None], across[None, :]) < 0.46 * columns)


class Truth:
    """The body of a setup on the pixels of its tomogram, as sharp as the optics of a good scan and linear interpolation
    between the columns allow: otherwise its edges would outweigh every fault.
    """

    def __init__(self, setup: Setup) -> None:
        across = np.hypot(setup.sharpness, 0.45)  # √0.2: a triangle of two columns and one of a column
        body = ndimage.gaussian_filter(truth(setup.body, setup.columns), (setup.sharpness, across, across))
        self._setup, self._body = setup, body
        self._spline = ndimage.spline_filter(body, 3)
        self._columns = setup.columns
        self.rows = np.arange(0, setup.rows, EVERY)
        self._view = field_of_view(setup.columns)
        pose = setup.pose
        self._start = np.array(
            [pose.x.mean(), pose.y.mean(), pose.along.mean(), _turn(pose.angle - setup.reported_deg)]
        )

    def error(self, slices: Slices) -> float:
        """Rms difference (1/pixel) of slices (rows looked at, columns, columns) inside the field of view."""
        return self._rms(np.nan_to_num(np.asarray(slices, float)), self._view, np.zeros(4))

    def posed_error(self, slices: Slices) -> float:
        """The same, with the body brought to the pose (in the plane, along the axis, turned) that fits best."""
        values = np.nan_to_num(np.asarray(slices, float))
        thin = self._view & (np.indices(self._view.shape).sum(axis=0) % 4 == 0)
        starts = [np.zeros(4)] if np.abs(self._start).max() < 0.05 else [np.zeros(4), self._start]
        tried = [np.zeros(4), *(self._search(values, thin, start) for start in starts)]
        return min(self._rms(values, self._view, pose) for pose in tried)

    def seen(self, pose: Floats, where: NDArray[np.bool_]) -> Floats:
        """The body at a pose (x, y, along in pixels, turn in degrees) at pixels of all rows looked at."""
        x, y, along, turn = pose
        middle, tilt = (self._columns - 1) / 2, np.deg2rad(turn)
        row, column = np.nonzero(where)
        # A body that is ahead of the announced angle by ``turn`` appears turned back.
        u, v = column - middle, row - middle
        across = u * np.cos(tilt) - v * np.sin(tilt) - x + middle
        down = u * np.sin(tilt) + v * np.cos(tilt) - y + middle
        points = [np.broadcast_to((self.rows + PAD - along)[:, None], (len(self.rows), len(row))), down, across]
        return np.asarray(ndimage.map_coordinates(self._spline, np.broadcast_arrays(*points), prefilter=False))

    def _rms(self, values: Floats, where: NDArray[np.bool_], pose: Floats) -> float:
        wanted = self.seen(pose, where) if pose.any() else self._body[self.rows + PAD][:, where]
        return float(np.sqrt(np.mean((values[:, where] - wanted) ** 2)))

    def _search(self, values: Floats, where: NDArray[np.bool_], start: Floats) -> Floats:
        steps = np.vstack([start, start + 1.5 * np.eye(4)])
        found = optimize.minimize(
            lambda pose: self._rms(values, where, pose),
            start,
            method="Nelder-Mead",
            options={"initial_simplex": steps, "maxfev": 120, "xatol": 0.02, "fatol": 1e-6},
        )
        return np.asarray(found.x)

    def resolution(self, slices: Slices) -> float:
        """Period in pixels to which slices agree with the body, by the criterion of ``benchmarks.verdict``.

        The body is without what no grid of pixels can hold, and blurred along the axis as every projection is; within
        the plane, blur is part of the resolution.
        """
        sharp = ndimage.gaussian_filter1d(band_limited(self._setup.body, self._columns), self._setup.sharpness, axis=0)
        return true_resolution(np.nan_to_num(slices), sharp[self.rows + PAD])


def fitted(slices: Slices, columns: int) -> Slices:
    """Slices of another width brought to ``columns``; the axis stays in the middle."""
    extra = slices.shape[1] - columns
    if extra == 0:
        return slices
    shape, offset = (len(slices), columns, columns), (0, extra / 2, extra / 2)
    order = 3 if extra % 2 else 0
    return np.asarray(ndimage.affine_transform(slices, np.ones(3), offset, shape, order=order))


def _turn(off_deg: Floats) -> float:
    """Mean of angles that differ by less than half a turn, else 0."""
    return float(off_deg.mean()) if np.ptp(off_deg) < 60 else 0.0


def plain(recording: Recording, axis: float) -> Slices:
    """Filtered backprojection of the rows looked at, at the reported angles and the true axis, with mean fields.

    Without flats the 99th percentile of the counts is taken for the beam.
    """
    images = np.nan_to_num(recording.projections[:, ::EVERY].astype(float))
    dark = 0.0 if recording.darks is None else recording.darks[:, ::EVERY].mean(axis=0)
    open_beam = np.percentile(images, 99) if recording.flats is None else recording.flats[:, ::EVERY].mean(axis=0)
    share = (images - dark) / np.maximum(open_beam - dark, 1.0)
    return np.asarray(backproject(-np.log(np.clip(share, 1e-3, None)), recording.angles_deg, axis), np.float32)
