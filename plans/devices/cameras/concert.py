"""Cameras of KIT's Concert as cameras of TomoDetector. Concert is not imported: the camera is used as it is given.

Concert's own stream numbers no image and drops what does not fit into its queue. So each image is grabbed here,
numbered, and sent over the acknowledged transport, which keeps it until the daemon has it on disk.

Source: ufo-kit/concert, concert/devices/cameras/base.py and uca.py.
"""

import asyncio
import inspect
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from streamer.client import LinkError, LinkTimeout
from streamer.flow.wire import EndStatus
from streamer.frames import FrameKind, ScanSpec
from streamer.keys import ENVIRONMENT
from streamer.producer import Producer, SpoolFullError

from ..claim import ASK_S, BeamlineTaken, Claim, GivenUp
from ..epics.trigger import PositionTrigger
from ..requests import Exposures
from .camera import CLEANUP_S, Activity, DetectorHardware, Geometry
from .event_loop import EventLoop

log = logging.getLogger(__name__)

ORDER_S = 20.0  # a camera is set, or begins to record
RETRY_S = 0.02  # a full spool is tried again
SAFE_S = 30.0  # after a scan the daemon may take so long to have the last frames on disk
TOLERANCE = 0.01  # share by which a time that the camera can take may differ from what was asked
STANDBY = "standby"  # state of a camera that does not record
NAME = "the Concert camera"


