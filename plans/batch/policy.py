"""The policy: tables that map what happened to the next action. They read codes, never sentences; no Bluesky here.

A retake is counted against whatever made it necessary: a sample that moves is given up after a few scans, a beam that
was lost is not its fault, and arguments that were refused would be refused again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from streamer.flow.wire.changer import ChangerState
from streamer.frames import Decision, Reason, ReasonCode, Verdict

from ..devices.failures import FailureCode
from ..scan import TomoScan


class Choice(StrEnum):
    ACCEPT = "accept"
    RETAKE = "retake"
    REALIGN = "realign"
    REJECT = "reject"


class Blame(StrEnum):
    """What a retake or a rejection is counted against."""

    NOBODY = "nobody"
    SAMPLE = "sample"
    SETTINGS = "settings"
    BEAM = "beam"
    SYSTEM = "system"
    ROBOT = "robot"


class Change(StrEnum):
    """How the settings of the next scan differ."""

    NONE = "none"
    MORE_PROJECTIONS = "twice as many projections"
    LONGER_EXPOSURE = "twice the exposure"
    SHORTER_EXPOSURE = "half the exposure"


@dataclass(frozen=True)
class Rule:
    choice: Choice
    blame: Blame = Blame.NOBODY
    change: Change = Change.NONE


_ACCEPT = Rule(Choice.ACCEPT)
_AGAIN = Rule(Choice.RETAKE, Blame.SAMPLE)
_BEAM = Rule(Choice.RETAKE, Blame.BEAM)
_SYSTEM = Rule(Choice.RETAKE, Blame.SYSTEM)
_GIVE_UP = Rule(Choice.REJECT, Blame.SAMPLE)
_REFUSED = Rule(Choice.REJECT, Blame.SETTINGS)
_MORE = Rule(Choice.RETAKE, Blame.SETTINGS, Change.MORE_PROJECTIONS)

C, F = ReasonCode, FailureCode
RULES: Mapping[ReasonCode, Rule] = {
    C.NO_PROJECTIONS: _SYSTEM,
    C.NO_FLATS: _SYSTEM,
    C.NO_LIGHT: _BEAM,
    C.EMPTY: _GIVE_UP,  # another scan would be as empty
    C.MOTION: _AGAIN,
    C.MISFIT: _AGAIN,
    C.AFTERGLOW: _SYSTEM,
    C.SAMPLE_CHANGED: _AGAIN,
    C.AXIS_OFF: Rule(Choice.REALIGN, Blame.SAMPLE),
    C.SATURATED: Rule(Choice.RETAKE, Blame.SETTINGS, Change.SHORTER_EXPOSURE),
    C.UNUSABLE: _SYSTEM,
    C.ANGLES_WRONG: _SYSTEM,
    C.FLATS_WRONG: _SYSTEM,
    C.DARKS_LIT: _SYSTEM,
    C.SHADOW: _SYSTEM,
    C.PATTERN: _SYSTEM,
    C.BEAM_MOVED: _BEAM,
    C.ZINGERS: _SYSTEM,
    C.BEAM_DRIFTED: _BEAM,
    C.FRAMES_LOST: _SYSTEM,
    C.ANGLES_MISSING: _SYSTEM,
    C.GAP: _ACCEPT,
    C.RESOLUTION_NOT_REACHED: _MORE,
    C.CENTER_UNKNOWN: _AGAIN,
    C.TRUNCATED: _GIVE_UP,  # the same scan would not show more of it
    C.CENTER_UNCERTAIN: _AGAIN,
    C.SET_ASIDE: _ACCEPT,
    C.DEAD_COLUMNS: _ACCEPT,
    C.FEW_PROJECTIONS: _MORE,
    C.LITTLE_LIGHT: Rule(Choice.RETAKE, Blame.SETTINGS, Change.LONGER_EXPOSURE),
    C.AFTER_ENOUGH: _ACCEPT,
    C.NOTHING_WRONG: _ACCEPT,
    C.NOT_JUDGED: _SYSTEM,
    C.RECONSTRUCTION_FAILED: _SYSTEM,
    C.RAW_DATA_LOST: _SYSTEM,
    C.SCAN_FAILED: _SYSTEM,
    C.NOT_SCANNED: _GIVE_UP,
    C.REFUSED: _SYSTEM,
    C.NO_VERDICT: _SYSTEM,
    C.OTHER: _ACCEPT,
}
"""What follows from the code that decided, and from a remark of a verdict that is good otherwise."""

FAILURES: Mapping[FailureCode, Rule] = {
    **dict.fromkeys(FailureCode, _SYSTEM),
    F.REFUSED: _REFUSED,
    F.BEAM_LOST: _BEAM,
}
"""What follows when a scan could not be finished."""

DECISIONS: Mapping[Decision, Rule] = {
    Decision.ENOUGH: _ACCEPT,
    Decision.CONTINUE: _ACCEPT,  # after the last frame it means that nothing was wrong
    Decision.RETAKE: _AGAIN,
    Decision.REALIGN: RULES[C.AXIS_OFF],
    Decision.EMPTY: _GIVE_UP,
    Decision.UNKNOWN: _AGAIN,
}
"""What follows from a decision whose reasons say nothing that this version knows."""

DARK_CODES = frozenset((C.UNUSABLE, C.ANGLES_MISSING, C.FRAMES_LOST, C.NO_PROJECTIONS, C.CENTER_UNKNOWN))
"""Codes that follow from projections without light: then the beam is to blame."""

_TRY = Rule(Choice.RETAKE, Blame.ROBOT)
ROBOT: Mapping[ChangerState, Rule] = {
    ChangerState.GRIP_FAILED: _TRY,
    ChangerState.TIMED_OUT: _TRY,
    ChangerState.SLOT_EMPTY: _GIVE_UP,
    ChangerState.WRONG_LABEL: _GIVE_UP,
}
"""What follows from a fault of the robot with this sample; others need a person."""
del C, F


@dataclass(frozen=True)
class Policy:
    """How often a scan may follow because of each blame: ``retakes`` of the sample, ``changes`` of the settings,
    ``beam_retakes``, ``system_retakes``; ``mounts`` how often the robot may try again. ``realign``: whether the
    axis may be moved, once. ``rules`` take the place of those of RULES.

    ``patience_s``: how long a server may be gone. ``hopeless``: the batch ends when so many samples in a row were
    rejected because of the system or the robot. ``overlap``: the next sample is mounted while the verdict is awaited.
    """

    retakes: int = 2
    realign: bool = True
    changes: int = 2
    beam_retakes: int = 20
    system_retakes: int = 3
    mounts: int = 2
    rules: Mapping[ReasonCode, Rule] = field(default_factory=dict)
    patience_s: float = 600.0
    hopeless: int = 3
    overlap: bool = True
    queue_s: float = 3600.0

    def limit(self, blame: Blame) -> int:
        limits = {
            Blame.SAMPLE: self.retakes,
            Blame.SETTINGS: self.changes,
            Blame.BEAM: self.beam_retakes,
            Blame.SYSTEM: self.system_retakes,
            Blame.ROBOT: self.mounts,
        }
        return limits.get(blame, 0)


@dataclass(frozen=True)
class Action:
    """What to do next. ``rule`` names the entry of the table that decided, ``settings`` are changes for the next scan,
    ``alternatives`` say what else could have been done, and why it was not.
    """

    choice: Choice
    why: str
    blame: Blame = Blame.NOBODY
    rule: str = ""
    change: Change = Change.NONE
    settings: dict[str, float | int] = field(default_factory=dict)
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One scan to be decided on. ``unlit`` projections had no light; ``retaken`` counts the actions so far by blame."""

    verdict: Verdict
    failure: FailureCode | None = None
    unlit: int = 0
    retaken: Mapping[Blame, int] = field(default_factory=dict)
    realigned: bool = False


