"""The motors of the virtual beamline, as motor records drive them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from streamer.flow.wire.axes import AXIS_LIMITS, AxisName, MoveAxis
from streamer.flow.wire.beamline import X_LIMIT_MM, BeamlineStatus, MoveRotation, MoveX
from streamer.flow.wire.control import Request

UNITS = {"roll": "deg", "magnification": ""}


@dataclass(frozen=True)
class Drive:
    """What a record drives: ``move`` makes the order from (dial position, velocity, owner), ``read`` gives the dial
    position and whether the motor moves. Limits are of the dial; both 0 is none.
    """

    description: str
    unit: str
    velocity: float
    move: Callable[[float, float, str | None], Request[Any]]
    read: Callable[[BeamlineStatus], tuple[float, bool]]
    low: float = 0.0
    high: float = 0.0
    has_speed: bool = True


def drives() -> dict[str, Drive]:
    """All motors by the names of their records. Only the speed of the rotation can be set."""
    rotation = Drive(
        "rotation",
        "deg",
        90.0,
        lambda place, velocity, owner: MoveRotation(place, velocity, owner),
        lambda status: (status.rotation.position_deg, status.rotation.moving),
    )
    x = Drive(
        "sample x",
        "mm",
        50.0,
        lambda place, _velocity, owner: MoveX(min(max(place, -X_LIMIT_MM), X_LIMIT_MM), owner),
        lambda status: (status.x.position_mm, status.x.moving),
        -X_LIMIT_MM,
        X_LIMIT_MM,
        has_speed=False,
    )
    return {"rot": rotation, "x": x, **{name: _smaller(name) for name in get_args(AxisName)}}


def _smaller(name: AxisName) -> Drive:
    low, high = AXIS_LIMITS[name]
    return Drive(
        name,
        UNITS.get(name, "mm"),
        50.0,
        lambda place, _velocity, owner: MoveAxis(name, min(max(place, low), high), owner),
        lambda status: (status.axes[name].position, status.axes[name].moving),
        low,
        high,
        has_speed=False,
    )
