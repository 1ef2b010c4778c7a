"""Bringing samples to the stage, also while the last one's verdict is awaited. What the robot reports is believed."""

from collections.abc import Callable
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.run_engine import WaitForTimeoutError
from bluesky.utils import FailedStatus, short_uid
from ophyd.status import Status

from .. import stubs
from ..devices.changer import NeedsPerson, RobotFault
from ..devices.waiting import settle
from ..scan import TomoScanError
from ..stubs import Plan
from .policy import Action, Policy, after_fault
from .samples import SampleOutcome

EXCHANGE_S = 400.0

Fault = tuple[SampleOutcome, Action, Exception]
"""With which sample the robot failed, what follows, and the error."""


class _Errand:
    """A Movable that lets a changer work in the background: its Status ends well, and ``error`` says how it went.

    The RunEngine throws a Status that fails into whatever plan runs at that moment, which is another sample's scan.
    """

    parent = None

    def __init__(self, changer: Any) -> None:
        self.name = f"{changer.name}_errand"
        self._changer = changer
        self.error: Exception | None = None

    def set(self, value: int) -> Status:
        status, work = Status(), self._changer.set(value)

        def ended(_: Any) -> None:
            self.error = work.exception()
            settle(status)

        work.add_callback(ended)
        return status

    def stop(self, *, success: bool = False) -> None:
        """Nothing: a robot that holds a sample finishes its way."""


class Mounting:
    """``note`` is called before the robot gets an order: what, with which sample, and whether it is early."""

    def __init__(self, station: Any, policy: Policy, note: Callable[[str, SampleOutcome, bool], None]) -> None:
        self._station, self._policy, self._note = station, policy, note
        self._early: tuple[SampleOutcome, _Errand, Any, str] | None = None

    def mounted(self) -> Plan:
        """The slot whose sample is on the stage; -1 for none."""
        readings = yield from bps.read(self._station.changer)
        return int(readings[self._station.changer.name]["value"])

    def begin_early(self, sample: SampleOutcome) -> Plan:
        """Let the robot exchange the samples in the background; ``settle`` waits for it."""
        yield from stubs.to_exchange(self._station.sample_x, self._station.changer)
        self._note("mounting", sample, True)
        errand, group = _Errand(self._station.changer), short_uid("exchange")
        status = yield from bps.abs_set(errand, sample.slot, group=group)
        self._early = (sample, errand, status, group)

    def settle(self) -> Plan:
        """Wait for what was begun early. Returns None, or its Fault."""
        if self._early is None:
            return None
        sample, errand, status, group = self._early
        yield from stubs.until_done(status, group, EXCHANGE_S)
        self._early = None
        return None if errand.error is None else self._fault(sample, errand.error)

    def mount(self, sample: SampleOutcome) -> Plan:
        """Bring a sample to the stage, unless it is there. Returns None, or a Fault.

        Raises TomoScanError when a person is needed.
        """
        changer = self._station.changer
        try:
            if (yield from self.mounted()) != sample.slot:
                self._note("mounting", sample, False)
                yield from stubs.to_exchange(self._station.sample_x, changer)
                yield from stubs.mount(changer, sample.slot)
        except (FailedStatus, WaitForTimeoutError, TimeoutError, RuntimeError) as error:
            return self._fault(sample, error)
        return None

    def take_away(self) -> Plan:
        yield from stubs.to_exchange(self._station.sample_x, self._station.changer)
        yield from stubs.unmount(self._station.changer)

    def _fault(self, sample: SampleOutcome, error: Exception) -> Fault:
        cause = error.__cause__ or error
        if isinstance(cause, NeedsPerson):
            raise TomoScanError(str(cause), fatal=True) from error
        state = cause.state if isinstance(cause, RobotFault) else None
        return sample, after_fault(state, str(cause), sample.faults, self._policy), error
