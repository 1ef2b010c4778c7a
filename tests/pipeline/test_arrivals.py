"""The book of frames that came."""

from __future__ import annotations

from streamer.frames import FrameKind, FrameMeta
from streamer.pipeline.arrivals import Arrivals


def meta(index: int, kind: FrameKind) -> FrameMeta:
    return FrameMeta("scan", index, kind, 0.0, seq=index)


def test_each_frame_counts_once() -> None:
    arrivals = Arrivals(3)
    assert [arrivals.note(index) for index in (2, 0, 2)] == [True, True, False]
    assert [arrivals.has(index) for index in range(3)] == [True, False, True]
    assert (arrivals.seen, arrivals.complete) == (2, False)
    assert arrivals.note(1)
    assert arrivals.complete


def test_a_flat_that_comes_after_a_later_projection_is_late() -> None:
    arrivals = Arrivals(6)
    arrivals.field(meta(0, FrameKind.DARK))
    arrivals.projections([3, 2])
    assert (arrivals.first, arrivals.last, arrivals.late_fields) == (2, 3, 0)
    arrivals.field(meta(5, FrameKind.FLAT))  # taken after the projections
    arrivals.field(meta(0, FrameKind.PROJECTION))  # one too many
    assert arrivals.late_fields == 0
    arrivals.field(meta(1, FrameKind.FLAT))
    assert arrivals.late_fields == 1
    for index in range(6):
        arrivals.note(index)
    assert not arrivals.complete, "the projections before it were prepared without it"
