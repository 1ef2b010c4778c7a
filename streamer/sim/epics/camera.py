"""Records of areaDetector over the camera of the virtual beamline, and the trigger by position.

The records are those of ADBase and NDPluginBase that a scan uses, or that ophyd-async asks for. The plugin is the
beamline's own frame stream, which the daemon receives as ever. What areaDetector does not know, a scan, is announced in
records of its own: ``scan:Spec`` (the announcement as JSON) before the first frame and ``scan:End`` ("ok", "stopped",
"aborted") after the last one.
"""

from __future__ import annotations

from typing import Any

import msgspec
from caproto import ChannelType, SkipWrite
from caproto.server import PVGroup, get_pv_pair_wrapper, pvproperty

from streamer.flow.wire.beamline import Acquire, BeamlineStatus, Finish, Prepare, StopAcquire
from streamer.frames import BadInput, FrameKind, ScanSpec
from streamer.sim.epics.hardware import Hardware
from streamer.sim.epics.motor import set_to

STATES = ["Idle", "Acquire", "Readout", "Correct", "Saving", "Aborting", "Error", "Waiting", "Initializing"]
STATES += ["Disconnected", "Aborted"]
TYPES = ["Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float32", "Float64"]
KINDS = {"Normal": FrameKind.PROJECTION, "Background": FrameKind.DARK, "FlatField": FrameKind.FLAT}
MAX_SPEC = 16000  # bytes; Channel Access carries 16384 unless it is told otherwise

pair = get_pv_pair_wrapper(setpoint_suffix="", readback_suffix="_RBV")


def setting(name: str, value: float) -> Any:
    """A record whose readback follows it."""
    return pair(name=name, value=value, dtype=type(value))


def choice(name: str, *strings: str) -> Any:
    """A record with choices, whose readback follows it."""
    return pair(name=name, value=strings[0], dtype=ChannelType.ENUM, enum_strings=strings)


def text(name: str, value: str = "", length: int = 256, **more: Any) -> Any:
    """A record of characters, for texts above 39."""
    return pvproperty(name=name, value=value, dtype=str, max_length=length, **more)


class PositionTrigger(PVGroup):
    """Pulses of the rotation: Count of them, from Start on, every Step degrees, once Arm is 1."""

    start = pvproperty(name="Start", value=0.0, precision=6)
    step = pvproperty(name="Step", value=0.0, precision=6)
    count = pvproperty(name="Count", value=0)
    arm = pvproperty(name="Arm", value="Disarm", dtype=ChannelType.ENUM, enum_strings=["Disarm", "Arm"])

    @property
    def armed(self) -> bool:
        return bool(self.arm.value == "Arm")


class Plugin(PVGroup):
    enable = choice("EnableCallbacks", "Disable", "Enable")
    source = pair(name="NDArrayPort", value="", dtype=ChannelType.STRING)
    shortest = setting("MinCallbackTime", 0.0)
    dropped = pvproperty(name="DroppedArrays_RBV", value=0)
    dropped_output = pvproperty(name="DroppedOutputArrays_RBV", value=0)


