"""A camera for TomoDetector in 40 lines: what a detector's own library does, in the words of DetectorHardware.

``sdk`` is the library: ``size``, ``arm(frames, period_s, external)``, ``status() -> (busy, done)``, ``abort()``.
"""

from collections.abc import Callable
from typing import Any

from streamer.client import LinkTimeout
from streamer.flow.wire import EndStatus
from streamer.frames import ScanSpec
from streamer_plans.devices.cameras.camera import Activity, DetectorHardware, Geometry
from streamer_plans.devices.requests import Exposures


class SdkCamera(DetectorHardware):
    announces_end = False  # its stream has no end of a scan: TomoDetector tells the daemon

    def __init__(self, sdk: Any, pixel_size_m: float, max_rate_hz: float) -> None:
        self._sdk, self._pixel_size_m, self._max_rate_hz = sdk, pixel_size_m, max_rate_hz
        self._before, self._armed = 0, False  # frames of the exposures that are over

    def geometry(self) -> Geometry:
        rows, columns = self._sdk.size
        return Geometry(rows, columns, self._pixel_size_m, self._max_rate_hz)

    def claim(self, scan_id: str, patience_s: float, given_up: Callable[[], bool]) -> None:
        """Nothing: this camera has one user only."""

    def give_back(self, scan_id: str) -> None:
        self._sdk.abort()

    def prepare(self, spec: ScanSpec, rate_hz: float) -> None:
        self._before, self._period_s, self._armed = 0, 1.0 / rate_hz, False

    def acquire(self, exposures: Exposures) -> None:
        self._before, self._armed = self.activity().issued, True
        self._sdk.arm(exposures.frames, self._period_s, exposures.step_deg is not None)

    def activity(self) -> Activity:
        try:
            busy, done = self._sdk.status()
        except OSError as error:
            raise LinkTimeout(f"the camera does not answer: {error}") from error
        return Activity(busy, self._before + done, None) if self._armed else Activity(False, self._before, None)

    def stop(self) -> None:
        self._sdk.abort()

    def finish(self, status: EndStatus) -> None:
        self._sdk.abort()
