"""A motor record of EPICS that says why a move did not end well."""

import logging
import threading
from typing import Any

from ophyd import Component as Cpt
from ophyd import EpicsMotor, EpicsSignal, EpicsSignalRO
from ophyd.status import Status
from ophyd.utils.epics_pvs import AlarmSeverity
from ophyd.utils.errors import DisconnectedError, LimitError

from streamer.client import LinkTimeout

from ..stage import MARGIN_S, MotionStopped
from ..waiting import Progress, watch
from .record import ANSWER_S

log = logging.getLogger(__name__)

PROBLEM = 0x200  # bit of MSTA


class Velocity(EpicsSignal):
    """A velocity that knows whether this session has set it: only then is it ours to give back."""

    ours = False

    def put(self, value: float, **options: Any) -> None:
        self.ours = True
        super().put(value, **options)


class Motor(EpicsMotor):
    """An ``EpicsMotor`` for unattended scans; a plain one may stand in its place.

    A move ends when the IOC answers the put and DMOV is 1. An ``EpicsMotor`` waits for DMOV alone, so the late end of
    the move before, or of a stop, may end the next one as well.

    A move fails, with one line that names the record, when SPMG is not "Go" (an ``EpicsMotor`` waits for ever), when
    the target is beyond the limits, when the record is in alarm, when it was stopped, and when it takes half as long
    again as way, velocity and acceleration say, plus 5 s. ``unstage`` gives back the velocity of ``stage``, however the
    plan ended, if the plan has changed it: else it may be that of somebody else's scan.
    """

    velocity = Cpt(Velocity, ".VELO", kind="config", auto_monitor=True)

    stop_or_go = Cpt(EpicsSignalRO, ".SPMG", kind="omitted", string=True, auto_monitor=True)
    limit_violation = Cpt(EpicsSignalRO, ".LVIO", kind="omitted")
    state_bits = Cpt(EpicsSignalRO, ".MSTA", kind="omitted")

    def __init__(self, prefix: str, *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self._usual: float | None = None
        self._stopped = False

    def stage(self) -> list[object]:
        self._await_connection()
        staged: list[object] = super().stage()
        self._usual, self.velocity.ours = float(self.velocity.get()), False
        return staged

    def unstage(self) -> list[object]:
        """Never raises for a record that does not answer."""
        usual, self._usual = self._usual, None
        if usual is not None and self.velocity.ours:
            try:
                self.velocity.put(usual)
            except (TimeoutError, DisconnectedError) as error:
                log.warning("%s keeps its velocity: %s", self.name, error)
        unstaged: list[object] = super().unstage()
        return unstaged

    def set(self, new_position: float, *, timeout: float | None = None) -> Status:
        """Raises LinkTimeout when the IOC does not answer, MotionStopped and LimitError before anything moves."""
        self._await_connection()
        try:
            return self._begin(float(new_position), timeout)
        except (TimeoutError, DisconnectedError) as error:
            raise self._silent() from error

    def _begin(self, target: float, timeout: float | None) -> Status:
        unit, where = self.egu, f"{self.name} ({self.prefix})"
        if (mode := self.stop_or_go.get()) not in ("Go", "Move"):
            raise MotionStopped(f"{where} cannot move: {self.prefix}.SPMG is {mode}; set it to Go")
        low, high = self.limits
        if low < high and not low <= target <= high:
            raise LimitError(f"{where} cannot go to {target:g} {unit}: its limits are {low:g} to {high:g}")
        initial = self.position
        way_s = 1.5 * abs(target - initial) / max(float(self.velocity.get()), 1e-9)
        limit = MARGIN_S + way_s + 2 * float(self.acceleration.get()) if timeout is None else timeout
        what = f"{where}: the move to {target:g} {unit}"
        answered = threading.Event()
        self._stopped = False
        self.user_setpoint.put(target, use_complete=True, callback=lambda **_: answered.set())

        def arrived() -> bool:
            if not self.user_setpoint.connected:
                raise self._silent()  # the answer to the put is lost with the connection
            try:
                if not answered.is_set() or self.motor_done_move.get(use_monitor=False) != 1:
                    return False
                why = self._why_failed()
            except (TimeoutError, DisconnectedError) as error:
                raise self._silent() from error
            if why:
                raise MotionStopped(f"{what} {why}")
            return True

        return watch(arrived, limit, what, progress=lambda: Progress(initial, self.position, target, unit))

    def stop(self, *, success: bool = False) -> None:
        self._stopped = not success
        super().stop(success=success)

    def _why_failed(self) -> str:
        """Why a move that is over did not end well, "" when it did. The record is asked: monitors may be late."""
        if self.limit_violation.get():
            return "was refused: it is beyond the limits (LVIO)"
        if int(self.state_bits.get()) & PROBLEM:
            return "failed: the record reports a problem (MSTA); see its IOC"
        if self.user_readback.alarm_severity not in (None, AlarmSeverity.NO_ALARM):
            alarm = self.user_readback.alarm_status
            return f"failed: the record is in alarm ({getattr(alarm, 'name', alarm)})"
        return "was stopped" if self._stopped else ""

    def _await_connection(self) -> None:
        try:
            self.wait_for_connection(timeout=ANSWER_S)
        except TimeoutError as error:
            raise self._silent() from error

    def _silent(self) -> LinkTimeout:
        way_out = "is the IOC running, and does EPICS_CA_ADDR_LIST name its machine?"
        return LinkTimeout(f"{self.prefix} does not answer within {ANSWER_S:g} s: {way_out}")
