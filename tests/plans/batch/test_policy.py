"""The policy, exhaustively."""

import itertools
from collections import Counter

import pytest

from streamer.flow.wire.changer import ChangerState
from streamer.frames import Decision, Reason, ReasonCode, Verdict
from streamer_plans.batch.policy import (
    FAILURES,
    ROBOT,
    RULES,
    Blame,
    Case,
    Change,
    Choice,
    Policy,
    Rule,
    after_fault,
    changed,
    decide,
    realign_by_mm,
    with_settings,
)
from streamer_plans.devices.failures import FailureCode
from streamer_plans.scan import TomoScan

DEFAULT = Policy()
ENDS = (Choice.ACCEPT, Choice.REJECT)


def verdict(decision, *codes, text="x"):
    return Verdict(Decision(decision), tuple(Reason(ReasonCode(code), text) for code in codes), True)


def test_every_code_and_every_failure_has_a_rule():
    assert set(RULES) == set(ReasonCode)
    assert set(FAILURES) == set(FailureCode)
    faults = {state for state in ChangerState if not state.moving and not state.needs_person}
    assert set(ROBOT) == faults - {ChangerState.PARKED}


def test_remarks_do_not_cost_a_sample_unless_the_same_scan_would_show_as_little():
    remarks = {code: RULES[code].choice for code in ReasonCode if code.decision is None}
    assert remarks.pop(ReasonCode.TRUNCATED) is Choice.REJECT
    assert set(remarks.values()) == {Choice.ACCEPT}


@pytest.mark.parametrize(
    ("decision", "codes", "taken", "expected", "blame"),
    [
        ("ENOUGH", ["nothing_wrong"], {}, "accept", "nobody"),
        ("CONTINUE", [], {}, "accept", "nobody"),
        ("ENOUGH", ["nothing_wrong", "truncated"], {}, "reject", "sample"),
        ("ENOUGH", ["set_aside", "dead_columns"], {}, "accept", "nobody"),
        ("RETAKE", ["motion", "truncated"], {}, "retake", "sample"),
        ("RETAKE", ["motion"], {Blame.SAMPLE: 2}, "reject", "sample"),
        ("RETAKE", ["motion"], {Blame.BEAM: 9, Blame.SYSTEM: 3}, "retake", "sample"),
        ("RETAKE", ["frames_lost"], {Blame.SAMPLE: 2}, "retake", "system"),
        ("RETAKE", ["frames_lost"], {Blame.SYSTEM: 3}, "reject", "system"),
        ("RETAKE", [], {}, "retake", "sample"),
        ("UNKNOWN", ["no_light"], {Blame.SAMPLE: 2, Blame.BEAM: 19}, "retake", "beam"),
        ("EMPTY", ["empty"], {}, "reject", "sample"),
        ("RETAKE", ["few_projections"], {}, "retake", "settings"),
        ("RETAKE", ["few_projections"], {Blame.SETTINGS: 2}, "reject", "settings"),
        ("UNKNOWN", ["other"], {}, "retake", "sample"),
    ],
)
def test_table(decision, codes, taken, expected, blame):
    action = decide(Case(verdict(decision, *codes), retaken=Counter(taken)), DEFAULT)
    assert (action.choice, action.blame) == (expected, blame)


def test_the_first_reason_with_the_verdicts_decision_decides():
    action = decide(Case(verdict("UNKNOWN", "truncated", "center_unknown", "no_light")), DEFAULT)
    assert action.rule == "reason center_unknown"
    assert any("no_light, which did not decide" in other for other in action.alternatives)


@pytest.mark.parametrize("code", ["unusable", "angles_missing", "no_projections"])
def test_projections_without_light_are_the_beams_fault(code):
    """Also when the sample has used up everything else."""
    bad = verdict(ReasonCode(code).decision, code)
    used_up = Counter({Blame.SAMPLE: 2, Blame.SYSTEM: 3, Blame.SETTINGS: 2})
    lit, dark = (decide(Case(bad, unlit=unlit, retaken=used_up), DEFAULT) for unlit in (0, 35))
    assert lit.choice is Choice.REJECT
    assert (dark.choice, dark.blame, dark.rule) == (Choice.RETAKE, Blame.BEAM, "beam: 35 projections without light")


def test_a_sample_that_moved_in_the_dark_moved():
    action = decide(Case(verdict("RETAKE", "motion", "unusable"), unlit=3), DEFAULT)
    assert action.blame is Blame.SAMPLE


