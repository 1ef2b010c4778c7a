"""In which order the frames of a recorded scan are handed on, with which indices, and how many projections lack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.core.quality.angles import missing_before
from streamer.frames import FrameKind
from streamer.io.layouts.layout import Layout

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Numbering:
    """``order`` are the frames of a layout as they are handed on: darks first, since the whole file is there, and flats
    first where there are none before the projections. ``index`` (frames of the layout,) leaves a gap for each
    projection that lacks, of which there are ``missing``; ``projections`` counts them, too.
    """

    order: Ints
    index: Ints
    projections: int
    missing: int
    announced: bool
    """Whether the indices are those of a scan that Streamer received."""

    @classmethod
    def of(cls, layout: Layout) -> Numbering:
        kinds = layout.kinds
        used = np.flatnonzero(kinds != FrameKind.INVALID)
        projections = np.flatnonzero(kinds == FrameKind.PROJECTION)
        flats = np.flatnonzero((kinds == FrameKind.FLAT) & ~layout.lost)
        late = projections.size and flats.size and flats[0] > projections[0]
        rank = np.where(kinds == FrameKind.DARK, 0, np.where((kinds == FrameKind.FLAT) & bool(late), 1, 2))
        order = used[np.argsort(rank[used], kind="stable")]
        held = order[~layout.lost[order]]
        lost = int(np.count_nonzero(layout.lost[projections]))
        if _as_announced(layout):
            missing = lost + _unseen(layout.index, projections)
            count = max(0 if layout.spec is None else layout.spec.projections, projections.size)
            return cls(held, layout.index, count, missing, True)
        before = np.zeros(len(kinds), np.int64)
        before[projections] = missing_before(layout.angles_deg[projections])
        index = np.full(len(kinds), -1, np.int64)
        index[order] = np.cumsum(1 + before[order]) - 1
        lacking = int(before.sum())
        return cls(held, index, projections.size + lacking, lost + lacking, False)


def _as_announced(layout: Layout) -> bool:
    index = layout.index
    return layout.spec is not None and len(np.unique(index)) == len(index) and bool((index < layout.spec.frames).all())


def _unseen(index: Ints, projections: Ints) -> int:
    """Indices between the first and the last projection that no frame has."""
    if not projections.size:
        return 0
    first, last = int(index[projections].min()), int(index[projections].max())
    return last - first + 1 - int(np.count_nonzero((index >= first) & (index <= last)))