def decide(case: Case, policy: Policy) -> Action:
    """What to do after a scan."""
    rule, name, others = _ruled(case, policy)
    why = str(case.verdict)
    if rule.choice is Choice.REALIGN:
        chance = policy.realign and not case.realigned
        limit = "was realigned before" if case.realigned else "realigning is not allowed"
    elif rule.choice is Choice.RETAKE:
        taken = case.retaken.get(rule.blame, 0)
        chance = taken < policy.limit(rule.blame)
        limit = f"{taken} of {policy.limit(rule.blame)} retakes because of the {rule.blame} are used up"
    else:
        chance, limit = True, ""
    if not chance:
        alternatives = (*others, f"{rule.choice}: {limit}")
        return Action(Choice.REJECT, f"{why}; {limit}", rule.blame, name, alternatives=alternatives)
    if rule.choice is Choice.RETAKE:
        left = policy.limit(rule.blame) - case.retaken.get(rule.blame, 0)
        others = (*others, f"reject: {left} retakes because of the {rule.blame} were left")
    return Action(rule.choice, why, rule.blame, name, rule.change, alternatives=others)


def _ruled(case: Case, policy: Policy) -> tuple[Rule, str, tuple[str, ...]]:
    """The rule that decides, its name, and the rules of the other reasons."""
    verdict = case.verdict
    if case.failure is not None:
        return FAILURES[case.failure], f"failure {case.failure}", ()
    rules = {**RULES, **policy.rules}
    good = verdict.decision in (Decision.ENOUGH, Decision.CONTINUE)

    def counts(reason: Reason) -> bool:
        code = reason.code
        if code is ReasonCode.OTHER:
            return False
        if good:
            return code.decision is None and rules[code].choice is not Choice.ACCEPT
        return code.decision is verdict.decision

    deciding = next((reason for reason in verdict.reasons if counts(reason)), None)
    others = tuple(
        f"{rules[reason.code].choice}: by {reason.code}, which did not decide"
        for reason in verdict.reasons
        if reason is not deciding and rules[reason.code].choice is not Choice.ACCEPT
    )
    if case.unlit and deciding is not None and deciding.code in DARK_CODES:
        dark = f"beam: {case.unlit} projections without light"
        return _BEAM, dark, (f"{rules[deciding.code].choice}: by {deciding.code}, if there had been light", *others)
    if deciding is None:
        return DECISIONS[verdict.decision], f"decision {verdict.decision}", others
    return rules[deciding.code], f"reason {deciding.code}", others


