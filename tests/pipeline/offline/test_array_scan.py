"""Arrays of which projections lack say so, like a file."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.frames import FrameKind
from streamer.pipeline.offline.array_scan import ArrayScan


@pytest.mark.parametrize("kept", [np.r_[0:60], np.r_[0:20, 29:60], np.r_[0:5, 6:40, 55:60]])
def test_projections_that_lack_between_the_others_are_counted(kept: np.ndarray) -> None:
    pixels = np.arange(kept.size * 6, dtype="<u2").reshape(-1, 2, 3)
    scan = ArrayScan(pixels, 6.0 * kept, np.ones((2, 2, 3), "<u2"), np.zeros((1, 2, 3), "<u2"))
    assert (scan.spec.projections, scan.missing) == (60, 60 - kept.size)
    assert scan.spec.range_deg == pytest.approx(360.0)
    np.testing.assert_array_equal(scan.usable_index, 3 + kept)
    frames = list(scan.frames())
    assert [frame.meta.index for frame in frames] == [0, 1, 2, *(3 + kept)]
    assert [frame.meta.kind for frame in frames[:4]] == [*[FrameKind.DARK], *[FrameKind.FLAT] * 2, FrameKind.PROJECTION]


def test_angles_without_a_usual_step_lack_nothing() -> None:
    angles = np.mod(111.246 * np.arange(30), 180.0)
    scan = ArrayScan(np.ones((30, 2, 3)), angles)
    assert (scan.spec.projections, scan.missing) == (30, 0)
    assert ArrayScan(np.ones((1, 2, 3)), [0.0]).spec.projections == 1
