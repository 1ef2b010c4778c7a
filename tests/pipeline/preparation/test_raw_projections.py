from __future__ import annotations

import numpy as np

from streamer.frames import FrameKind, FrameMeta
from streamer.pipeline.preparation.raw_projections import RawProjections


def test_projections_know_what_their_headers_say() -> None:
    metas = [
        FrameMeta("s", index, FrameKind.PROJECTION, angle, monitor=monitor)
        for index, angle, monitor in ((7, 0.0, 1.0), (8, 90.0, 2.0), (11, -180.0, 3.0))
    ]
    raw = RawProjections.of(metas, np.zeros((3, 2, 4), np.uint16), 5)
    np.testing.assert_allclose(raw.angle_rad, [0, np.pi / 2, -np.pi])
    assert raw.monitor.tolist() == [1, 2, 3]
    assert raw.index.tolist() == [7, 8, 11]
    assert raw.index.dtype == np.int64
    assert raw.numbers.tolist() == [5, 6, 7]
    assert len(raw) == 3


def test_no_projections_are_a_batch_too() -> None:
    raw = RawProjections.of([], np.zeros((0, 2, 4), np.uint16), 5)
    assert len(raw) == raw.numbers.size == raw.angle_rad.size == 0
