"""The resolution that is told of recorded scans, against the sharpness of their edges, and beside dead columns."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.verdict.recorded import Recorded, rods
from streamer.core.backend.selection import Backend
from streamer.frames import FrameKind, FrameMeta, Quality, ScanSpec
from streamer.phantoms import Ellipse, sinogram
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings
from tests.paths import DATA


def quality(scan: Recorded, range_deg: float, backend: Backend) -> Quality:
    rows, columns = scan.frames.shape[1:]
    count = len(scan.frames)
    spec = ScanSpec("scan", "sample", rows, columns, count, flats=len(scan.flats), range_deg=range_deg)
    pipeline = ScanPipeline(spec, backend, Settings(), planes=())
    for index, flat in enumerate(scan.flats):
        pipeline.push(FrameMeta("scan", index, FrameKind.FLAT, 0.0), flat)
    metas = [
        FrameMeta("scan", len(scan.flats) + k, FrameKind.PROJECTION, float(angle))
        for k, angle in enumerate(scan.angles)
    ]
    pipeline.push_batch(metas, scan.frames)
    pipeline.refine_center()
    return pipeline.judge(0, 0)[0]


def test_dead_columns_do_not_make_rods_less_sharp(numba_backend: Backend) -> None:
    """Edges of the four visible rods rise from 10 to 90 % within 3.5 to 4.1 px (error functions fitted to 12 sectors of
    each), so that contrast is a tenth at periods of 4.0 to 4.7 px. Two dead columns draw arcs that differ between the
    half turns: with them, the halves cease to agree at 14.6 px."""
    scan = rods(DATA)
    found = quality(scan, 360.0 * 459 / 458, numba_backend)
    assert found.dead_columns == 2
    assert found.resolution_px == pytest.approx(4.4, abs=0.5)


@pytest.mark.parametrize("turn", [1, 2])
def test_the_resolution_beside_a_dead_column_is_that_without(numba_backend: Backend, turn: int) -> None:
    rng = np.random.default_rng(5)
    rows, columns, count, center = 8, 128, 200 * turn, 62.2
    angles = 180.0 * turn * np.arange(count) / count
    body = [Ellipse(0.02, 26.0, 21.0, 3.0, -2.0, 0.4), *(Ellipse(0.03, 2.5, 3.0, x, x / 2) for x in (-12.0, 4.0, 11.0))]
    lines = sinogram(body, columns, np.deg2rad(angles), center)[:, None, :] * np.ones((rows, 1))
    flats = rng.poisson(4000.0, (10, rows, columns)).astype("<u2")
    frames = rng.poisson(4000.0 * np.exp(-lines)).astype("<u2")
    whole = Recorded(flats[:0], flats, frames, angles, np.ones(count, bool))
    intact = quality(whole, 180.0 * turn, numba_backend)
    frames[:, :, 75] = 20
    broken = quality(whole, 180.0 * turn, numba_backend)
    assert (intact.dead_columns, broken.dead_columns) == (0, 1)
    assert intact.resolution_px is not None
    assert 2.0 < intact.resolution_px < 5.0
    assert broken.resolution_px == pytest.approx(intact.resolution_px, rel=0.08)
