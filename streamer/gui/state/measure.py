"""What is measured in a picture: profile along a line, its length, scale bar. No Qt."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamer.gui.state.figures import number_text
from streamer.gui.state.plane import PlanePicture

Values = NDArray[np.float64]
Place = tuple[float, float]


def profile(picture: PlanePicture, start: Place, end: Place) -> tuple[Values, Values]:
    """Distance from ``start`` in the unit of ``length`` and value along a line; both ends are (x, y) on the axes.

    Linear between pixels; what lies outside of the picture is left out.
    """
    left, top, width, height = picture.rect
    rows, columns = picture.image.shape
    count = max(
        2, 2 * math.ceil(math.hypot((end[0] - start[0]) / width * columns, (end[1] - start[1]) / height * rows))
    )
    share = np.linspace(0.0, 1.0, min(count, 8192))
    column = (start[0] + share * (end[0] - start[0]) - left) / width * columns - 0.5
    row = (start[1] + share * (end[1] - start[1]) - top) / height * rows - 0.5
    inside = (column >= -0.5) & (column <= columns - 0.5) & (row >= -0.5) & (row <= rows - 0.5)
    column, row = np.clip(column[inside], 0, columns - 1), np.clip(row[inside], 0, rows - 1)
    i, j = np.minimum(row.astype(int), max(rows - 2, 0)), np.minimum(column.astype(int), max(columns - 2, 0))
    below, beside = np.minimum(i + 1, rows - 1), np.minimum(j + 1, columns - 1)
    down, across = row - i, column - j
    image = picture.image
    values = (1 - down) * ((1 - across) * image[i, j] + across * image[i, beside]) + down * (
        (1 - across) * image[below, j] + across * image[below, beside]
    )
    return share[inside] * length(picture, start, end)[0], values


def length(picture: PlanePicture, start: Place, end: Place) -> tuple[float, str]:
    """Length of a line on the axes, in µm where the size of a pixel is known, and its unit."""
    on_axes = math.hypot(end[0] - start[0], end[1] - start[1])
    return (on_axes, "px") if picture.pixel_m is None else (1e3 * on_axes, "µm")


def length_text(picture: PlanePicture, start: Place, end: Place) -> str:
    value, unit = length(picture, start, end)
    return f"{value / 1000:.3f} mm" if unit == "µm" and value >= 1000 else f"{number_text(value)} {unit}"


def scale_bar(seen: float, unit: str) -> tuple[float, str]:
    """A round length, about a fifth of the width ``seen`` on the axes in mm or px, and its label."""
    if not (math.isfinite(seen) and seen > 0):
        return 0.0, ""
    wanted = seen / 5
    power = 10.0 ** math.floor(math.log10(wanted))
    size = max(step * power for step in (1, 2, 5) if step * power <= wanted * (1 + 1e-9))
    if unit != "mm":
        return size, f"{size:g} px"
    return size, f"{size:g} mm" if size >= 1 else f"{1e3 * size:g} µm" if size >= 1e-3 else f"{1e6 * size:g} nm"
