"""Measures of single projections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend.on_device import OnDevice
from streamer.core.statistics import median, percentile
from streamer.frames import BadInput

SAMPLE = 32_768  # pixels of a projection that are enough to measure signal and noise

DIMMEST = 5.0
"""Attenuation of the whole beam, at most, by which a projection counts as dim; beyond it, it shows no light."""

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
