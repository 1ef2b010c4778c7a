"""Which projections a trigger keeps, and under which number."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.flow.capture import Capture, CaptureState, window_frames
from streamer.frames import BadInput, FrameKind, FrameMeta, ScanSpec

TURN, BEFORE, AFTER = 10, 2, 3
FIRST = 5  # darks and flats
SPEC = ScanSpec(
    "foam", "foam", 1, 2, TURN * (BEFORE + AFTER), flats=3, darks=2, range_deg=180.0 * (BEFORE + AFTER),
    tomogram_deg=180.0, before_trigger=TURN * BEFORE,
)  # fmt: skip


def send(capture: Capture, projections: range, kept: dict[int, int]) -> None:
    """What the daemon does with projections (their numbers in the rotation); ``kept`` gets number → that of the pixels.

    The pixels of projection k hold k.
    """
    for k in projections:
        for held in capture.opened():
            kept[held.meta.index] = int(held.pixels.view("<u2")[0])
            capture.entered(held.meta.index)
        index = FIRST + k
        number = capture.place(index, FrameKind.PROJECTION)
        if number is not None:
            kept[number] = k
            capture.entered(number)
        elif capture.holds:
            capture.room()[:] = np.array([k, k], "<u2").tobytes()
            capture.hold(FrameMeta("foam", index, FrameKind.PROJECTION, 18.0 * k))
        else:
            capture.let_go(index)


def after(*steps: range | str) -> tuple[Capture, dict[int, int]]:
    """The state after projections and triggers, and what was kept."""
    capture, kept = Capture(SPEC), {}
    for step in steps:
        if isinstance(step, str):
            capture.trigger()
        else:
            send(capture, step, kept)
    return capture, kept


def test_darks_and_flats_are_kept_as_they_are() -> None:
    capture = Capture(SPEC)
    assert [capture.place(k, FrameKind.DARK if k < 2 else FrameKind.FLAT) for k in range(FIRST)] == list(range(FIRST))
    assert capture.place(FIRST, FrameKind.PROJECTION) is None


def test_nothing_is_kept_before_the_trigger() -> None:
    capture, kept = after(range(1000))
    assert (kept, capture.seen, capture.state) == ({}, 1000, CaptureState.WAITING)
    assert capture.issued(FIRST + 1000) == FIRST


@pytest.mark.parametrize("at", [47, 50, 59, 40])
def test_the_trigger_keeps_whole_turns_before_it_and_the_one_it_is_in(at: int) -> None:
    capture, kept = after(range(at), "trigger", range(at, 200))
    start = at // TURN * TURN - BEFORE * TURN
    assert kept == {FIRST + k: start + k for k in range(SPEC.projections)}
    assert capture.from_index == start
    assert capture.seen == 200 - SPEC.projections
    assert capture.state is CaptureState.DONE
    assert capture.issued(FIRST + 200) == SPEC.frames


def test_a_trigger_that_comes_early_keeps_all_from_the_beginning() -> None:
    capture, kept = after(range(13), "trigger", range(13, 100))
    assert kept == {FIRST + k: k for k in range(SPEC.projections)}
    assert capture.from_index == 0


def test_a_second_trigger_changes_nothing() -> None:
    _, once = after(range(47), "trigger", range(47, 200))
    _, twice = after(range(47), "trigger", range(47, 60), "trigger", range(60, 200))
    assert once == twice


def test_a_frame_that_lacks_in_the_window_lacks_in_the_scan() -> None:
    capture, kept = Capture(SPEC), {}
    send(capture, range(33), kept)
    send(capture, range(34, 47), kept)
    capture.trigger()
    send(capture, range(47, 100), kept)
    assert set(range(FIRST, SPEC.frames)) - set(kept) == {FIRST + 33 - 20}
    assert capture.state is CaptureState.DONE


def test_a_rotation_that_ends_early_has_issued_what_came() -> None:
    capture, kept = after(range(47), "trigger", range(47, 55))
    assert capture.state is CaptureState.TRIGGERED
    assert sorted(kept) == list(range(FIRST, FIRST + 35))
    assert capture.issued(FIRST + 55) == FIRST + 35


def test_after_a_crash_nothing_more_is_kept_and_all_was_wanted() -> None:
    capture = Capture(SPEC)
    capture.give_up()
    capture.trigger()
    send(capture, range(100), kept := {})
    assert (kept, capture.issued(FIRST + 100)) == ({}, SPEC.frames)


def test_the_window_has_room_for_the_turns_before_and_the_present_one() -> None:
    assert window_frames(SPEC) == TURN * (BEFORE + 1)


def test_a_scan_that_would_keep_nothing_after_the_trigger_is_refused() -> None:
    with pytest.raises(BadInput, match="before_trigger is 10, expected fewer than the 10 projections"):
        ScanSpec("foam", "foam", 1, 2, 10, before_trigger=10)
