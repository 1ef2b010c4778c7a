"""Projections of a field wider than the detector: tiles beside each other, or a magnified part inside an overview.

Pure functions of attenuation (projections, rows, columns); what is joined are line integrals, so the result is
reconstructed like any other scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from streamer.core.arrays import Image, Values
from streamer.frames import BadInput

WHOLE_PIXEL = 0.02
"""Nearer to a whole pixel than this, a tile is not interpolated."""

FADE_SHARE = 0.1
"""Of the columns of a magnified projection: over so many it gives way to the overview at either side."""


@dataclass(frozen=True)
class Tile:
    """Row and column of a tile's first pixel in the wide field, in pixels."""

    row: float
    column: float


def laid_side_by_side(tiles: Sequence[Tile], rows: int, columns: int) -> tuple[list[Tile], tuple[int, int]]:
    """The tiles counted from the first row and column of all, and (rows, columns) of the wide field.

    Raises BadInput when tiles leave a gap between their columns or rows.
    """
    top, left = min(tile.row for tile in tiles), min(tile.column for tile in tiles)
    placed = [Tile(tile.row - top, tile.column - left) for tile in tiles]
    for name, places, size in (
        ("columns", sorted({tile.column for tile in placed}), columns),
        ("rows", sorted({tile.row for tile in placed}), rows),
    ):
        for before, after in pairwise(places):
            if after - before > size:
                raise BadInput(f"the tiles leave a gap of {after - before - size:.1f} {name} between them")
    height = round(max(tile.row for tile in placed)) + rows
    return placed, (height, round(max(tile.column for tile in placed)) + columns)


def blended(projections: Sequence[Image], tiles: Sequence[Tile], shape: tuple[int, int]) -> Image:
    """Attenuation (projections, *shape) from that of each tile (projections, rows, columns).

    Where tiles overlap, each counts by its distance to its own edge, so that no seam is seen.
    """
    count, rows, columns = projections[0].shape
    total = np.zeros((count, *shape), np.float32)
    weights = np.zeros(shape, np.float32)
    own = np.minimum.outer(_from_edge(rows), _from_edge(columns)).astype(np.float32)
    for lines, tile in zip(projections, tiles, strict=True):
        row, column = round(tile.row), round(tile.column)
        by = (tile.row - row, tile.column - column)
        if max(map(abs, by)) > WHOLE_PIXEL:
            lines = ndimage.shift(lines, (0.0, *by), order=3, mode="nearest")
        place = np.s_[row : row + rows, column : column + columns]
        total[:, place[0], place[1]] += own * lines
        weights[place] += own
    if not weights.all():
        raise BadInput("the tiles do not cover the field")
    total /= weights
    return total


def padded_from_overview(
    inner: Image,
    overview: Image,
    angle_rad: Values,
    *,
    zoom: float,
    inner_axis: float,
    overview_axis: float,
    box_px: tuple[float, float, float],
) -> tuple[Image, int]:
    """Projections (n, rows, columns) of a magnified part, continued on both sides by those of an overview.

    Both have the same angles (n,). ``zoom`` is the pixel size of the overview over that of the part; ``box_px``
    (x, y, z), in pixels of the overview, is the point of the sample that the part has on its axis and middle row, about
    the axis and the middle row of the overview. Returns the wide projections (n, rows, width) and the column in
    them at which the part begins; the axis of the part moves by as much. The field is as wide as the overview
    reaches, so that nothing is cut off where nothing was in the overview. Raises BadInput.
    """
    if inner.shape[0] != overview.shape[0] or len(angle_rad) != len(inner):
        raise BadInput(f"{inner.shape[0]} projections of the part, {overview.shape[0]} of the overview: take as many")
    if zoom < 1:
        raise BadInput(f"the part is magnified {zoom:g} times, less than the overview")
    rows, columns = inner.shape[1:]
    x, y, z = box_px
    reach = max(overview_axis, overview.shape[2] - 1 - overview_axis) + float(np.hypot(x, y))
    pad = max(0, int(np.ceil(zoom * reach - min(inner_axis, columns - 1 - inner_axis))))
    width = columns + 2 * pad
    row = (overview.shape[1] - 1) / 2 + z + (np.arange(rows) - (rows - 1) / 2) / zoom
    across = (np.arange(width) - pad - inner_axis) / zoom + overview_axis
    wide = np.empty((len(inner), rows, width), np.float32)
    fade = _fade(columns)
    for k, (lines, outer, angle) in enumerate(zip(inner, overview, angle_rad, strict=True)):
        column = across + x * np.cos(angle) + y * np.sin(angle)
        at = np.meshgrid(row, column, indexing="ij")
        wide[k] = ndimage.map_coordinates(outer, at, order=1, mode="nearest")
        middle = wide[k, :, pad : pad + columns]
        middle += fade * (lines - middle)
    return wide, pad


def _from_edge(count: int) -> Values:
    place = np.arange(count, dtype=np.float64)
    return np.minimum(place, count - 1 - place) + 1


def _fade(columns: int) -> Image:
    """Weight (columns,) of the magnified projection: 1 inside, to 0 at its edges."""
    over = max(1, round(FADE_SHARE * columns))
    ramp = np.minimum(1.0, (_from_edge(columns) - 0.5) / over)
    smooth: Image = np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)
    return smooth
