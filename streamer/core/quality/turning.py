"""Did the sample turn as the angles say, stay in its place and keep its size? A fit to what is left over.

An error of the angle adds the derivative of the projections by the angle to them, a movement that by the column, and a
change of size that by the size. Filtered backprojection takes over the part of it that another rigid sample could have.
What it leaves of each is found by reconstructing the error itself and projecting it again. A fit to that gives the size
of the error, and its standard error, which is large where the error could not be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.statistics import robust_sigma

Array = NDArray[Any]
Series = NDArray[np.float64]
Leave = Callable[[NDArray[np.float32], Series, float], Array]
"""What views (n, rows, columns) at n angles, with the column of the axis, have that no rigid sample has."""

PIECES = 10
"""Parts of the scan, in time, each of which may have an error of its own."""

COLUMNS, VIEWS = 72, 120
"""Columns and projections, at most, from which it is found what the reconstruction leaves of an error."""

CERTAIN = 8.0
"""Standard errors by which an error must stand out: neither noise nor the grid is the cause then."""

FULLY = 40.0
"""Standard errors from which on all of a movement counts."""

VISIBLE = 0.015
"""Share of an error, in its square, that must be left for it to be measured."""


@dataclass(frozen=True)
class Errors:
    """Rms displacement (pixels) of the projections: ``turning_px`` by wrong angles or a changing size, ``moving_px`` by
    a movement across the axis. 0 where none is certain.
    """

    turning_px: float
    moving_px: float


@dataclass(frozen=True)
class _Way:
    """An error: what it adds to the projections is ``field`` (n, rows, columns) times a ``course`` (n,) in time."""

    field: int
    course: Series


def errors_of(
    leave: Leave, rest: Array, again: Array, turned: Array, angle_rad: Series, center: float, steep: float
) -> Errors:
    """The largest error of each kind that is certain.

    ``rest`` (n, rows, columns) of projections in the order of time is what their reconstruction, projected ``again``,
    leaves of them. ``turned`` is the derivative of ``again`` by the angle, ``steep`` the rms of that by the column.
    Tried are steps at any time and a steady drift of angle and place, a wrong step of the angle, and shrinking. The
    position of the axis is fitted as well.
    """
    n, _, columns = again.shape
    along = -np.gradient(again, axis=2)
    fields = (turned, along, again + (np.arange(columns) - center) * along)
    time = np.linspace(-0.5, 0.5, n)
    pieces = np.eye(PIECES)[np.arange(n) * PIECES // n].T
    parts = [_Way(field, piece) for field in (0, 1) for piece in pieces]
    parts += [_Way(0, angle_rad - angle_rad.mean()), _Way(2, time)]
    seen = np.stack([np.einsum("nrc,nrc->n", field, rest) for field in fields])
    strength = np.stack([np.einsum("nrc,nrc->n", field, field) for field in fields]) + 1e-30
    noise = [robust_sigma(np.diff(line)) / np.sqrt(2.0) for line in seen / np.sqrt(strength)]
    found = np.array([seen[part.field] @ part.course for part in parts])
    left = _left(leave, fields, parts, angle_rad, center)
    axis = np.zeros(len(parts))
    axis[PIECES : 2 * PIECES] = 1.0
    most = [0.0, 0.0, 0.0]
    for way in _ways(len(parts)):
        both = np.stack([way, axis])
        (own, shared), (_, fixed) = both @ left @ both.T
        right = both @ found
        own -= shared**2 / max(fixed, 1e-30)
        used = np.flatnonzero(way)
        field = parts[used[0]].field
        course = np.sum([way[k] * parts[k].course for k in used], axis=0)
        # Of the noise, too, only that is left which no rigid sample has.
        error = noise[field] / np.sqrt(max(own, 1e-30))
        size = abs(float(right[0] - shared * right[1] / max(fixed, 1e-30))) / max(own, 1e-30)
        if size > CERTAIN * error and own > VISIBLE * float(strength[field] @ course**2):
            # Below that, of a movement only the part counts that no rigid sample would have.
            full = field != 1 or size > FULLY * error
            whole = float(strength[field].mean()) * n * float(np.var(course)) if full else own
            most[field] = max(most[field], size * float(np.sqrt(whole / again.size)) / steep)
    return Errors(max(most[0], most[2]), most[1])


def _ways(parts: int) -> Array:
    """Courses (ways, parts) that are tried, as sums of parts: steps and a drift of angle and place, and the rest."""
    steps = np.triu(np.ones((PIECES, PIECES)))[1:]
    courses = np.concatenate([steps, np.linspace(-0.5, 0.5, PIECES)[None]])
    ways = np.zeros((2 * PIECES + 2, parts))
    ways[:PIECES, :PIECES] = ways[PIECES : 2 * PIECES, PIECES : 2 * PIECES] = courses
    ways[-2, -2] = ways[-1, -1] = 1.0
    return ways


def _left(leave: Leave, fields: tuple[Array, ...], parts: list[_Way], angle_rad: Series, center: float) -> Array:
    """Products (k, k) of k errors with what the reconstruction leaves of them, from few columns and projections."""
    n, _, columns = fields[0].shape
    squeeze = -(-columns // COLUMNS)
    some = np.unique(np.linspace(0, n - 1, min(n, VIEWS)).astype(int))
    used = columns // squeeze * squeeze

    def small(field: Array) -> Array:
        power = np.einsum("nrc,nrc->r", field, field)
        band = int(np.argmax(power))
        line = field[some, band, :used].reshape(len(some), -1, squeeze).mean(axis=2)
        return np.asarray(np.sqrt(power.sum() / max(float(power[band]), 1e-30)) * line)

    lines = [small(field) for field in fields]
    views = np.stack([lines[part.field] * part.course[some, None] for part in parts], axis=1).astype(np.float32)
    rest = leave(views, angle_rad[some], (center - (squeeze - 1) / 2) / squeeze)
    whole = np.einsum("nkc,njc->kj", views.astype(np.float64), rest.astype(np.float64))
    return np.asarray(0.5 * (whole + whole.T) * squeeze * n / len(some))
