"""The sample changer: a robot that puts the sample of a slot on the stage."""

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from ophyd import Device
from ophyd.status import Status

from streamer.client import Link, LinkError
from streamer.flow.wire.beamline import GetBeamlineStatus
from streamer.flow.wire.changer import ChangerState, ChangerStatus, Mount, Park, SamplePlace
from streamer.frames import StreamerError

from .claim import Claim
from .waiting import done, in_thread, watch


class RobotFault(StreamerError):
    """The robot reports a fault: the sample is not on the stage. ``state`` is the fault as a state, where it is one."""

    def __init__(self, text: str, state: ChangerState | None = None) -> None:
        super().__init__(text)
        self.state = state


class NeedsPerson(RobotFault):
    """No order of a program helps: a person must look at the robot, and confirm what is on the stage."""


class Changer(Device):
    """``set(slot)`` mounts the sample of a slot, ``set(None)`` takes away what is mounted.

    What the robot reports is believed, not the command: an order is given only where the report asks for one, and the
    Status ends well only when the robot is parked with the right sample on the stage. A fault fails it at once, with
    the robot's own words; the next order first lets the robot recover. ``NeedsPerson`` ends that.
    """

    timeout_s = 120.0
    exchange_mm = 0.0
    """Where sample_x must stand for an exchange."""

    def __init__(self, claim: Claim | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._claim = claim
        self._reserved: str | None = None

    @abstractmethod
    def _mount(self, slot: int) -> None: ...

    @abstractmethod
    def _unmount(self) -> None: ...

    @abstractmethod
    def _park(self) -> None:
        """Recover from a fault."""

    @abstractmethod
    def _state(self) -> ChangerStatus: ...

    def reserve(self, name: str, patience_s: float) -> Status:
        """Claim the beamline for many scans, until this device is unstaged. Hardware without claims is ours at once.

        The Status fails with BeamlineTaken after ``patience_s`` seconds in the queue.
        """
        claim = self._claim
        if claim is None:
            return done()
        self._reserved = name
        return in_thread(lambda: claim.take(name, patience_s, lambda: self._reserved != name))

    def unstage(self) -> list[object]:
        """Give back what ``reserve`` has claimed, or leave the queue."""
        name, self._reserved = self._reserved, None
        if name is not None and self._claim is not None:
            self._claim.give_back(name)
        unstaged: list[object] = super().unstage()
        return unstaged

    def inventory(self) -> list[SamplePlace]:
        """Where the sample of each slot is."""
        return self._state().inventory

    def mount(self, slot: int, timeout: float | None = None) -> Status:
        return self.set(slot, timeout)

    def unmount(self, timeout: float | None = None) -> Status:
        return self.set(None, timeout)

    def set(self, value: int | None, timeout: float | None = None) -> Status:
        what = "taking the sample away" if value is None else f"mounting the sample of slot {value}"
        exchange = _Exchange(self, value, f"{self.name}: {what}")
        return watch(exchange.go_on, self.timeout_s if timeout is None else timeout, f"{self.name}: {what}")

    def stop(self, *, success: bool = False) -> None:
        """Nothing: a robot that holds a sample finishes its way."""

    def read(self) -> dict[str, dict[str, Any]]:
        state, now = self._state(), time.time()
        mounted = -1 if state.mounted is None else state.mounted  # -1: no sample on the stage
        return {
            self.name: {"value": mounted, "timestamp": now},
            f"{self.name}_state": {"value": state.state.value, "timestamp": now},
        }

    def describe(self) -> dict[str, dict[str, Any]]:
        source = f"SIM:{self.name}"
        return {
            self.name: {"dtype": "integer", "shape": [], "source": source},
            f"{self.name}_state": {"dtype": "string", "shape": [], "source": source},
        }


class _Exchange:
    """One ``set`` of a changer, as steps that never wait."""

    def __init__(self, changer: Changer, wanted: int | None, what: str) -> None:
        self._changer, self._wanted, self._what = changer, wanted, what
        self._ordered: list[int | None] = []
        self._recovered = False

    def go_on(self) -> bool:
        """Whether the wanted sample is on the stage. Raises RobotFault, and gives at most one order."""
        state, wanted = self._changer._state(), self._wanted
        if state.busy:
            return False
        if state.state.needs_person:
            raise NeedsPerson(
                f"{self._what} failed: {state.fault}; look at it, then confirm what is on the stage", state.state
            )
        if state.fault and (self._ordered or self._recovered):
            raise RobotFault(f"{self._what} failed: {state.fault}", state.state)
        if state.fault:
            self._recovered = self._order(self._changer._park)
        elif state.mounted == wanted:
            return True
        else:
            next_one = wanted if state.mounted is None else None
            if next_one in self._ordered:
                raise RobotFault(f"{self._what} failed: the robot is parked, but the stage has {_named(state.mounted)}")
            if self._order(self._changer._unmount if next_one is None else lambda: self._changer._mount(next_one)):
                self._ordered.append(next_one)
        return False

    @staticmethod
    def _order(give: Callable[[], None]) -> bool:
        """Whether an order was taken; False when it must be given again, for the stage moves or is another user's."""
        try:
            give()
        except LinkError as error:
            if error.code != "busy":
                raise
            return False
        return True


def _named(mounted: int | None) -> str:
    return "no sample" if mounted is None else f"the sample of slot {mounted}"


class SimChanger(Changer):
    """The robot of the virtual beamline."""

    def __init__(self, link: Link, claim: Claim, name: str = "changer") -> None:
        super().__init__(claim, name=name)
        self._link, self._owner = link, claim

    def _mount(self, slot: int) -> None:
        self._link.ask(Mount(slot, self._owner.scan_id))

    def _unmount(self) -> None:
        self._link.ask(Mount(None, self._owner.scan_id))

    def _park(self) -> None:
        self._link.ask(Park(self._owner.scan_id))

    def _state(self) -> ChangerStatus:
        return self._link.ask(GetBeamlineStatus()).changer
