"""The axes of a station that only some plans need."""

from collections.abc import Callable
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp

from streamer.frames import BadInput

from .. import stubs
from ..scan import Station
from ..stubs import Plan

TOLERANCE = 0.005  # mm, degrees or times


def axis_of(station: Station, name: str, plan: str) -> Any:
    """The axis of this name. Raises BadInput when the station has none."""
    axis = getattr(station, name, None)
    if axis is None:
        raise BadInput(f"{plan}: the station has no {name}; give it a device of that name")
    return axis


def moved(targets: list[tuple[Any, float]], inner: Callable[[], Plan]) -> Plan:
    """Move axes to their targets, run ``inner``, and bring them back to where they were, however it ends."""
    before = []
    for axis, _ in targets:
        before.append((axis, (yield from bps.rd(axis))))

    def back() -> Plan:
        for axis, position in before:
            yield from stubs.attempt(stubs.move_checked(axis, position, TOLERANCE), f"bringing {axis.name} back")

    def there() -> Plan:
        for axis, target in targets:
            yield from stubs.move_checked(axis, target, TOLERANCE)
        return (yield from inner())

    return (yield from bpp.finalize_wrapper(there(), back))
