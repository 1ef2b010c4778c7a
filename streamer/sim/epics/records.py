"""Records of the shutter, the storage ring, the sample changer, and of the claim on the beamline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from caproto import ChannelType, SkipWrite
from caproto.server import PVGroup, pvproperty

from streamer.flow.wire.beamline import BeamlineStatus, Claim, Release, SetShutter
from streamer.flow.wire.changer import Mount, Park
from streamer.flow.wire.control import Request
from streamer.frames import BadInput
from streamer.sim.epics.camera import text
from streamer.sim.epics.hardware import Hardware
from streamer.sim.epics.motor import set_to

NO_SAMPLE = -1
FULL_MA = 100.0


class Shutter(PVGroup):
    """What Status_RBV says is the shutter, not the command."""

    command = pvproperty(name="Cmd", value="Close", dtype=ChannelType.ENUM, enum_strings=["Close", "Open"])
    status = pvproperty(name="Status_RBV", value="Closed", dtype=ChannelType.ENUM, enum_strings=["Closed", "Open"])

    def __init__(self, prefix: str, hardware: Hardware) -> None:
        super().__init__(prefix=prefix)
        self._hardware = hardware
        self.command.putter = self._put_command

    async def _put_command(self, _channel: Any, value: str) -> None:
        if await self._hardware.order(SetShutter(value == "Open", self._hardware.owner)):
            raise SkipWrite

    async def show(self, status: BeamlineStatus | None) -> None:
        if status is not None:
            await set_to(self.status, status.shutter.capitalize())


class Ring(PVGroup):
    """The current in mA, and the shutter of the front end, which belongs to the machine."""

    current = pvproperty(name="Current_RBV", value=0.0, precision=3, units="mA")
    front_end = pvproperty(name="FrontEnd_RBV", value="Closed", dtype=ChannelType.ENUM, enum_strings=["Closed", "Open"])

    async def show(self, status: BeamlineStatus | None) -> None:
        if status is not None:
            await set_to(self.current, FULL_MA * status.beam.current)
            await set_to(self.front_end, status.beam.front_end.capitalize())


class Changer(PVGroup):
    """Mount puts the sample of Slot on the stage. ``Answer_RBV`` is "" when the last order was taken, else why not."""

    slot = pvproperty(name="Slot", value=0)
    mount = pvproperty(name="Mount", value=0)
    unmount = pvproperty(name="Unmount", value=0)
    park = pvproperty(name="Park", value=0)
    answer = text("Answer_RBV")
    mounted = pvproperty(name="Mounted_RBV", value=NO_SAMPLE)
    slots = pvproperty(name="Slots_RBV", value=0)
    state = text("State_RBV", "parked", 40)
    fault = text("Fault_RBV")
    inventory = text("Inventory_RBV", length=2000)

    def __init__(self, prefix: str, hardware: Hardware) -> None:
        super().__init__(prefix=prefix)
        self._hardware = hardware
        self.mount.putter = self._put_mount
        self.unmount.putter = self._put_unmount
        self.park.putter = self._put_park

    async def _put_mount(self, _channel: Any, value: int) -> None:
        await self._order(value, lambda owner: Mount(int(self.slot.value), owner))

    async def _put_unmount(self, _channel: Any, value: int) -> None:
        await self._order(value, lambda owner: Mount(None, owner))

    async def _put_park(self, _channel: Any, value: int) -> None:
        await self._order(value, Park)

    async def _order(self, value: int, order: Callable[[str | None], Request[Any]]) -> None:
        """Give the order, and answer when State_RBV shows what it led to."""
        if value:
            await set_to(self.answer, await self._hardware.order(order(self._hardware.owner)))
            await self._hardware.fresh()
        raise SkipWrite

    async def show(self, status: BeamlineStatus | None) -> None:
        if status is None:
            return
        changer = status.changer
        await set_to(self.slots, changer.slots)
        await set_to(self.mounted, NO_SAMPLE if changer.mounted is None else changer.mounted)
        await set_to(self.fault, changer.fault or "")
        await set_to(self.inventory, " ".join(changer.inventory))
        await set_to(self.state, changer.state.value)


class Ownership(PVGroup):
    """The claim on the beamline: Take is "SCAN_ID USER LEASE_S" and must be written again before the lease is over.

    Owner_RBV is the scan that has the beamline, User_RBV its user; Waiting_RBV are the users who wait, in their order.
    """

    take = text("Take")
    release = text("Release")
    answer = text("Answer_RBV")
    owner = text("Owner_RBV")
    user = text("User_RBV")
    waiting = text("Waiting_RBV", length=4000)

    def __init__(self, prefix: str, hardware: Hardware) -> None:
        super().__init__(prefix=prefix)
        self._hardware = hardware
        self.take.putter = self._put_take
        self.release.putter = self._put_release

    async def _put_take(self, _channel: Any, value: str) -> None:
        words = dict(zip(("scan_id", "user", "lease_s"), value.split(), strict=False))
        await self._claim(Claim, words)

    async def _put_release(self, _channel: Any, value: str) -> None:
        await self._claim(Release, {"scan_id": value.strip()})

    async def _claim(self, kind: type[Request[Any]], words: dict[str, str]) -> None:
        try:
            order = msgspec.convert(words, kind, strict=False)
            await set_to(self.answer, await self._hardware.order(order))
        except (msgspec.MsgspecError, BadInput) as error:
            await set_to(self.answer, f"bad_input: {error}")
        await self._hardware.fresh()

    async def show(self, status: BeamlineStatus | None) -> None:
        if status is None:
            return
        owner = status.ownership
        await set_to(self.waiting, " ".join(owner.waiting))
        await set_to(self.user, owner.user or "")
        await set_to(self.owner, owner.scan_id or "")
