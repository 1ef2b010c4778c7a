"""Launches of the kernels of live planes (``planes.cu``): grids and argument types, all arrays on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from streamer.core.backend.engine import Engine

Array = Any  # the engine's

MAX_FRAMES = 8
"""Frames of one call; a block's shared memory has room for the geometry of this many."""

LINES_PER_BLOCK = 8  # of a block
MAX_LINES = 65_535 * LINES_PER_BLOCK  # lines of a launch


@dataclass(frozen=True)
class Lines:
    """The lines of planes, those of all planes in one list, on the device.

    ``owner`` int32 is the plane that a line belongs to, ``number`` int32 its number in it, ``height`` float64 the
    detector row, below 0 where there is none. ``edges`` (bins + 1,) float64 of the bins, as sample numbers.
    """

    owner: Array
    number: Array
    height: Array
    edges: Array


def fold_lines(
    engine: Engine, image: Array, taper: Array, rays: Array, lines: Lines, sums: Array, tails: Array
) -> None:
    """Add frames of attenuation (frames, rows, cols) to all lines: sums (lines, samples) and tails (lines, bins).

    rays (planes, frames, 4) float64: see ``kernels.ray_through_plane``. ``taper`` continues the rows. At most
    MAX_FRAMES frames.
    """
    frames, rows, cols = image.shape
    count, samples = sums.shape
    bins = tails.shape[1]
    if frames > MAX_FRAMES or count > MAX_LINES:
        raise ValueError(
            f"{frames} frames and {count} lines in one launch; at most {MAX_FRAMES} and {MAX_LINES} are possible"
        )
    sizes = np.int32(frames), np.int32(rows), np.int32(cols)
    start = image, *sizes, taper, np.int32(taper.size), rays, lines.owner, lines.number, lines.height, np.int32(count)
    block, high = (32, LINES_PER_BLOCK, 1), -(-count // LINES_PER_BLOCK)
    engine.launch("fold_lines", (-(-samples // 32), high, 1), block, (*start, np.int32(samples), sums))
    engine.launch("fold_tails", (-(-bins // 32), high, 1), block, (*start, lines.edges, np.int32(bins), tails))


def filter_rows(engine: Engine, image: Array, height: Array, taper: Array, lag: Array, room: Array, out: Array) -> None:
    """The detector rows at ``height`` (planes,) float64 of attenuation (frames, rows, cols), filtered with the ramp.

    ``lag`` (lags,) float32: factors of the odd lags 1, 3, 5, … for (cols + taper's length) columns at least. ``room``
    (planes, frames, cols + 4·lags) float32 is scratch; out (planes, frames, cols + 4) repeats its ends twice.
    """
    frames, rows, cols = image.shape
    planes, _, width = room.shape
    pad = (width - cols) // 2
    sizes = np.int32(frames), np.int32(rows), np.int32(cols)
    ends = taper, np.int32(taper.size), np.int32(pad), room
    engine.launch("pick_rows", (-(-width // 256), frames, planes), (256, 1, 1), (image, *sizes, height, *ends))
    grid = -(-out.shape[2] // 256), planes * frames, 1
    engine.launch("filter_rows", grid, (256, 1, 1), (room, np.int32(cols), np.int32(pad), lag, np.int32(lag.size), out))


def fold_level(engine: Engine, filtered: Array, geometry: Array, sums: Array) -> None:
    """Add filtered rows (1, frames, cols + 4) of ``filter_rows`` to a horizontal plane, sums (height, width).

    geometry (1, frames, 4) float64: column of pixel (0, 0), its change from column to column and from row to row of the
    image, and the frame's weight. At most MAX_FRAMES frames.
    """
    _, frames, width = filtered.shape
    high, wide = sums.shape
    if frames > MAX_FRAMES:
        raise ValueError(f"{frames} frames in one launch; at most {MAX_FRAMES} are possible")
    sizes = np.int32(high), np.int32(wide)
    grid = -(-wide // 32), -(-high // 8), 1
    engine.launch(
        "fold_level", grid, (32, 8, 1), (filtered, np.int32(frames), np.int32(width - 4), geometry, *sizes, sums)
    )


def add_scaled(engine: Engine, source: Array, factor: float, out: Array) -> None:
    """out += factor · source, both float32 of one size."""
    grid = -(-out.size // 256), 1, 1
    engine.launch("add_scaled", grid, (256, 1, 1), (source, np.float32(factor), np.int64(out.size), out))
