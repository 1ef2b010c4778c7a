"""Measures of single projections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend.on_device import OnDevice
from streamer.core.fbp.ramp_filter import ramp_kernel
from streamer.core.statistics import median, percentile
from streamer.frames import BadInput

SAMPLE = 32_768  # pixels of a projection that are enough to measure signal and noise

DIMMEST = 5.0
"""Attenuation of the whole beam, at most, by which a projection counts as dim; beyond it, it shows no light."""

FEWEST_LEVELS = 16
"""Projections from which on it shows whether their light flickers."""

TRIM = 0.02
"""Share of the projections, those that differ most, that a sample may reach both edges in for a moment."""

FIELD = 0.9
"""Share of the slice's radius within which errors count."""

PERCENTILE_SIGMAS = 2.576
"""Standard deviations by which noise lifts the 99.5th percentile."""


@dataclass(frozen=True)
class SampleSignal:
    """``snr`` attenuation over noise in one pixel of one projection; ``peak`` attenuation along the densest rays."""

    snr: float
    peak: float


def sample_signal(attenuation: NDArray[Any] | OnDevice) -> SampleSignal:
    """Signal of the sample in one projection (rows, columns), above the open beam at the left and right margins.

    The signal is the 99.5th percentile of means over small squares, so that noise does not pass for a sample, less what
    noise alone would give: an empty beam has an snr near 0. The noise is that of second differences along the rows,
    which a smooth sample does not have.
    """
    every = np.arange(0, len(attenuation), max(1, attenuation.size // SAMPLE))
    picked = attenuation.lines(np.zeros(1, np.intp), every) if isinstance(attenuation, OnDevice) else attenuation[every]
    values = np.asarray(picked, np.float64).reshape(len(every), -1)
    rows, cols = values.shape
    margin = max(1, cols // 50)
    beam = median(np.concatenate([values[:, :margin], values[:, -margin:]], axis=None))
    peak = max(0.0, percentile(values, 99.5) - beam)
    if cols < 8:
        return SampleSignal(0.0, peak)
    bend = values[:, :-2] - 2 * values[:, 1:-1] + values[:, 2:]
    noise = max(1.4826 * median(np.abs(bend)) / np.sqrt(6.0), 1e-7)
    down, across = min(8, max(1, rows // 16)), min(8, max(1, cols // 16))
    squares = values[: rows // down * down, : cols // across * across]
    squares = squares.reshape(rows // down, down, cols // across, across).mean(axis=(1, 3))
    chance = 4.0 * noise / np.sqrt(down * across)
    return SampleSignal(max(0.0, percentile(squares, 99.5) - beam - chance) / noise, peak)


def voxel_snr(lines: NDArray[Any], noise: float, line_noise: float) -> float | None:
    """Attenuation of the sample in one voxel over its noise, from the attenuation (n, columns) of n projections.

    ``noise`` of a pixel of one projection; ``line_noise`` that of ``lines``, which are means over rows. A disc of the
    same densest rays and the same mass has the attenuation π·peak²/4·mass. The ramp filter makes noise·π/√(12 n) of the
    noise of n projections (Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, 5.2). None without a
    sample.
    """
    values = np.asarray(lines, np.float64)
    peak = float(np.percentile(values, 99.5)) - PERCENTILE_SIGMAS * line_noise
    mass = float(values.sum(axis=1).mean())
    if peak <= 0 or mass <= 0 or noise <= 0:
        return None
    return float(np.pi * peak**2 / (4 * mass) / (noise * np.pi / np.sqrt(12 * len(values))))


def dim_noise(level: NDArray[Any]) -> float:
    """Share by which dim projections make the noise of a tomogram larger than the usual light would.

    ``level`` (n,) is the attenuation of the open beam in each. The variance of the attenuation goes as one over the
    light, and each projection adds its own to the slice.
    """
    darker = np.clip(np.asarray(level, np.float64) - np.median(level), None, DIMMEST)
    return float(max(0.0, np.sqrt(np.mean(np.exp(darker))) - 1.0))


def flicker(angle_rad: NDArray[Any], index: NDArray[Any], left: NDArray[Any], right: NDArray[Any]) -> float | None:
    """Rms by which the light differs from one projection to the next, relative. None of fewer than 16 projections.

    ``left`` and ``right`` (n,) are the attenuation at either edge of projections at ``angle_rad`` (n,) that came in the
    order of their ``index`` (n,). What both edges share counts, beyond a line through the neighbours: noise and sample
    are not the same at both. Light that fades goes slowly with time, what a sample has at the edges with the angle;
    flicker is quick in either order.
    """
    if len(left) < FEWEST_LEVELS:
        return None
    sides = np.stack([left, right])
    orders = np.argsort(index, kind="stable"), np.argsort(np.mod(angle_rad, 2 * np.pi), kind="stable")
    return float(np.sqrt(max(0.0, min(_shared(*_bends(sides[:, order])) for order in orders))))


def _bends(series: NDArray[Any]) -> NDArray[Any]:
    """How far values (…, n) lie from the middle of their neighbours; of white noise, as much as that."""
    return np.asarray((series[..., 1:-1] - 0.5 * (series[..., :-2] + series[..., 2:])) / np.sqrt(1.5))


def _shared(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Covariance of two series (n,) about 0, without the 2 % that add most to it: of normal values 11 % of it."""
    products = np.sort(one * other)
    kept = products[: products.size - int(np.ceil(TRIM * products.size))]
    return float(kept.mean() / (1 - 5.6 * TRIM))


def flicker_error(flicker: float, columns: int, center: float, noise: float) -> float | None:
    """Rms error that light which flickers makes in a slice, over the noise of a voxel; None without noise.

    ``center`` is the column of the axis, of ``columns``, and ``noise`` that of a pixel of one projection. In one of n
    projections an attenuation e of the whole beam is a box, which the ramp filter leaves e·q(column) of. Each
    projection adds π/n of that, independent of the others, where noise becomes noise·π/√(12 n) (Kak and Slaney,
    Principles of Computerized Tomographic Imaging, 1988, 5.2). What of a disc of radius r lies at t from the axis goes
    as √(r² - t²).
    """
    if noise <= 0:
        return None
    radius = FIELD * columns / 2
    # The ends of the box lie within less than a column.
    from_axis = radius * ((np.arange(8 * columns) + 0.5) / (4 * columns) - 1)
    share = np.sqrt(radius**2 - from_axis**2)
    place, up_to = np.arange(-columns, 2 * columns), np.cumsum(ramp_kernel(np.arange(-2 * columns, 2 * columns)))
    box = np.interp(center + from_axis, place, up_to[columns:] - up_to[:-columns])
    return float(flicker * np.sqrt(np.average(box**2, weights=share)) * np.sqrt(12.0) / noise)


def saturated_share(raw: NDArray[Any], level: float | None = None, without: NDArray[np.bool_] | None = None) -> float:
    """Share of pixels of a raw frame at or above ``level`` (default: the largest number of its integer type).

    Those in the mask ``without`` do not count. Raises BadInput for float pixels without a level, as they have no
    largest number.
    """
    if level is None:
        if raw.dtype.kind != "u":
            raise BadInput("float pixels have no natural saturation; give the detector's level")
        level = float(np.iinfo(raw.dtype).max)
    # Integers are compared with an integer: with a float, all of them would be converted first.
    lowest = math.ceil(level) if raw.dtype.kind == "u" else level
    high = raw >= lowest
    return float(np.count_nonzero(high if without is None else high & ~without) / raw.size)
