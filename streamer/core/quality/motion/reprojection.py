"""What does not fit: a slice is reconstructed and projected again; each projection is compared with what it should be.

This tests all orders of the consistency conditions at once: whatever the projections hold that no rigid sample has,
whichever the cause, is left over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from streamer.core.backend.selection import Backend
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.core.fourier.volume import reconstruct_rows_fourier
from streamer.core.jit import as_input, kernel
from streamer.core.quality.motion.response import without_response
from streamer.core.quality.motion.turning import ErrorFit, Errors
from streamer.core.simd.plane_vectors import FEW_LANES, add_pair

Array = NDArray[Any]
Series = NDArray[np.float64]

WIDER = 0.25
"""Share of the columns, at most, by which views are made wider for the axis to be in their middle."""

BEYOND = 0.06
"""Share of the columns that a sample may reach beyond either edge of views that are cut off."""

ROUNDS, FEWER_ROUNDS = 4, 2
"""Reconstructions, each of what those before it left, for what is compared, and for what is small beside it."""

TURN = np.deg2rad(0.5)
"""Step by which the derivative by the angle is taken."""

MOST_LIGHT = 3.0
"""Attenuation, at most, by which an image may be denser than the one before for what stays of that to be small."""

SUSPECT_PX = 0.01
"""Misfit in pixels from which on it is asked what of it is the detector's response."""

SMOOTH_PX = 1.5
"""Width of the Gaussian under which slices and projections are compared: grid and interpolation do not show."""


@dataclass(frozen=True)
class Misfit:
    """Of n projections that were compared, in their order: ``shift_px`` by which each is displaced against what the
    others say, ``gain`` relative to 1, ``rest_px`` the rms of what is left, in units of the rms slope of the
    projections, as if they were displaced by so many pixels; what noise alone makes of the three; ``alike_px``, the
    part of ``rest_px`` that projections at neighbouring angles share, which noise does not; ``static``, the rms
    (attenuation) of what stays in its place on the detector in all of them, and what noise makes of it; and the
    ``errors`` of angle, place and size.
    """

    shift_px: Series
    gain: Series
    rest_px: Series
    noise_shift_px: float
    noise_gain: float
    noise_rest_px: float
    alike_px: float
    static: float
    noise_static: float
    errors: Errors


def misfit(
    backend: Backend,
    views: NDArray[np.float32],
    angle_rad: Series,
    center: float,
    noise: float,
    used: NDArray[np.bool_],
    before_rad: Series | None = None,
    uneven_rad: Series | None = None,
) -> Misfit:
    """Compare attenuation (n, rows, columns) float32, without the open beam's, with its own reconstruction.

    ``noise`` of one pixel. Each row is a slice of its own. Those of the views that are ``used`` (n,) are compared.
    ``before_rad`` (n,) are the angles of the images that the detector took just before these, NaN where there is none.
    ``uneven_rad`` (n,) is that of ``turning.unevenness``.
    """
    soft = _smooth(views)
    before = angle_rad if before_rad is None else np.where(np.isnan(before_rad), angle_rad, before_rad)
    others = (angle_rad + TURN,) if before_rad is None else (angle_rad + TURN, before)
    everywhere = projected_again(backend, soft, angle_rad, center, others, used)
    again, turned = everywhere[0], (everywhere[1] - everywhere[0]) / TURN
    # Of an image before that is brighter, more stays.
    ghost = None if before_rad is None else 1.0 - np.exp(np.clip(again - everywhere[2], None, MOST_LIGHT))

    def leave(views: NDArray[np.float32], at: Series, place: float, rounds: int = ROUNDS) -> Array:
        return np.asarray(views - projected_again(backend, views, at, place, rounds=rounds)[0])

    def leave_little(views: NDArray[np.float32]) -> Array:
        return leave(views, angle_rad, center, FEWER_ROUNDS)

    fit = ErrorFit(leave, again, turned, angle_rad, center, used, ghost, uneven_rad)
    rest = soft.astype(np.float64) - again
    found = _compared(rest, again, angle_rad, noise, used, fit)
    if max(found.alike_px, found.errors.turning_px, found.errors.moving_px) < SUSPECT_PX:
        return found
    lines = projected_again(backend, views, angle_rad, center, whole=used, rounds=FEWER_ROUNDS)[0]
    rest = without_response(rest, lines, used, _smooth, leave_little)
    return _compared(rest, again, angle_rad, noise, used, fit)


