"""Do the projections belong to one rigid sample that turned as the angles say? All tests together, in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.estimate import stripes_of, without_mirrored
from streamer.core.backend.selection import Backend
from streamer.core.quality.motion.consistency import (
    FEWEST,
    Course,
    Moments,
    course,
    harmonics,
    moments_of,
    open_beam,
    path_model,
    pixel_noise,
    residual,
    uncut,
)
from streamer.core.quality.motion.leaning import lean_px
from streamer.core.quality.motion.path import movement_px
from streamer.core.quality.motion.reprojection import misfit
from streamer.core.quality.motion.turning import unevenness

Array = NDArray[Any]
Series = NDArray[np.float64]

COLUMNS, VIEWS, BANDS = 192, 400, 3
"""Columns, projections and slices, at most about, of what is reconstructed and projected again."""

UNEVEN_PATH, UNEVEN_SHIFT, UNEVEN_FIT, UNEVEN_MASS = (2e-3, 1e-4), (1e-3, 2e-5), (6e-4, 4.5e-5), (1e-3, 1.1e-4)
"""What an uneven beam and light that came past the sample make of the centre of mass, of the shift and the misfit of a
projection (all in units of the sample's radius), and of its mass: a part that is always there, and one that grows with
``stray_light``. Slow functions of the angle, and no movement. A tooth and dense rods, measured with X-rays and
neutrons, at attenuations of 1.8 and 2.9: 0.001 and 0.021, 0.0002 and 0.004, 0.001 and 0.009, 0.001 and 0.022."""

STRIPE = 0.1
"""Attenuation by which a column must differ from its neighbours in all projections for the detector to be the cause."""

FAST_FLOOR = 0.001
"""Of the sample's radius: what pixels that differ make of its shift from one projection to the next."""

ABSORBED = 2.5
"""Of a slow movement the reconstruction takes over all but one part in so many."""

LEAN = 0.0035
"""An axis that leans along the beam by 0.2° moves the sample up and down by this share of its distance."""

VANISHED = 50.0
"""Standard errors of its mass in one projection that a sample had which is gone from most of them."""

Z_FLOOR = 0.05
"""Rows by which uneven rows of the detector move a profile along the axis."""


@dataclass(frozen=True)
class RigidBody:
    """How far the projections are from those of one rigid sample.

    ``motion_px`` twice the rms of the unexplained displacement, across or along the axis, or of rows against each
    other, whichever is largest; ``kind`` and ``when`` of the course that it takes. ``misfit_px`` what does not fit
    otherwise, as if the projections were displaced by so much. ``mass_change`` twice the rms of the sample's mass,
    relative, or the rms of what lies beyond the edges. ``pattern`` rms attenuation that stays in its place on the
    detector. ``across`` whether the motion is across the axis. ``lag`` the share of the image before that each
    projection holds; 0 where it does not show.
    """

    motion_px: float
    misfit_px: float
    mass_change: float
    pattern: float
    kind: str = "none"
    when: float = 0.5
    across: bool = True
    lag: float = 0.0


def rigid_body(
    backend: Backend,
    views: NDArray[np.float32],
    angle_rad: Series,
    index: NDArray[np.int64],
    center: float | None,
    row_sums: Array | None = None,
    complete: bool = True,
    heights: Series | None = None,
) -> RigidBody | None:
    """Test attenuation (n, bands of rows, columns) at ``angle_rad``, taken in the order of the frame ``index``.

    ``center`` column of the axis where it is known. ``row_sums`` (n, rows) of the whole projections, for movement along
    the axis. ``complete``: the angles leave no gap, without which nothing can be projected again. ``heights`` (bands,)
    are the rows in the middle of the bands, by default their numbers. None where it cannot be told: too few
    projections, or no sample whose mass stands out of the noise.
    """
    order = np.argsort(index, kind="stable")
    views, theta = views[order], np.asarray(angle_rad, np.float64)[order]
    # The angle of the image just before, where it came.
    before = np.where(np.diff(index[order], prepend=-9) == 1, np.roll(theta, 1), np.nan)
    if len(views) < FEWEST or views.shape[2] < 16:
        return None
    stripes = stripes_of(views.mean(axis=0))
    if center is not None:
        stripes = without_mirrored(stripes, center)
    views = views - np.where(np.abs(stripes) > STRIPE, stripes, 0.0).astype(np.float32)
    noise, beam = pixel_noise(views), open_beam(views)
    moments = moments_of(views, beam, noise)
    if moments is None:
        return _vanished(views, beam, noise)
    path, whole = path_model(theta), uncut(views, beam, noise)
    typical = float(np.median(moments.mass[whole]))
    axis = float(np.linalg.lstsq(path[whole], moments.first[whole], rcond=None)[0][0])
    x = course(residual(path[whole], moments.first[whole]), moments.noise[1], 3)
    mass = course(moments.mass[whole] / typical - 1.0, moments.noise[0] / typical, 1)
    second, first, relative = moments.second[whole], moments.first[whole], moments.mass[whole] / typical
    turned = _second(theta[whole], second, first, relative, axis, moments.noise[2])
    middle = (views.shape[2] - 1) / 2
    z = _along(row_sums[order], views.shape[2], noise, beam, views.shape[1]) if row_sums is not None else None
    net = views - beam[:, None].astype(np.float32)
    nothing = Course(0.0, 0.0, 0.0)
    again = _Again(nothing, nothing, 0.0, 0.0, 0.0, 0.0)
    if complete:
        place = axis + middle if center is None else center
        again = _again(backend, net, theta, before, unevenness(theta, index[order]), place, noise, whole)
    radius = moments.radius
    stray = stray_light(float(np.percentile(net, 99.5)))

    def floor(uneven: tuple[float, float]) -> float:
        return uneven[0] + uneven[1] * stray

    slow_path = _beyond(x.slow, floor(UNEVEN_PATH) * radius)
    moving = _beyond(again.moving, floor(UNEVEN_PATH) * radius)
    when = np.linspace(0.0, 1.0, len(theta))[whole]
    moved = _beyond(movement_px(theta[whole], when, moments.first[whole], moments.noise[1]), FAST_FLOOR * radius)
    slow = max(slow_path, moved, moving, ABSORBED * _beyond(again.shift.slow, floor(UNEVEN_SHIFT) * radius))
    fast = _beyond(max(min(x.fast, 2 * again.shift.fast), again.shift.fast), FAST_FLOOR * radius)
    sideways = float(np.hypot(slow, fast))
    lift = 0.0 if z is None else float(np.hypot(_beyond(z.slow, Z_FLOOR + LEAN * radius), _beyond(z.fast, Z_FLOOR)))
    rows = np.arange(views.shape[1]) if heights is None else heights
    leant, nodded = lean_px(net[whole], np.asarray(rows, np.float64), theta[whole], when, noise)
    leaning = float(np.hypot(_beyond(leant, floor(UNEVEN_PATH) * radius), _beyond(nodded, FAST_FLOOR * radius)))
    sideways = max(sideways, leaning)
    misfit_px = _beyond(max(again.rest, again.turning, again.lagging, turned.rms), floor(UNEVEN_FIT) * radius)
    beyond = np.where(whole, 0.0, np.clip(1.0 - moments.mass / typical, 0.0, 1.0))
    # It differs with the angle, not in time: grey values are wrong by its rms.
    lacking = 0.5 * float(np.sqrt(np.mean(beyond**2)))
    change = _beyond(max(mass.rms, again.gain.rms, lacking), floor(UNEVEN_MASS))
    named = x if sideways >= lift or z is None else z
    return RigidBody(
        2 * max(sideways, lift),
        misfit_px,
        2 * change,
        again.pattern,
        named.kind,
        named.when,
        bool(sideways >= lift),
        again.lag,
    )


def _vanished(views: NDArray[np.float32], beam: Series, noise: float) -> RigidBody | None:
    """Of views (n, bands, columns) most of which hold no mass: a change of the mass, if a tenth of them hold some."""
    mass = np.sum(views - beam[:, None], axis=(1, 2))
    most = float(np.percentile(mass, 90))
    if most <= VANISHED * noise * np.sqrt(views[0].size):
        return None
    return RigidBody(0.0, 0.0, float(2 * np.std(mass) / most), 0.0)


def path_px(views: NDArray[np.float32], angle_rad: Series, moments: Moments) -> float:
    """Twice the rms by which the centre of mass leaves the path of a rigid sample, beyond noise and an uneven beam.

    ``views`` (n, bands, columns) of attenuation at ``angle_rad``, all in the order of time, with their ``moments``.
    """
    some = views[:: max(1, len(views) // 32)]
    net = some - open_beam(some)[:, None].astype(np.float32)
    uneven = UNEVEN_PATH[0] + UNEVEN_PATH[1] * stray_light(float(np.percentile(net, 99.5)))
    x = course(residual(path_model(angle_rad), moments.first), moments.noise[1], 3)
    return 2 * _beyond(x.rms, uneven * moments.radius)


def stray_light(attenuation: float) -> float:
    """How much light that came past the sample counts at an ``attenuation``, in arbitrary units: little below one."""
    dense = max(attenuation, 0.0)
    return float((np.expm1(dense) - dense) ** 2)


def _beyond(value: float, floor: float) -> float:
    return float(np.sqrt(max(0.0, value**2 - floor**2)))


def _second(theta: Series, second: Series, first: Series, mass: Series, axis: float, noise: float) -> Course:
    """Course of the second moment about the axis, as a displacement of what lies at the rms distance from it."""
    about = second - 2 * axis * first + axis**2 * mass
    radius = float(np.sqrt(max(float(np.median(about)), 1.0)))
    return course(residual(harmonics(theta, 2), about) / (2 * radius), noise / (2 * radius), 3)


def _along(sums: Array, columns: int, noise: float, beam: Series, bands: int) -> Course | None:
    """Course (rows) of the profile along the axis: row sums (n, rows) of attenuation, each the same at all angles.

    ``noise`` is that of a mean over bands, of which there are ``bands``. None where the rows do not differ.
    """
    rows = sums.shape[1]
    if rows < 6:
        return None
    net = np.asarray(sums, np.float64) - beam.sum(axis=1)[:, None]
    profile = net.mean(axis=0)
    terms = np.stack([np.gradient(profile), profile, np.ones(rows)], axis=1)[1:-1]
    normal = terms.T @ terms
    if np.linalg.cond(normal) > 1e10:
        return None
    found = -np.linalg.solve(normal, terms.T @ (net - profile)[:, 1:-1].T)[0]
    # A band is the mean of several rows: a row by itself is noisier.
    row_noise = noise * np.sqrt(columns * max(1.0, rows / bands))
    error = row_noise * float(np.sqrt(np.linalg.inv(normal)[0, 0]))
    return course(found, error, 1) if error < 1.0 else None


@dataclass(frozen=True)
class _Again:
    """``misfit`` in detector pixels: courses of shift and gain, what is left, the pattern that stays, and errors."""

    shift: Course
    gain: Course
    rest: float
    pattern: float
    turning: float
    moving: float
    lagging: float = 0.0
    lag: float = 0.0


def _again(
    backend: Backend,
    net: NDArray[np.float32],
    theta: Series,
    before: Series,
    uneven: Series,
    center: float,
    noise: float,
    uncut: NDArray[np.bool_],
) -> _Again:
    """Reconstruct and project again what ``COLUMNS``, ``VIEWS`` and ``BANDS`` leave of net views, in time order.

    Only those that are ``uncut`` are compared.
    """
    n, bands, columns = net.shape
    squeeze, thick = -(-columns // COLUMNS), -(-bands // BANDS)
    kept = np.unique(np.linspace(0, n - 1, min(n, VIEWS)).astype(int))
    if n > VIEWS:
        kept = np.sort(np.argsort(np.mod(theta, np.pi), kind="stable")[kept])
    used = net[kept, : bands // thick * thick, : columns // squeeze * squeeze]
    small = used.reshape(len(kept), bands // thick, thick, columns // squeeze, squeeze).mean(axis=(2, 4))
    quiet = noise / np.sqrt(thick * squeeze)
    place = (center - (squeeze - 1) / 2) / squeeze
    small = np.ascontiguousarray(small, np.float32)
    found = misfit(backend, small, theta[kept], place, quiet, uncut[kept], before[kept], uneven[kept])
    shift = course(found.shift_px - np.median(found.shift_px), found.noise_shift_px, 1)
    gain = course(found.gain - np.median(found.gain), found.noise_gain, 1)
    usual = np.sort(found.rest_px**2)[: max(1, int(0.98 * found.rest_px.size))]
    rest = max(_beyond(float(np.sqrt(usual.mean())), found.noise_rest_px), found.alike_px)
    scaled = Course(shift.fast * squeeze, shift.slow * squeeze, shift.noise * squeeze, shift.kind, shift.when)
    pattern = _beyond(found.static, found.noise_static)
    turning, moving, lagging = (
        px * squeeze for px in (found.errors.turning_px, found.errors.moving_px, found.errors.lagging_px)
    )
    return _Again(scaled, gain, rest * squeeze, pattern, turning, moving, lagging, found.errors.lag)
