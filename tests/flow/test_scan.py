from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.flow.scan import (
    TRANSITIONS,
    Ledger,
    Outcome,
    ScanEvent,
    ScanLife,
    ScanState,
    ScanStateError,
    render_mermaid,
)
from streamer.frames import BadInput, FrameKind, ScanSpec
from tests.paths import ROOT

DOCS = ROOT / "docs"


def assert_sums_close(ledger: Ledger) -> None:
    accounted = ledger.received + ledger.missing + ledger.corrupt_unreplaced + ledger.pending
    assert ledger.expected == accounted
    assert ledger.messages == ledger.received + ledger.duplicate + ledger.late + ledger.corrupt
    assert min(ledger.missing, ledger.pending, ledger.corrupt_unreplaced, ledger.received) >= 0
    assert len(ledger.missing_indices()) == ledger.missing
    assert len(ledger.corrupt_indices()) == ledger.corrupt_unreplaced
    assert sum(ledger.missing_of().values()) == ledger.missing
    assert sum(ledger.corrupt_of().values()) == ledger.corrupt_unreplaced


@pytest.mark.parametrize(
    ("before", "index", "outcome"),
    [
        ([], 0, Outcome.ACCEPT),
        ([], 4, Outcome.ACCEPT),
        ([], 5, Outcome.BEYOND),
        ([], -1, Outcome.BEYOND),
        ([2], 2, Outcome.DUPLICATE),
        ([2], 1, Outcome.ACCEPT),
        (["corrupt 2"], 2, Outcome.ACCEPT),
        (["end"], 2, Outcome.LATE),
        ([2, "end"], 2, Outcome.LATE),
        (["end"], 9, Outcome.LATE),
    ],
)
def test_a_frame_is_judged_by_what_came_before(before: list[int | str], index: int, outcome: Outcome) -> None:
    ledger = Ledger(5)
    for step in before:
        if isinstance(step, int):
            ledger.frame(step)
        elif step == "end":
            ledger.close(5, "ok")
        else:
            ledger.corrupt_frame(int(step.split()[1]))
    assert ledger.frame(index) == outcome
    assert_sums_close(ledger)


@pytest.mark.parametrize(
    ("issued", "status", "expected", "missing"),
    [
        (10, "ok", 10, [3, 5, 6, 7, 8, 9]),
        (7, "ok", 10, [3, 5, 6, 7, 8, 9]),
        (None, "stalled", 10, [3, 5, 6, 7, 8, 9]),
        (7, "stopped", 7, [3, 5, 6]),
        (7, "aborted", 7, [3, 5, 6]),
        (None, "aborted", 5, [3]),
        (2, "stopped", 5, [3]),
        (99, "stopped", 10, [3, 5, 6, 7, 8, 9]),
    ],
)
def test_the_end_says_what_is_missing(issued: int | None, status: str, expected: int, missing: list[int]) -> None:
    ledger = Ledger(10)
    for index in (0, 1, 2, 4):
        ledger.frame(index)
    assert (ledger.missing, ledger.pending) == (1, 5), "a gap; the rest may still come"
    ledger.close(issued, status)
    assert (ledger.expected, ledger.pending) == (expected, 0)
    np.testing.assert_array_equal(ledger.missing_indices(), missing)
    assert_sums_close(ledger)


def test_only_the_first_end_counts() -> None:
    ledger = Ledger(10)
    ledger.close(4, "stopped")
    ledger.close(10, "ok")
    assert (ledger.expected, ledger.status) == (4, "stopped")


def test_corrupt_frames_are_made_good_by_a_later_copy() -> None:
    ledger = Ledger(4)
    ledger.corrupt_frame(1)
    ledger.corrupt_frame(1)
    ledger.corrupt_frame(2)
    ledger.corrupt_frame(None)
    ledger.corrupt_frame(77)
    assert (ledger.corrupt, ledger.corrupt_unreplaced) == (5, 2)
    assert ledger.frame(1) == Outcome.ACCEPT
    ledger.close(4, "ok")
    np.testing.assert_array_equal(ledger.corrupt_indices(), [2])
    np.testing.assert_array_equal(ledger.missing_indices(), [0, 3])
    assert_sums_close(ledger)


def test_disorder_and_kinds_are_counted() -> None:
    spec = ScanSpec("s", "x", 2, 2, projections=3, flats=2, darks=1)
    ledger = Ledger.of(spec)
    kinds = [FrameKind.DARK, FrameKind.FLAT, FrameKind.FLAT, *[FrameKind.PROJECTION] * 3]
    for index in (0, 2, 1, 5, 4, 3):
        ledger.frame(index, kinds[index])
    assert ledger.disordered == 3
    assert ledger.received_of[FrameKind.PROJECTION] == ledger.kinds[FrameKind.PROJECTION] == 3
    assert ledger.received_of[FrameKind.FLAT] == 2
    counts = ledger.to_dict()
    assert (counts.pop("expected"), counts.pop("received")) == (6, 6)
    assert not any(counts.values())


def test_a_large_ledger_is_small_and_quick_to_close() -> None:
    ledger = Ledger(10_000_000)
    ledger.frame(9_999_999)
    assert ledger.missing == 9_999_999
    assert_sums_close(ledger)


STEPS = st.one_of(
    st.tuples(st.just("frame"), st.integers(-1, 14)),
    st.tuples(st.just("corrupt"), st.one_of(st.none(), st.integers(-1, 14))),
    st.tuples(st.just("close"), st.one_of(st.none(), st.integers(0, 15))),
)