@pytest.mark.parametrize(
    ("failure", "expected", "blame"),
    [("refused_arguments", "reject", "settings"), ("beam_lost", "retake", "beam"), ("daemon_lost", "retake", "system")],
)
def test_failures(failure, expected, blame):
    action = decide(Case(verdict("UNKNOWN", "scan_failed"), FailureCode(failure)), DEFAULT)
    assert (action.choice, action.blame, action.rule) == (expected, blame, f"failure {failure}")


def test_rules_of_a_beamline_take_the_place_of_ours():
    local = Policy(rules={ReasonCode.TRUNCATED: Rule(Choice.ACCEPT)})
    assert decide(Case(verdict("ENOUGH", "truncated")), local).choice is Choice.ACCEPT


@pytest.mark.parametrize("unlit", [0, 7])
@pytest.mark.parametrize("failure", [None, *FailureCode])
@pytest.mark.parametrize("decision", Decision)
def test_no_sample_is_scanned_for_ever(decision, failure, unlit):
    """Whatever the same cause, a sample is decided after the retakes that it allows."""
    policy = Policy(retakes=1, changes=1, beam_retakes=3, system_retakes=2)
    for code in ReasonCode:
        retaken, realigned = Counter(), False
        for _ in range(20):
            action = decide(Case(verdict(decision, code), failure, unlit, retaken, realigned), policy)
            if action.choice in ENDS:
                break
            realigned |= action.choice is Choice.REALIGN
            retaken[action.blame] += action.choice is Choice.RETAKE
        assert action.choice in ENDS
        assert sum(retaken.values()) <= 3


SENTENCES = ("x", "", "no sample in the beam", "the sample moved; scan again", "ENOUGH", "a\nb")


@pytest.mark.parametrize("code", list(ReasonCode))
def test_rewording_a_reason_changes_no_decision(code):
    for decision, taken, realigned in itertools.product(Decision, (0, 1, 2), (False, True)):
        made = {
            decide(
                Case(verdict(decision, code, text=text), retaken=Counter({Blame.SAMPLE: taken}), realigned=realigned),
                DEFAULT,
            ).choice
            for text in (*SENTENCES, code.meaning)
        }
        assert len(made) == 1, (decision, code)


@pytest.mark.parametrize(
    ("realign", "realigned", "expected"), [(True, False, "realign"), (True, True, "reject"), (False, False, "reject")]
)
def test_realigning_once_where_it_is_allowed(realign, realigned, expected):
    case = Case(verdict("REALIGN", "axis_off"), realigned=realigned)
    assert decide(case, Policy(realign=realign)).choice == expected


def test_a_rejection_says_what_was_used_up_and_a_retake_what_was_left():
    moved = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved"),), True)
    last = decide(Case(moved, retaken=Counter({Blame.SAMPLE: 2})), DEFAULT)
    assert last.why == "RETAKE: motion: it moved; 2 of 2 retakes because of the sample are used up"
    assert last.alternatives == ("retake: 2 of 2 retakes because of the sample are used up",)
    first = decide(Case(moved), DEFAULT)
    assert first.alternatives == ("reject: 2 retakes because of the sample were left",)


@pytest.mark.parametrize(("state", "tried", "expected"), [
    ("grip_failed", 0, "retake"), ("grip_failed", 1, "retake"), ("grip_failed", 2, "reject"),
    ("timed_out", 0, "retake"), ("slot_empty", 0, "reject"), ("wrong_label", 0, "reject"),
])  # fmt: skip
def test_faults_of_the_robot(state, tried, expected):
    action = after_fault(ChangerState(state), "words of the robot", tried, DEFAULT)
    assert action.choice == expected
    assert action.why.startswith("words of the robot")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change.NONE, {}),
        (Change.MORE_PROJECTIONS, {"projections": 200}),
        (Change.LONGER_EXPOSURE, {"rate_hz": 25.0, "exposure_s": 0.02}),
        (Change.SHORTER_EXPOSURE, {"exposure_s": 0.005}),
    ],
)
def test_changes_of_the_settings(change, expected):
    scan = TomoScan("wood", projections=100, rate_hz=50.0, exposure_s=0.01)
    assert changed(scan, change) == expected
    assert with_settings(scan, expected) == TomoScan(**{**vars(scan), **expected})


def test_an_axis_to_the_right_of_the_middle_moves_to_the_left():
    assert realign_by_mm(center_px=137.5, columns=256, pixel_size_m=10e-6) == pytest.approx(-0.1)
    assert realign_by_mm(center_px=127.5, columns=256, pixel_size_m=10e-6) == 0
