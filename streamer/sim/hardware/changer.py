"""The sample changer as a table of states, and where every sample is. ``docs/sample-changer.md`` shows the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from streamer.flow.wire.beamline import ChangerFault
from streamer.flow.wire.changer import ChangerState, ChangerStatus, SamplePlace
from streamer.flow.wire.control import Busy
from streamer.frames import BadInput


class ChangerEvent(StrEnum):
    """Orders (mount, unmount, park, hand_over, confirm), and how the robot's way ends."""

    MOUNT = "mount"
    UNMOUNT = "unmount"
    PARK = "park"
    HAND_OVER = "hand_over"
    CONFIRM = "confirm"
    DONE = "done"
    GRIP_FAILS = "grip_fails"
    FINDS_NOTHING = "finds_nothing"
    READS_OTHER_LABEL = "reads_other_label"
    TAKES_TOO_LONG = "takes_too_long"
    TOUCHES = "touches"


S, E = ChangerState, ChangerEvent
TRANSITIONS: Mapping[ChangerState, Mapping[ChangerEvent, ChangerState]] = {
    S.PARKED: {E.MOUNT: S.MOUNTING, E.UNMOUNT: S.UNMOUNTING, E.HAND_OVER: S.WITH_PERSON},
    S.MOUNTING: {
        E.DONE: S.PARKED,
        E.GRIP_FAILS: S.GRIP_FAILED,
        E.FINDS_NOTHING: S.SLOT_EMPTY,
        E.READS_OTHER_LABEL: S.WRONG_LABEL,
        E.TAKES_TOO_LONG: S.TIMED_OUT,
        E.TOUCHES: S.COLLISION,
    },
    S.UNMOUNTING: {E.DONE: S.PARKED, E.TAKES_TOO_LONG: S.TIMED_OUT, E.TOUCHES: S.COLLISION},
    S.RECOVERING: {E.DONE: S.PARKED, E.TAKES_TOO_LONG: S.TIMED_OUT, E.TOUCHES: S.COLLISION},
    S.GRIP_FAILED: {E.PARK: S.RECOVERING, E.HAND_OVER: S.WITH_PERSON},
    S.SLOT_EMPTY: {E.PARK: S.RECOVERING, E.HAND_OVER: S.WITH_PERSON},
    S.WRONG_LABEL: {E.PARK: S.RECOVERING, E.HAND_OVER: S.WITH_PERSON},
    S.TIMED_OUT: {E.PARK: S.RECOVERING, E.HAND_OVER: S.WITH_PERSON},
    S.COLLISION: {E.HAND_OVER: S.WITH_PERSON},
    S.WITH_PERSON: {E.CONFIRM: S.PARKED},
}

FAULT_TEXTS = {
    S.GRIP_FAILED: "the gripper lost the sample of slot {slot}",
    S.SLOT_EMPTY: "slot {slot} is empty",
    S.WRONG_LABEL: "the label in slot {slot} is not the one of the inventory",
    S.TIMED_OUT: "the robot did not arrive in time with the sample of slot {slot}",
    S.COLLISION: "the robot touched something with the sample of slot {slot}, and stands",
    S.WITH_PERSON: "the robot is with a person",
}
del S, E


def diagram() -> str:
    """The table as a mermaid state diagram."""
    arrows = [f"    {state} --> {after}: {event}" for state, row in TRANSITIONS.items() for event, after in row.items()]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {ChangerState.PARKED}", *arrows])


