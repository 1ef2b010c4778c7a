"""Drift of the whole beam since the flats: its offset and slope across the detector, by monitor or by margins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamer.core.arrays import Image
from streamer.frames import BadInput

OPEN_SIGMAS = 4.0  # a column that differs by more from the outermost ones holds sample
MOST_DRIFT = 0.5  # attenuation; a margin with more is no faded beam but sample
MOST_ALIKE = 1.5  # the same of both margins, where they were free before and are alike
ALIKE = 0.03  # attenuation by which alike margins may differ
MARGIN_NOISE_ROWS = 128  # rows of the margins from which their noise is measured


@dataclass(frozen=True)
class BeamDrift:
    """Attenuation of the open beam, which would be 0 without drift: ``offset`` in the middle column, ``slope`` per
    column, and ``sigma``, the standard error of the offset. Subtract ``offset + slope·(column - middle)``.
    """

    offset: float
    slope: float
    sigma: float


def drift_from_monitor(reading: float, reference: float) -> BeamDrift:
    """Drift from a beam monitor now and at the time of the flats. Raises BadInput unless both are positive."""
    if not (reading > 0 and reference > 0):
        raise BadInput(f"beam monitor: readings {reading} and {reference} must be positive")
    return BeamDrift(float(-np.log(reading / reference)), 0.0, 0.0)


def open_margins(attenuation: Image, wanted: int = 16, known: bool = False) -> tuple[int, int] | None:
    """Columns at the left and right end that the sample leaves free in a projection (rows, columns): ≤ ``wanted``.

    A column is free when it differs from the outermost four by less than four times their noise. Callers use the least
    over the projections so far. (0, 0) also results where the detector ends within the sample; see
    ``alignment.truncation``. A side whose outermost columns attenuate by more than 0.5, either way, counts as sample;
    but where both sides are ``known`` to be free in the projections before, and attenuate alike, the beam is so dim, up
    to 1.5. None beyond that: whichever it is, the sides are as free as before.
    """
    rows, columns = attenuation.shape
    wanted = min(wanted, columns // 4)
    if wanted == 0:
        return 0, 0
    some = slice(None, None, max(1, rows // MARGIN_NOISE_ROWS))
    counts, edges, noises = [], [], []
    for side in (attenuation[:, : max(2, wanted)], attenuation[:, ::-1][:, : max(2, wanted)]):
        jump = float(np.median(np.abs(np.diff(side[some], axis=1))))
        noise = 1.4826 * jump / np.sqrt(2.0 * rows) + 1e-6
        level = side[:, :wanted].mean(axis=0, dtype=np.float64)
        edge = float(np.median(level[:4]))
        away = np.abs(level - edge) > OPEN_SIGMAS * noise + 1e-3
        counts.append(int(np.argmax(away)) if away.any() else wanted)
        edges.append(edge)
        noises.append(noise)
    most = MOST_DRIFT
    if known and abs(edges[0] - edges[1]) <= ALIKE + OPEN_SIGMAS * float(np.hypot(*noises)):
        most = MOST_ALIKE
        if min(map(abs, edges)) > most:
            return None
    left, right = (count if abs(edge) <= most else 0 for count, edge in zip(counts, edges, strict=True))
    return left, right


def drift_from_margins(attenuation: Image, left: int, right: int) -> BeamDrift:
    """Drift from the ``left`` first and ``right`` last columns of attenuation (rows, columns), free of sample.

    One margin gives the offset only, two give the slope as well. Raises BadInput with neither.
    """
    columns = attenuation.shape[1]
    if left <= 0 and right <= 0:
        raise BadInput("the sample leaves no column free: the drift of the beam must come from a monitor")
    middle = (columns - 1) / 2
    found = []
    for part, x in (
        (attenuation[:, :left], (left - 1) / 2),
        (attenuation[:, columns - right :], columns - (right + 1) / 2),
    ):
        if part.size:
            # Rows are averaged by their median: the sample, or its holder, may reach the edge in a few.
            value = float(np.median(part.mean(axis=1, dtype=np.float64)))
            found.append((x - middle, value, float(np.std(part)) / np.sqrt(part.size)))
    sigma = float(np.sqrt(sum(s**2 for *_, s in found)) / len(found))
    if len(found) == 1:
        return BeamDrift(found[0][1], 0.0, sigma)
    (x0, v0, _), (x1, v1, _) = found
    slope = (v1 - v0) / (x1 - x0)
    return BeamDrift(v0 - slope * x0, slope, sigma)


def remove_drift(attenuation: Image, drift: BeamDrift) -> None:
    """Subtract the drift from attenuation (rows, columns) float32, in place."""
    columns = attenuation.shape[1]
    attenuation -= (drift.offset + drift.slope * (np.arange(columns) - (columns - 1) / 2)).astype(np.float32)
