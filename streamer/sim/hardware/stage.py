"""Motors and shutter as immutable values; the time ``now`` (seconds) is always an argument."""

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
class StorageRing:
    """The source: its current relative to the usual one, and the front end, which an interlock may close."""

    current: float = 1.0
    front_end_open: bool = True

    def set(self, current: float | None, front_end: ShutterState | None) -> StorageRing:
        """The same ring with another current or front end; None leaves it as it is."""
        opened = self.front_end_open if front_end is None else front_end == "open"
        return StorageRing(self.current if current is None else current, opened)

    @property
    def light(self) -> float:
        """Factor on the light of the usual beam."""
        return self.current if self.front_end_open else 0.0
