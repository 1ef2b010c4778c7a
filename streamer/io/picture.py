"""PNG pictures for reports and the README: three slices on one scale, and a strip that shows a scan filling in.

The same input gives the same bytes: no date and no version goes into a file, and the font is the one that Matplotlib
brings along. A file is whole or absent. Figures are objects of their own, so any thread may draw.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from streamer.frames import BadInput

Pixels = NDArray[Any]
Stage = tuple[float, int, int, Mapping[str, Pixels]]
"""Share of the scan, angles so far, angles wanted, planes by name."""

AXES = {"xy": ("x", "y"), "xz": ("x", "z"), "yz": ("y", "z")}
MAX_BYTES = 1_000_000
MAX_SIDE = 1024
DPI = 150
INK, GREY, FRAME = "#1c2127", "#5c6670", "#aab2bb"
FONT = "DejaVu Sans"
FLAT = 0.6  # of the height of the first slice: others that add up to less find room above one another
TICK_INCH = 0.32  # height that a number at the side of a slice needs
LABEL_INCH = 0.6  # height that the name of an axis needs
PERCENTILES = (0.5, 99.7)


def slices_picture(
    path: str | os.PathLike[str],
    planes: Mapping[str, Pixels],
    title: str,
    unit: str,
    pixel_size_m: float | None,
    lines: Sequence[str] = (),
) -> None:
    """Write the slices side by side, all with the same contrast and to the same scale.

    ``pixel_size_m`` is the size of a pixel of these arrays; without it the axes are in pixels. ``lines`` are small
    texts under the title: verdict, centre, resolution.
    """
    pictures = {name: _picture(name, plane) for name, plane in planes.items()}
    if not pictures:
        raise BadInput("picture of slices: no planes were given")
    step = 1.0 if pixel_size_m is None else pixel_size_m * 1e3
    columns = _columns({name: image.shape for name, image in pictures.items()})
    widths = [max(pictures[name].shape[1] for name in column) * step for column in columns]
    talls = [sum(pictures[name].shape[0] for name in column) * step for column in columns]
    left, right, bottom, between = 0.75, 1.15, 0.52, 0.9
    # Beside flat slices the name of the axis lies flat as well.
    gap = 0.75 if len(columns[-1]) == 1 else 1.25
    inch = (11.0 - left - right - gap * (len(widths) - 1)) / sum(widths)
    for column, tall in zip(columns, talls, strict=True):
        inch = min(inch, (6.0 - between * (len(column) - 1)) / tall)
    tallest = max(inch * tall + between * (len(column) - 1) for column, tall in zip(columns, talls, strict=True))
    width = max(left + right + gap * (len(widths) - 1) + inch * sum(widths), 5.0)
    heading, small = _font(13, "bold"), _font(9.5)
    heads = _folded(title, heading, width - left - 0.1)
    texts = _folded("    ·    ".join(lines), small, width - left - 0.1)
    top = 0.44 + 0.24 * len(heads) + 0.26 * bool(texts) + 0.17 * max(0, len(texts) - 1)
    height = max(top + bottom + tallest, 2.5)
    figure = Figure(figsize=(width, height), facecolor="white")
    scale = _scale(list(pictures.values()))
    across = left
    for column, wide in zip(columns, widths, strict=True):
        # All slices hang from one line, so that equal heights are at equal heights.
        down = top
        for name in column:
            image = pictures[name]
            tall, broad = (side * step * inch for side in image.shape)
            place = (across / width, 1 - (down + tall) / height, broad / width, tall / height)
            _draw(figure.add_axes(place), name, image, scale, pixel_size_m, tall)
            down += tall + between
        across += wide * inch + gap
    bar_tall = max(tallest, 1.2)
    bar_place = ((width - right + 0.18) / width, 1 - (top + bar_tall) / height, 0.14 / width, bar_tall / height)
    _colour_bar(figure, figure.add_axes(bar_place), scale, unit)
    figure.text(left / width, 1 - 0.12 / height, "\n".join(heads), va="top", color=INK, fontproperties=heading)
    place = 1 - (0.16 + 0.24 * len(heads)) / height
    figure.text(left / width, place, "\n".join(texts), va="top", color=GREY, fontproperties=small)
    _save(figure, path)


def strip_picture(path: str | os.PathLike[str], stages: Sequence[Stage]) -> None:
    """Write a table of pictures: a row for each plane, a column for each stage of the scan.

    Each column has its own contrast, common to its planes, as a viewer would have shown it at that moment: sums over
    few angles are weaker, not emptier.
    """
    if not stages or not stages[-1][3]:
        raise BadInput("strip of a scan: no stages, or no planes in the last one")
    table = [{name: _picture(name, plane) for name, plane in planes.items()} for *_rest, planes in stages]
    names = list(table[-1])
    cell, left, top, gap = 2.0, 0.42, 0.5, 0.08
    talls = [cell * table[-1][name].shape[0] / table[-1][name].shape[1] for name in names]
    width = left + len(stages) * (cell + gap)
    height = top + sum(talls) + gap * len(talls)
    figure = Figure(figsize=(width, height), facecolor="white")
    for column, (fraction, angles, of, _planes) in enumerate(stages):
        across = left + column * (cell + gap)
        middle = (across + cell / 2) / width
        figure.text(
            middle, 1 - 0.08 / height, f"{100 * fraction:.0f} %", ha="center", va="top", color=INK,
            fontproperties=_font(11, "bold"),
        )  # fmt: skip
        figure.text(
            middle, 1 - 0.28 / height, f"{angles} of {of} angles", ha="center", va="top", color=GREY,
            fontproperties=_font(8.5),
        )  # fmt: skip
        scale = _scale(list(table[column].values()) or [np.zeros((1, 1), np.float32)])
        down = top
        for name, tall in zip(names, talls, strict=True):
            place = (across / width, 1 - (down + tall) / height, cell / width, tall / height)
            if name in table[column]:
                axes = figure.add_axes(place)
                axes.imshow(table[column][name], cmap="gray", norm=scale, interpolation="antialiased", aspect="auto")
                _bare(axes)
            down += tall + gap
    down = top
    for name, tall in zip(names, talls, strict=True):
        label = figure.text(0.2 / width, 1 - (down + tall / 2) / height, name, ha="center", va="center", color=INK)
        label.set(rotation=90, fontproperties=_font(11, "bold"))
        down += tall + gap
    _save(figure, path)


def _columns(shapes: Mapping[str, tuple[int, ...]]) -> list[list[str]]:
    """Slices side by side; those after the first above one another where that is no taller than the first."""
    first, *others = shapes
    flat = sum(shapes[name][0] for name in others) < FLAT * shapes[first][0]
    return [[first], others] if others and flat else [[name] for name in shapes]


def _picture(name: str, plane: Pixels) -> NDArray[np.float32]:
    """A plane ready to be drawn: two axes, finite, thinned where it is larger than any screen shows."""
    image = np.asarray(plane)
    if image.ndim != 2 or image.size == 0:
        raise BadInput(f"plane {name}: shape {image.shape}, expected (rows, columns)")
    return np.nan_to_num(image.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _scale(images: Sequence[NDArray[np.float32]]) -> Normalize:
    sample = np.concatenate([_thin(image, 256).ravel() for image in images])
    low, high = (float(level) for level in np.percentile(sample, PERCENTILES))
    if not low < high:
        low, high = float(sample.min()), float(sample.max())
    if not low < high:
        low, high = low - 0.5, high + 0.5
    return Normalize(low, high)


def _thin(image: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    step = max(1, math.ceil(max(image.shape) / side))
    return image[::step, ::step]


def _draw(
    axes: Axes, name: str, image: NDArray[np.float32], scale: Normalize, pixel_size_m: float | None, inches: float
) -> None:
    """``inches``: the height of the axes."""
    rows, columns = image.shape
    if pixel_size_m is None:
        extent, unit = (-0.5, columns - 0.5, rows - 0.5, -0.5), "px"
    else:
        step = pixel_size_m * 1e3
        extent, unit = (-columns * step / 2, columns * step / 2, rows * step / 2, -rows * step / 2), "mm"
    shown = _thin(image, MAX_SIDE)
    axes.imshow(shown, cmap="gray", norm=scale, extent=extent, interpolation="antialiased", aspect="auto")
    across, down = AXES.get(name, ("column", "row"))
    axes.set_title(name, loc="left", pad=5, color=INK, fontproperties=_font(11, "bold"))
    axes.set_xlabel(f"{across} ({unit})", color=GREY, fontproperties=_font(9))
    label = axes.set_ylabel(f"{down} ({unit})", color=GREY, fontproperties=_font(9), labelpad=2)
    if inches < LABEL_INCH:
        label.set(rotation=0, horizontalalignment="right", verticalalignment="center")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(max(1, min(5, int(inches / TICK_INCH)))))
    _dress(axes)


def _dress(axes: Axes) -> None:
    axes.tick_params(length=3, width=0.6, color=FRAME, labelcolor=INK, pad=2.5)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(_font(8.5))
    for spine in axes.spines.values():
        spine.set(color=FRAME, linewidth=0.6)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _colour_bar(figure: Figure, axes: Axes, scale: Normalize, unit: str) -> None:
    bar = figure.colorbar(ScalarMappable(norm=scale, cmap="gray"), cax=axes)
    bar.set_label(f"attenuation ({unit})", color=GREY, fontproperties=_font(9))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    _dress(axes)
    bar.outline.set(edgecolor=FRAME, linewidth=0.6)


def _folded(text: str, font: FontProperties, inches: float) -> list[str]:
    """Lines of a text that are no wider than ``inches``, unless a single word is."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        wide = text_to_path.get_text_width_height_descent(longer, font, ismath=False)[0] / 72.0 > inches
        if wide or not lines:
            lines.append(word)
        else:
            lines[-1] = longer
    return [line for line in (line.strip() for line in lines) if line]


def _font(size: float, weight: str = "normal") -> FontProperties:
    return FontProperties(family=FONT, size=size, weight=weight)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Draw, reduce to 256 colours, write beside the target and move into place."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a sample called "a$b" is no formula
    canvas: Any = FigureCanvasAgg(figure)  # whose methods have no types
    dpi = float(DPI)
    while True:
        figure.set_dpi(dpi)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        buffer = BytesIO()
        picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True, dpi=(dpi, dpi))
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
