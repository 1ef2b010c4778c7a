"""Cameras of EPICS areaDetector as cameras of TomoDetector, over Channel Access. Needs pyepics, the extra ``epics``.

A plugin of the IOC (NDPluginZMQ or NDPluginPva) sends the frames to the daemon; the IOC writes no file. Only records of
ADBase and NDPluginBase are used, which every driver and plugin of ADCore 3 has.

Source: ADCore, ADBase.template and NDPluginBase.template.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from streamer.client import LinkError, LinkTimeout
from streamer.flow.wire import EndStatus
from streamer.frames import BadInput, FrameKind, ScanSpec

from ..claim import ASK_S, BeamlineTaken, Claim, GivenUp
from ..epics.announcement import Announcement
from ..epics.record import Record
from ..epics.trigger import PositionTrigger
from ..requests import Exposures
from ..waiting import PERIOD_S
from .camera import CLEANUP_S, Activity, DetectorHardware, Geometry

log = logging.getLogger(__name__)

CONFIRM_S = 5.0  # the camera takes a setting
TOLERANCE = 0.01  # share by which a time that the camera can take may differ from what was asked

DTYPES = {"UInt8": "|u1", "UInt16": "<u2", "UInt32": "<u4", "Float32": "<f4"}
FRAME_TYPES = {FrameKind.PROJECTION: 0, FrameKind.DARK: 1, FrameKind.FLAT: 2}  # Normal, Background, FlatField
READINGS = ("pixel_size_um", "energy_kev", "distance_mm", "saturation")
BUSY = ("Acquire", "Readout", "Correct", "Saving", "Aborting")
FAILED = ("Error", "Disconnected")

CAMERA_SETTINGS = (
    *("Acquire", "AcquireTime", "AcquirePeriod", "ImageMode", "NumImages", "TriggerMode", "FrameType"),
    *("ArrayCallbacks", "ArrayCounter"),
)
CAMERA_TEXTS = ("DataType_RBV", "DetectorState_RBV", "StatusMessage_RBV", "PortName_RBV")
CAMERA_READINGS = ("ArraySizeX_RBV", "ArraySizeY_RBV", *CAMERA_TEXTS)
PLUGIN_SETTINGS = ("EnableCallbacks", "NDArrayPort", "MinCallbackTime")
PLUGIN_READINGS = ("DroppedArrays_RBV", "DroppedOutputArrays_RBV")
TEXTS = ("ImageMode", "TriggerMode", "NDArrayPort", *CAMERA_TEXTS)  # read as text, all others as numbers


class AreaDetector(DetectorHardware):
    """The camera whose records begin with ``camera``, as "13SIM1:cam1:", and the plugin that sends its frames.

    ``plugin`` is as "13SIM1:ZMQ1:" (``adzmq``) or "13SIM1:Pva1:" (``pva``). It is fed by the camera, or by the plugin
    whose port is ``array_port``, which must leave size and type as they are. ``internal_trigger`` and
    ``position_trigger`` are choices of TriggerMode: the camera's own clock, and a pulse of the rotation for each image.
    ``saturation`` is the largest count of a camera that has fewer bits than its pixel type. ``trigger`` is armed for
    the pulses of the rotation, where a record does that. ``claim`` is of a beamline whose IOC knows claims, and
    ``announcement`` of one that wants to know the scan. ``readings`` names records of numbers by what they say:
    "pixel_size_um" (in the sample), "energy_kev", "distance_mm" (from the sample to the camera), "saturation".

    A camera that acquires belongs to somebody else, or shows a live view: a scan waits until it stands still. Raises
    LinkTimeout for a record that does not answer, LinkError for what the camera does not do, BadInput without pyepics.
    """

    announces_end = False

    def __init__(
        self,
        camera: str,
        plugin: str,
        pixel_size_m: float | None = None,
        max_rate_hz: float = 1000.0,
        saturation: float | None = None,
        internal_trigger: str = "Internal",
        position_trigger: str = "External",
        array_port: str | None = None,
        trigger: PositionTrigger | None = None,
        claim: Claim | None = None,
        announcement: Announcement | None = None,
        readings: Mapping[str, str] | None = None,
    ) -> None:
        self._camera = _Records(camera, CAMERA_SETTINGS, CAMERA_READINGS)
        self._plugin = _Records(plugin, PLUGIN_SETTINGS, PLUGIN_READINGS)
        self._pixel_size_m, self._max_rate_hz, self._saturation = pixel_size_m, max_rate_hz, saturation
        self._internal_trigger, self._position_trigger = internal_trigger, position_trigger
        self._array_port = array_port
        for what in readings or {}:
            if what not in READINGS:
                raise BadInput(f"readings: {what} is not known; known: {', '.join(READINGS)}")
        self._readings = {what: Record(name) for what, name in (readings or {}).items()}
        self._trigger, self._claim, self._announcement = trigger, claim, announcement
        self._owner = ""  # the scan to which the camera belongs
        self._taking = False  # whether frames of it were asked for
        self._dropped_before = 0

    def geometry(self) -> Geometry:
        """The size is that of the last image: areaDetector knows it only then."""
        camera = self._camera
        rows, columns = int(camera.read("ArraySizeY_RBV")), int(camera.read("ArraySizeX_RBV"))
        if not rows or not columns:
            raise LinkError(f"{camera.prefix}ArraySizeX_RBV is {columns}, ArraySizeY_RBV {rows}: take one image first")
        stored = camera.read("DataType_RBV")
        if stored not in DTYPES:
            raise LinkError(f"{camera.prefix}DataType_RBV is {stored}: set DataType to one of {', '.join(DTYPES)}")
        read = {what: float(record.read()) for what, record in self._readings.items()}

        def reading(what: str, unit: float = 1.0) -> float | None:
            return read[what] * unit if read.get(what, 0.0) > 0 else None  # 0: the IOC does not know it

        return Geometry(
            rows,
            columns,
            reading("pixel_size_um", 1e-6) or self._pixel_size_m,
            self._max_rate_hz,
            reading("saturation") or self._saturation,
            DTYPES[stored],
            reading("energy_kev"),
            reading("distance_mm", 1e-3),
        )

    def claim(self, scan_id: str, patience_s: float, given_up: Callable[[], bool]) -> None:
        end = time.monotonic() + patience_s
        if self._claim is not None:
            self._claim.take(scan_id, patience_s, given_up)
        news = f"{self._camera.prefix}Acquire_RBV is 1: the camera acquires for somebody else, or for a live view"
        while self._camera.read("Acquire"):
            if given_up():
                raise GivenUp(f"scan {scan_id} was given up while it waited: {news}")
            if time.monotonic() > end:
                raise BeamlineTaken(f"{news}, for more than {patience_s:g} s; stop it")
            time.sleep(ASK_S)
        self._owner = scan_id

    def give_back(self, scan_id: str) -> None:
        if self._owner == scan_id:  # else it is somebody else who acquires
            self._owner = ""
            with suppress(LinkError, LinkTimeout):
                self.stop()
        if self._claim is not None:
            self._claim.give_back(scan_id)

    def prepare(self, spec: ScanSpec, rate_hz: float) -> None:
        self._taking = False
        camera, plugin = self._camera, self._plugin
        camera.set("ImageMode", "Multiple")
        camera.set("AcquireTime", spec.exposure_s)
        camera.set("AcquirePeriod", 1.0 / rate_hz)
        camera.set("ArrayCallbacks", 1)
        if self._announcement is not None:
            self._announcement.begin(spec)
        camera.set("ArrayCounter", 0)
        plugin.set("NDArrayPort", self._array_port or camera.read("PortName_RBV"))
        plugin.set("MinCallbackTime", 0.0)  # with another one the plugin leaves frames out
        plugin.set("EnableCallbacks", 1)
        self._dropped_before = self._dropped()

    def acquire(self, exposures: Exposures) -> None:
        camera, trigger = self._camera, self._trigger if exposures.step_deg is not None else None
        camera.set("FrameType", FRAME_TYPES[exposures.kind])
        before = camera.read("ArrayCounter")
        if trigger is not None:
            trigger.disarm()  # armed for another scan, its pulses would come too early
        self._taking = True
        self._start(exposures)
        if not _within(CONFIRM_S, lambda: camera.read("Acquire") or camera.read("ArrayCounter") > before):
            raise LinkError(f"{camera.prefix}Acquire was set to 1, and the camera does not acquire: {self._state()}")
        if trigger is not None and exposures.step_deg is not None:
            trigger.arm(exposures.start_deg, exposures.step_deg, exposures.frames)  # now no pulse is lost

    def _start(self, exposures: Exposures) -> None:
        """Have the camera acquire; do not wait for it."""
        camera = self._camera
        camera.set("TriggerMode", self._internal_trigger if exposures.step_deg is None else self._position_trigger)
        camera.set("NumImages", exposures.frames)
        camera.write("Acquire", 1)

    def activity(self) -> Activity:
        acquires, state = bool(self._camera.read("Acquire")), self._camera.read("DetectorState_RBV")
        failed = self._taking and not acquires and state in FAILED
        issued = int(self._camera.read("ArrayCounter"))  # after the state: no frame follows the last one
        return Activity(acquires or state in BUSY, issued, self._state() if failed else None)

    def stop(self) -> None:
        if self._camera.read("Acquire"):
            self._camera.write("Acquire", 0)
            if self._trigger is not None:
                self._trigger.disarm()

    def finish(self, status: EndStatus) -> None:
        self.stop()
        if not _within(CLEANUP_S, lambda: not self.activity().acquiring):
            raise LinkError(f"{self._camera.prefix}Acquire was set to 0, and the camera does not stop: {self._state()}")
        self._taking = False
        if self._announcement is not None:
            self._announcement.end(status)
        dropped = self._dropped() - self._dropped_before
        if dropped > 0:
            way_out = "the daemon was too slow or away, or the queue of the plugin is too short"
            log.warning("plugin %s dropped %d frames of this scan: %s", self._plugin.prefix, dropped, way_out)

    def _state(self) -> str:
        state, message = self._camera.read("DetectorState_RBV"), self._camera.read("StatusMessage_RBV")
        return f"{self._camera.prefix}DetectorState_RBV is {state} ({message or 'without a message'})"

    def _dropped(self) -> int:
        """Frames that the plugin has dropped: its queue was full, or nobody took them from its socket."""
        return sum(int(self._plugin.read(name)) for name in PLUGIN_READINGS)


class _Records:
    """Records of one prefix. A setting NAME is written as NAME and read as NAME_RBV."""

    def __init__(self, prefix: str, settings: tuple[str, ...], readings: tuple[str, ...]) -> None:
        self.prefix = prefix
        self._records: dict[str, Record] = {}
        for name in settings:
            self._records[name] = Record(f"{prefix}{name}_RBV", prefix + name, name in TEXTS)
        for name in readings:
            self._records[name] = Record(prefix + name, text=name in TEXTS)

    def read(self, name: str) -> Any:
        return self._records[name].read()

    def write(self, name: str, value: float | str) -> None:
        """Write without waiting for the readback."""
        self._records[name].write(value)

    def set(self, name: str, value: float | str) -> None:
        """Write, and wait until the readback is near it."""
        self.write(name, value)
        if not _within(CONFIRM_S, lambda: _near(self.read(name), value)):
            read = self.read(name)
            raise LinkError(
                f"{self.prefix}{name}_RBV is {read} after {value} was written: ask for what the camera can do"
            )


def _near(read: float | str, wanted: float | str) -> bool:
    if isinstance(read, str) or isinstance(wanted, str):
        return read == wanted
    return abs(read - wanted) <= TOLERANCE * abs(wanted)


def _within(limit_s: float, condition: Callable[[], Any]) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(PERIOD_S)
    return True
