"""Which process has which rows of the detector, and pictures put together from theirs. No processes here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.planes.plane import NOTHING, Plane
from streamer.core.simd.row_vectors import LANES
from streamer.flow.row_cut import RowCut
from streamer.frames import BadInput

FEWEST_SCOUT_ROWS, SCOUT_SHARE = 32, 16


def row_blocks(rows: int, shards: int) -> tuple[RowCut, ...]:
    """Blocks of neighbouring rows, one for each shard, whose borders are where the kernels cut as well.

    So the slices of a shard are those of a single process, bit for bit. Raises BadInput for fewer rows than that takes.
    """
    edges = [number * rows // shards // LANES * LANES for number in range(shards)] + [rows]
    if any(first >= last for first, last in pairwise(edges)):
        most = max(1, rows // LANES)
        raise BadInput(f"{rows} rows are too few for {shards} shards; set compute.shards to {most} or less")
    return tuple(RowCut(first, last) for first, last in pairwise(edges))


def scout_rows(rows: int) -> RowCut:
    """The rows in the middle of the detector by which the scout finds the axis and judges."""
    count = min(rows, max(FEWEST_SCOUT_ROWS, rows // SCOUT_SHARE))
    first = (rows - count) // 2
    return RowCut(first, first + count)


@dataclass(frozen=True)
class Strip:
    """The part of a plane that lies in a shard's rows: ``plane`` as the shard sees it, and its ``place`` in the whole.

    ``mask`` says which of its pixels are the shard's; None: all of them.
    """

    plane: Plane
    place: tuple[slice, slice]
    mask: NDArray[np.bool_] | None = None


def strip_of(plane: Plane, block: RowCut, rows: int) -> Strip | None:
    """What a shard with the rows ``block`` of a detector of ``rows`` shows of a plane; None when that is nothing.

    A pixel belongs to the shard that has the row nearest to it.
    """
    down, across = plane.v[2] * np.arange(plane.shape[0]), plane.u[2] * np.arange(plane.shape[1])
    lowest = block.first - 0.5 if block.first else -np.inf
    highest = block.end - 0.5 if block.end < rows else np.inf
    if plane.horizontal:
        down, across = 0 * down, 0 * across
    z = plane.origin[2] + down[:, None] + across
    inside = (z >= lowest) & (z < highest)
    if not inside.any():
        return None
    lines, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    place = slice(int(lines[0]), int(lines[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    steps = zip(plane.origin, plane.u, plane.v, strict=True)
    x, y, height = (start + place[1].start * u + place[0].start * v for start, u, v in steps)
    shape = place[0].stop - place[0].start, place[1].stop - place[1].start
    mask = inside[place]
    seen = replace(plane, origin=(float(x), float(y), float(height) - block.first), shape=shape)
    return Strip(seen, place, None if mask.all() else mask)


@dataclass(frozen=True)
class Strips:
    """All watched planes, cut up for the shards that have the rows ``blocks``."""

    planes: tuple[Plane, ...]
    of_shard: tuple[Mapping[str, Strip], ...]

    @classmethod
    def of(cls, planes: Sequence[Plane], blocks: Sequence[RowCut], rows: int) -> Strips:
        cut = []
        for block in blocks:
            found = {plane.name: strip_of(plane, block, rows) for plane in planes}
            cut.append({name: strip for name, strip in found.items() if strip is not None})
        return cls(tuple(planes), tuple(cut))

    def watched(self, shard: int) -> tuple[Plane, ...]:
        """What a shard is to watch."""
        return tuple(strip.plane for strip in self.of_shard[shard].values()) or (NOTHING,)

    def stitched(self, images: Sequence[Mapping[str, Image]]) -> dict[str, Image]:
        """Whole planes, by name, of what the shards have made; one of which a part lacks is left out."""
        whole = {}
        for plane in self.planes:
            shown = [(strips[plane.name], images[k]) for k, strips in enumerate(self.of_shard) if plane.name in strips]
            parts = [(strip, made.get(plane.name)) for strip, made in shown]
            if any(image is None or image.shape != strip.plane.shape for strip, image in parts):
                continue
            picture = np.zeros(plane.shape, np.float32)
            for strip, image in parts:
                assert image is not None
                if strip.mask is None:
                    picture[strip.place] = image
                else:
                    picture[strip.place][strip.mask] = image[strip.mask]
            whole[plane.name] = picture
        return whole
