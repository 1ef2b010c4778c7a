"""Centre of mass of each projection: the centre of rotation, and motion, from any part of a scan.

The mass of a rigid sample is the same in every projection, and its centre of mass runs on c + a·cos θ + b·sin θ
(Helgason-Ludwig conditions of order 0 and 1; Natterer, The Mathematics of Computerized Tomography, 1986, II.4).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from streamer.core.alignment.estimate import CenterEstimate, confidence_of, stripes_of
from streamer.core.alignment.path_fits import best_step, robust_fit
from streamer.core.alignment.row_binning import add_binned_rows, binned_rows
from streamer.core.arrays import Mask, Values
from streamer.core.backend.on_device import Projections
from streamer.core.preprocessing.kernels import moment_margin
from streamer.core.statistics import medians, robust_sigma
from streamer.frames import BadInput

EDGE_BANDS = 16  # bands of rows, in each of which the sample may touch the edge
NOISE_ROWS = 128  # about; from which the noise is measured
TOUCHING_LEVEL = 0.1  # of the margin above the open beam, in units of the densest band's mean attenuation
CLEAR_SHARE = 0.3  # of that, below which a projection is surely whole, and counts for the path
SYSTEMATIC_PX = 0.03  # error of a centre of mass that does not average out (uneven beam)
STRIPE_SIGMAS = 4.0  # standard deviations of noise and sample by which a stripe stands out
STRIPE_PULL_LEFT = 0.5  # share of the stripes' pull on the centre that remains after their removal
MASS_ERROR = 0.003  # error of the mass, which moves the centre in proportion to its distance from the middle
TILT_RAD = np.deg2rad(0.1)  # to which axes are aligned; it shifts a sample above or below the middle row
SELDOM_TOUCHING = 0.2  # share of the projections that may touch the edge where the open beam is read
ALIKE_LEVEL, ALIKE_SHARE = (
    0.03,
    0.25,
)  # attenuation by which the edges of an open beam may differ; and as a share of its own
PROFILE_EVERY = 2  # every second projection enters the column profile, which shows the stripes
DIGEST_BATCH = 64  # projections whose row moments are evaluated together
MIN_FRAMES = 6
BEAM_PARTS = 8  # parts of the half circle; the one in which the beam has changed most counts
SINGLE = 0.3  # attenuation of the beam, at most, by which a single projection counts in its part
MIN_MASS_SNR = 5.0


class MomentTrack:
    """Follows mass and centre of mass from frame to frame, in constant time per frame."""

    def __init__(self) -> None:
        self._records = np.zeros((0, 10))
        self._angles: list[float] = []
        self._pending: Values = np.zeros((0, 0, 4))
        self._shape: tuple[int, int] | None = None
        self._profile: Values = np.zeros((0, 0))
        self._profiles = 0
        self._margins = np.zeros((0, 2))  # bands of the two margins, summed over all projections

    def add(self, angle_rad: float | Sequence[float], attenuation: Projections, moments: Values) -> None:
        """Take in one projection, attenuation (rows, columns) float32, and the ``moments`` (rows, 4) of its rows; or
        several, (n, rows, columns) and (n, rows, 4), with an angle for each. They may lie on a device.

        The moments are those of ``FlatFieldCorrection.prepare``. Raises BadInput when the shape changes.
        """
        shape: tuple[int, int] = attenuation.shape[-2:]  # type: ignore[assignment]  # see below
        if attenuation.ndim not in (2, 3) or (self._shape is not None and shape != self._shape):
            raise BadInput(f"a projection is {shape}, those before it {self._shape}")
        rows, cols = self._shape = shape
        if not self._angles:
            self._pending = np.empty((DIGEST_BATCH, rows, 4), np.float64)
            self._profile = np.zeros((binned_rows(rows), cols))
        images, sums = attenuation if attenuation.ndim == 3 else attenuation[None], moments.reshape(-1, rows, 4)
        first = -self.count % PROFILE_EVERY
        add_binned_rows(images[first:], self._profile, PROFILE_EVERY)
        self._profiles += len(range(first, len(images), PROFILE_EVERY))
        angles = [float(angle_rad)] if isinstance(angle_rad, (int, float)) else list(angle_rad)
        first = 0
        while first < len(angles):
            waiting = self.count - len(self._records)
            part = slice(first, first + DIGEST_BATCH - waiting)
            self._angles += angles[part]
            first = min(part.stop, len(angles))
            self._pending[waiting : self.count - len(self._records)] = sums[part]
            if self.count - len(self._records) == DIGEST_BATCH:
                self._digest()

    def so_far(self) -> MomentTrack:
        """What is known at this moment, to be asked on another thread while projections come here; it takes none."""
        seen = copy.copy(self)
        seen._angles = self._angles.copy()
        seen._pending = self._pending[: self.count - len(self._records)].copy()
        seen._profile = self._profile.copy()
        return seen

    def _digest(self) -> None:
        """Turn the row sums that wait into records: angle, mass, first moments, edges, and signs of a touched edge."""
        waiting = self.count - len(self._records)
        if not waiting or self._shape is None:
            return
        rows, cols = self._shape
        sums = self._pending[:waiting]
        sides = sums[:, :, 2:] / moment_margin(cols)
        left, right = sides.mean(axis=1).T
        background = 0.5 * (left + right)
        mass = sums[:, :, 0].sum(axis=1) - background * rows * cols
        height = (sums[:, :, 0] - background[:, None] * cols) @ np.arange(rows)
        margins = _bands(sides)
        signs = _signs_of_touching(sums[:, :, 0] / cols, sides, margins)
        self._margins = margins.sum(axis=0) + (self._margins if len(self._records) else 0.0)
        angles = np.array(self._angles[-waiting:])
        fresh = np.stack([angles, mass, sums[:, :, 1].sum(axis=1), height, left, right, *signs], axis=1)
        self._records = np.concatenate([self._records, fresh])

    @property
    def count(self) -> int:
        return len(self._angles)

    @property
    def mean(self) -> Values | None:
        """Mean of the projections (one in PROFILE_EVERY), its rows binned as ``bin_rows`` does; None before any."""
        return self._profile / self._profiles if self._profiles else None

    @property
    def sides(self) -> Values:
        """Mean attenuation (2, n) at the left and right edge of the projections, in the order in which they came."""
        self._digest()
        return self._records[:, 4:6].T

    @property
    def truncation(self) -> float | None:
        """Share of the projections whose sample touches the left or right edge; None before the first."""
        self._digest()
        return float(np.mean(self._touches())) if self.count else None

    def _touches(self, share: float = 1.0) -> Mask:
        """Whether the sample reaches the left or right edge, for each of the n projections, by ``share`` of
        ``TOUCHING_LEVEL``.

        If even the emptiest margin is dense, the sample covers the detector. The few rows of one projection tell their
        noise badly: what is usual in the scan counts where it is more.
        """
        rise, dense, noise, covered = self._records[:, 6:].T
        usual = float(np.median(noise)) if noise.size else 0.0
        return np.asarray(
            (covered > 0) | (rise > np.maximum(share * TOUCHING_LEVEL * dense, 8.0 * np.maximum(noise, usual)))
        )

    @property
    def beam_drift(self) -> float | None:
        """Largest relative change of the open beam since the flats; None where the sample leaves no margin.

        It is that of a part of the half circle: what differs between neighbouring angles does no harm to a slice.
        A beam that fades does so alike at both edges and at all heights. Edges that do not agree hold sample, even
        where single projections do not show it: in half acquisition the one near the axis always does.
        """
        truncation = self.truncation
        if truncation is None:
            return None
        cut = truncation > SELDOM_TOUCHING
        theta, left, right = self._records[~self._touches() | cut][:, [0, 4, 5]].T
        beam = 0.5 * (left + right)
        # What covers both edges from the first projection on may be the sample: then only the change counts.
        first = float(np.median(beam[: -(-beam.size // BEAM_PARTS)])) if cut else 0.0
        level = _furthest(theta, beam - first)
        apart = float(max(np.ptp(self._margins) / self.count, robust_sigma(right - left)))
        if apart > (ALIKE_LEVEL if cut else max(ALIKE_LEVEL, ALIKE_SHARE * abs(level))):
            return None
        return drift_since_flats(theta, beam - first)

    def estimate(self) -> CenterEstimate:
        """Axis from the path of the centre of mass; unknown when there is no mass, or too much of it lies outside."""
        track = self._track()
        if track is None or self._shape is None:
            return CenterEstimate.unknown("moments")
        theta, x, z, mass = track
        rows, cols = self._shape
        model = np.stack([np.ones_like(theta), np.cos(theta), np.sin(theta)], axis=1)
        solution, weight = robust_fit(model, x)
        residual = x - model @ solution
        normal = model.T @ (weight[:, None] * model)
        if np.linalg.cond(normal) > 1e10:
            return CenterEstimate.unknown("moments")
        dilution = float(np.linalg.inv(normal)[0, 0])
        order = np.argsort(np.mod(theta, 2 * np.pi))
        # Neighbouring residuals that agree are not noise: fewer measurements than frames.
        r = residual[order]
        likeness = float(np.clip(np.dot(r[1:], r[:-1]) / max(float(np.dot(r, r)), 1e-30), 0.0, 0.95))
        noise = robust_sigma(residual) * np.sqrt((1 + likeness) / (1 - likeness))
        offset, typical = float(solution[0]), float(np.mean(mass))
        stripes, blur = self._stripes()
        column = np.arange(cols) - (cols - 1) / 2
        pull = float(stripes @ column) * rows / typical
        # The effect of unseen stripes on the first moment and on the level of the open beam.
        unseen = (
            blur
            * rows
            / typical
            * np.array([np.linalg.norm(column), 0.5 * cols * offset / np.sqrt(moment_margin(cols))])
        )
        uneven = self._records[:, 5] - self._records[:, 4]
        slope = 1.25 * robust_sigma(uneven) / np.sqrt(uneven.size) * rows * (cols**2 - 1) / 12.0 / typical
        height = float(np.median(z)) - (rows - 1) / 2
        # What moves all centres of mass alike moves the axis by as much; what goes slowly with the angle, by more where
        # less than a full turn was seen.
        alike = float(np.linalg.norm([STRIPE_PULL_LEFT * pull, TILT_RAD * height, slope, *unseen]))
        slow = float(np.hypot(SYSTEMATIC_PX, MASS_ERROR * offset)) * np.sqrt(dilution * theta.size)
        sigma = float(np.linalg.norm([noise * np.sqrt(dilution), slow, alike]))
        center = offset + (cols - 1) / 2
        confidence = confidence_of(sigma) * (1.0 - (self.truncation or 0.0))
        if confidence < 0.01 or not -0.5 <= center <= cols - 0.5:
            return CenterEstimate.unknown("moments")
        return CenterEstimate(center, confidence, sigma, "moments")

    def motion_px(self) -> float | None:
        """Largest displacement of the sample (pixels) that rotation does not explain; None when unknown.

        Looked for are jumps at any time: those of ``across_px``, and of the sample or the stage along the rows. A jump
        counts when it explains most of what the path deviates, and far better than chance; 0.0 means that there is no
        such jump.
        """
        across, track = self.across_px(), self._track()
        if across is None or track is None:
            return None
        one = np.ones((track[0].size, 1))
        return max(across, best_step(one, one, track[2]))

    def across_px(self) -> float | None:
        """The part of ``motion_px`` that moves the axis against the sample: a jump of the stage along the columns, or
        of the sample on its holder, which then runs on another circle."""
        track = self._track()
        if track is None:
            return None
        theta, x, _, _ = track
        circle = np.stack([np.ones_like(theta), np.cos(theta), np.sin(theta)], axis=1)
        return max(best_step(circle, circle[:, :1], x), best_step(circle, circle[:, 1:], x))

    def _track(self) -> tuple[Values, Values, Values, Values] | None:
        """Angle, centre of mass (x from the middle column, z in rows) and mass of the usable frames, as they came."""
        if self._shape is None or self.count < MIN_FRAMES:
            return None
        self._digest()
        rows, cols = self._shape
        theta, mass, first, height, left, right = self._records[:, :6].T
        stripes, margin = self._stripes()[0], moment_margin(cols)
        column = np.arange(cols) - (cols - 1) / 2
        left, right = left - stripes[:margin].mean(), right - stripes[-margin:].mean()
        extra = rows * (float(stripes.sum()) - 0.5 * cols * float(stripes[:margin].mean() + stripes[-margin:].mean()))
        mass, height = mass - extra, height - extra * (rows - 1) / 2
        first = first - rows * float(stripes @ column)
        whole = ~self._touches()
        if np.count_nonzero(whole) < max(MIN_FRAMES, 0.5 * self.count):
            return None
        clear = ~self._touches(CLEAR_SHARE)
        whole = clear if np.count_nonzero(clear) >= max(MIN_FRAMES, 0.5 * self.count) else whole
        # A steady uneven beam tilts the background of all projections alike.
        slope = float(np.median((right - left)[whole])) / cols
        first = first - slope * rows * cols * (cols**2 - 1) / 12.0
        typical = float(np.median(mass[whole]))
        usable = whole & (mass > 0.5 * typical)
        if typical <= MIN_MASS_SNR * robust_sigma(mass[whole]) or np.count_nonzero(usable) < MIN_FRAMES:
            return None
        true = _calmed(mass[usable])
        return theta[usable], first[usable] / true, height[usable] / mass[usable], true

    def _stripes(self) -> tuple[Values, float]:
        """Mean over the rows of what the detector adds to each column, (columns,), and the noise of this mean."""
        profile = self._profile.mean(axis=0) / self._profiles
        found = stripes_of(profile)
        # Most of what a median filter leaves of a slope is 0, however noisy; the second difference shows the noise.
        bend = float(np.median(np.abs(np.diff(profile, 2)))) if profile.size > 2 else 0.0
        noise = max(robust_sigma(found), 1.4826 * bend / np.sqrt(6.0))
        return np.where(np.abs(found) > STRIPE_SIGMAS * noise, found, 0.0), noise


def drift_since_flats(theta: Values, beam: Values) -> float:
    """Relative change of an open beam of attenuation (n,) at angles (n,), in the part of the half circle that lies
    furthest from the flats'."""
    return abs(float(np.expm1(-_furthest(theta, beam))))


