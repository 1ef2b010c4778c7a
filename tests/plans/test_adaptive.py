"""The policy, exhaustively."""

import itertools

import pytest

from streamer.frames import Decision, Reason, ReasonCode, Verdict
from streamer_plans.adaptive import TABLE, Choice, Policy, decide, realign_by_mm

DEFAULT = Policy()


def choice(decision, attempts=1, realigned=False, policy=DEFAULT):
    return decide(Verdict(Decision(decision), (), True), attempts, realigned, policy).choice


def test_every_decision_has_an_answer():
    assert set(TABLE) == set(itertools.product(Decision, (True, False)))


@pytest.mark.parametrize(
    ("decision", "attempts", "realigned", "retakes", "expected"),
    [
        ("ENOUGH", 1, False, 2, "accept"),
        ("ENOUGH", 9, True, 0, "accept"),
        ("CONTINUE", 1, False, 2, "accept"),
        ("CONTINUE", 9, True, 0, "accept"),
        ("RETAKE", 1, False, 0, "reject"),
        ("RETAKE", 1, False, 2, "retake"),
        ("RETAKE", 2, False, 2, "retake"),
        ("RETAKE", 3, False, 2, "reject"),
        ("RETAKE", 3, True, 2, "retake"),
        ("RETAKE", 4, True, 2, "reject"),
        ("UNKNOWN", 1, False, 1, "retake"),
        ("UNKNOWN", 2, False, 1, "reject"),
        ("REALIGN", 1, False, 0, "realign"),
        ("REALIGN", 7, False, 0, "realign"),
        ("REALIGN", 2, True, 2, "reject"),
    ],
)
def test_table(decision, attempts, realigned, retakes, expected):
    assert choice(decision, attempts, realigned, Policy(retakes)) == expected


def test_no_state_of_a_sample_loops_for_ever():
    """Whatever the daemon says, a sample is decided after 1 + retakes + 1 scans."""
    for says in itertools.product(Decision, repeat=5):
        realigned, made = False, []
        for attempts, decision in enumerate(says, start=1):
            made.append(choice(decision, attempts, realigned))
            realigned = realigned or made[-1] is Choice.REALIGN
            if made[-1] in (Choice.ACCEPT, Choice.REJECT):
                break
        assert made[-1] in (Choice.ACCEPT, Choice.REJECT)
        assert made.count(Choice.REALIGN) <= 1
        assert made.count(Choice.RETAKE) <= 2


@pytest.mark.parametrize("attempts", [1, 9])
def test_an_empty_holder_is_rejected_at_once(attempts):
    verdict = Verdict(Decision.EMPTY, (Reason(ReasonCode.EMPTY, "no sample in the beam"),), True)
    action = decide(verdict, attempts, False, DEFAULT)
    assert action.choice is Choice.REJECT
    assert action.why.startswith("EMPTY: empty: no sample in the beam")


SENTENCES = ("x", "", "no sample in the beam", "the sample moved; scan again", "ENOUGH", "a\nb")


@pytest.mark.parametrize("code", list(ReasonCode))
def test_rewording_a_reason_changes_no_decision(code):
    """Whatever the sentences say, in every state of a sample, the action is that of the decision and the codes."""
    for decision, attempts, realigned in itertools.product(Decision, (1, 2, 3, 4), (False, True)):
        made = {
            decide(Verdict(decision, (Reason(code, text),), True), attempts, realigned, DEFAULT).choice
            for text in (*SENTENCES, code.meaning)
        }
        assert len(made) == 1, (decision, code)


def test_realigning_may_be_forbidden():
    assert choice("REALIGN", policy=Policy(realign=False)) is Choice.REJECT


def test_a_rejection_says_what_was_used_up():
    moved = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved"),), True)
    assert decide(moved, 3, False, Policy()).why == "RETAKE: motion: it moved; 2 of 2 retakes are used up"


def test_an_axis_to_the_right_of_the_middle_moves_to_the_left():
    assert realign_by_mm(center_px=137.5, columns=256, pixel_size_m=10e-6) == pytest.approx(-0.1)
    assert realign_by_mm(center_px=127.5, columns=256, pixel_size_m=10e-6) == 0
