"""Frames and the positions of an encoder, joined by trigger number, whatever comes late, twice, early or not at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamer.flow.assembly import Assembly
from streamer.flow.dialects.message import Image, SeriesStart
from streamer.flow.kinds import Kinds
from streamer.flow.positions.positions import (
    INT32_WRAP,
    Encoder,
    Position,
    Positions,
    RunBegins,
    RunEnds,
    Triggers,
    number,
)
from streamer.flow.wire import FrameHeader
from streamer.frames import FrameKind, ScanSpec

SPEC = ScanSpec("s-1", "tooth", 2, 3, projections=8, flats=2, darks=2, start_deg=0.0, range_deg=80.0)


def image(number: int, series: str | None = "1", **values: object) -> Image:
    return Image((2, 3), "<u2", memoryview(bytes(12)), series=series, number=number, **values)  # type: ignore[arg-type]


def assembly(spec: ScanSpec = SPEC, kinds: Kinds | None = None, **options: object) -> Assembly:
    return Assembly(spec, "camera", kinds or Kinds(), Positions(**{"source": "table", **options}))


def angles(found: list[FrameHeader]) -> dict[int, float | None]:
    return {header.index: header.angle_deg for header in found}


def due(joined: Assembly, now_s: float = 0.0) -> list[FrameHeader]:
    return [ready.header for ready in joined.due(now_s)]


# Counts and degrees


@given(
    start=st.floats(-720, 720),
    step=st.floats(-170, 170),
    per_deg=st.sampled_from([1000.0, -186_413.5, 1e6]),
    begin=st.integers(-(2**31), 2**31 - 1),
)
def test_a_counter_of_32_bits_may_wrap_anywhere(start: float, step: float, per_deg: float, begin: int) -> None:
    encoder = Encoder(per_deg, start - begin / per_deg, INT32_WRAP)
    for i in range(30):
        counted = begin + round(i * step * per_deg)
        read = (counted + 2**31) % 2**32 - 2**31
        assert encoder.degrees([read]) == pytest.approx(start + i * step, abs=1 / abs(per_deg) + 1e-6)


def test_degrees_of_a_turn_go_on_beyond_it() -> None:
    encoder = Encoder(1.0, wrap_counts=360.0)
    assert [encoder.degrees([value]) for value in (350.0, 359.0, 8.0, 350.0)] == [350.0, 359.0, 368.0, 350.0]


def test_the_first_angle_is_the_turn_that_was_announced() -> None:
    assert Encoder(1.0, wrap_counts=360.0).degrees([359.5], near_deg=0.0) == -0.5
    assert Encoder(10.0, offset_deg=720.0).degrees([5.0], near_deg=1.0) == 0.5


def test_the_mean_over_an_exposure_knows_the_wrap_within_it() -> None:
    encoder = Encoder(1000.0, wrap_counts=INT32_WRAP)
    before, after = 2.0**31 - 500, -(2.0**31) + 1500
    assert encoder.degrees([before, after]) == pytest.approx((2.0**31 + 500) / 1000)


def test_values_of_a_source_become_numbers() -> None:
    assert [number(value) for value in (3, 2.5, "4")] == [3.0, 2.5, 4.0]
    assert all(math.isnan(number(value)) for value in (None, "x", [1], 10**400))


# Frames and positions


def test_positions_before_and_after_their_frames() -> None:
    joined = assembly(counts_per_deg=2.0)
    joined.position(Position(0, 20.0), 0.0)
    for frame in range(6):
        joined.image(image(frame), 0.0)
    assert angles(due(joined)) == {0: None, 1: None, 2: None, 3: None, 4: 10.0}
    joined.position(Position(1, 40.0), 1.0)
    assert angles(due(joined, 1.0)) == {5: 20.0}
    assert (joined.waiting, joined.full) == (0, False)
    assert list(joined.remarks()) == []


def test_a_frame_without_position_is_handed_on_with_an_unknown_angle_and_never_with_0() -> None:
    joined = assembly(wait_s=2.0)
    for frame in range(4, 8):
        joined.image(image(frame), float(frame))
    joined.position(Position(1, 10.0), 5.0)
    assert angles(due(joined, 5.9)) == {5: 10.0}
    found = due(joined, 6.0)
    assert [header.index for header in found] == [4]
    assert found[0].kind is FrameKind.PROJECTION
    assert math.isnan(found[0].meta.angle_deg)
    joined.position(Position(0, 0.5), 6.0)
    assert [header.index for header in due(joined, 100.0)] == [6, 7]
    assert list(joined.remarks()) == [
        "no position is known for frames 4, 6-7",
        "positions came too late for frames 4",
    ]


def test_doubled_and_contradicting_positions_are_named_and_the_first_counts() -> None:
    joined = assembly()
    for trigger, value in ((0, 1.0), (0, 1.0), (1, 11.0), (1, 12.0), (7, 80.0), (7, 80.0)):
        joined.position(Position(trigger, value), 0.0)
    for frame in range(4, 6):
        joined.image(image(frame), 0.0)
    assert angles(due(joined)) == {4: 1.0, 5: 11.0}
    assert list(joined.remarks()) == [
        "positions came twice for frames 4",
        "positions came twice for triggers 7, whose frames did not come",
        "two different positions came, and the first was used, for frames 5",
        "positions of triggers 7 belong to no frame that came",
    ]


def test_a_frame_that_came_twice_has_its_angle_twice() -> None:
    joined = assembly()
    joined.position(Position(0, 1.0), 0.0)
    for frame in (4, 4, 5, 5):
        joined.image(image(frame), 0.0)
    joined.position(Position(1, 11.0), 0.0)
    assert [header.angle_deg for header in due(joined)] == [1.0, 1.0, 11.0, 11.0]


@pytest.mark.parametrize(("value", "trigger"), [(math.nan, 0), (math.inf, 0), (1.0, -1), (1.0, 12)])
def test_positions_that_cannot_be_are_refused_and_counted(value: float, trigger: int) -> None:
    joined = assembly()
    joined.position(Position(trigger, value), 0.0)
    joined.image(image(4), 0.0)
    assert due(joined) == []
    why = "beyond the scan" if math.isfinite(value) else "no number"
    assert list(joined.remarks()) == [f"1 positions were refused: {why}"]


def test_numbers_of_triggers_may_begin_at_one() -> None:
    joined = assembly(first=1)
    joined.position(Position(1, 5.0), 0.0)
    joined.position(Position(8, 75.0), 0.0)
    joined.image(image(4), 0.0)
    assert angles(due(joined)) == {4: 5.0}
    assert list(joined.remarks()) == ["positions of triggers 8 belong to no frame that came"]


def test_after_the_encoder_was_disarmed_nothing_waits() -> None:
    joined = assembly(wait_s=100.0)
    joined.position(RunBegins(), 0.0)
    joined.position(Position(1, 10.0), 0.0)
    joined.image(image(4), 0.0)
    joined.position(RunEnds(), 1.0)
    joined.image(image(5), 1.0)
    joined.image(image(6), 1.0)
    found = due(joined, 1.0)
    assert sorted(header.index for header in found) == [4, 5, 6]
    assert [header.index for header in found if math.isnan(header.meta.angle_deg)] == [4, 6]


def test_a_numbering_that_begins_anew_in_mid_scan_fits_no_frame() -> None:
    joined = assembly(wait_s=1.0)
    joined.position(Position(0, 1.0), 0.0)
    joined.image(image(4), 0.0)
    joined.position(RunBegins(), 0.0)
    joined.position(Position(1, 99.0), 0.0)
    joined.image(image(5), 0.0)
    assert str(angles(due(joined, 2.0))) == str({4: 1.0, 5: math.nan})
    assert list(joined.remarks()) == [
        "no position is known for frames 5",
        "positions of triggers 1 of run 2 of the encoder belong to no frame that came",
    ]


def test_what_the_encoder_says_of_the_scan_before_is_not_used() -> None:
    joined = assembly()
    for event in (Position(1, 99.0), RunEnds(), RunBegins(), Position(0, 0.0)):
        joined.position(event, 0.0)
    for frame in (4, 5):
        joined.image(image(frame), 0.0)
    joined.position(Position(1, 10.0), 0.0)
    assert angles(due(joined)) == {4: 0.0, 5: 10.0}
    assert list(joined.remarks()) == []


def test_the_end_of_the_run_before_the_scan_is_not_its_own() -> None:
    joined = assembly()
    joined.position(RunEnds(), 0.0)
    joined.image(image(4), 0.0)
    assert due(joined, 1.0) == []


def test_each_series_may_have_numbers_of_its_own() -> None:
    spec = ScanSpec("s-1", "tooth", 2, 3, projections=4)
    joined = assembly(spec, numbers="series")
    for run in range(2):
        joined.start(SeriesStart(str(run), 2))
        joined.position(RunBegins(), 0.0)
        for trigger in range(2):
            joined.position(Position(trigger, 20.0 * run + 10.0 * trigger), 0.0)
            joined.image(image(trigger, str(run)), 0.0)
    assert angles(due(joined)) == {0: 0.0, 1: 10.0, 2: 20.0, 3: 30.0}


def test_all_frames_may_have_a_trigger_of_which_only_projections_need_it() -> None:
    joined = assembly(numbers="scan")
    for frame in range(12):
        joined.position(Position(frame, float(frame)), 0.0)
        joined.image(image(frame), 0.0)
    found = angles(due(joined))
    assert found == {frame: None if frame < 4 else float(frame) for frame in range(12)}
    assert list(joined.remarks()) == []


def test_samples_of_an_exposure_make_one_position_only_together() -> None:
    joined = assembly(value="start, end", wait_s=1.0)
    for trigger, sample, value in ((0, 0, 1.0), (1, 0, 10.0), (1, 1, 12.0), (0, 0, 1.0)):
        joined.position(Position(trigger, value, sample), 0.0)
    for frame in (4, 5):
        joined.image(image(frame), 0.0)
    assert angles(due(joined)) == {5: 11.0}
    assert math.isnan(angles(due(joined, 1.0))[4] or 0.0)
    assert "positions came twice for frames 4" in list(joined.remarks())


def test_as_many_samples_as_come_until_the_next_trigger() -> None:
    joined = assembly(samples=0)
    for sample, (trigger, value) in enumerate(((0, 1.0), (0, 2.0), (0, 3.0), (1, 10.0), (1, 11.0))):
        joined.position(Position(trigger, value, sample), 0.0)
    for frame in (4, 5):
        joined.image(image(frame), 0.0)
    assert angles(due(joined)) == {4: 2.0}
    joined.position(RunEnds(), 0.0)
    assert angles(due(joined)) == {5: 10.5}


def test_frames_that_wait_fill_a_bounded_memory() -> None:
    joined = assembly(hold_mb=30 / 2**20)
    for frame in (4, 5):
        joined.image(image(frame), 0.0)
        assert not joined.full
    joined.image(image(6), 0.0)
    assert joined.full
    joined.position(Position(0, 0.0), 0.0)
    assert not joined.full


def test_the_shutter_of_the_position_stream_says_which_frames_are_darks() -> None:
    joined = assembly(kinds=Kinds(shutter="SHUTTER"), numbers="scan", wait_s=1.0)
    for frame in range(12):
        joined.position(Position(frame, float(frame), shutter_open=frame not in (0, 5)), 0.0)
        joined.image(image(frame), 0.0)
    found = due(joined)
    assert "".join("PFDI"[header.kind] for header in found) == "DIFFPDPPPPPP"
    assert found[5].angle_deg is None
    assert list(joined.remarks()) == [
        "dark with the shutter open: frames 1",
        "projection with the shutter closed: frames 5",
    ]


def test_angles_from_an_attribute_of_the_image() -> None:
    joined = assembly(source="attribute", value="Angle", counts_per_deg=10.0)
    joined.image(image(4, attributes={"Angle": 25}), 0.0)
    joined.image(image(5, attributes={"Angel": 35}), 0.0)
    first, second = due(joined)
    assert first.angle_deg == 2.5
    assert math.isnan(second.meta.angle_deg)


def test_positions_of_no_use_fill_no_memory() -> None:
    triggers = Triggers(samples=2, frames=10)
    for run in range(100):
        triggers.begin()
        for trigger in range(10):
            triggers.add(Position(trigger, float(run)))
    assert triggers.refused["too many"] == 1000 - 20


class Joining(RuleBasedStateMachine):
    """Frames and positions in any order against what they were made from: no frame is lost, no angle is another's."""

    WAIT_S = 1.0
    FRAMES = 12

    def __init__(self) -> None:
        super().__init__()
        spec = ScanSpec("s-1", "tooth", 2, 3, projections=self.FRAMES, range_deg=120.0)
        self.joined = Assembly(spec, "camera", Kinds(), Positions(source="table", wait_s=self.WAIT_S))
        self.now = 0.0
        self.came: dict[int, float] = {}  # frame → when
        self.known: set[int] = set()  # triggers whose position came in time, or before its frame
        self.found: dict[int, float] = {}

    def settle(self) -> None:
        for header in due(self.joined, self.now):
            assert header.index not in self.found, "handed on twice"
            assert header.angle_deg is not None
            self.found[header.index] = header.angle_deg

    @rule(frame=st.integers(0, FRAMES - 1))
    def frame(self, frame: int) -> None:
        if frame not in self.came:
            self.came[frame] = self.now
            self.joined.image(image(frame), self.now)

    @rule(trigger=st.integers(0, FRAMES - 1), doubled=st.booleans())
    def position(self, trigger: int, doubled: bool) -> None:
        for _ in range(1 + doubled):
            self.joined.position(Position(trigger, 10.0 * trigger), self.now)
        if trigger not in self.found:
            self.known.add(trigger)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def look(self) -> None:
        self.settle()

    @invariant()
    def every_angle_is_that_of_the_trigger_or_unknown(self) -> None:
        for frame, angle in self.found.items():
            assert angle == 10.0 * frame if frame in self.known else math.isnan(angle)

    @invariant()
    def what_waits_is_accounted_for(self) -> None:
        assert self.joined.waiting == len(self.came.keys() - self.known - self.found.keys())

    def teardown(self) -> None:
        self.now += self.WAIT_S
        self.settle()
        assert self.found.keys() == self.came.keys()
        assert (self.joined.waiting, self.joined.full) == (0, False)
        named = " ".join(self.joined.remarks())
        assert ("no position" in named) is any(np.isnan(list(self.found.values())))


TestJoining = Joining.TestCase
