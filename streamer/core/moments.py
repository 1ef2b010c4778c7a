"""Centre of mass of each projection: the centre of rotation, and motion, from any part of a scan.

The mass of a rigid sample is the same in every projection, and its centre of mass runs on c + a·cos θ + b·sin θ
(Helgason-Ludwig conditions of order 0 and 1; Natterer, The Mathematics of Computerized Tomography, 1986, II.4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend import Backend
from streamer.core.estimate import CenterEstimate, robust_sigma, stripes_of, trust, unknown
from streamer.core.jit import as_input
from streamer.frames import BadInput

Series = NDArray[np.floating[Any]]

BANDS = 16  # bands of rows in which a sample that touches the edge is looked for
TOUCHES = 0.1  # margin above the open beam, in units of the mean attenuation of the densest band
SYSTEMATIC_PX = 0.03  # error of a centre of mass that does not average out (uneven beam)
DISTINCT = 4.0  # a stripe stands out from what is left of noise and sample by so many standard deviations
STRIPES_LEFT = 0.5  # share of the stripes' pull that stays after it has been taken out
MASS_ERROR = 0.003  # error of the mass, which moves the centre in proportion to its distance from the middle
TILT_RAD = np.deg2rad(0.1)  # axes are aligned to about this; it counts where the sample is not at middle height
PROFILE_EVERY = 4  # the column profile that shows the stripes is taken from one projection in so many
MIN_FRAMES = 6
MIN_MASS_SNR = 5.0
SIGNIFICANT = 30.0  # gain in chi-square that a jump must bring; 2 or 3 parameters and some 30 places are tried
EXPLAINS = 0.5  # share of the unexplained path that one jump must account for, else it is something other than motion
BREAKS = 32


class MomentTrack:
    """Follows mass and centre of mass from frame to frame, in constant time per frame."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._records: list[tuple[float, ...]] = []
        self._shape: tuple[int, int] | None = None
        self._profile: Series = np.zeros(0)
        self._profiles = 0

    def add(self, angle_rad: float, attenuation: NDArray[np.float32]) -> None:
        """Take in one projection, attenuation (rows, columns) float32. Raises BadInput when the shape changes."""
        if attenuation.ndim != 2 or (self._shape is not None and attenuation.shape != self._shape):
            raise BadInput(f"a projection is {attenuation.shape}, those before it {self._shape}")
        rows, cols = self._shape = attenuation.shape
        margin = max(1, cols // 50)
        sums = np.empty((rows, 4), np.float64)
        self._backend.kernels.row_moments(as_input(attenuation, np.float32), margin, self._backend.threads, sums)
        left, right = sums[:, 2] / margin, sums[:, 3] / margin
        mean_left, mean_right = float(left.mean()), float(right.mean())
        background = 0.5 * (mean_left + mean_right)
        mass = float(sums[:, 0].sum()) - background * rows * cols
        height = float(np.arange(rows) @ (sums[:, 0] - background * cols))
        record = (angle_rad, mass, float(sums[:, 1].sum()), height, mean_left, mean_right)
        if not self._records:
            self._profile = np.zeros(cols)
        if self.count % PROFILE_EVERY == 0:
            self._profile += attenuation.sum(axis=0, dtype=np.float64)
            self._profiles += 1
        self._records.append((*record, float(_touches(sums[:, 0] / cols, left, right))))

    @property
    def count(self) -> int:
        return len(self._records)

    @property
    def truncation(self) -> float | None:
        """Share of the projections whose sample touches the left or right edge; None before the first."""
        return float(np.mean([record[6] for record in self._records])) if self._records else None

    @property
    def beam_drift(self) -> float | None:
        """Relative change of the open beam beside the sample since the flats; None without such a place."""
        levels = [0.5 * (record[4] + record[5]) for record in self._records if not record[6]]
        return abs(float(np.expm1(-np.median(levels)))) if levels else None

    def estimate(self) -> CenterEstimate:
        """Axis from the path of the centre of mass; unknown when there is no mass, or too much of it lies outside."""
        track = self._track()
        if track is None or self._shape is None:
            return unknown("moments")
        theta, x, z, mass = track
        rows, cols = self._shape
        model = np.stack([np.ones_like(theta), np.cos(theta), np.sin(theta)], axis=1)
        solution, weight = _robust_fit(model, x)
        residual = x - model @ solution
        normal = model.T @ (weight[:, None] * model)
        if np.linalg.cond(normal) > 1e10:
            return unknown("moments")
        dilution = float(np.linalg.inv(normal)[0, 0])
        order = np.argsort(np.mod(theta, 2 * np.pi))
        # Neighbouring residuals that agree are not noise: fewer measurements than frames.
        r = residual[order]
        likeness = float(np.clip(np.dot(r[1:], r[:-1]) / max(float(np.dot(r, r)), 1e-30), 0.0, 0.95))
        noise = robust_sigma(residual) * np.sqrt((1 + likeness) / (1 - likeness))
        offset = float(solution[0])
        pull = float(self._stripes() @ (np.arange(cols) - (cols - 1) / 2)) * rows / float(np.mean(mass))
        height = float(np.median(z)) - (rows - 1) / 2
        steady = np.array([SYSTEMATIC_PX, STRIPES_LEFT * pull, MASS_ERROR * offset, TILT_RAD * height])
        sigma = float(np.hypot(noise * np.sqrt(dilution), np.linalg.norm(steady) * np.sqrt(dilution * theta.size)))
        center = offset + (cols - 1) / 2
        confidence = trust(sigma) * (1.0 - (self.truncation or 0.0))
        if confidence < 0.01 or not -0.5 <= center <= cols - 0.5:
            return unknown("moments")
        return CenterEstimate(center, confidence, sigma, "moments")

    def motion_px(self) -> float | None:
        """Largest displacement of the sample (pixels) that rotation does not explain; None when it cannot be told.

        Looked for are jumps at any time: of the stage along the columns, of the sample on its holder (which then runs
        on another circle), and of either along the rows. A jump counts when it explains most of what the path deviates,
        and far better than chance; 0.0 means that there is no such jump.
        """
        track = self._track()
        if track is None:
            return None
        theta, x, z, _ = track
        one, cos, sin = np.ones_like(theta), np.cos(theta), np.sin(theta)
        circle = np.stack([one, cos, sin], axis=1)
        return max(
            _jump(circle, one[:, None], x),
            _jump(circle, circle[:, 1:], x),
            _jump(one[:, None], one[:, None], z),
        )

    def _track(self) -> tuple[Series, Series, Series, Series] | None:
        """Angle, centre of mass (x from the middle column, z in rows) and mass of the usable frames, as they came."""
        if self._shape is None or self.count < MIN_FRAMES:
            return None
        rows, cols = self._shape
        theta, mass, first, height, left, right, touches = np.array(self._records).T
        stripes, margin = self._stripes(), max(1, cols // 50)
        column = np.arange(cols) - (cols - 1) / 2
        left, right = left - stripes[:margin].mean(), right - stripes[-margin:].mean()
        extra = rows * (float(stripes.sum()) - 0.5 * cols * float(stripes[:margin].mean() + stripes[-margin:].mean()))
        mass, height = mass - extra, height - extra * (rows - 1) / 2
        first = first - rows * float(stripes @ column)
        whole = touches == 0
        if np.count_nonzero(whole) < max(MIN_FRAMES, 0.5 * self.count):
            return None
        # An uneven beam that stays as it is tilts the background of all projections alike.
        slope = float(np.median((right - left)[whole])) / cols
        first = first - slope * rows * cols * (cols**2 - 1) / 12.0
        typical = float(np.median(mass[whole]))
        usable = whole & (mass > 0.5 * typical)
        if typical <= MIN_MASS_SNR * robust_sigma(mass[whole]) or np.count_nonzero(usable) < MIN_FRAMES:
            return None
        true = _calmed(mass[usable])
        return theta[usable], first[usable] / true, (height / mass)[usable], true

    def _stripes(self) -> Series:
        """Mean over the rows of what the detector adds to each column, (columns,)."""
        assert self._shape is not None
        found = stripes_of(self._profile / (self._profiles * self._shape[0]))
        return np.where(np.abs(found) > DISTINCT * robust_sigma(found), found, 0.0)


def _touches(mean: Series, left: Series, right: Series) -> bool:
    """Whether the sample reaches the left or right edge of the detector, from the row means of one projection.

    The emptiest margin is taken for the open beam. If even that is dense, the sample covers the detector.
    """
    bands = min(BANDS, mean.size)
    edges = np.linspace(0, mean.size, bands + 1).astype(int)[:-1]
    size = np.diff(np.append(edges, mean.size))
    sides = np.stack([np.add.reduceat(side, edges) / size for side in (left, right)])
    middle = np.add.reduceat(mean, edges) / size
    beam = float(sides.min())
    dense = float(middle.max()) - beam
    noise = 0.0
    if mean.size > 2:
        noise = max(robust_sigma(np.diff(side)) for side in (left, right)) / np.sqrt(2.0 * mean.size / bands)
    covered = beam > 0.3 and beam > 0.25 * float(middle.max())
    return covered or float(sides.max()) - beam > max(TOUCHES * dense, 8.0 * noise)


def _calmed(mass: Series) -> Series:
    """Masses drawn to their mean by as much as their scatter is noise (Wiener); what changes slowly is not.

    A centre of mass divided by a noisy mass lies too far from the middle in the mean.
    """
    scatter = float(np.var(mass))
    noise = 0.5 * robust_sigma(np.diff(mass)) ** 2
    share = min(1.0, noise / scatter) if scatter > 0 else 1.0
    return np.asarray(mass + share * (mass.mean() - mass))


def _robust_fit(model: Series, y: Series) -> tuple[Series, Series]:
    """Solution and weights of a linear fit with Tukey's biweight, ten steps of reweighted least squares."""
    weight = np.ones_like(y)
    solution: Series = np.linalg.lstsq(model, y, rcond=None)[0]
    for _ in range(10):
        residual = y - model @ solution
        scale = max(robust_sigma(residual), 1e-9)
        weight = np.maximum(1.0 - (residual / (4.685 * scale)) ** 2, 0.0) ** 2
        root = np.sqrt(weight)
        solution = np.linalg.lstsq(root[:, None] * model, root * y, rcond=None)[0]
    return solution, weight


def _jump(base: Series, extra: Series, y: Series) -> float:
    """Length of the best step in the coefficients of ``extra`` at any time, 0 when no step is significant."""
    n = y.size
    # Steps make few differences large; noise makes all of them so.
    rest = y - base @ np.linalg.lstsq(base, y, rcond=None)[0]
    noise = max(robust_sigma(np.diff(rest)) / np.sqrt(2.0), SYSTEMATIC_PX)
    before = float(rest @ rest)
    best, length = SIGNIFICANT, 0.0
    for start in np.unique(np.linspace(0.1 * n, 0.9 * n, BREAKS).astype(int)):
        later = np.arange(n) >= start
        model = np.hstack([base, extra * later[:, None]])
        solution = np.linalg.lstsq(model, y, rcond=None)[0]
        left_over = y - model @ solution
        after = float(left_over @ left_over)
        gain = (before - after) / noise**2
        step = solution[base.shape[1] :]
        normal = model.T @ model
        if gain <= best or after > EXPLAINS * before or np.linalg.cond(normal) > 1e8:
            continue
        spread = noise * float(np.sqrt(np.linalg.inv(normal).diagonal()[base.shape[1] :].max()))
        if float(np.linalg.norm(step)) > 4.0 * spread:
            best, length = gain, float(np.linalg.norm(step))
    return length


def as_track(backend: Backend, attenuation: NDArray[np.float32], angle_rad: NDArray[Any]) -> MomentTrack:
    """Track of all projections (angles, rows, columns) of a recorded scan."""
    track = MomentTrack(backend)
    for angle, frame in zip(angle_rad, attenuation, strict=True):
        track.add(float(angle), frame)
    return track
