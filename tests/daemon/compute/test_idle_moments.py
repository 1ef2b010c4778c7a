"""When a piece of idle work begins: where the next frame is not due before it ends."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from streamer.daemon.compute.idle_moments import IdleMoments
from streamer.frames import FrameKind, FrameMeta


@dataclass
class Table:
    """A clock, and work of which each piece takes ``piece_s``."""

    now: float = 100.0
    piece_s: float = 0.001
    pieces: int = 1000
    done: list[float] = field(default_factory=list)

    def work(self) -> bool:
        if len(self.done) >= self.pieces:
            return False
        self.done.append(self.now)
        self.now += self.piece_s
        return True


def come(moments: IdleMoments, *received_s: float) -> None:
    moments.came([FrameMeta("s", 0, FrameKind.PROJECTION, 0.0, received_s=moment) for moment in received_s])


def steady(table: Table, interval_s: float, frames: int = 60) -> IdleMoments:
    """Frames that came every so often, with as much work between them as was found to have time."""
    moments = IdleMoments(lambda: table.now)
    for _ in range(frames):
        come(moments, table.now)
        due = table.now + interval_s
        while table.now < due - 1e-9 and moments.work(table):
            pass
        table.now = max(table.now, due)
    return moments


def test_no_piece_stands_in_the_way_of_a_frame() -> None:
    table = Table()
    steady(table, 0.004, frames=200)
    late = [(moment - 100.0) % 0.004 + table.piece_s > 0.004 + 1e-9 for moment in table.done]
    settled = len(late) // 2  # by then it knows how long a piece takes
    assert not any(late[settled:])
    assert len(late[settled:]) >= 3 * 90, "the time between frames is used"


def test_before_the_first_frame_there_is_time() -> None:
    table = Table()
    assert IdleMoments(lambda: table.now).work(table)


def test_nothing_to_do_is_said() -> None:
    table = Table(pieces=0)
    assert not IdleMoments(lambda: table.now).work(table)


def test_pieces_that_never_fit_are_done_all_the_same() -> None:
    table = Table(piece_s=0.005)
    moments = steady(table, 0.004)
    table.done.clear()
    come(moments, table.now)
    table.now += 0.0035
    assert moments.work(table)


def test_an_overdue_frame_is_waited_for_as_long_as_an_interval() -> None:
    table = Table()
    moments = steady(table, 0.004)
    last = table.now - 0.004
    table.now = last + 0.0041
    assert not moments.work(table), "it may come at any moment"
    table.now = last + 0.0081
    assert moments.work(table), "the camera has paused"


@pytest.mark.parametrize("pause_s", [1.0, 60.0])
def test_a_pause_changes_no_interval(pause_s: float) -> None:
    table = Table()
    moments = steady(table, 0.004)
    table.now += pause_s
    for _ in range(3):
        come(moments, table.now)
        table.now += 0.004
    table.now += -0.004 + 0.0005
    assert moments.work(table)
    table.now += 0.0020
    assert not moments.work(table)


def test_frames_that_come_together_are_as_many_intervals() -> None:
    table = Table()
    moments = steady(table, 0.004)
    for _ in range(20):
        table.now += 0.032
        come(moments, *[table.now - 0.004 * k for k in range(7, -1, -1)])
    table.now += 0.0025
    assert moments.work(table)
    assert not moments.work(table)
