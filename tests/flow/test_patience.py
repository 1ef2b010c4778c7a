"""Silence is counted in time in which a frame could have come."""

from __future__ import annotations

import pytest

from streamer.flow.patience import LONGEST_STEP_S, Patience, PatienceLimits

LIMITS = PatienceLimits(armed_s=60.0, stall_s=10.0, end_s=2.0)


def waited(seconds: int, held: bool = False) -> Patience:
    patience = Patience(LIMITS, 100.0)
    for second in range(seconds):
        patience.wait(101.0 + second, held)
    return patience


@pytest.mark.parametrize(
    ("begun", "ending", "limit"), [(False, False, 60), (True, False, 10), (True, True, 2), (False, True, 2)]
)
def test_each_part_of_a_scan_has_its_limit(begun: bool, ending: bool, limit: int) -> None:
    assert not waited(limit).over(begun, ending)
    assert waited(limit + 1).over(begun, ending)


def test_a_sign_of_life_begins_it_anew() -> None:
    patience = waited(10)
    patience.heard()
    assert patience.silence_s == 0.0


def test_it_stands_still_while_frames_cannot_be_taken() -> None:
    assert waited(1000, held=True).silence_s == 0.0


def test_a_process_that_stood_still_does_not_blame_the_source() -> None:
    patience = Patience(LIMITS, 100.0)
    patience.wait(5000.0, held=False)
    assert patience.silence_s == LONGEST_STEP_S
    patience.wait(4000.0, held=False)
    assert patience.silence_s == LONGEST_STEP_S, "a clock that goes back"
