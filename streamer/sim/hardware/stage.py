"""Motors, shutter and sample changer as immutable values; the time ``now`` (seconds) is always an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from streamer.flow.wire.beamline import ShutterState


@dataclass(frozen=True, slots=True)
class Motor:
    """A motor that left ``origin`` at the time ``since`` for ``target``, at constant ``velocity`` > 0 per second."""

    origin: float = 0.0
    target: float = 0.0
    velocity: float = 1.0
    since: float = 0.0

    def position(self, now: float) -> float:
        """Where the motor is."""
        travelled = self.velocity * max(0.0, now - self.since)
        way = self.target - self.origin
        return self.target if travelled >= abs(way) else self.origin + math.copysign(travelled, way)

    def moving(self, now: float) -> bool:
        return now < self.since + abs(self.target - self.origin) / self.velocity

    def move(self, target: float, now: float, velocity: float | None = None) -> Motor:
        """The same motor, commanded to another target at ``now``; a move under way is replaced."""
        return Motor(self.position(now), target, velocity or self.velocity, now)

    def time_at(self, position: float) -> float | None:
        """When the motor passes ``position`` on this move; None when it does not."""
        way, part = self.target - self.origin, position - self.origin
        if part == 0.0:
            return self.since
        if way == 0.0 or part / way < 0.0 or abs(part) > abs(way) + 1e-9:
            return None
        return self.since + abs(part) / self.velocity


@dataclass(frozen=True, slots=True)
class BeamShutter:
    """``stuck``: commands have no effect. ``lying``: and the read-back claims that they had."""

    open: bool = False
    asked: bool = False
    stuck: bool = False
    lying: bool = False

    def command(self, opened: bool) -> BeamShutter:
        return replace(self, asked=opened, open=self.open if self.stuck else opened)

    @property
    def readback(self) -> ShutterState:
        return "open" if (self.asked if self.lying else self.open) else "closed"


@dataclass(frozen=True, slots=True)
class SampleChanger:
    """A magazine and a robot that needs ``mount_s`` for every sample it carries.

    ``grip_failures`` of the next mounts fail: the robot stops with ``fault`` and nothing is mounted.
    """

    slots: int
    mount_s: float = 1.0
    held: int | None = None
    coming: int | None = None
    done_at: float = 0.0
    grip_failures: int = 0
    failing: bool = False

    def command(self, slot: int | None, now: float) -> SampleChanger:
        """Bring ``slot`` (None: only take away what is mounted). Call when not busy, with a slot that exists."""
        held = self.mounted(now)
        trips = (held is not None and held != slot) + (slot is not None and held != slot)
        failing = slot is not None and trips > 0 and self.grip_failures > 0
        return replace(
            self,
            coming=slot,
            done_at=now + trips * self.mount_s,
            grip_failures=self.grip_failures - failing,
            failing=failing,
        )

    def busy(self, now: float) -> bool:
        return now < self.done_at

    def mounted(self, now: float) -> int | None:
        """The slot whose sample is on the stage, or None."""
        if self.busy(now) or self.failing:
            return None
        return self.coming

    def fault(self, now: float) -> str | None:
        if self.failing and not self.busy(now):
            return f"gripper lost the sample of slot {self.coming}"
        return None
