"""The one place that touches the product: a scan in, the verdict and the tomogram out."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from benchmarks.verdict_blind.exposure import Scan
from benchmarks.verdict_blind.scan import Array
from streamer.core.backend.selection import Backend, select_backend
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings

LOOKS = 8
"""In how many pieces the frames are handed over; after each the centre is tracked, as the daemon does it."""


class Opinion(NamedTuple):
    """What the product says of a scan, and its tomogram (rows, width, width); None where the product failed."""

    decision: str
    reasons: tuple[str, ...]
    quality: dict[str, Any]
    tomogram: Array | None


@cache
def _backend() -> Backend:
    return select_backend("numba", 1)[0]


def verdict_of(scan: Scan) -> Opinion:
    """Push a scan through the pipeline with the options and limits that are the default."""
    spec = ScanSpec(
        "blind",
        "phantom",
        scan.rows,
        scan.columns,
        scan.projections,
        scan.flats,
        scan.darks,
        scan.dtype,
        scan.start_deg,
        scan.range_deg,
        saturation=scan.ceiling,
    )
    pipeline = ScanPipeline(spec, _backend(), Settings())
    metas = [
        FrameMeta("blind", int(index), FrameKind(int(kind)), float(angle), seq=seq)
        for seq, (index, kind, angle) in enumerate(zip(scan.index, scan.kind, scan.angle_deg, strict=True))
    ]
    for part in np.array_split(np.arange(len(metas)), LOOKS):
        pipeline.push_batch([metas[k] for k in part], scan.pixels[part])
        pipeline.follow(pipeline.look(0, 0)())
    pipeline.refine_center()
    quality, verdict = pipeline.judge(spec.frames - pipeline.arrivals.seen, 0)
    tomogram = np.full(pipeline.shape, np.nan, np.float32)
    if pipeline.count:
        for first, block in pipeline.tomogram(_no_file):
            tomogram[first : first + len(block)] = block
    return Opinion(verdict.decision.value, tuple(map(str, verdict.reasons)), quality.to_dict(), tomogram)


def _no_file(first: int, last: int) -> Any:
    raise AssertionError(f"rows {first}:{last} were asked of a file, though all frames fit into memory")
