"""The camera behind TomoDetector: what it must be able to do, and how the virtual beamline does it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from streamer.client import Link
from streamer.flow.wire import EndStatus
from streamer.flow.wire.beamline import Acquire, Finish, GetBeamlineStatus, Prepare, StopAcquire
from streamer.frames import ScanSpec

from .requests import Exposures

CLEANUP_S = 2.0  # each request while cleaning up after something that may be dead


@dataclass(frozen=True)
class Geometry:
    rows: int
    columns: int
    pixel_size_m: float | None
    max_rate_hz: float


@dataclass(frozen=True)
class Activity:
    """``issued`` counts frames since the scan began; ``error`` is the hardware's own text."""

    acquiring: bool
    issued: int
    error: str | None


class DetectorHardware(ABC):
    """What TomoDetector needs of a camera. One class per kind of camera; every call returns quickly."""

    @abstractmethod
    def geometry(self) -> Geometry: ...
    @abstractmethod
    def prepare(self, spec: ScanSpec, rate_hz: float) -> None: ...
    @abstractmethod
    def acquire(self, exposures: Exposures) -> None: ...
    @abstractmethod
    def activity(self) -> Activity: ...
    @abstractmethod
    def stop(self) -> None: ...
    @abstractmethod
    def finish(self, status: EndStatus) -> None: ...


class SimDetector(DetectorHardware):
    """The detector of the virtual beamline."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def geometry(self) -> Geometry:
        state = self._link.ask(GetBeamlineStatus()).detector
        return Geometry(state.rows, state.columns, state.pixel_size_m, state.max_rate_hz)

    def prepare(self, spec: ScanSpec, rate_hz: float) -> None:
        self._link.ask(Prepare(spec, rate_hz), timeout_s=60.0)

    def acquire(self, exposures: Exposures) -> None:
        if exposures.step_deg is None:
            self._link.ask(Acquire(exposures.frames, exposures.kind))
        else:
            start, step = exposures.start_deg, exposures.step_deg
            self._link.ask(Acquire(exposures.frames, exposures.kind, "position", start, step))

    def activity(self) -> Activity:
        state = self._link.ask(GetBeamlineStatus()).detector
        return Activity(state.acquiring, state.issued, state.error)

    def stop(self) -> None:
        self._link.ask(StopAcquire(), timeout_s=CLEANUP_S)

    def finish(self, status: EndStatus) -> None:
        self._link.ask(Finish(status), timeout_s=CLEANUP_S)
