"""PNG pictures for reports and the README: three slices on one scale, and a strip that shows a scan filling in.

The same input gives the same bytes: no date and no version goes into a file, and the font is the one that Matplotlib
brings along. A file is whole or absent. Matplotlib does the layout; numbers and captions are fitted into what it found.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import NDArray
from PIL import Image as Picture

from streamer.frames import BadInput

Image = NDArray[np.float32]
Stage = tuple[float, int, int, Mapping[str, NDArray[Any]]]
"""Share of the scan, angles so far, angles wanted, planes by name."""

AXES = {"xy": ("x", "y"), "xz": ("x", "z"), "yz": ("y", "z")}
MAX_BYTES = 1_000_000
MAX_SIDE = 1024
DPI = 150
INK, GREY, FRAME = "#1c2127", "#5c6670", "#aab2bb"
PAGE_INCH = (9.5, 5.8)  # that the slices take at most, across and down
BAR_INCH = 1.2  # that the colour bar takes at least
CAPTION_INCH, LETTERS_PER_INCH = 5.0, 13  # width of the captions, at least
FLAT = 0.6  # of the height of the first slice: others that add up to less find room above one another
TICK_INCH = 0.4  # that a number at a slice needs
PERCENTILES = (0.5, 99.7)
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a sample called "a$b" is no formula
    "image.cmap": "gray",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.edgecolor": FRAME,
    "axes.linewidth": 0.6,
    "axes.labelcolor": GREY,
    **{f"{axis}tick.{name}": value for axis in "xy" for name, value in
       {"color": FRAME, "labelcolor": INK, "major.size": 3, "major.width": 0.6}.items()},
}  # fmt: skip


def slices_picture(
    path: str | os.PathLike[str],
    planes: Mapping[str, NDArray[Any]],
    title: str,
    unit: str,
    pixel_size_m: float | None,
    lines: Sequence[str] = (),
) -> None:
    """Write the slices side by side, all with the same contrast and to the same scale.

    ``pixel_size_m`` is the size of a pixel of these arrays; without it the axes are in pixels. ``lines`` are captions
    under the title: verdict, centre, resolution. Raises BadInput for planes that are not images.
    """
    with style.context(["default", STYLE]):
        _save(slices_figure(planes, title, unit, pixel_size_m, lines), path)


def strip_picture(path: str | os.PathLike[str], stages: Sequence[Stage]) -> None:
    """Write a table of pictures: a row for each plane, a column for each stage of the scan.

    Each column has its own contrast, common to its planes, as a viewer would have shown it at that moment: sums over
    few angles are weaker, not emptier. Raises BadInput when there is nothing to show.
    """
    with style.context(["default", STYLE]):
        _save(strip_figure(stages), path)


def slices_figure(
    planes: Mapping[str, NDArray[Any]], title: str, unit: str, pixel_size_m: float | None, lines: Sequence[str]
) -> Figure:
    """The figure of ``slices_picture``."""
    images = {name: _finite(name, plane) for name, plane in planes.items()}
    if not images:
        raise BadInput("picture of slices: no planes were given")
    figure, axes = _side_by_side(images)
    scale = _scale(list(images.values()))
    for name, image in images.items():
        _draw(axes[name], name, image, scale, pixel_size_m)
    _colour_bar(figure, list(axes.values()), unit)
    letters = int(LETTERS_PER_INCH * max(figure.get_figwidth(), CAPTION_INCH))
    captions = [part for line in lines for part in textwrap.wrap(line, letters)]
    first = next(iter(axes.values()))
    _caption(first, 24, "\n".join(captions), color=GREY)
    _caption(first, 32 + 12 * len(captions), textwrap.fill(title, letters // 2), fontsize=13, weight="bold")
    return figure


def _side_by_side(images: Mapping[str, Image]) -> tuple[Figure, dict[str, Axes]]:
    """Axes whose widths are those of the images, so that all have one scale; flat images lie above one another."""
    first, *others = images
    tallest = max(image.shape[0] for image in images.values())
    flat = others and sum(images[name].shape[0] for name in others) < FLAT * images[first].shape[0]
    rows: list[Any] = [[first, name] for name in others] if flat else [[first, *others]]
    widths = [images[name].shape[1] for name in rows[0]]
    inch = min(PAGE_INCH[0] / sum(widths), PAGE_INCH[1] / tallest)
    figure = Figure(figsize=(inch * sum(widths) + 2.0, inch * tallest + 1.0), layout="constrained")
    return figure, figure.subplot_mosaic(rows, width_ratios=widths)


def _draw(axes: Axes, name: str, image: Image, scale: Normalize, pixel_size_m: float | None) -> None:
    rows, columns = image.shape
    if pixel_size_m is None:
        extent, unit = (-0.5, columns - 0.5, rows - 0.5, -0.5), "px"
    else:
        step = pixel_size_m * 1e3
        extent, unit = (-columns * step / 2, columns * step / 2, rows * step / 2, -rows * step / 2), "mm"
    axes.imshow(_thin(image, MAX_SIDE), norm=scale, extent=extent)
    axes.set_anchor("N")  # so that equal heights are at equal heights
    across, down = AXES.get(name, ("column", "row"))
    axes.set_title(name, loc="left")
    axes.set_xlabel(f"{across} ({unit})")
    axes.set_ylabel(f"{down} ({unit})")


def _colour_bar(figure: Figure, axes: list[Axes], unit: str) -> None:
    """A bar as high as the tallest slice where it can be, and as many numbers at the slices as there is room for."""
    bar = figure.colorbar(axes[0].images[0], ax=axes, panchor=False, fraction=0.02, pad=0.02)
    bar.set_label(f"attenuation ({unit})")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    tallest = max((each.get_position() for each in axes), key=lambda place: place.height)
    height = max(tallest.height, BAR_INCH / figure.get_figheight())
    bar.ax.set_box_aspect(None)
    bar.ax.set_position((bar.ax.get_position().x0, tallest.y1 - height, 0.014, height))
    for each in axes:
        for axis, side in ((each.xaxis, each.bbox.width), (each.yaxis, each.bbox.height)):
            count, middle = int(side / figure.dpi / TICK_INCH), round(float(np.mean(axis.get_view_interval())))
            axis.set_major_locator(MaxNLocator(min(5, count)) if count > 1 else FixedLocator([middle]))


def _caption(axes: Axes, points: float, text: str, **look: Any) -> None:
    """A text ``points`` above the axes."""
    axes.annotate(text, (0, 1), (0, points), "axes fraction", "offset points", va="bottom", **look)


def strip_figure(stages: Sequence[Stage]) -> Figure:
    """The figure of ``strip_picture``."""
    if not stages or not stages[-1][3]:
        raise BadInput("strip of a scan: no stages, or no planes in the last one")
    table = [{name: _finite(name, plane) for name, plane in planes.items()} for *_rest, planes in stages]
    shapes = {name: image.shape for name, image in table[-1].items()}
    heights = [shape[0] / shape[1] for shape in shapes.values()]
    figure = Figure(figsize=(2.1 * len(stages) + 0.4, 2.1 * sum(heights) + 0.5), layout="compressed")
    axes = figure.subplots(len(shapes), len(stages), squeeze=False, height_ratios=heights)
    for column, (fraction, angles, of, _planes) in enumerate(stages):
        axes[0][column].set_title(f"{100 * fraction:.0f} %\n{angles} of {of} angles", fontsize=9)
        scale = _scale(list(table[column].values()) or [np.zeros((1, 1), np.float32)])
        for row, (name, shape) in enumerate(shapes.items()):
            # A plane that was not there yet leaves its place blank.
            image = table[column].get(name, np.full(shape, np.nan, np.float32))
            axes[row][column].imshow(_thin(image, MAX_SIDE), norm=scale)
            axes[row][column].set(xticks=[], yticks=[])
            axes[row][column].spines[:].set_visible(False)
    for row, name in enumerate(shapes):
        axes[row][0].set_ylabel(name, rotation=0, ha="right", va="center", weight="bold", fontsize=11, color=INK)
    return figure


def _finite(name: str, plane: NDArray[Any]) -> Image:
    image = np.asarray(plane)
    if image.ndim != 2 or image.size == 0:
        raise BadInput(f"plane {name}: shape {image.shape}, expected (rows, columns)")
    return np.nan_to_num(image.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _scale(images: Sequence[Image]) -> Normalize:
    """The contrast that shows all images well."""
    sample = np.concatenate([_thin(image, 256).ravel() for image in images])
    low, high = (float(level) for level in np.percentile(sample, PERCENTILES))
    if not low < high:
        low, high = float(sample.min()), float(sample.max())
    if not low < high:
        low, high = low - 0.5, high + 0.5
    return Normalize(low, high)


def _thin(image: Image, side: int) -> Image:
    step = max(1, math.ceil(max(image.shape) / side))
    return image[::step, ::step]


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Draw, reduce to 256 colours, write beside the target and move into place."""
    dpi = float(DPI)
    while True:
        drawn, buffer = BytesIO(), BytesIO()
        figure.savefig(drawn, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.12)
        picture = Picture.open(drawn).convert("RGB").quantize(256, dither=Picture.Dither.NONE)
        picture.save(buffer, "PNG", optimize=True, dpi=(dpi, dpi))
        if len(buffer.getvalue()) < MAX_BYTES or dpi < 40:
            break
        dpi *= 0.8
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(buffer.getvalue())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