@given(
    st.integers(0, 12), st.lists(STEPS, max_size=60), st.sampled_from(["ok", "stopped", "aborted", "stalled", "other"])
)
def test_both_sums_close_at_all_times(expected: int, steps: list[tuple[str, int | None]], status: str) -> None:
    ledger = Ledger(expected)
    good: set[int] = set()
    for verb, number in steps:
        if verb == "frame":
            assert number is not None
            outcome = ledger.frame(number)
            assert (outcome is Outcome.ACCEPT) == (not ledger.closed and 0 <= number < expected and number not in good)
            if outcome is Outcome.ACCEPT:
                good.add(number)
        elif verb == "corrupt":
            ledger.corrupt_frame(number)
        else:
            ledger.close(number, status)
        assert_sums_close(ledger)
        assert ledger.received == len(good)
        assert not good & set(ledger.missing_indices().tolist())


ORDINARY = ["arm", "frame", "frame", "end", "drained", "finalised_complete"]


@pytest.mark.parametrize(
    ("events", "state"),
    [
        (ORDINARY, "complete"),
        (["arm", "disarm"], "idle"),
        (["arm", "frame", "stall", "drained", "finalised_incomplete"], "incomplete"),
        (["arm", "end", "drained", "finalised_incomplete"], "incomplete"),
        (["arm", "abort", "drained", "finalised_aborted"], "aborted"),
        (["arm", "frame", "abort", "drained", "finalised_aborted"], "aborted"),
        (["arm", "frame", "end", "error"], "failed"),
        ([*ORDINARY, "arm", "frame"], "acquiring"),
    ],
)
def test_life_follows_the_table(events: list[str], state: str) -> None:
    life = ScanLife()
    for event in events:
        life.fire(ScanEvent(event))
    assert life.state == ScanState(state)


def test_what_is_not_in_the_table_is_refused_and_changes_nothing() -> None:
    for state in ScanState:
        for event in set(ScanEvent) - set(TRANSITIONS[state]):
            life = ScanLife()
            life.state = state
            with pytest.raises(ScanStateError, match=rf"^{event}: not possible while the scan is {state}; ") as caught:
                life.fire(event)
            assert life.state == state
            assert isinstance(caught.value, BadInput)
            assert "\n" not in str(caught.value)


def test_every_state_can_be_reached_and_a_running_scan_can_always_be_ended() -> None:
    reached = {after for moves in TRANSITIONS.values() for after in moves.values()}
    assert reached | {ScanState.IDLE} == set(ScanState)
    for state in ScanState:
        if state.running:
            assert ScanEvent.ERROR in TRANSITIONS[state]
            assert ScanEvent.ABORT in TRANSITIONS[state] or state in (ScanState.DRAINING, ScanState.FINALISING)
        else:
            refusable = {ScanEvent.REFUSE} if state is ScanState.IDLE else set()
            assert set(TRANSITIONS[state]) == {ScanEvent.ARM} | refusable


def test_the_documented_diagram_is_the_table() -> None:
    text = (DOCS / "scan-life.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{render_mermaid()}```\n" in text


SPEC = ScanSpec("scan-1", "tooth", rows=2, columns=2, projections=10, flats=6, darks=3)
D, F, P = FrameKind.DARK, FrameKind.FLAT, FrameKind.PROJECTION
BEFORE = [D] * 3 + [F] * 6 + [P] * 10
AROUND = [D] * 3 + [F] * 3 + [P] * 10 + [F] * 3
AFTER = [P] * 10 + [F] * 6 + [D] * 3


@pytest.mark.parametrize(
    ("kinds", "gone", "missing"),
    [
        (BEFORE, [4], {P: 0, F: 1, D: 0}),
        (BEFORE, [0, 2, 3], {P: 0, F: 1, D: 2}),  # the last dark and the first flat
        (BEFORE, [8, 9, 10], {P: 2, F: 1, D: 0}),
        (BEFORE, [12, 13, 18], {P: 3, F: 0, D: 0}),
        (BEFORE, [*range(3, 9)], {P: 0, F: 6, D: 0}),  # all flats
        (BEFORE, [*range(9, 19)], {P: 10, F: 0, D: 0}),  # all projections
        (AROUND, [3, 4, 5, 18], {P: 0, F: 4, D: 0}),
        (AROUND, [15, 16, 17, 18], {P: 1, F: 3, D: 0}),
        (AFTER, [9, 10, 16, 17, 18], {P: 1, F: 1, D: 3}),
        (BEFORE, [*range(19)], {P: 10, F: 6, D: 3}),
    ],
)
@pytest.mark.parametrize("corrupt", [False, True])
def test_what_lacks_is_counted_by_kind(
    kinds: list[FrameKind], gone: list[int], missing: dict[FrameKind, int], corrupt: bool
) -> None:
    ledger = Ledger.of(SPEC)
    for index, kind in enumerate(kinds):
        if index not in gone:
            ledger.frame(index, kind)
        elif corrupt:
            ledger.corrupt_frame(index)
    ledger.close(19, "ok")
    assert (ledger.corrupt_of() if corrupt else ledger.missing_of()) == missing
    assert ledger.lacking(P) == ((0, missing[P]) if corrupt else (missing[P], 0))
    counts = ledger.to_dict()
    names = ("missing_projections", "missing_flats", "missing_darks")
    assert [counts[name] for name in names] == [0 if corrupt else missing[kind] for kind in (P, F, D)]
    assert_sums_close(ledger)


def test_while_a_scan_runs_flats_that_are_to_come_are_not_missing() -> None:
    ledger = Ledger.of(SPEC)
    for index in (0, 1, 2, 3, 5, 6, 8):
        ledger.frame(index, AROUND[index])
    assert ledger.missing_of() == {P: 1, F: 1, D: 0}
    ledger.close(9, "stopped")
    assert ledger.missing_of() == {P: 1, F: 1, D: 0}