def _compared(
    unlike: Array, everywhere: Array, angle_rad: Series, noise: float, used: NDArray[np.bool_], fit: ErrorFit
) -> Misfit:
    """The misfit of smoothed views that are ``unlike`` (n, rows, columns) those projected again, ``everywhere``."""
    again = everywhere[used]
    n, rows, columns = again.shape
    slope = np.gradient(again, axis=2)
    # Each projection: measured = gain·again - shift·slope + offset.
    one = np.ones_like(again)
    terms = np.stack([again, slope, one], axis=1).reshape(n, 3, -1).astype(np.float64)
    target = (again + unlike[used]).reshape(n, -1)
    normal = np.einsum("nip,njp->nij", terms, terms) + 1e-9 * np.eye(3)
    solution = np.linalg.solve(normal, np.einsum("nip,np->ni", terms, target)[..., None])[..., 0]
    rest = target - np.einsum("ni,nip->np", solution, terms)
    steep = float(np.sqrt(np.mean(np.square(slope))))
    soft_noise = noise / np.sqrt(2.0 * np.sqrt(np.pi) * SMOOTH_PX)
    # Smoothed noise counts in the fit by the square of the filter's gain; what is left of it is one value.
    per_frame = noise / (steep * np.sqrt(rows * columns) + 1e-30)
    still = rest.mean(axis=0)
    static = float(np.sqrt(np.mean(still**2)))
    rest -= still
    steady = unlike - unlike[used].mean(axis=0)
    near = rest[np.argsort(np.mod(angle_rad[used], 2 * np.pi), kind="stable")]
    alike = float(np.mean(near[1:] * near[:-1]))
    return Misfit(
        -solution[:, 1],
        solution[:, 0],
        np.sqrt(np.mean(rest**2, axis=1)) / steep,
        per_frame,
        noise / (float(np.sqrt(np.mean(np.square(again - again.mean())))) * np.sqrt(rows * columns) + 1e-30),
        soft_noise / steep,
        float(np.sqrt(max(0.0, alike))) / steep,
        static,
        soft_noise / np.sqrt(n),
        fit.errors(steady, steep),
    )


def _smooth(views: Array) -> NDArray[np.float32]:
    return np.asarray(gaussian_filter1d(views, SMOOTH_PX, axis=2, mode="nearest"), np.float32)


def projected_again(
    backend: Backend,
    views: NDArray[np.float32],
    angle_rad: Series,
    center: float,
    others: tuple[Series, ...] = (),
    whole: NDArray[np.bool_] | None = None,
    rounds: int = ROUNDS,
) -> tuple[Array, ...]:
    """Projections of the slices that are reconstructed from ``views`` (n, rows, columns) float32, like them; and those
    at ``others``, angles (n,) in radian each.

    What they leave is reconstructed again and added, so that the errors of the grid do not count. Beyond the edge that
    is nearer to the axis there is open beam, as far as the other edge. What those views hold beyond the edges that are
    not ``whole`` (n,), default all, is taken from the others.
    """
    rows, columns = views.shape[1:]
    off = 2 * center - (columns - 1)
    extra = min(round(abs(off)), int(WIDER * columns))
    cut = np.zeros(len(views), bool) if whole is None else ~whole
    beyond = int(np.ceil(BEYOND * columns)) if cut.any() else 0
    before = beyond + (extra if off < 0 else 0)
    after = 2 * beyond + extra - before
    wide = np.pad(views, ((0, 0), (0, 0), (before, after)))
    axis, width = center + before, columns + extra + 2 * beyond
    if beyond:
        wide[cut] += _beyond_edges(views, cut, before, after)
    weights = angular_weights(angle_rad)
    place = np.arange(width) - (width - 1) / 2
    outside = np.hypot(place[:, None], place) > (width - 1) / 2 + abs(axis - (width - 1) / 2)
    slices = np.zeros((rows, width, width), np.float32)
    again = np.zeros_like(wide)

    def project(angle: Series, out: Array) -> None:
        project_slices(by_row, by_column, np.cos(angle), np.sin(angle), axis, backend.threads, out)

    for _ in range(rounds):
        slices += reconstruct_rows_fourier(backend, wide - again, angle_rad, weights, axis)
        slices[:, outside] = 0.0
        by_row, by_column = for_projection(slices)
        project(angle_rad, again)
        if beyond:
            wide[cut, :, :before], wide[cut, :, -after:] = again[cut, :, :before], again[cut, :, -after:]
    own, found = np.s_[..., before : before + columns], [again]
    for angle in others:
        found.append(np.empty_like(again))
        project(angle, found[-1])
    return tuple(np.ascontiguousarray(some[own]) for some in found)