class Camera(PVGroup):
    """``show`` takes every state of the beamline."""

    time = setting("AcquireTime", 0.01)
    period = setting("AcquirePeriod", 0.01)
    mode = choice("ImageMode", "Single", "Multiple", "Continuous")
    images = setting("NumImages", 1)
    trigger = choice("TriggerMode", "Internal", "External")
    frame_type = choice("FrameType", *KINDS)
    callbacks = choice("ArrayCallbacks", "Disable", "Enable")
    counter = setting("ArrayCounter", 0)
    columns = pvproperty(name="ArraySizeX_RBV", value=0)
    rows = pvproperty(name="ArraySizeY_RBV", value=0)
    pixel_size = pvproperty(name="PixelSize_RBV", value=0.0, precision=6, units="um")
    energy = pvproperty(name="Energy_RBV", value=0.0, precision=3, units="keV")
    saturation = pvproperty(name="Saturation_RBV", value=0.0)
    stored = pvproperty(name="DataType_RBV", value="UInt16", dtype=ChannelType.ENUM, enum_strings=TYPES)
    state = pvproperty(name="DetectorState_RBV", value="Idle", dtype=ChannelType.ENUM, enum_strings=STATES)
    message = text("StatusMessage_RBV")
    port = pvproperty(name="PortName_RBV", value="SIM", dtype=ChannelType.STRING)
    unique_id = pvproperty(name="UniqueId_RBV", value=0)
    layers = pvproperty(name="ArraySizeZ_RBV", value=0)
    size_0 = pvproperty(name="ArraySize0_RBV", value=0)
    size_1 = pvproperty(name="ArraySize1_RBV", value=0)
    size_2 = pvproperty(name="ArraySize2_RBV", value=0)
    colour = pvproperty(name="ColorMode_RBV", value="Mono", dtype=ChannelType.ENUM, enum_strings=["Mono", "Bayer"])
    waits = pvproperty(name="WaitForPlugins", value="No", dtype=ChannelType.ENUM, enum_strings=["No", "Yes"])
    attributes = pvproperty(name="NDAttributesFile", value="", dtype=ChannelType.STRING)
    core = pvproperty(name="ADCoreVersion_RBV", value="3.14.0", dtype=ChannelType.STRING)
    driver = pvproperty(name="DriverVersion_RBV", value="1.0", dtype=ChannelType.STRING)
    maker = pvproperty(name="Manufacturer_RBV", value="Streamer", dtype=ChannelType.STRING)
    model = pvproperty(name="Model_RBV", value="virtual beamline", dtype=ChannelType.STRING)
    serial = pvproperty(name="SerialNumber_RBV", value="1", dtype=ChannelType.STRING)
    sdk = pvproperty(name="SDKVersion_RBV", value="1.0", dtype=ChannelType.STRING)
    firmware = pvproperty(name="FirmwareVersion_RBV", value="1.0", dtype=ChannelType.STRING)
    acquiring = pvproperty(name="Acquire_RBV", value="Done", dtype=ChannelType.ENUM, enum_strings=["Done", "Acquiring"])
    acquire = pvproperty(name="Acquire", value="Done", dtype=ChannelType.ENUM, enum_strings=["Done", "Acquire"])

    def __init__(self, prefix: str, hardware: Hardware, pulses: PositionTrigger) -> None:
        super().__init__(prefix=prefix)
        self._hardware, self._pulses = hardware, pulses
        self.acquire.putter = self._put_acquire
        self._issued = 0
        self._serial = 0  # of the last acquisition
        self._busy = False  # from the order until its end was seen

    async def _put_acquire(self, channel: Any, value: str) -> None:
        """A put with a callback is answered when the last image was taken."""
        if value == "Acquire" and not self._busy:
            self._busy = True
            self._serial += 1
            await self._show_state("Acquire", "")
            await set_to(channel, "Acquire")
            await self._take(self._serial)
            await set_to(channel, "Done")
        elif value == "Done" and self._busy:
            self._serial += 1
            await self._stop()
        raise SkipWrite

    async def _take(self, mine: int) -> None:
        """Take the images, and return when none is to come."""
        order = await self._order(mine)
        refused = "" if order is None else await self._hardware.order(order)
        if refused:
            await self._end("Error", refused)
        elif order is None or self._hardware.status is None:
            await self._end("Aborted", "")
        else:
            while (status := await self._hardware.fresh()) is not None and status.detector.acquiring:
                pass
            error = "the virtual beamline does not answer" if status is None else status.detector.error
            await self._end("Error" if error else "Idle", error or "")

    async def _order(self, mine: int) -> Acquire | None:
        """The order for the hardware; None when it was stopped while it waited for the trigger to be armed."""
        frames = 1 if self.mode.readback.value == "Single" else int(self.images.readback.value)
        kind, scan_id = KINDS[self.frame_type.readback.value], self._hardware.scan_id
        if self.trigger.readback.value == "Internal":
            return Acquire(scan_id, frames, kind)
        while not self._pulses.armed:
            await self._hardware.fresh()
            if mine != self._serial:
                return None
        start, step = float(self._pulses.start.value), float(self._pulses.step.value)
        return Acquire(scan_id, min(frames, int(self._pulses.count.value)), kind, "position", start, step)

    async def _stop(self) -> None:
        status = self._hardware.status
        if status is not None and status.detector.acquiring and status.detector.scan_id is not None:
            await self._hardware.order(StopAcquire(status.detector.scan_id))

    async def _end(self, state: str, message: str) -> None:
        await self._pulses.arm.write("Disarm")
        self._busy = False
        await self._show_state(state, message)

    async def _show_state(self, state: str, message: str) -> None:
        await set_to(self.message, message)
        await set_to(self.state, state)
        await set_to(self.acquiring, "Acquiring" if self._busy else "Done")

    async def show(self, status: BeamlineStatus | None) -> None:
        if status is None:
            await set_to(self.message, "the virtual beamline does not answer")
            await set_to(self.state, "Disconnected")
            return
        detector = status.detector
        await set_to(self.rows, detector.rows)
        await set_to(self.columns, detector.columns)
        await set_to(self.size_0, detector.columns)
        await set_to(self.size_1, detector.rows)
        await set_to(self.pixel_size, detector.pixel_size_m * 1e6)
        await set_to(self.energy, detector.energy_kev)
        await set_to(self.saturation, detector.saturation)
        new = detector.issued - self._issued if detector.issued >= self._issued else detector.issued
        self._issued = detector.issued
        if new:
            await set_to(self.counter.readback, self.counter.readback.value + new)
        if self.state.value == "Disconnected" and not self._busy:
            await self._show_state("Idle", "")


class Scan(PVGroup):
    """What the virtual beamline must know of a scan. ``Answer_RBV`` is "" when the last write was taken."""

    spec = text("Spec", length=MAX_SPEC)
    end = text("End")
    answer = text("Answer_RBV")

    def __init__(self, prefix: str, hardware: Hardware, camera: Camera) -> None:
        super().__init__(prefix=prefix)
        self._hardware, self._camera = hardware, camera
        self.spec.putter = self._put_spec
        self.end.putter = self._put_end

    async def _put_spec(self, _channel: Any, value: str) -> None:
        try:
            spec = msgspec.json.decode(value, type=ScanSpec)
            period = max(float(self._camera.period.readback.value), 1e-6)
            await set_to(self.answer, await self._hardware.order(Prepare(spec, 1.0 / period, self._hardware.owner)))
        except (msgspec.MsgspecError, BadInput) as error:
            await set_to(self.answer, f"bad_input: {error}")
        await self._hardware.fresh()  # the counter of frames begins anew

    async def _put_end(self, _channel: Any, value: str) -> None:
        try:
            order = msgspec.convert({"scan_id": self._hardware.scan_id, "status": value}, Finish)
            await set_to(self.answer, await self._hardware.order(order))
        except (msgspec.MsgspecError, BadInput) as error:
            await set_to(self.answer, f"bad_input: {error}")
