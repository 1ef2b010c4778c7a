"""The camera behind TomoDetector: what it must be able to do, and how the virtual beamline does it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from streamer.client import Link, LinkError
from streamer.flow.wire import EndStatus
from streamer.flow.wire.beamline import Acquire, Finish, GetBeamlineStatus, Prepare, StopAcquire
from streamer.frames import ScanSpec

from ..claim import Claim
from ..requests import Exposures, ScanSetup
from ..waiting import PERIOD_S

CLEANUP_S = 2.0  # each request while cleaning up after something that may be dead


@dataclass(frozen=True)
class Geometry:
    rows: int
    columns: int
    pixel_size_m: float | None
    max_rate_hz: float
    saturation: float | None = None  # largest count, where it is below the largest number of the pixel type
    dtype: str = "<u2"
    energy_kev: float | None = None
    distance_m: float | None = None  # from the sample to the detector

    def spec(self, setup: ScanSetup) -> ScanSpec:
        """The announcement of a scan with this camera. What ``setup`` does not say is what the devices report."""
        return ScanSpec(
            scan_id=setup.scan_id,
            sample=setup.sample,
            rows=self.rows,
            columns=self.columns,
            projections=setup.projections,
            flats=setup.flats,
            darks=setup.darks,
            dtype=self.dtype,
            start_deg=setup.start_deg,
            range_deg=setup.range_deg,
            exposure_s=setup.exposure_s or 0.9 / setup.rate_hz,
            pixel_size_m=self.pixel_size_m,
            energy_kev=self.energy_kev if setup.energy_kev is None else setup.energy_kev,
            distance_m=self.distance_m if setup.distance_m is None else setup.distance_m,
            saturation=self.saturation,
            metadata=dict(setup.metadata),
            tomogram_deg=setup.tomogram_deg,
            before_trigger=setup.before_trigger,
        )


@dataclass(frozen=True)
class Activity:
    """``issued`` counts frames since the scan began; ``error`` is the hardware's own text."""

    acquiring: bool
    issued: int
    error: str | None


class DetectorHardware(ABC):
    """What TomoDetector needs of a camera. One class per kind of camera; every call returns quickly.

    A call that cannot be done raises LinkError or LinkTimeout. ``docs/how-to/camera.md`` shows how to write one.
    """

    announces_end = True
    """Whether the camera itself says on its stream that a scan is over; else TomoDetector tells the daemon."""

    @abstractmethod
    def geometry(self) -> Geometry:
        """Size and type of the images as they are sent, and what the camera can do."""

    @abstractmethod
    def claim(self, scan_id: str, patience_s: float, given_up: Callable[[], bool]) -> None:
        """Wait until camera, shutter and stages are ours. Raises BeamlineTaken or GivenUp.

        Hardware that knows no claims is ours at once.
        """

    @abstractmethod
    def give_back(self, scan_id: str) -> None:
        """End the claim; what the scan left open is made safe beside the hardware. Never raises."""

    @abstractmethod
    def prepare(self, spec: ScanSpec, rate_hz: float) -> None:
        """A scan begins, of which the daemon knows already; frames are counted from here on."""

    @abstractmethod
    def acquire(self, exposures: Exposures) -> None:
        """Start to take frames; with ``exposures.step_deg`` the rotation triggers each."""

    @abstractmethod
    def activity(self) -> Activity:
        """How far the camera is; asked again and again while it takes frames."""

    @abstractmethod
    def stop(self) -> None:
        """End the running exposures after the present frame; nothing when there are none."""

    @abstractmethod
    def finish(self, status: EndStatus) -> None:
        """The scan is over; the camera sends no more frames of it."""


class SimDetector(DetectorHardware):
    """The detector of the virtual beamline."""

    def __init__(self, link: Link, claim: Claim) -> None:
        self._link, self._claim = link, claim
        self._scan_id = ""

    def geometry(self) -> Geometry:
        state = self._link.ask(GetBeamlineStatus()).detector
        return Geometry(
            state.rows,
            state.columns,
            state.pixel_size_m,
            state.max_rate_hz,
            saturation=state.saturation,
            energy_kev=state.energy_kev,
        )

    def claim(self, scan_id: str, patience_s: float, given_up: Callable[[], bool]) -> None:
        self._claim.take(scan_id, patience_s, given_up)

    def give_back(self, scan_id: str) -> None:
        self._claim.give_back(scan_id)

    def prepare(self, spec: ScanSpec, rate_hz: float) -> None:
        self._scan_id = spec.scan_id
        request, end = Prepare(spec, rate_hz, self._claim.scan_id), time.monotonic() + CLEANUP_S
        while True:
            try:
                self._link.ask(request, timeout_s=60.0)
            except LinkError as error:
                # A scan that was given up a moment ago ends its last exposure.
                if error.code != "busy" or time.monotonic() > end:
                    raise
                time.sleep(PERIOD_S)
            else:
                return

    def acquire(self, exposures: Exposures) -> None:
        if exposures.step_deg is None:
            self._link.ask(Acquire(self._scan_id, exposures.frames, exposures.kind))
        else:
            start, step = exposures.start_deg, exposures.step_deg
            self._link.ask(Acquire(self._scan_id, exposures.frames, exposures.kind, "position", start, step))

    def activity(self) -> Activity:
        state = self._link.ask(GetBeamlineStatus()).detector
        return Activity(state.acquiring, state.issued, state.error)

    def stop(self) -> None:
        self._link.ask(StopAcquire(self._scan_id), timeout_s=CLEANUP_S)

    def finish(self, status: EndStatus) -> None:
        self._link.ask(Finish(self._scan_id, status), timeout_s=CLEANUP_S)
