"""How far a tomogram is from the truth, and how fine it really is.

The slices judged are those of the product's own tomogram, of the scan as it was handed over: what the user gets. Where
the body is meant to be is free (a rigid pose: a shift in 3-D and a turn about the axis), as a sample that was
elsewhere all the time is no fault.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter1d

from benchmarks.verdict_blind.kernels import voxels
from benchmarks.verdict_blind.phantoms import turned
from benchmarks.verdict_blind.scan import Array, Draft

SMOOTH_PX = 1.5
FIELD = 0.47
"""Radius of the circle that is judged, as a share of the detector's columns."""

AGAINST_TRUTH = 0.541
"""Correlation with the truth at which that of two half scans is at the half-bit threshold: with many pixels in a ring
the latter is 0.1716 for the full data, and C = sqrt(2·0.1716 / 1.1716) (van Heel and Schatz, J. Struct. Biol. 2005;
Rosenthal and Henderson, J. Mol. Biol. 2003)."""

STEPS = 6


def judged_rows(rows: int) -> list[int]:
    """A quarter, half and three quarters down the detector."""
    return sorted({rows // 4, rows // 2, 3 * rows // 4})


class Truth:
    """The body of a draft, to be compared with slices (k, columns, columns) at ``judged_rows``."""

    def __init__(self, draft: Draft) -> None:
        self.parts, self.columns = draft.phantom.parts, draft.columns
        self.heights = np.array(judged_rows(draft.rows), float) - (draft.rows - 1) / 2
        grid = np.arange(draft.columns) - (draft.columns - 1) / 2
        self.y, self.x = grid[:, None], grid[None, :]
        self.inside = np.hypot(self.y, self.x) <= FIELD * draft.columns

    def at(self, pose: Array, up: float = 0.0) -> Array:
        """Slices for a ``pose`` of x, y, z and the turn in radian; ``up`` shifts the heights looked at."""
        slices: Array = voxels(self.parts, turned(-pose[3]), pose[:3].copy(), self.heights + up, self.columns, 2)
        return slices

    def errors(self, slices: Array, pose: Array) -> tuple[float, float]:
        """Rms difference per pixel, and of both smoothed."""
        difference = slices - self.at(pose)
        return self._rms(difference), self._rms(smoothed(difference))

    def _rms(self, image: Array) -> float:
        return float(np.sqrt(np.mean(image[:, self.inside] ** 2)))

    def register(self, slices: Array, start: Array) -> Array:
        """The pose near ``start`` at which the smoothed difference is least (Gauss-Newton)."""
        goal, pose = smoothed(slices), start.copy()
        best, error = pose, np.inf
        for _ in range(STEPS):
            truth = smoothed(self.at(pose))
            difference = goal - truth
            now = self._rms(difference)
            if now > 0.999 * error:
                return pose if now < error else best
            best, error = pose, now
            by_y, by_x = np.gradient(truth, axis=(1, 2))
            by_z = smoothed(self.at(pose, 0.5) - self.at(pose, -0.5))
            about = by_y * (self.x - pose[0]) - by_x * (self.y - pose[1])
            slopes = -np.stack([d[:, self.inside].ravel() for d in (by_x, by_y, by_z, about)], axis=1)
            wanted = difference[:, self.inside].ravel()
            square = slopes.T @ slopes
            square += 1e-4 * np.diag(np.diag(square)) + 1e-12 * np.eye(4)
            step = np.linalg.solve(square, slopes.T @ wanted)
            pose = pose + np.clip(step, -3, 3) * (1, 1, 1, 1 if abs(step[3]) < 0.3 else 0.3 / abs(step[3]))
        return best


def smoothed(slices: Array) -> Array:
    """Slices without their finest detail and most of their noise."""
    blurred: Array = gaussian_filter(slices, (0, SMOOTH_PX, SMOOTH_PX))
    return blurred


def starts(draft: Draft) -> list[Array]:
    """Poses that the body really had, in the frame of the angles that were told: the mean, first and last one."""
    true = np.deg2rad(draft.true_deg)
    _, shift, _ = draft.motion.poses(true)
    behind = np.deg2rad(draft.told_deg) - true
    x = shift[:, 0] * np.cos(behind) - shift[:, 1] * np.sin(behind)
    y = shift[:, 0] * np.sin(behind) + shift[:, 1] * np.cos(behind)
    poses = np.stack([x, y, shift[:, 2], np.deg2rad(draft.motion.slip) + behind], axis=1)
    tenth = max(1, len(poses) // 10)
    found = [poses.mean(axis=0), poses[:tenth].mean(axis=0), poses[-tenth:].mean(axis=0)]
    return found if np.ptp(poses, axis=0).max() > 0.5 else found[:1]


def deviation(draft: Draft, tomogram: Array) -> tuple[tuple[float, float], Array]:
    """Errors per pixel and smoothed at the best pose, and that pose. Infinite where the tomogram is not finite.

    ``tomogram`` (rows, width, width); a wide one (half acquisition) is judged in its middle.
    """
    truth = Truth(draft)
    margin = (tomogram.shape[2] - draft.columns) // 2
    field = slice(margin, margin + draft.columns)
    slices = tomogram[judged_rows(draft.rows), field, field].astype(np.float64)
    if not np.isfinite(slices).all():
        return (np.inf, np.inf), np.zeros(4)
    poses = [truth.register(slices, start) for start in starts(draft)]
    errors = [truth.errors(slices, pose) for pose in poses]
    best = min(range(len(poses)), key=lambda k: errors[k][1])
    return errors[best], poses[best]


def true_resolution(draft: Draft, tomogram: Array, pose: Array) -> float:
    """Period in pixels from which on the middle slice no longer agrees with the truth; 2 where it does everywhere."""
    truth = Truth(draft)
    middle = judged_rows(draft.rows).index(draft.rows // 2)
    margin = (tomogram.shape[2] - draft.columns) // 2
    field = slice(margin, margin + draft.columns)
    window = np.clip((FIELD * draft.columns - np.hypot(truth.y, truth.x)) / 6, 0, 1)
    a, b = (np.fft.fft2(image * window) for image in (tomogram[draft.rows // 2, field, field], truth.at(pose)[middle]))
    frequency = np.fft.fftfreq(draft.columns)
    ring = np.rint(np.hypot(frequency[:, None], frequency[None, :]) * draft.columns).astype(int)
    sums = [np.bincount(ring.ravel(), w.ravel()) for w in ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)]
    joint, ours, theirs = (uniform_filter1d(s, 3)[: draft.columns // 2 + 1] for s in sums)
    below = np.flatnonzero(joint < AGAINST_TRUTH * np.sqrt(ours * theirs))
    return float(draft.columns / max(below[0], 1)) if len(below) else 2.0