@dataclass(frozen=True, slots=True)
class SampleChanger:
    """A magazine and a robot that needs ``mount_s`` for each way.

    ``stage`` and ``gripper`` are the slots of the samples there, None for no sample; ``missing`` are slots that were
    found empty. ``faults`` are those of the next mounts. ``slot`` is that of the last order. Orders raise Busy while
    the robot moves, and BadInput when the state or the inventory does not allow them.
    """

    slots: int
    mount_s: float = 1.0
    faults: tuple[ChangerFault, ...] = ()
    state: ChangerState = ChangerState.PARKED
    stage: int | None = None
    gripper: int | None = None
    missing: frozenset[int] = frozenset()
    slot: int | None = None
    outcome: ChangerEvent = ChangerEvent.DONE
    done_at: float = 0.0

    def at(self, now: float) -> Self:
        """The changer at the time ``now``: a way that is over has had its outcome."""
        if not self.state.moving or now < self.done_at:
            return self
        event, slot = self.outcome, self.gripper
        state = TRANSITIONS[self.state][event]
        if event is ChangerEvent.DONE:
            return replace(self, state=state, stage=slot if self.state is ChangerState.MOUNTING else None, gripper=None)
        if event is ChangerEvent.FINDS_NOTHING and slot is not None:
            return replace(self, state=state, gripper=None, missing=self.missing | {slot})
        if event is ChangerEvent.GRIP_FAILS:
            return replace(self, state=state, gripper=None)
        return replace(self, state=state)  # the gripper holds the sample

    def mount(self, slot: int, now: float) -> Self:
        """Put the sample of a slot on the stage, which must be free."""
        changer = self._checked(ChangerEvent.MOUNT, now)
        if not 0 <= slot < self.slots:
            raise BadInput(f"slot {slot} does not exist, the magazine has slots 0 to {self.slots - 1}")
        if changer.stage is not None:
            raise BadInput(f"mount: the sample of slot {changer.stage} is on the stage; unmount it first")
        if slot in changer.missing:
            raise BadInput(f"mount: slot {slot} was found empty")
        outcome = ChangerEvent.DONE
        if changer.faults:
            (outcome,) = (
                event
                for event, state in TRANSITIONS[ChangerState.MOUNTING].items()
                if state == ChangerState(changer.faults[0])
            )
        return replace(changer._started(ChangerEvent.MOUNT, slot, now), outcome=outcome, faults=changer.faults[1:])

    def unmount(self, now: float) -> Self:
        """Bring the sample on the stage back to its slot."""
        changer = self._checked(ChangerEvent.UNMOUNT, now)
        if changer.stage is None:
            raise BadInput("unmount: no sample is on the stage")
        return replace(changer._started(ChangerEvent.UNMOUNT, changer.stage, now), stage=None)

    def park(self, now: float) -> Self:
        """Recover from a fault: bring what the gripper holds back to its slot, and park."""
        changer = self._checked(ChangerEvent.PARK, now)
        return changer._started(ChangerEvent.PARK, changer.gripper, now)

    def hand_over(self, now: float) -> Self:
        """Leave the robot to a person."""
        changer = self._checked(ChangerEvent.HAND_OVER, now)
        return replace(changer, state=ChangerState.WITH_PERSON)

    def confirm(self, mounted: int | None, now: float) -> Self:
        """A person has brought robot and samples in order; the sample of the slot ``mounted`` is on the stage."""
        changer = self._checked(ChangerEvent.CONFIRM, now)
        if mounted is not None and not 0 <= mounted < self.slots:
            raise BadInput(f"slot {mounted} does not exist, the magazine has slots 0 to {self.slots - 1}")
        return replace(changer, state=ChangerState.PARKED, stage=mounted, gripper=None, missing=frozenset())

    def check_parked(self, what: str, now: float) -> None:
        """Raise Busy unless the robot is parked: ``what`` must not move while the gripper is in."""
        state = self.at(now).state
        if state is not ChangerState.PARKED:
            raise Busy(f"{what}: the sample changer is not parked, it is {state}")

    @property
    def coming(self) -> int | None:
        """The slot whose sample is on the stage, or is being brought there."""
        return self.gripper if self.state is ChangerState.MOUNTING else self.stage

    def place(self, slot: int) -> SamplePlace:
        """Where the sample of a slot is."""
        if slot in self.missing:
            return "nowhere"
        return "stage" if slot == self.stage else "gripper" if slot == self.gripper else "magazine"

    def status(self) -> ChangerStatus:
        text = FAULT_TEXTS.get(self.state)
        return ChangerStatus(
            slots=self.slots,
            mounted=self.stage,
            busy=self.state.moving,
            fault=None if text is None else text.format(slot=self.slot),
            state=self.state,
            inventory=[self.place(slot) for slot in range(self.slots)],
        )

    def _checked(self, order: ChangerEvent, now: float) -> Self:
        """The changer at ``now``, which may get this order."""
        changer = self.at(now)
        if changer.state.moving:
            raise Busy(f"{order}: the sample changer is {changer.state}")
        if order not in TRANSITIONS[changer.state]:
            allowed = ", ".join(TRANSITIONS[changer.state])
            raise BadInput(
                f"{order}: not possible while the sample changer is {changer.state}; possible now: {allowed}"
            )
        return changer

    def _started(self, order: ChangerEvent, slot: int | None, now: float) -> Self:
        state, done_at = TRANSITIONS[self.state][order], now + self.mount_s
        number = self.slot if slot is None else slot
        return replace(self, state=state, gripper=slot, slot=number, outcome=ChangerEvent.DONE, done_at=done_at)