class ConcertCamera(DetectorHardware):
    """``camera`` is a ``concert.devices.cameras.base.Camera``, or what its class gives before it is awaited.

    It lives in an event loop of its own here. ``endpoint`` is where the daemon takes frames, with
    ``source.transport = "acknowledged"`` and ``source.bind = true``. ``spool_mb`` MiB of frames wait for it, then the
    camera does. Exposures at the camera's own rate have its trigger source AUTO, those at positions of the rotation
    EXTERNAL, one pulse for each image. ``rotation`` is any motor with a ``position`` in degrees, of which projections
    at the camera's own rate need the angle. ``dtype`` is for cameras that have no ``sensor_bitdepth``. ``pixel_size_m``
    is that in the sample. ``trigger`` and ``claim`` are as in ``AreaDetector``; ``key`` is the file with the key of a
    client, for a daemon with keys. Raises LinkTimeout when the camera does not answer, LinkError when it refuses.
    """

    def __init__(
        self,
        camera: Any,
        endpoint: str,
        pixel_size_m: float | None = None,
        max_rate_hz: float = 1000.0,
        saturation: float | None = None,
        dtype: str = "<u2",
        rotation: Any = None,
        trigger: PositionTrigger | None = None,
        claim: Claim | None = None,
        spool_mb: float = 1024.0,
        key: Path | str | None = None,
    ) -> None:
        self._given, self._endpoint = camera, endpoint
        self._pixel_size_m, self._max_rate_hz, self._saturation = pixel_size_m, max_rate_hz, saturation
        self._dtype, self._rotation, self._trigger, self._claim = dtype, rotation, trigger, claim
        self._spool_mb = spool_mb
        key_file = key or os.environ.get(ENVIRONMENT)
        self._key_file = Path(key_file) if key_file else None
        self._loop = EventLoop(NAME)
        self._camera: asyncio.Future[Any] | None = None
        self._owner = ""  # the scan to which the camera belongs
        self._owning = threading.Lock()
        self._producer: Producer | None = None
        self._exposing: asyncio.Task[None] | None = None
        self._acquiring = self._stopping = self._cancelled = False
        self._issued = 0
        self._error: str | None = None
        self._frame_s = 0.0  # from the start of one exposure to the end of the next

    def close(self) -> None:
        """End the thread of the camera, which cannot be used any more."""
        self._loop.close()

    def geometry(self) -> Geometry:
        return self._loop.run(self._geometry(), ORDER_S)

    async def _geometry(self) -> Geometry:
        camera = await self._ready()
        rows, columns = [round((await _get(camera, f"roi_{side}")).magnitude) for side in ("height", "width")]
        if await camera.get_rotate() % 2:
            rows, columns = columns, rows
        dtype = self._dtype
        if hasattr(camera, "get_sensor_bitdepth"):
            dtype = "<u2" if (await camera.get_sensor_bitdepth()).magnitude > 8 else "|u1"
        return Geometry(rows, columns, self._pixel_size_m, self._max_rate_hz, self._saturation, dtype)

    def claim(self, scan_id: str, patience_s: float, given_up: Callable[[], bool]) -> None:
        end = time.monotonic() + patience_s
        if self._claim is not None:
            self._claim.take(scan_id, patience_s, given_up)
        while (news := self._taken_by(scan_id)) is not None:
            if given_up():
                raise GivenUp(f"scan {scan_id} was given up while it waited: {news}")
            if time.monotonic() > end:
                raise BeamlineTaken(f"{news}, for more than {patience_s:g} s")
            time.sleep(ASK_S)

    def _taken_by(self, scan_id: str) -> str | None:
        """Make the camera that of a scan; else who has it."""
        state = self._loop.run(self._state(), ORDER_S)
        with self._owning:
            if self._owner not in ("", scan_id):
                return f"{NAME} belongs to scan {self._owner}"
            if state != STANDBY:
                return f"{NAME} is {state}: it records for somebody else; stop it"
            self._owner = scan_id
        return None

    def give_back(self, scan_id: str) -> None:
        if self._owner == scan_id:
            with suppress(LinkError, LinkTimeout):
                self.stop()
            self._let_go()
            self._owner = ""
        if self._claim is not None:
            self._claim.give_back(scan_id)

    def _let_go(self) -> None:
        """The producer closes once the daemon has everything."""
        producer, self._producer = self._producer, None
        if producer is not None and not sys.is_finalizing():  # when no thread begins any more, and start() hangs
            # No daemon thread, though the RunEngine's is one: a session that ends now would take the frames with it.
            threading.Thread(target=_close_when_safe, args=(producer,), name="last frames", daemon=False).start()

    def prepare(self, spec: ScanSpec, rate_hz: float) -> None:
        self._let_go()
        self._loop.run(self._set_times(spec.exposure_s, rate_hz), ORDER_S)
        self._issued, self._error = 0, None
        self._frame_s = spec.exposure_s + 1.0 / rate_hz
        self._producer = Producer(
            self._endpoint, spec, spool_mb=self._spool_mb, source="concert", key_file=self._key_file
        )

    async def _set_times(self, exposure_s: float, rate_hz: float) -> None:
        camera = await self._ready()
        if self._exposing is not None and not self._exposing.done():
            raise LinkError("an image of the scan before is still awaited: grab() does not return")
        for name, value, unit in (("exposure_time", exposure_s, "second"), ("frame_rate", rate_hz, "1/second")):
            quantity = type(await _get(camera, name))  # of Concert's own registry of units
            await getattr(camera, f"set_{name}")(quantity(value, unit))
        for name, value, unit in (("exposure_time", exposure_s, "second"), ("frame_rate", rate_hz, "1/second")):
            read = float((await _get(camera, name)).to(unit).magnitude)
            if abs(read - value) > TOLERANCE * value:
                raise LinkError(f"{name} is {read:g} after {value:g} was set: ask for what the camera can do")

    def acquire(self, exposures: Exposures) -> None:
        at_positions = exposures.step_deg is not None
        if not at_positions and exposures.kind is FrameKind.PROJECTION and self._rotation is None:
            raise LinkError(f"{NAME} needs a rotation: projections at its own rate have no angle without one")
        trigger = self._trigger if at_positions else None
        if trigger is not None:
            trigger.disarm()  # armed for another scan, its pulses would come too early
        self._loop.run(self._begin(exposures), ORDER_S)
        if trigger is not None and exposures.step_deg is not None:
            trigger.arm(exposures.start_deg, exposures.step_deg, exposures.frames)  # now no pulse is lost

    async def _begin(self, exposures: Exposures) -> None:
        camera, producer = await self._ready(), self._producer
        if producer is None or self._acquiring:
            raise LinkError("it takes frames already" if self._acquiring else "no scan is prepared")
        sources = camera.trigger_sources
        await camera.set_trigger_source(sources.AUTO if exposures.step_deg is None else sources.EXTERNAL)
        await camera.start_recording()
        self._acquiring, self._stopping, self._cancelled = True, False, False
        self._exposing = asyncio.create_task(self._expose(camera, producer, exposures))

    async def _expose(self, camera: Any, producer: Producer, exposures: Exposures) -> None:
        """Grab, number and send the frames; whatever goes wrong is the error of ``activity``."""
        try:
            for number in range(exposures.frames):
                image = np.ascontiguousarray(await camera.grab())
                began_ns = time.time_ns() - int(1e9 * producer.spec.exposure_s)
                await self._send(producer, exposures.kind, self._angle_deg(exposures, number), image, began_ns)
                if self._stopping:
                    break
        except asyncio.CancelledError:
            if not self._stopping:
                self._error = f"{NAME}: the exposures were cancelled"
        except Exception as error:
            self._error = f"{NAME}: {_text(error)}"
        finally:
            try:
                await self._rest(camera)
            finally:
                self._acquiring = False

    def _angle_deg(self, exposures: Exposures, number: int) -> float:
        if exposures.step_deg is not None:
            return exposures.start_deg + number * exposures.step_deg
        return 0.0 if self._rotation is None else float(self._rotation.position)

    async def _send(self, producer: Producer, kind: FrameKind, angle_deg: float, image: Any, began_ns: int) -> None:
        while True:
            with suppress(SpoolFullError):  # the loop goes on, so that the exposures can be stopped meanwhile
                producer.send(self._issued, kind, angle_deg, image, timestamp_ns=began_ns, timeout_s=0.0)
                self._issued += 1
                return
            await asyncio.sleep(RETRY_S)

    async def _rest(self, camera: Any) -> None:
        """Have the camera record no more."""
        try:
            if await camera.get_state() != STANDBY:
                await camera.stop_recording()
        except Exception as error:
            self._error = self._error or f"{NAME} does not stop recording: {_text(error)}"

    def activity(self) -> Activity:
        if self._loop.ended:
            return Activity(False, self._issued, f"{NAME}: its event loop has ended")
        acquiring = self._acquiring
        return Activity(acquiring, self._issued, self._error)  # after the state: no frame follows the last one

    def stop(self) -> None:
        if self._acquiring and not self._stopping:
            self._stopping = True
            self._loop.post(self._end_exposures(self._frame_s))
            if self._trigger is not None:
                self._trigger.disarm()

    async def _end_exposures(self, patience_s: float) -> None:
        """Wait so long for the present frame, which never comes from a rotation that stands; then cancel it."""
        if self._exposing is None:
            return
        self._stopping = True
        await asyncio.wait({self._exposing}, timeout=patience_s)
        if not (self._exposing.done() or self._cancelled):
            self._cancelled = True  # a second time would end stop_recording, too
            self._exposing.cancel()
        await asyncio.wait({self._exposing})

    def finish(self, status: EndStatus) -> None:
        aborted = status == "aborted"
        patience_s = 0.0 if aborted else self._frame_s
        self._loop.run(self._finish(status, patience_s), patience_s + (CLEANUP_S if aborted else ORDER_S))

    async def _finish(self, status: EndStatus, patience_s: float) -> None:
        try:
            await asyncio.wait_for(self._end_exposures(patience_s), patience_s + CLEANUP_S / 2)
        except TimeoutError:
            raise TimeoutError("its exposures do not end: grab() or stop_recording() does not return") from None
        finally:
            await self._say_end(status)

    async def _say_end(self, status: EndStatus) -> None:
        while self._producer is not None:
            with suppress(SpoolFullError):
                self._producer.end(status, timeout_s=0.0)
                return
            await asyncio.sleep(RETRY_S)

    async def _state(self) -> str:
        return str(await (await self._ready()).get_state())

    async def _ready(self) -> Any:
        """The camera, which is awaited only once."""
        if self._camera is None:
            self._camera = asyncio.ensure_future(_awaited(self._given))
        return await asyncio.shield(self._camera)


async def _awaited(camera: Any) -> Any:
    return await camera if inspect.isawaitable(camera) else camera


async def _get(camera: Any, name: str) -> Any:
    """A parameter of the camera, a quantity with a unit."""
    if not hasattr(camera, f"get_{name}"):
        raise LinkError(f"{type(camera).__name__} has no parameter {name}")
    return await getattr(camera, f"get_{name}")()


def _close_when_safe(producer: Producer) -> None:
    """Let the daemon take what is left, but not for ever."""
    end = time.monotonic() + SAFE_S
    while producer.unacknowledged and time.monotonic() < end:
        time.sleep(ASK_S)
    if producer.unacknowledged:
        why = producer.held or "it does not answer"
        log.warning(
            "scan %s: the daemon did not acknowledge %d messages: %s",
            producer.spec.scan_id,
            producer.unacknowledged,
            why,
        )
    producer.close()


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
