"""A motor record over a motor of the virtual beamline.

What clients rely on, as the record of EPICS has it: a put to VAL with a callback is answered when the motor stands;
DMOV goes to 0 and back to 1 with every move, however short; RBV has its last value before DMOV is 1; VAL follows RBV
after a stop.

Source: motorRecord of EPICS, its page of fields.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from caproto import AlarmSeverity, AlarmStatus, SkipWrite
from caproto.server import PVGroup, pvproperty

from streamer.flow.wire.beamline import BeamlineStatus
from streamer.sim.epics.drives import Drive
from streamer.sim.epics.hardware import Hardware

log = logging.getLogger(__name__)

DONE, PROBLEM, MOVING = 0x2, 0x200, 0x400  # bits of MSTA
DIGITS = 6


async def set_to(channel: Any, value: Any) -> None:
    """Write a record, and tell its clients, when it changes."""
    if channel.value != value:
        await channel.write(value, verify_value=False, update_fields=False)


class MotorRecord(PVGroup):
    """``setup`` fills the fields before the server starts; ``show`` takes every state of the beamline."""

    val = pvproperty(name="", value=0.0, record="motor", precision=DIGITS)

    def __init__(self, prefix: str, hardware: Hardware, drive: Drive) -> None:
        super().__init__(prefix=prefix)
        self._hardware, self._drive = hardware, drive
        self._serial = 0  # of the last order
        self._owner: str | None = None
        self._usual = drive.velocity
        self._waits = False  # for SPMG
        self._known = False
        self._rest = asyncio.Event()
        self._rest.set()

    @property
    def fields(self) -> Any:
        return self.val.field_inst

    async def setup(self) -> None:
        drive, fields = self._drive, self.fields
        values = {
            "description": drive.description,
            "engineering_units": drive.unit,
            "velocity": drive.velocity,
            "max_velocity": 10 * drive.velocity,
            "seconds_to_velocity": 0.02,
            "motor_step_size": 10.0**-DIGITS,
            "display_precision": DIGITS,
            "limit_violation": 0,
            "stop_pause_move_go": "Go",
            "motor_status": DONE,
        }
        for name, value in values.items():
            await getattr(fields, name).write(value)
        self.val.verify_value = self._target  # in place of the server's own, which knows no LVIO
        fields.dial_desired_value.putter = self._dial_target
        fields.stop.putter = self._stop
        fields.stop_pause_move_go.putter = self._stop_or_go
        fields.velocity.putter = self._velocity
        for name in ("user_offset", "user_direction"):
            getattr(fields, name).putter = self._moved_origin(name)
        for name, other in (("user_low_limit", "low"), ("user_high_limit", "high")):
            getattr(fields, name).putter = self._limit(other)
        await self._write_limits(drive.low, drive.high)

    # ── what a client writes ────────────────────────────────────────────────────────────────────────────────────
    async def _target(self, value: float) -> None:
        fields = self.fields
        if fields.set_use_switch.value == "Set":
            await fields.user_offset.write(value - self._sign() * fields.dial_readback_value.value)
            raise SkipWrite
        await self._set_target(value)
        if fields.stop_pause_move_go.value in ("Go", "Move"):
            await self._go(value)
        else:
            self._waits = fields.stop_pause_move_go.value == "Pause"
        raise SkipWrite  # it is written, and clients saw it before the motor moved

    async def _dial_target(self, _channel: Any, value: float) -> None:
        await self.val.write(self._user(value))
        raise SkipWrite

    async def _stop(self, channel: Any, value: int) -> None:
        if value:
            await self._stand()
            await channel.write(0, verify_value=False)
        raise SkipWrite

    async def _stop_or_go(self, channel: Any, value: str) -> None:
        await set_to(channel, value)
        if value in ("Stop", "Pause"):
            interrupted = not self._rest.is_set()
            target = self.val.value
            await self._stand()
            if value == "Pause" and interrupted:
                self._waits = True
                await self._set_target(target)
        elif self._waits:
            self._waits = False
            await self._go(self.val.value)
        raise SkipWrite

    async def _velocity(self, _channel: Any, value: float) -> float:
        if value <= 0 or not self._drive.has_speed:
            raise SkipWrite
        return value

    def _moved_origin(self, name: str) -> Callable[[Any, Any], Any]:
        async def write(channel: Any, value: Any) -> None:
            await channel.write(value, verify_value=False)
            fields = self.fields
            await self._write_limits(*(self._user(f.value) for f in (fields.dial_low_limit, fields.dial_high_limit)))
            await self._show_place(self.fields.dial_readback_value.value)
            if self._rest.is_set():
                await self._set_target(self.fields.user_readback_value.value)
            raise SkipWrite

        return write

    def _limit(self, which: str) -> Callable[[Any, float], Any]:
        async def write(_channel: Any, value: float) -> None:
            fields = self.fields
            low, high = fields.user_low_limit.value, fields.user_high_limit.value
            await self._write_limits(*((value, high) if which == "low" else (low, value)))
            raise SkipWrite

        return write

    # ── moving ──────────────────────────────────────────────────────────────────────────────────────────────────
    async def _go(self, target: float) -> None:
        """Move, and return when the motor stands, wherever and for whatever reason."""
        fields = self.fields
        low, high = fields.user_low_limit.value, fields.user_high_limit.value
        if low < high and not low <= target <= high:
            log.info("%s: %g is beyond %g to %g", self.prefix, target, low, high)
            await set_to(fields.limit_violation, 1)
            await self._set_target(fields.user_readback_value.value)
            return
        await set_to(fields.limit_violation, 0)
        self._serial += 1
        mine = self._serial
        self._rest.clear()
        await self._show_motion(True)
        await set_to(fields.direction_of_travel, int(target > fields.user_readback_value.value))
        order = self._drive.move(self._dial(target), fields.velocity.value, self._hardware.owner)
        refused = await self._hardware.order(order)
        await self._alarm(AlarmStatus.STATE if refused else AlarmStatus.NO_ALARM)
        await self._await_rest(mine)
        if mine == self._serial and fields.stop_pause_move_go.value == "Move":
            await fields.stop_pause_move_go.write("Pause", verify_value=False)

    async def _await_rest(self, mine: int) -> None:
        while mine == self._serial:
            status = await self._hardware.fresh()
            if mine != self._serial:
                break
            if status is None or not self._drive.read(status)[1]:
                await self._show_motion(False)
                self._rest.set()
                return
        await self._rest.wait()  # a later order took over

    async def _stand(self) -> None:
        """Stop where the motor is; the target becomes that place."""
        self._waits = False
        if self._rest.is_set():
            return
        self._serial += 1
        mine = self._serial
        if (status := await self._hardware.fresh()) is not None:
            place = self._drive.read(status)[0]
            await self._hardware.order(self._drive.move(place, self.fields.velocity.value, self._hardware.owner))
        await self._await_rest(mine)
        await self._set_target(self.fields.user_readback_value.value)

    # ── what the record shows ───────────────────────────────────────────────────────────────────────────────────
    async def show(self, status: BeamlineStatus | None) -> None:
        """Take the state of the beamline."""
        if status is None:
            await self._alarm(AlarmStatus.COMM)
            return
        if self.fields.user_readback_value.alarm.status == AlarmStatus.COMM:
            await self._alarm(AlarmStatus.NO_ALARM)
        dial, moving = self._drive.read(status)
        await self._show_place(dial)
        if self._rest.is_set():  # else the order under way says when it is done
            await self._show_motion(moving)
            if not self._known:
                await self._set_target(self.fields.user_readback_value.value)
        self._known = True
        await self._watchdog(status.ownership.scan_id)

    async def _watchdog(self, owner: str | None) -> None:
        """The velocity that a scan has set ends with its claim."""
        if owner != self._owner:
            if self._owner is None:
                self._usual = self.fields.velocity.value
            else:
                await set_to(self.fields.velocity, self._usual)
            self._owner = owner

    async def _show_place(self, dial: float) -> None:
        fields, dial = self.fields, round(dial, DIGITS + 3)
        await set_to(fields.dial_readback_value, dial)
        await set_to(fields.user_readback_value, self._user(dial))
        await set_to(fields.raw_readback_value, round(dial * 10**DIGITS) % 2**31)

    async def _show_motion(self, moving: bool) -> None:
        fields = self.fields
        status = (fields.motor_status.value & PROBLEM) | (MOVING if moving else DONE)
        await set_to(fields.motor_status, status)
        await set_to(fields.motor_is_moving, int(moving))
        await set_to(fields.done_moving_to_value, int(not moving))

    async def _set_target(self, value: float) -> None:
        await set_to(self.val, value)
        await set_to(self.fields.dial_desired_value, self._dial(value))

    async def _alarm(self, status: AlarmStatus) -> None:
        """STATE: the beamline refused the move. COMM: it does not answer."""
        severities = {AlarmStatus.STATE: AlarmSeverity.MAJOR_ALARM, AlarmStatus.COMM: AlarmSeverity.INVALID_ALARM}
        severity = severities.get(status, AlarmSeverity.NO_ALARM)
        problem = 0 if severity is AlarmSeverity.NO_ALARM else PROBLEM
        fields = self.fields
        await set_to(fields.motor_status, (fields.motor_status.value & ~PROBLEM) | problem)
        value = fields.user_readback_value
        if (value.alarm.status, value.alarm.severity) != (status, severity):
            await value.alarm.write(status=status, severity=severity)
            await value.write(value.value, verify_value=False, update_fields=False)  # clients see alarms with values

    async def _write_limits(self, one: float, other: float) -> None:
        low, high = min(one, other), max(one, other)
        fields = self.fields
        dial = sorted((self._dial(low), self._dial(high)))
        await set_to(fields.dial_low_limit, dial[0])
        await set_to(fields.dial_high_limit, dial[1])
        await self.val.write_metadata(lower_ctrl_limit=low, upper_ctrl_limit=high)
        await set_to(fields.user_low_limit, low)  # after the limits of VAL, which clients read again when these change
        await set_to(fields.user_high_limit, high)

    # ── user and dial ───────────────────────────────────────────────────────────────────────────────────────────
    def _sign(self) -> int:
        return -1 if self.fields.user_direction.value == "Neg" else 1

    def _user(self, dial: float) -> float:
        return round(self._sign() * dial + float(self.fields.user_offset.value), DIGITS + 3)

    def _dial(self, user: float) -> float:
        return self._sign() * (user - float(self.fields.user_offset.value))
