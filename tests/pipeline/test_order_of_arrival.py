"""The tomogram is that of the frames: looks at a running scan and frames that come late change next to nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.core.arrays import Image
from streamer.core.backend.selection import Backend
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.phantoms import body_projections, random_body
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings

SIZE, N = 64, 180
IN_ORDER = list(range(N))


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint16]:
    """Dark, flat, and the projections of a half turn about an axis beside the middle."""
    rng = np.random.default_rng(0)
    lines = body_projections(random_body(np.random.default_rng(3), SIZE), SIZE, SIZE, np.pi * np.arange(N) / N, 34.3)
    fields = np.full((2, SIZE, SIZE), [[[100]], [[8100]]])
    return np.concatenate([fields, rng.poisson(100 + 8000 * np.exp(-lines))]).astype("<u2")


def tomogram(backend: Backend, frames: NDArray[np.uint16], order: list[int], look_every: int) -> tuple[float, Image]:
    """Centre and volume of a scan whose projections come in an order; it is looked at after every so many, 0: never."""
    spec = ScanSpec("scan", "sample", rows=SIZE, columns=SIZE, projections=N, flats=1, darks=1)
    pipeline = ScanPipeline(spec, backend, Settings())
    pipeline.push(FrameMeta("scan", 0, FrameKind.DARK, 0.0), frames[0])
    pipeline.push(FrameMeta("scan", 1, FrameKind.FLAT, 0.0), frames[1])
    for number, k in enumerate(order, 1):
        pipeline.push(FrameMeta("scan", 2 + k, FrameKind.PROJECTION, 180.0 * k / N), frames[2 + k])
        if look_every and number % look_every == 0:
            pipeline.follow(pipeline.look(0, 0)())
        while pipeline.work():
            pass
    pipeline.refine_center()
    volume = np.empty(pipeline.shape, np.float32)
    for first, block in pipeline.tomogram(None):  # type: ignore[arg-type] # all of it is in memory
        volume[first : first + len(block)] = block
    return pipeline.center, volume


@pytest.mark.parametrize(
    ("order", "look_every"),
    [(IN_ORDER, 20), (IN_ORDER, 7), (IN_ORDER[:40] + IN_ORDER[90:] + IN_ORDER[40:90], 20)],
    ids=["looked at", "often", "overtaken frames"],
)
def test_looks_and_late_frames_do_not_move_the_tomogram(
    numba_backend: Backend, frames: NDArray[np.uint16], order: list[int], look_every: int
) -> None:
    plain_center, plain = tomogram(numba_backend, frames, IN_ORDER, 0)
    center, volume = tomogram(numba_backend, frames, order, look_every)
    assert center == pytest.approx(plain_center, abs=1e-4)
    assert np.abs(volume - plain).max() <= 1e-3 * plain.max(), "it was 6e-3: the axis stayed where a look had put it"
