"""The sample changer of the virtual beamline: what it says, and what may be asked of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from msgspec import Struct

from streamer.flow.wire.control import Done, Request
from streamer.frames import Count, Name

SamplePlace = Literal["magazine", "gripper", "stage", "nowhere"]


class ChangerState(StrEnum):
    """What the sample changer does, or which fault it has."""

    PARKED = "parked"
    MOUNTING = "mounting"
    UNMOUNTING = "unmounting"
    RECOVERING = "recovering"
    GRIP_FAILED = "grip_failed"
    SLOT_EMPTY = "slot_empty"
    WRONG_LABEL = "wrong_label"
    TIMED_OUT = "timed_out"
    COLLISION = "collision"
    WITH_PERSON = "with_person"

    @property
    def moving(self) -> bool:
        return self in (ChangerState.MOUNTING, ChangerState.UNMOUNTING, ChangerState.RECOVERING)

    @property
    def needs_person(self) -> bool:
        """No order of a program helps."""
        return self in (ChangerState.COLLISION, ChangerState.WITH_PERSON)


class ChangerStatus(Struct, frozen=True):
    """The robot that mounts samples."""

    slots: int
    mounted: int | None
    busy: bool
    fault: str | None
    state: ChangerState
    inventory: list[SamplePlace]


class Mount(Request[Done], frozen=True):
    """Start the robot: mount the sample of a slot, or take the sample away."""

    verb = "mount"
    reply = Done
    slot: Count | None
    owner: Name | None = None


class Park(Request[Done], frozen=True):
    """Let the robot recover from a fault: it brings back what it holds, and parks."""

    verb = "park"
    reply = Done
    owner: Name | None = None


class HandOver(Request[Done], frozen=True):
    """Leave the robot to a person."""

    verb = "hand_over"
    reply = Done
    owner: Name | None = None


class Confirm(Request[Done], frozen=True):
    """A person has brought the robot in order, and says whose sample is on the stage."""

    verb = "confirm"
    reply = Done
    mounted: Count | None
    owner: Name | None = None
