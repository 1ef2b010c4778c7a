"""The smaller motors of the virtual beamline, which all work alike: position, target, limits."""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

from streamer.flow.wire.control import Done, Request
from streamer.frames import BadInput, Name

AxisName = Literal["top_x", "top_y", "z", "roll", "magnification"]

AXIS_LIMITS: dict[str, tuple[float, float]] = {
    "top_x": (-5.0, 5.0),
    "top_y": (-5.0, 5.0),
    "z": (-5.0, 5.0),
    "roll": (-3.0, 3.0),
    "magnification": (1.0, 10.0),
}
"""Lowest and highest position: mm, degrees, and times."""


class AxisStatus(Struct, frozen=True):
    """One of the smaller motors."""

    position: float
    target: float
    moving: bool


class MoveAxis(Request[Done], frozen=True):
    """Start a move of one of the smaller motors. Raises BadInput beyond its limits."""

    verb = "axis"
    reply = Done
    axis: AxisName
    target: float
    owner: Name | None = None

    def __post_init__(self) -> None:
        low, high = AXIS_LIMITS[self.axis] if self.axis in get_args(AxisName) else (0.0, 0.0)
        if not low <= self.target <= high:
            raise BadInput(f"axis {self.axis}: the target is {self.target:g}, it goes from {low:g} to {high:g}")
