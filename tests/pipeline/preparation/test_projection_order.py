"""Numbers of projections and indices of frames."""

from __future__ import annotations

import numpy as np

from streamer.pipeline.preparation.projection_order import ProjectionOrder


def test_frames_are_found_in_whatever_order_their_projections_came() -> None:
    order = ProjectionOrder(projections=4, frames=9)
    assert (order.first, order.last) == (9, 0)
    assert order.numbers(np.array([3, 5])).tolist() == [-1, -1]
    for number, index in enumerate((7, 3, 5)):
        order.note(number, index)
    assert (order.first, order.last) == (3, 7)
    assert [order.index(number) for number in range(4)] == [7, 3, 5, -1]
    assert order.numbers(np.array([3, 4, 5, 6, 7, 8])).tolist() == [1, -1, 2, -1, 0, -1]
