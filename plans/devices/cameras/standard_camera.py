"""A StandardDetector of ophyd-async as the camera of TomoDetector. Needs ophyd-async and aioca, of the extra ``epics``.

Such a detector knows how its driver is set for exposures and triggers.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from ophyd_async.core import (
    DetectorTrigger,
    DetectorTriggerLogic,
    SignalRW,
    StandardDetector,
    SubsetEnum,
    TriggerInfo,
)
from ophyd_async.epics.adcore import ADAcquireLogic, ADBaseIO, AreaDetector, prepare_exposures
from ophyd_async.epics.core import PvSuffix

from streamer.flow.wire import EndStatus
from streamer.frames import ScanSpec

from ..epics.record import ANSWER_S
from ..requests import Exposures
from . import area_detector
from .event_loop import EventLoop

ORDER_S = 20.0


class TriggerMode(SubsetEnum):
    """The choices of ADBase."""

    INTERNAL = "Internal"
    EXTERNAL = "External"


class BaseDriver(ADBaseIO):
    """A driver that has the TriggerMode of ADBase."""

    trigger_mode: Annotated[SignalRW[TriggerMode], PvSuffix.rbv("TriggerMode")]


@dataclass
class BaseTriggerLogic(DetectorTriggerLogic):
    driver: BaseDriver

    async def prepare_internal(self, num: int, livetime: float, deadtime: float) -> None:
        await self.driver.trigger_mode.set(TriggerMode.INTERNAL)
        await prepare_exposures(self.driver, num, livetime, deadtime)

    async def prepare_edge(self, num: int, livetime: float) -> None:
        await self.driver.trigger_mode.set(TriggerMode.EXTERNAL)
        await prepare_exposures(self.driver, num, livetime)


class BaseDetector(AreaDetector[BaseDriver]):
    """A StandardDetector for drivers with the records of ADBase; ``prefix`` as "ca://13SIM1:cam1:"."""

    def __init__(self, prefix: str, name: str = "") -> None:
        driver = BaseDriver(prefix)
        super().__init__(
            driver, acquire_logic=ADAcquireLogic(driver), trigger_logic=BaseTriggerLogic(driver), name=name
        )


class StandardCamera(area_detector.AreaDetector):
    """An areaDetector whose exposures are prepared and started by ``detector``, a StandardDetector without a file.

    Exposures at the camera's own rate are its INTERNAL trigger, those at positions of the rotation EXTERNAL_EDGE. All
    other arguments are those of ``AreaDetector``, which ``internal_trigger`` and ``position_trigger`` do not concern.
    """

    def __init__(self, detector: StandardDetector, camera: str, plugin: str, **settings: Any) -> None:
        super().__init__(camera, plugin, **settings)
        self._detector = detector
        self._loop = EventLoop(detector.name or "the StandardDetector")
        self._exposure_s = self._period_s = 0.0

    def prepare(self, spec: ScanSpec, rate_hz: float) -> None:
        self._exposure_s, self._period_s = spec.exposure_s, 1.0 / rate_hz
        self._run(self._detector.connect(timeout=ANSWER_S))
        self._run(_awaited(self._detector.stage))
        super().prepare(spec, rate_hz)

    def finish(self, status: EndStatus) -> None:
        super().finish(status)
        self._run(_awaited(self._detector.unstage))

    def _start(self, exposures: Exposures) -> None:
        internal = exposures.step_deg is None
        info = TriggerInfo(
            trigger=DetectorTrigger.INTERNAL if internal else DetectorTrigger.EXTERNAL_EDGE,
            livetime=self._exposure_s,
            deadtime=max(0.0, self._period_s - self._exposure_s) if internal else 0.0,
            collections_per_event=exposures.frames,
        )
        self._run(_awaited(lambda: self._detector.prepare(info)))  # with an external trigger it acquires from here on
        if internal:
            self._run(self._begin())

    async def _begin(self) -> None:
        """Start, and leave the rest to ``activity``, which sees the end and every fault of the driver."""
        status = self._detector.trigger()
        status.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        self._loop.run(work, ORDER_S)


async def _awaited(begin: Callable[[], Any]) -> None:
    """Await a Status that must be made within the loop."""
    await begin()
