"""Suspenders of the RunEngine on ring current, front end and daemon: between scans, and between the steps of a scan.

While a rotation turns and triggers the detector, a suspender would only spoil the scan. It waits until then: the scan
itself notices the loss of the beam (``beam``) or of the daemon.
"""

from collections.abc import Callable
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.suspenders import SuspendBoolLow, SuspenderBase, SuspendFloor

from ..stubs import Plan
from .beam import least_current

SETTLED_S = 1.0
MOMENT_S = 0.05
"""In which a suspension begins that is due when the suspenders are installed."""


def suspenders(station: Any, settled_s: float = SETTLED_S) -> list[SuspenderBase]:
    """One for each signal that the station has; the plan goes on ``settled_s`` seconds after all is well again."""
    found: list[Any] = []
    if (ring := getattr(station, "ring_current", None)) is not None:
        found.append(_Ring(ring, least_current(station), sleep=settled_s, tripped_message="no ring current"))
    if (front_end := getattr(station, "front_end", None)) is not None:
        found.append(_FrontEnd(front_end, sleep=settled_s, tripped_message="the front end is closed"))
    if (alive := getattr(station.streamer, "alive", None)) is not None:
        found.append(_Daemon(alive, sleep=settled_s, tripped_message="the daemon does not answer"))
    for suspender in found:
        suspender.detector = station.detector
    return found


def suspended(station: Any, settled_s: float = SETTLED_S) -> Callable[[Plan], Plan]:
    """A preprocessor for ``RunEngine.preprocessors``: every plan waits for beam and daemon."""
    return lambda plan: bpp.suspend_wrapper(_after_a_moment(plan), suspenders(station, settled_s))


def _after_a_moment(plan: Plan) -> Plan:
    yield from bps.sleep(MOMENT_S)
    return (yield from plan)


class _BetweenFlights:
    """Mixin: no suspension begins while ``detector`` is triggered by a rotation that turns."""

    detector: Any = None

    def _should_suspend(self, value: Any) -> bool:
        wrong: bool = super()._should_suspend(value)  # type: ignore[misc]
        return wrong and (self.tripped or not getattr(self.detector, "in_flight", False))  # type: ignore[attr-defined]


class _Closed(SuspenderBase):
    def _should_suspend(self, value: Any) -> bool:
        return bool(value != "open")

    def _should_resume(self, value: Any) -> bool:
        return bool(value == "open")


class _Ring(_BetweenFlights, SuspendFloor): ...


class _FrontEnd(_BetweenFlights, _Closed): ...


class _Daemon(_BetweenFlights, SuspendBoolLow): ...
