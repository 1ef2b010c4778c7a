"""The policy: it maps a verdict to the next action. It reads decisions and codes, never sentences; no Bluesky here."""

from dataclasses import dataclass
from enum import StrEnum

from streamer.frames import Decision, Verdict


class Choice(StrEnum):
    ACCEPT = "accept"
    RETAKE = "retake"
    REALIGN = "realign"
    REJECT = "reject"


@dataclass(frozen=True)
class Policy:
    """``retakes``: how many scans may follow the first one. ``realign``: whether the axis may be moved, once."""

    retakes: int = 2
    realign: bool = True


@dataclass(frozen=True)
class Action:
    choice: Choice
    why: str


# (decision of the daemon, whether another attempt is allowed) → choice
TABLE: dict[tuple[Decision, bool], Choice] = {
    (Decision.ENOUGH, True): Choice.ACCEPT,
    (Decision.ENOUGH, False): Choice.ACCEPT,
    (Decision.CONTINUE, True): Choice.ACCEPT,  # after the last frame it means that nothing was wrong
    (Decision.CONTINUE, False): Choice.ACCEPT,
    (Decision.RETAKE, True): Choice.RETAKE,
    (Decision.RETAKE, False): Choice.REJECT,
    (Decision.REALIGN, True): Choice.REALIGN,
    (Decision.REALIGN, False): Choice.REJECT,
    (Decision.EMPTY, True): Choice.REJECT,  # another scan would be as empty
    (Decision.EMPTY, False): Choice.REJECT,
    (Decision.UNKNOWN, True): Choice.RETAKE,
    (Decision.UNKNOWN, False): Choice.REJECT,
}


def decide(verdict: Verdict, attempts: int, realigned: bool, policy: Policy) -> Action:
    """What to do after a scan.

    ``attempts`` counts the scans of this sample so far, this one included; ``realigned`` tells whether one of them
    was followed by a realignment, which does not count as a retake.
    """
    if verdict.decision is Decision.REALIGN:
        chance = policy.realign and not realigned
        limit = "was realigned before" if realigned else "realigning is not allowed"
    else:
        taken = attempts - 1 - realigned
        chance = taken < policy.retakes
        limit = f"{taken} of {policy.retakes} retakes are used up"
    choice = TABLE[verdict.decision, chance]
    return Action(choice, f"{verdict}; {limit}" if choice is Choice.REJECT and not chance else str(verdict))


def realign_by_mm(center_px: float, columns: int, pixel_size_m: float) -> float:
    """How far x must move (mm) to bring the axis to the middle of the detector."""
    return -(center_px - (columns - 1) / 2) * pixel_size_m * 1e3