def _beyond_edges(views: NDArray[np.float32], cut: NDArray[np.bool_], before: int, after: int) -> Array:
    """First guess of what views (n, rows, columns) that are ``cut`` hold in so many columns before and after them.

    They lack mass against the others. It falls off along a line from each edge, as far as the mass lasts.
    """
    some, sums = views[cut], views.sum(axis=2)
    lacking = np.clip(np.median(sums[~cut], axis=0) - sums[cut], 0.0, None)
    edges = np.clip(some[..., [0, -1]], 0.0, None)
    reach = np.maximum(2 * lacking / np.maximum(edges.sum(axis=2), 1e-12), 1.0)[..., None]
    left = edges[..., :1] * np.clip(1 - np.arange(before, 0, -1) / (reach + 0.5), 0.0, None)
    right = edges[..., 1:] * np.clip(1 - np.arange(1, after + 1) / (reach + 0.5), 0.0, None)
    return np.concatenate([left, np.zeros_like(some), right], axis=2).astype(np.float32)


def for_projection(slices: NDArray[np.float32]) -> tuple[Array, Array]:
    """Slices (rows, y, x) as ``project_slices`` reads them: (y, x, depth), and with x and y exchanged."""
    padded = np.pad(slices, ((0, -len(slices) % FEW_LANES), (0, 0), (0, 0)))
    return as_input(padded.transpose(1, 2, 0), np.float32), as_input(padded.transpose(2, 1, 0), np.float32)


@kernel(parallel=True)
def project_slices(
    slices: Array, turned: Array, cos: Array, sin: Array, center: float, threads: int, out: Array
) -> None:
    """out[a, z, c] = line integrals of slices along rays at column c of n.

    slices[y, x, z] (n, n, depth) float32, where depth is the rows of ``out`` and what lacks to a multiple of FEW_LANES;
    ``turned`` has x and y exchanged. Linear interpolation across the ray's steeper direction (Joseph, IEEE Trans. Med.
    Imaging 1, 192, 1982): line after line of the slice is added to all columns. What is needed of a slice lies together
    for all rows: to pick up single values would take most of the time.
    """
    angles, rows, columns = out.shape
    n, depth = slices.shape[1], slices.shape[2]
    middle, last = (n - 1) * 0.5, np.float32(n - 1)
    by_rows, by_columns = slices.reshape(-1), turned.reshape(-1)
    for thread in prange(threads):
        # Left pixel of each column's ray in a line, and the weights of it and of the next: the same for all slices.
        left, near, far = np.empty(columns, np.uint32), np.empty(columns, np.float32), np.empty(columns, np.float32)
        sums = np.empty((columns, depth), np.float32)
        flat = sums.reshape(-1)
        for a in range(angles * thread // threads, angles * (thread + 1) // threads):
            along_x = abs(sin[a]) > abs(cos[a])
            major = sin[a] if along_x else cos[a]
            minor = cos[a] if along_x else sin[a]
            length, per_column = np.float32(1.0 / abs(major)), np.float32(1.0 / major)
            pixels = by_columns if along_x else by_rows
            sums[:] = np.float32(0.0)
            for k in range(n):
                at_0 = np.float32((middle * minor - center - k * minor) / major + middle)
                for c in range(columns):
                    at = at_0 + np.float32(c) * per_column
                    i = np.int32(min(max(at, np.float32(0.0)), last - np.float32(1.0)))
                    share = length if (at >= np.float32(0.0)) & (at <= last) else np.float32(0.0)
                    left[c], far[c] = i, (at - np.float32(i)) * share
                    near[c] = share - far[c]
                # Rays of the other columns pass the line outside of the slice.
                one, other = -at_0 / per_column, (last - at_0) / per_column
                first = max(0, int(min(one, other)) - 1)
                end = min(columns, int(max(one, other)) + 2)
                for z in range(0, depth, FEW_LANES):
                    begin = k * n * depth + z
                    for c in range(first, end):
                        add_pair(flat, c * depth + z, pixels, begin + np.int64(left[c]) * depth, depth, near[c], far[c])
            for z in range(rows):
                for c in range(columns):
                    out[a, z, c] = sums[c, z]
