"""A tiny scan through every step, so that no first scan waits for compilers, plans and lazy imports."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.backend.selection import Backend
from streamer.frames import DTYPES, FrameKind, FrameMeta, PixelType, ScanSpec
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings

ROWS, COLUMNS, PROJECTIONS = 16, 32, 24


def rehearse(backend: Backend) -> None:
    """Send a tiny scan through every step."""
    import_module("scipy.optimize")  # which the verdict on a sample with more structure needs
    spec = _spec("<u2")
    pipeline = ScanPipeline(spec, backend, Settings())
    for meta, pixels in _frames(spec):
        pipeline.push(meta, pixels)
        pipeline.follow(pipeline.look(0, 0)())
        pipeline.planes.images()
    pipeline.refine_center()
    pipeline.judge(0, 0)
    _finish(pipeline)


def rehearse_part(backend: Backend) -> None:
    """The same for who holds some rows of a detector, and neither finds the axis nor judges; with every pixel type."""
    for dtype in DTYPES:
        spec = _spec(dtype)
        pipeline = ScanPipeline(spec, backend, Settings(), part_of=2 * ROWS)
        for meta, pixels in _frames(spec):
            pipeline.push(meta, pixels)
        pipeline.use(pipeline.layout.at(COLUMNS / 2), likely=True, final=False)
        while pipeline.work():
            pass
        pipeline.planes.images()
        pipeline.use(pipeline.layout, likely=True, final=True)
        _finish(pipeline)


def _spec(dtype: PixelType) -> ScanSpec:
    return ScanSpec("rehearsal", "rehearsal", ROWS, COLUMNS, PROJECTIONS, flats=2, darks=1, dtype=dtype)


def _frames(spec: ScanSpec) -> Iterator[tuple[FrameMeta, NDArray[Any]]]:
    """One dark, two flats, then projections of a bar."""
    x, beam = np.arange(spec.columns), 240.0 if spec.dtype == "|u1" else 3000.0
    for index in range(spec.frames):
        kind = FrameKind.DARK if index < 1 else FrameKind.FLAT if index < 3 else FrameKind.PROJECTION
        angle = 180.0 * max(0, index - 3) / spec.projections
        shadow = 0.3 * beam * (np.abs(x - 16.0 - 3.0 * np.cos(np.deg2rad(angle))) < 6.0)
        counts = {FrameKind.DARK: 10.0, FrameKind.FLAT: beam}.get(kind, beam - shadow)
        pixels = np.broadcast_to(np.asarray(counts), (spec.rows, spec.columns)).astype(spec.dtype)
        yield FrameMeta(spec.scan_id, index, kind, angle), pixels


def _finish(pipeline: ScanPipeline) -> None:
    for _ in pipeline.tomogram(lambda first, last: (np.empty(0, np.int64), np.empty(0), np.empty(0))):
        pass
    pipeline.view.catch_up()
