"""The beam shutter: ``set("open")`` or ``set("closed")``, believed only when the read-back agrees."""

import time
from abc import abstractmethod
from typing import Any

from ophyd import Device
from ophyd.status import Status

from streamer.client import Link
from streamer.flow.wire.beamline import GetBeamlineStatus, SetShutter

from .claim import Claim
from .waiting import watch

POSITIONS = ("open", "closed")


class Shutter(Device):
    """A two-way shutter. A subclass says how it is commanded and read."""

    timeout_s = 5.0
    _held = False

    @abstractmethod
    def _command(self, opened: bool) -> None: ...

    @abstractmethod
    def _readback(self) -> str:
        """One of POSITIONS."""

    def set(self, value: str, timeout: float | None = None) -> Status:
        if value not in POSITIONS:
            raise ValueError(f"{self.name}: {value!r} is not one of {', '.join(POSITIONS)}")
        commanded = False

        def arrived() -> bool:
            nonlocal commanded
            if not commanded:
                commanded = True
                self._command(value == "open")
            return self._readback() == value

        limit = self.timeout_s if timeout is None else timeout
        return watch(arrived, limit, f"{self.name}: getting {value} (it may be stuck)")

    def hold(self) -> None:
        """Close for a pause, and wait until it is closed. ``go_on`` opens again what this has closed.

        Raises when it does not close.
        """
        self._held = self._readback() == "open"
        if self._held:
            self.set("closed").wait(2 * self.timeout_s)

    def go_on(self) -> None:
        """Open again after ``hold``, and wait until it is open. Raises when it does not open."""
        held, self._held = self._held, False
        if held:
            self.set("open").wait(2 * self.timeout_s)

    def stop(self, *, success: bool = False) -> None:
        """Nothing: a shutter has no half-way to stop at."""

    def read(self) -> dict[str, dict[str, Any]]:
        return {self.name: {"value": self._readback(), "timestamp": time.time()}}

    def describe(self) -> dict[str, dict[str, Any]]:
        return {self.name: {"dtype": "string", "shape": [], "source": f"SIM:{self.name}"}}


class SimShutter(Shutter):
    """The shutter of the virtual beamline."""

    def __init__(self, link: Link, claim: Claim, name: str = "shutter") -> None:
        super().__init__(name=name)
        self._link, self._claim = link, claim

    def _command(self, opened: bool) -> None:
        self._link.ask(SetShutter(opened, self._claim.scan_id))

    def _readback(self) -> str:
        return self._link.ask(GetBeamlineStatus()).shutter
