"""One picture of a benchmark: images side by side, each with its name, its colour bar and its unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

SIDE = 3.1  # inches
INK, GREY = "#1c2127", "#5c6670"


@dataclass(frozen=True)
class Panel:
    """An image (rows, columns), shown from ``low`` to ``high``; ``signed`` ones in blue and red about zero."""

    name: str
    image: NDArray[Any]
    low: float
    high: float
    signed: bool = False
    axes: tuple[str, str] = ("x", "y")
    unit: str = "attenuation (1/pixel)"


def span(*images: NDArray[Any]) -> tuple[float, float]:
    """Lowest and highest level that shows all but the outermost 1 % of images on one scale."""
    values = np.concatenate([np.ravel(image) for image in images])
    low, high = (float(level) for level in np.percentile(values, [0.5, 99.5]))
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def write_page(path: Path, title: str, lines: Sequence[str], panels: Sequence[Panel]) -> None:
    """Write the panels in one row, under a title and small lines of text."""
    top, bottom, gap, left = 0.75 + 0.2 * len(lines), 0.85, 0.75, 0.6
    width, height = left + len(panels) * (SIDE + gap), top + SIDE + bottom
    figure = Figure(figsize=(width, height), facecolor="white", dpi=80)
    figure.text(left / width, 1 - 0.12 / height, title, va="top", size=13, weight="bold", color=INK)
    for number, line in enumerate(lines):
        figure.text(left / width, 1 - (0.42 + 0.2 * number) / height, line, va="top", size=9, color=GREY)
    for number, panel in enumerate(panels):
        across = (left + number * (SIDE + gap)) / width
        axes = figure.add_axes((across, bottom / height, SIDE / width, SIDE / height))
        shown = axes.imshow(
            panel.image, cmap="RdBu_r" if panel.signed else "gray", vmin=panel.low, vmax=panel.high, aspect="auto"
        )
        axes.set_title(panel.name, loc="left", size=10, color=INK)
        axes.set_xlabel(f"{panel.axes[0]} (px)", size=8, color=GREY, labelpad=1)
        axes.set_ylabel(f"{panel.axes[1]} (px)" if panel.axes[1] != "angle" else "angle (number)", size=8, color=GREY)
        axes.tick_params(labelsize=7, length=2)
        place = (across, 0.3 / height, SIDE / width, 0.1 / height)
        bar = figure.colorbar(shown, cax=figure.add_axes(place), orientation="horizontal")
        bar.ax.xaxis.set_major_locator(MaxNLocator(5))
        bar.ax.tick_params(labelsize=7, length=2, pad=1)
        bar.set_label(panel.unit, size=7, color=GREY, labelpad=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
