"""A tiny scan through every step, so that no first scan waits for compilers, plans and lazy imports."""

from __future__ import annotations

import numpy as np

from streamer.core.backend.selection import Backend
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings


def rehearse(backend: Backend) -> None:
    """Send a tiny scan through every step, so that no first scan waits for compilers, plans and lazy imports."""
    rows, columns, projections = 16, 32, 24
    spec = ScanSpec("rehearsal", "rehearsal", rows, columns, projections, flats=2, darks=1)
    pipeline = ScanPipeline(spec, backend, Settings())
    x = np.arange(columns)
    for index in range(spec.frames):
        kind = FrameKind.DARK if index < 1 else FrameKind.FLAT if index < 3 else FrameKind.PROJECTION
        angle = 180.0 * max(0, index - 3) / projections
        shadow = 900.0 * (np.abs(x - 16.0 - 3.0 * np.cos(np.deg2rad(angle))) < 6.0)
        counts = {FrameKind.DARK: 10.0, FrameKind.FLAT: 3000.0}.get(kind, 3000.0 - shadow)
        pixels = np.broadcast_to(np.asarray(counts), (rows, columns)).astype("<u2")
        pipeline.push(FrameMeta("rehearsal", index, kind, angle), pixels)
        pipeline.follow(pipeline.look(0, 0)())
        pipeline.planes.images()
    pipeline.refine_center()
    pipeline.judge(0, 0)
    for _ in pipeline.tomogram(lambda first, last: (np.empty(0, np.int64), np.empty(0), np.empty(0))):
        pass
    pipeline.view.catch_up()
