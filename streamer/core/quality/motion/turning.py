"""Did the sample turn as the angles say, stay in its place and keep its size? A fit to what is left over.

An error of the angle adds the derivative of the projections by the angle to them, a movement that by the column, and a
change of size that by the size. A detector that holds a share of the image before adds that. Filtered backprojection
takes over the part of it that another rigid sample could have.
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

CERTAIN_CUT = 24.0
"""The same where some projections are cut off, and what they lack was found from the others."""

FULLY = 40.0
"""Standard errors from which on all of a movement counts."""

GHOST = 3
"""Number of the field that the image before makes."""

MOST_STAYS = 0.5
"""Share of an image, at most, that may be in the next one."""

EVEN_RAD, UNEVEN_RAD = 1e-4, 0.1
"""Rms, in radian, by which angles differ from a rotation in even steps, where it is asked which of the two is right."""

VISIBLE = 0.015
"""Share of an error, in its square, that must be left for it to be measured."""


@dataclass(frozen=True)
class Errors:
    """Rms displacement (pixels) of the projections: ``turning_px`` by wrong angles or a changing size, ``moving_px`` by
    a movement across the axis; as if they were displaced, ``lagging_px`` by the image before, of which each holds the
    share ``lag``. 0 where none is certain.
    """

    turning_px: float
    moving_px: float
    lagging_px: float = 0.0
    lag: float = 0.0


@dataclass(frozen=True)
class _Way:
    """An error: what it adds to the projections is ``field`` (n, rows, columns) times a ``course`` (n,) in time."""

    field: int
    course: Series


class ErrorFit:
    """Finds the errors of projections (n, rows, columns) in the order of time in what their reconstruction leaves.

    ``again`` are the reconstruction's own projections, ``turned`` their derivative by the angle. Tried are steps at any
    time and a steady drift of angle and place, a wrong step of the angle, and shrinking; and, if there is a ``ghost``,
    what the image before would add to each projection if it stayed as a whole; and, where angles are ``uneven`` (n,),
    see ``unevenness``, that the rotation was even and the encoder is wrong. The position of the axis is fitted as well.
    Only those that are ``used`` (n,) are compared.
    """

    def __init__(
        self,
        leave: Leave,
        again: Array,
        turned: Array,
        angle_rad: Series,
        center: float,
        used: NDArray[np.bool_],
        ghost: Array | None = None,
        uneven: Series | None = None,
    ) -> None:
        self._used, self._size = used, again.size
        n, _, columns = again.shape
        along = -np.gradient(again, axis=2)
        fields: tuple[Array, ...] = (turned, along, again + (np.arange(columns) - center) * along)
        time = np.linspace(-0.5, 0.5, n)
        pieces = np.eye(PIECES)[np.arange(n) * PIECES // n].T
        parts = [_Way(field, piece) for field in (0, 1) for piece in pieces]
        parts += [_Way(0, angle_rad - angle_rad.mean()), _Way(2, time)]
        if uneven is not None and uneven.any():
            parts.append(_Way(0, uneven))
        if ghost is not None:
            fields += (ghost,)
            parts.append(_Way(GHOST, np.ones(n)))
        self._fields, self._parts = fields, parts
        self._strength = np.stack([np.einsum("nrc,nrc->n", field, field) for field in fields]) * used + 1e-30
        self._left = _left(leave, fields, parts, angle_rad, center, used)

    def errors(self, rest: Array, steep: float) -> Errors:
        """The largest error of each kind that is certain in a ``rest`` (n, rows, columns) that the reconstruction
        leaves; ``steep`` is the rms of the projections' derivative by the column."""
        used, parts, strength, left = self._used, self._parts, self._strength, self._left
        seen = np.stack([np.einsum("nrc,nrc->n", field, rest) for field in self._fields]) * used
        noise = [robust_sigma(np.diff(line[used])) / np.sqrt(2.0) for line in seen / np.sqrt(strength)]
        found = np.array([seen[part.field] @ part.course for part in parts])
        values = self._size * np.count_nonzero(used) / used.size
        certain = CERTAIN if used.all() else CERTAIN_CUT
        axis = np.zeros(len(parts))
        axis[PIECES : 2 * PIECES] = 1.0
        most, lag = [0.0, 0.0, 0.0, 0.0], 0.0
        for way in _ways(len(parts)):
            both = np.stack([way, axis])
            (own, shared), (_, fixed) = both @ left @ both.T
            right = both @ found
            own -= shared**2 / max(fixed, 1e-30)
            its = np.flatnonzero(way)
            field = parts[its[0]].field
            course = np.sum([way[k] * parts[k].course for k in its], axis=0)
            # Of the noise, too, only that is left which no rigid sample has.
            error = noise[field] / np.sqrt(max(own, 1e-30))
            size = float(right[0] - shared * right[1] / max(fixed, 1e-30)) / max(own, 1e-30)
            # Light that stays adds to the next image; nothing takes it away, and most of it fades.
            size = (size if 0 < size < MOST_STAYS else 0.0) if field == GHOST else abs(size)
            if size > certain * error and own > VISIBLE * float(strength[field] @ course**2):
                # Below that, of a movement only the part counts that no rigid sample would have.
                # Ghosts of a constant step are nearly those of another sample, and faint ones do no harm.
                full = field in (0, 2) or (field == 1 and size > FULLY * error)
                whole = float(strength[field].sum()) * float(np.var(course[used])) if full else own
                most[field] = max(most[field], size * float(np.sqrt(whole / values)) / steep)
                lag = float(size) if field == GHOST else lag
        return Errors(max(most[0], most[2]), most[1], most[GHOST], lag)


