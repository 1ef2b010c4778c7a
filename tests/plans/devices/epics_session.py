"""A session with motors of an IOC: each line of its input is an expression in Python, and its value is printed.

``python -m tests.plans.devices.epics_session ENDPOINT``: of the virtual beamline behind the IOC. A process of its own:
the library of Channel Access reads its environment once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import epics
from ophyd import EpicsMotor

from streamer.client import Link
from streamer.flow.wire.beamline import GetBeamlineStatus
from streamer.flow.wire.changer import Mount
from streamer_plans.devices.epics.motor import Motor
from streamer_plans.devices.epics.record import Record

PATIENCE_S = 100.0


def connected(motor: Any) -> Any:
    motor.wait_for_connection(timeout=PATIENCE_S)
    return motor


def outcome(act: Callable[[], Any]) -> str:
    """What becomes of a move: "done", or the error."""
    try:
        act().wait(PATIENCE_S)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def seen(name: str, act: Callable[[], object]) -> list[float]:
    """All values that a monitor of a record gets while ``act`` runs, the first one is the present one."""
    values: list[float] = []
    pv = epics.PV(name, callback=lambda value, **_: values.append(round(float(value), 3)), auto_monitor=True)
    assert pv.wait_for_connection(PATIENCE_S)
    end = time.monotonic() + PATIENCE_S
    while not values and time.monotonic() < end:
        time.sleep(0.01)
    act()
    time.sleep(0.3)  # monitors follow
    pv.disconnect()
    return values


def put(name: str, value: Any, wait: bool = True) -> float:
    """Write with put-completion: 1 when it came, else 0."""
    return float(epics.caput(name, value, wait=wait, timeout=PATIENCE_S) or 0)


def get(name: str, text: bool = False) -> Any:
    value = epics.caget(name, as_string=text, use_monitor=False, timeout=PATIENCE_S)
    return value if text else round(float(value), 3)


def has_heard(motor: EpicsMotor) -> bool:
    """Whether the last event of DMOV has reached the motor, who may take a late one for the end of a move."""
    fresh = epics.get_pv(f"{motor.prefix}.DMOV", form="time", connect=True).get_with_metadata(use_monitor=False)
    return bool(fresh["timestamp"] == motor.motor_done_move.timestamp and not motor.moving)


def once(condition: Callable[[], bool], act: Callable[[], object]) -> None:
    """Call ``act`` as soon as there is a condition, on a thread."""

    def work() -> None:
        until(condition)
        act()

    threading.Thread(target=work, daemon=True).start()


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def converse(endpoint: str) -> None:
    names = {
        **globals(),
        "rot": connected(Motor("SIM:rot", name="rot")),
        "x": connected(Motor("SIM:x", name="x")),
        "plain": connected(EpicsMotor("SIM:rot", name="plain")),
        "link": Link(endpoint, "the virtual beamline", timeout_s=PATIENCE_S),
    }
    for line in sys.stdin:
        try:
            value = eval(line, names)
            print(value if isinstance(value, str) else repr(value), flush=True)
        except Exception as error:  # of whatever class
            print(f"{type(error).__name__}: {error}", flush=True)


__all__ = ["GetBeamlineStatus", "Mount", "Record"]

if __name__ == "__main__":
    converse(sys.argv[1])
