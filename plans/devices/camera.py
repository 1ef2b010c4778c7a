"""The camera behind TomoDetector: what it must be able to do, and how the virtual beamline does it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from streamer.frames import ScanSpec

from .link import Link
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
    def finish(self, status: str) -> None: ...


class SimDetector(DetectorHardware):
    """The detector of the virtual beamline."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def geometry(self) -> Geometry:
        state = self._link.request("status")["detector"]
        return Geometry(state["rows"], state["columns"], state["pixel_size_m"], float(state["max_rate_hz"]))

    def prepare(self, spec: ScanSpec, rate_hz: float) -> None:
        self._link.request("prepare", {"spec": spec.to_dict(), "rate_hz": rate_hz}, timeout_s=60.0)

    def acquire(self, exposures: Exposures) -> None:
        by_position = exposures.step_deg is not None
        args: dict[str, Any] = {
            "frames": exposures.frames,
            "kind": int(exposures.kind),
            "start_deg": exposures.start_deg,
        }
        args |= {"trigger": "position" if by_position else "internal", "step_deg": exposures.step_deg or 0.0}
        self._link.request("acquire", args)

    def activity(self) -> Activity:
        state = self._link.request("status")["detector"]
        return Activity(bool(state["acquiring"]), int(state["issued"]), state.get("error"))

    def stop(self) -> None:
        self._link.request("stop_acquire", timeout_s=CLEANUP_S)

    def finish(self, status: str) -> None:
        self._link.request("finish", {"status": status}, timeout_s=CLEANUP_S)