def after_fault(state: ChangerState | None, text: str, tried: int, policy: Policy) -> Action:
    """What to do after the robot, or the stage, failed to bring a sample; ``tried`` counts the failures before."""
    rule = _TRY if state is None else ROBOT[state]
    name = f"robot {state or 'other'}"
    if rule.choice is Choice.RETAKE and tried >= policy.mounts:
        limit = f"{tried} of {policy.mounts} further tries are used up"
        return Action(Choice.REJECT, f"{text}; {limit}", rule.blame, name, alternatives=(f"retake: {limit}",))
    return Action(rule.choice, text, rule.blame, name)


def changed(scan: TomoScan, change: Change) -> dict[str, float | int]:
    """The settings that a change alters. The exposure of a scan is as long as its rate allows unless it says."""
    match change:
        case Change.MORE_PROJECTIONS:
            return {"projections": 2 * scan.projections}
        case Change.LONGER_EXPOSURE:
            return {"rate_hz": scan.rate_hz / 2, "exposure_s": 2 * scan.exposure_s}
        case Change.SHORTER_EXPOSURE:
            return {"exposure_s": (scan.exposure_s or 0.9 / scan.rate_hz) / 2}
        case Change.NONE:
            return {}


def realign_by_mm(center_px: float, columns: int, pixel_size_m: float) -> float:
    """How far x must move (mm) to bring the axis to the middle of the detector."""
    return -(center_px - (columns - 1) / 2) * pixel_size_m * 1e3


def plain(policy: Policy) -> dict[str, Any]:
    """A policy for the journal: what differs from the tables of this version, and the limits."""
    rules = {str(code): f"{rule.choice}, {rule.blame}" for code, rule in policy.rules.items()}
    return {**{name: value for name, value in vars(policy).items() if name != "rules"}, "rules": rules}


def with_settings(scan: TomoScan, settings: Mapping[str, float | int]) -> TomoScan:
    values: dict[str, Any] = dict(settings)
    return replace(scan, **values)