def unevenness(angle_rad: Series, index: NDArray[np.int64]) -> Series:
    """How far angles (n,) lie from a rotation in even steps of the frame ``index`` (n,), which grows; radian, modulo
    half a turn. Zeros where they are even, and where there is no even rotation near them.

    Angles that the encoder reports rightly are those of the projections, however uneven; an eccentric scale, noise and
    lost counts are in the angles alone.
    """
    gaps, moves = np.diff(index), np.diff(angle_rad)
    if np.count_nonzero(gaps == 1) < PIECES:
        return np.zeros(len(angle_rad))
    usual = float(np.median(_folded(moves[gaps == 1])))
    off = np.concatenate([[0.0], np.cumsum(_folded(moves - gaps * usual))])
    line = np.stack([np.ones(len(index)), index - index.mean()], axis=1)
    off = off - line @ np.linalg.lstsq(line, off, rcond=None)[0]
    return np.asarray(off if EVEN_RAD < float(np.std(off)) < UNEVEN_RAD else np.zeros_like(off))


def _folded(angle_rad: Array) -> Array:
    """Modulo half a turn, -π/2 … π/2."""
    return np.asarray((angle_rad + np.pi / 2) % np.pi - np.pi / 2)


def _ways(parts: int) -> Array:
    """Courses (ways, parts) that are tried, as sums of parts: steps and a drift of angle and place, and the rest."""
    steps = np.triu(np.ones((PIECES, PIECES)))[1:]
    courses = np.concatenate([steps, np.linspace(-0.5, 0.5, PIECES)[None]])
    single = np.arange(2 * PIECES, parts)
    ways = np.zeros((single.size + 2 * PIECES, parts))
    ways[:PIECES, :PIECES] = ways[PIECES : 2 * PIECES, PIECES : 2 * PIECES] = courses
    ways[single, single] = 1.0
    return ways


def _left(
    leave: Leave,
    fields: tuple[Array, ...],
    parts: list[_Way],
    angle_rad: Series,
    center: float,
    used: NDArray[np.bool_],
) -> Array:
    """Products (k, k) of k errors with what the reconstruction leaves of them in the projections that are ``used``,
    from few columns and projections."""
    n, _, columns = fields[0].shape
    squeeze = -(-columns // COLUMNS)
    some = np.unique(np.linspace(0, n - 1, min(n, VIEWS)).astype(int))
    width = columns // squeeze * squeeze

    def small(field: Array) -> Array:
        power = np.einsum("nrc,nrc->r", field, field)
        band = int(np.argmax(power))
        line = field[some, band, :width].reshape(len(some), -1, squeeze).mean(axis=2)
        return np.asarray(np.sqrt(power.sum() / max(float(power[band]), 1e-30)) * line)

    lines = [small(field) for field in fields]
    views = np.stack([lines[part.field] * part.course[some, None] for part in parts], axis=1).astype(np.float32)
    seen = used[some]
    rest = leave(views, angle_rad[some], (center - (squeeze - 1) / 2) / squeeze)
    whole = np.einsum("nkc,njc->kj", views[seen].astype(np.float64), rest[seen].astype(np.float64))
    return np.asarray(0.5 * (whole + whole.T) * squeeze * np.count_nonzero(used) / max(1, np.count_nonzero(seen)))
