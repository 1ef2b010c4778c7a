"""Verdicts on a running scan, and what becomes of them at its end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.quality.live import SEEN, STOPPING, Evidence, Standing, live_verdict, turn_seen
from streamer.core.quality.verdict import Limits, judge
from streamer.frames import Decision, Quality, Reason, ReasonCode, Verdict

RUNNING = Quality(
    projections=400, expected=1000, coverage=1.0, snr=20.0, peak_attenuation=1.4, center_px=511.6,
    center_confidence=0.95, center_offset_px=0.1, saturation=0.0, truncation=0.0, resolution_px=3.0,
    resolution_at=400, flats=20, darks=20,
)  # fmt: skip
LIMITS = Limits(max_resolution_px=4.0)
ROUND = Evidence(1.0)


@pytest.mark.parametrize(
    ("turned_deg", "share"),
    [(0, 0.0), (45, 0.25), (90, 0.5), (135, 0.75), (180, 1.0), (270, 1.0), (360, 1.0)],
)
@pytest.mark.parametrize("start_deg", [0, 170, -400])
def test_the_turn_seen_is_that_of_the_angle_gone_through(turned_deg: float, share: float, start_deg: float) -> None:
    angles = np.deg2rad(np.linspace(start_deg, start_deg + turned_deg, 200))
    assert turn_seen(angles) == pytest.approx(share, abs=0.02)


def test_a_few_golden_angles_and_one_interlaced_turn_show_all_of_it() -> None:
    assert turn_seen(np.pi * np.mod(np.arange(16) * (5**0.5 - 1) / 2, 1)) > 0.9
    assert turn_seen(np.arange(21) * np.pi * 8 / 165) > 0.9
    assert turn_seen(np.zeros(1)) == 0.0


CASES = [
    ({"flats": 0}, ReasonCode.NO_FLATS, Evidence(0.1), Evidence(1.0, fields_due=3)),
    ({"dark_flat_share": 0.9}, ReasonCode.NO_LIGHT, Evidence(0.1), Evidence(1.0, fields_due=3)),
    ({"dark_light": 0.3}, ReasonCode.DARKS_LIT, Evidence(0.1), Evidence(1.0, fields_due=3)),
    (
        {"unusable": {"no light": "3-60"}, "unusable_counts": {"no light": 58}},
        ReasonCode.UNUSABLE,
        Evidence(0.1, fields_due=57),
        Evidence(1.0, fields_due=58),  # room for them to come again
    ),
    ({"peak_attenuation": 0.001}, ReasonCode.EMPTY, Evidence(SEEN), Evidence(SEEN - 0.01)),
    ({"center_offset_px": 90.0}, ReasonCode.AXIS_OFF, Evidence(SEEN), Evidence(SEEN - 0.01)),
]


@pytest.mark.parametrize(("change", "code", "enough", "too_little"), CASES)
def test_evidence_is_needed(
    change: dict[str, object], code: ReasonCode, enough: Evidence, too_little: Evidence
) -> None:
    quality = replace(RUNNING, **change)
    sure = live_verdict(quality, LIMITS, enough, 1024)
    assert (sure.decision, sure.codes[0], sure.final) == (code.decision, code, False)
    assert sure.reasons[0].text.endswith(")"), "it says how sure it is"
    unsure = live_verdict(quality, LIMITS, too_little, 1024)
    assert (unsure.decision, unsure.codes[0]) == (Decision.CONTINUE, ReasonCode.NOTHING_WRONG)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"saturation": 0.0026}, ReasonCode.SATURATED),  # of 400 of 1000 projections: 0.104 % of all
        ({"motion_px": 1.2}, ReasonCode.MOTION),
        ({"unusable": {"no light": "3-60"}, "unusable_counts": {"no light": 58}}, ReasonCode.UNUSABLE),
    ],
)
def test_what_the_rest_of_the_scan_cannot_make_good(change: dict[str, object], code: ReasonCode) -> None:
    verdict = live_verdict(replace(RUNNING, **change), LIMITS, ROUND)
    assert (verdict.decision, verdict.codes[0]) == (Decision.RETAKE, code)


@pytest.mark.parametrize(
    "change",
    [
        {"saturation": 0.0024},
        {"motion_px": 0.9},
        {"motion_px": 1.2, "projections": 20},
        {"motion_px": 1.2, "projections": 15, "expected": 60},
        {"unusable": {"no light": "3-40"}, "unusable_counts": {"no light": 38}},
        {"peak_attenuation": 0.001, "projections": 15},
    ],
)
def test_what_it_can_make_good(change: dict[str, object]) -> None:
    quality = replace(RUNNING, **{"resolution_px": None, **change})
    assert live_verdict(quality, LIMITS, ROUND).decision is Decision.CONTINUE


@given(st.floats(0, 1), st.floats(0, 0.01), st.floats(0, 1))
def test_a_live_saturation_is_confirmed_however_clean_the_rest_is(done: float, share: float, rest: float) -> None:
    count = int(1000 * done)
    quality = replace(RUNNING, projections=count, saturation=share)
    if live_verdict(quality, LIMITS, ROUND).codes[0] is ReasonCode.SATURATED:
        whole = replace(quality, projections=1000, saturation=(count * share + (1000 - count) * rest) / 1000)
        assert judge(whole, LIMITS, True).codes[0] is ReasonCode.SATURATED


def enough(at: int, measured: int | None = None) -> tuple[Verdict, Quality]:
    quality = replace(RUNNING, projections=at, resolution_at=at if measured is None else measured)
    return live_verdict(quality, LIMITS, ROUND), quality


def test_enough_is_said_at_the_second_resolution_in_a_row() -> None:
    standing = Standing()
    assert standing.look(*enough(300)).decision is Decision.CONTINUE
    assert standing.look(*enough(310, measured=300)).decision is Decision.CONTINUE
    first = standing.look(*enough(320))
    assert (first.decision, first.codes[0]) == (Decision.ENOUGH, ReasonCode.NOTHING_WRONG)


def test_one_worse_resolution_begins_the_count_again() -> None:
    standing = Standing()
    standing.look(*enough(300))
    worse = replace(RUNNING, projections=320, resolution_px=3.9, resolution_at=320)  # not by a margin
    assert standing.look(live_verdict(worse, LIMITS, ROUND), worse).decision is Decision.CONTINUE
    assert standing.look(*enough(340)).decision is Decision.CONTINUE
    assert standing.look(*enough(360)).decision is Decision.ENOUGH
    assert standing.look(live_verdict(worse, LIMITS, ROUND), worse).decision is Decision.ENOUGH, "it stands"


def stopped_at(count: int, **change: object) -> tuple[Verdict, Quality]:
    quality = replace(RUNNING, projections=count, resolution_at=count, **change)
    return judge(quality, LIMITS, True, 1024), quality


def given_enough() -> Standing:
    standing = Standing()
    standing.look(*enough(380))
    standing.look(*enough(400))
    return standing


def test_the_final_verdict_confirms_what_stopped_the_scan() -> None:
    assert given_enough().final(*stopped_at(420)).codes == (ReasonCode.NOTHING_WRONG, ReasonCode.FEW_PROJECTIONS)[:1]


def test_the_final_verdict_does_not_take_back_what_stopped_the_scan() -> None:
    verdict = given_enough().final(*stopped_at(420, resolution_px=4.1))
    assert (verdict.decision, verdict.final) == (Decision.ENOUGH, True)
    assert verdict.codes == (ReasonCode.NOTHING_WRONG, ReasonCode.AFTER_ENOUGH)
    assert "after the 400 projections that were enough: the resolution is 4.1 px" in verdict.reasons[1].text


@pytest.mark.parametrize(
    ("count", "change"),
    [(1000, {}), (960, {"missing": 40}), (int(400 * (1 + STOPPING)) + 1, {})],
    ids=["to its end", "to its end, with losses", "long after"],
)
def test_a_scan_that_went_on_is_judged_by_all_of_it(count: int, change: dict[str, object]) -> None:
    assert given_enough().final(*stopped_at(count, motion_px=2.0, **change)).decision is Decision.RETAKE


def test_what_condemned_a_running_scan_is_not_forgotten() -> None:
    standing = Standing()
    for count in (300, 320):
        moved = replace(RUNNING, projections=count, motion_px=3.0)
        given = standing.look(live_verdict(moved, LIMITS, ROUND), moved)
    assert given.decision is Decision.RETAKE
    fine = standing.final(*stopped_at(1000))
    assert (fine.decision, fine.codes[0], fine.final) == (Decision.RETAKE, ReasonCode.MOTION, True)
    worse = Verdict(Decision.EMPTY, (Reason(ReasonCode.EMPTY, "empty"),), True)
    assert standing.final(worse, RUNNING).codes == (ReasonCode.MOTION, ReasonCode.EMPTY)


def test_one_look_condemns_nothing_nor_does_the_same_look_twice() -> None:
    standing = Standing()
    moved = replace(RUNNING, motion_px=3.0)
    for _ in range(3):
        assert standing.look(live_verdict(moved, LIMITS, ROUND), moved).decision is Decision.CONTINUE
    assert standing.final(*stopped_at(1000)).decision is Decision.ENOUGH


def test_projections_that_are_all_of_no_use_are_looks_too() -> None:
    standing = Standing()
    for lost in (60, 70):
        dark = replace(RUNNING, unusable={"no light": "400-"}, unusable_counts={"no light": lost})
        verdict = standing.look(live_verdict(dark, LIMITS, ROUND), dark)
    assert (verdict.decision, verdict.codes[0]) == (Decision.RETAKE, ReasonCode.UNUSABLE)


def test_a_scan_that_was_enough_may_still_be_condemned_while_it_runs() -> None:
    standing = given_enough()
    for count in (700, 720):
        moved = replace(RUNNING, projections=count, motion_px=3.0)
        verdict = standing.look(live_verdict(moved, LIMITS, ROUND), moved)
    assert verdict.decision is Decision.RETAKE
