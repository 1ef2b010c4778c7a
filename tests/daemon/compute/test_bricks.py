"""Boxes of the tomogram that grows: what they show, and that nothing waits for them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.daemon.compute.bricks import FRESH_S, WAIT_S
from streamer.flow.wire.control import Busy
from streamer.flow.wire.looks import Brick, GetBrick
from streamer.frames import BadInput
from streamer.io.messaging.control import DeferredReply
from streamer.io.tomogram import read_tomogram
from tests.daemon.rig import COLUMNS, PROJECTIONS, ROWS, Rig, TinyScan

WHOLE = ((0, ROWS), (0, COLUMNS), (0, COLUMNS))


def brick(rig: Rig, request: GetBrick) -> Brick:
    """What a client gets; the compute thread turns meanwhile."""
    reply = rig.handlers.brick(request)
    if isinstance(reply, Brick):
        return reply
    found: list[Brick] = []

    def answered() -> bool:
        assert isinstance(reply, DeferredReply)
        answer = reply.ask(False)
        if isinstance(answer, Brick):
            found.append(answer)
        return bool(found)

    rig.turn_until(answered)
    return found[0]


def values(found: Brick) -> NDArray[np.float32]:
    grey = np.frombuffer(found.voxels, np.uint8).reshape(found.shape).astype(np.float32)
    return np.float32(found.lo) + np.float32((found.hi - found.lo) / 255) * grey


@pytest.fixture
def scan(rig: Rig) -> TinyScan:
    """All but the last projection have come in an order that covers the half turn, and the axis is known."""
    made = TinyScan(turns=3)
    rig.run(made, range(made.spec.frames - 1))
    rig.turn_for(2.0)
    return made


def test_the_whole_and_a_box_are_those_of_the_tomogram_that_is_written(rig: Rig, scan: TinyScan) -> None:
    coarse = brick(rig, GetBrick(None, 16))
    box = brick(rig, GetBrick(((4, 12), (10, 42), (20, 52)), 32))
    rig.feed(scan, [scan.spec.frames - 1])
    report = rig.finish(scan)
    assert report.tomogram_file is not None
    tomogram = read_tomogram(report.tomogram_file).data
    assert (coarse.whole, coarse.box, coarse.step, coarse.shape) == ((ROWS, COLUMNS, COLUMNS), WHOLE, 4, (4, 16, 16))
    assert (coarse.unit, coarse.of) == ("1/cm", PROJECTIONS)
    means = tomogram.reshape(ROWS // 4, 4, 16, 4, 16, 4).mean((1, 3, 5))
    # A few angles lack in it, and so does their share of the density.
    assert 0.7 * PROJECTIONS < coarse.angles < PROJECTIONS
    close = {"rtol": 0, "atol": 0.35 * float(means.max())}
    np.testing.assert_allclose(values(coarse), np.clip(means, coarse.lo, coarse.hi), **close)
    assert np.corrcoef(values(coarse).ravel(), means.ravel())[0, 1] > 0.99
    assert (box.step, box.shape, box.lo, box.hi) == (1, (8, 32, 32), coarse.lo, coarse.hi)
    part = np.clip(tomogram[4:12, 10:42, 20:52], box.lo, box.hi)
    assert np.corrcoef(values(box).ravel(), part.ravel())[0, 1] > 0.97


def test_it_grows(rig: Rig) -> None:
    made = TinyScan(turns=3)
    rig.run(made, range(made.first_projection + 50))
    rig.turn_for(2.0)
    first = brick(rig, GetBrick())
    rig.feed(made, range(made.first_projection + 50, made.spec.frames - 1))
    rig.turn_for(2.0)
    assert brick(rig, GetBrick()).angles > first.angles


def test_a_brick_is_made_once_for_all_who_ask_at_that_moment(rig: Rig, scan: TinyScan) -> None:
    first = brick(rig, GetBrick())
    rig.clock.now += FRESH_S / 2
    assert rig.handlers.brick(GetBrick()) is first
    rig.clock.now += FRESH_S
    assert isinstance(rig.handlers.brick(GetBrick()), DeferredReply)


def test_a_box_outside_is_refused(rig: Rig, scan: TinyScan) -> None:
    with pytest.raises(BadInput, match="no voxel in the tomogram"):
        brick(rig, GetBrick(((0, 4), (90, 99), (0, 4))))


def test_who_asks_when_none_grows_is_told_why(rig: Rig) -> None:
    with pytest.raises(Busy, match="no scan has come yet"):
        brick(rig, GetBrick())
    made = TinyScan()
    rig.run(made, range(made.first_projection + 2))
    with pytest.raises(Busy, match="scan-1: no tomogram grows: the centre of rotation is not known yet"):
        brick(rig, GetBrick())
    rig.feed(made, range(made.first_projection + 2, made.spec.frames))
    rig.finish(made)
    with pytest.raises(Busy, match="does not run any more"):
        brick(rig, GetBrick())


def test_frames_come_first(rig: Rig) -> None:
    reply = rig.handlers.brick(GetBrick())
    assert isinstance(reply, DeferredReply)
    assert reply.deadline == rig.clock.now + WAIT_S
    assert reply.ask(False) is None
    with pytest.raises(Busy, match="frames come first"):
        reply.ask(True)