def _furthest(theta: Values, beam: Values) -> float:
    """Median or mean of the part that lies furthest from 0; one projection does not make the mean of a part."""
    around = beam[np.argsort(np.mod(theta, np.pi), kind="stable")]
    parts = np.array_split(around, min(BEAM_PARTS, beam.size))
    means = [float(np.clip(part, -SINGLE, SINGLE).mean()) for part in parts]
    return max([*means, *(float(np.median(part)) for part in parts)], key=abs)


def _bands(values: Values) -> Values:
    """Means (n, bands, ...) over bands of rows of values (n, rows, ...)."""
    rows = values.shape[1]
    edges = np.linspace(0, rows, min(EDGE_BANDS, rows) + 1).astype(int)
    size = np.diff(edges).reshape(-1, *(1,) * (values.ndim - 2))
    return np.asarray(np.add.reduceat(values, edges[:-1], axis=1) / size)


def _signs_of_touching(mean: Values, sides: Values, margins: Values) -> tuple[Values, Values, Values, Mask]:
    """Of n projections: how far the densest margin stands above the emptiest, which counts as open beam, and how far
    the densest rows do; the noise of a margin in one band of rows; and whether even the emptiest one is dense.

    ``mean`` (n, rows) of the rows, ``sides`` (n, rows, 2) of their margins, ``margins`` (n, bands, 2) of bands of them.
    """
    rows, bands = mean.shape[1], margins.shape[1]
    densest = _bands(mean).max(axis=1)
    beam = margins.min(axis=(1, 2))
    noise = np.zeros(len(mean))
    if rows > 2:
        steps = np.moveaxis(np.diff(sides, axis=1)[:, :: max(1, rows // NOISE_ROWS)], 1, -1)
        spread = 1.4826 * medians(np.abs(steps - medians(steps)[..., None]))
        # The rows of a sample differ, too, most of all on few rows: the quieter margin shows the noise.
        noise = spread.min(axis=1) / np.sqrt(2.0 * rows / bands)
    return margins.max(axis=(1, 2)) - beam, densest - beam, noise, (beam > 0.3) & (beam > 0.25 * densest)


def _calmed(mass: Values) -> Values:
    """Masses, shrunk to their mean by the share of noise in their scatter (Wiener); slow changes are no noise.

    A centre of mass divided by a noisy mass lies too far from the middle in the mean.
    """
    scatter = float(np.var(mass))
    noise = 0.5 * robust_sigma(np.diff(mass)) ** 2
    share = min(1.0, noise / scatter) if scatter > 0 else 1.0
    return np.asarray(mass + share * (mass.mean() - mass))
