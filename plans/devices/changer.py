"""The sample changer: a robot that puts the sample of a slot on the stage."""

import time
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from ophyd import Device
from ophyd.status import Status

from streamer.client import Link
from streamer.flow.wire.beamline import GetBeamlineStatus, Mount
from streamer.frames import StreamerError

from .waiting import watch


class RobotFault(StreamerError):
    """The robot reports a fault: the sample is not on the stage."""


@dataclass(frozen=True)
class ChangerState:
    slots: int
    mounted: int | None
    busy: bool
    fault: str | None


class Changer(Device):
    """``mount(slot)`` and ``unmount()``; ``set(slot)`` and ``set(None)`` are the same for plans.

    A fault of the robot fails the Status at once, with the robot's own words.
    """

    timeout_s = 120.0

    @abstractmethod
    def _command(self, slot: int | None) -> None: ...

    @abstractmethod
    def _state(self) -> ChangerState: ...

    def mount(self, slot: int, timeout: float | None = None) -> Status:
        return self.set(slot, timeout)

    def unmount(self, timeout: float | None = None) -> Status:
        return self.set(None, timeout)

    def set(self, value: int | None, timeout: float | None = None) -> Status:
        what = "taking the sample away" if value is None else f"mounting the sample of slot {value}"
        commanded = False

        def arrived() -> bool:
            nonlocal commanded
            if not commanded:
                commanded = True
                self._command(value)
            state = self._state()
            if state.fault:
                raise RobotFault(f"{self.name}: {what} failed: {state.fault}")
            return not state.busy and state.mounted == value

        return watch(arrived, self.timeout_s if timeout is None else timeout, f"{self.name}: {what}")

    def stop(self, *, success: bool = False) -> None:
        """Nothing: a robot that holds a sample finishes its way."""

    def read(self) -> dict[str, dict[str, Any]]:
        state = self._state()
        mounted = -1 if state.mounted is None else state.mounted  # -1: no sample on the stage
        return {self.name: {"value": mounted, "timestamp": time.time()}}

    def describe(self) -> dict[str, dict[str, Any]]:
        return {self.name: {"dtype": "integer", "shape": [], "source": f"SIM:{self.name}"}}


class SimChanger(Changer):
    """The robot of the virtual beamline."""

    def __init__(self, link: Link, name: str = "changer") -> None:
        super().__init__(name=name)
        self._link = link

    def _command(self, slot: int | None) -> None:
        self._link.ask(Mount(slot))

    def _state(self) -> ChangerState:
        state = self._link.ask(GetBeamlineStatus()).changer
        return ChangerState(state.slots, state.mounted, state.busy, state.fault)
