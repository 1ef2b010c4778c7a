"""EIGER detectors of DECTRIS as cameras of TomoDetector, over the REST interface of their control unit (SIMPLON API).

Each kind of frames is a series of its own: the detector is armed for it, numbers its images from 0, and disarms itself
after the last one. The daemon joins the series to one scan; it listens to the detector's stream (``source.dialect``),
where every image carries its kind in the user's appendix (``kinds.attribute = "kind"``).

Source: SIMPLON API reference 1.8; the simulator of tickit-devices judges it in the tests.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

from streamer.client import LinkError, LinkTimeout
from streamer.flow.wire import EndStatus
from streamer.frames import FrameKind, ScanSpec

from ..requests import Exposures
from .camera import CLEANUP_S, Activity, DetectorHardware, Geometry

ANSWER_S = 10.0
ARM_S = 60.0  # initialising and arming take seconds
READY, IDLE, ERROR, UNKNOWN = "ready", "idle", "error", "na"  # states of the detector


class EigerDetector(DetectorHardware):
    """An EIGER at ``address``, as "10.0.0.1" or "10.0.0.1:8080".

    ``stream`` is the version of its stream: legacy (``dectris-v1``) or cbor (``dectris-v2``). ``position_trigger`` is
    its trigger mode for frames that the rotation triggers: exte (a pulse for each image) or exts (one for the series).
    The detector does not count its images: ``issued`` follows the clock until a series is over. Raises LinkTimeout when
    it does not answer, LinkError when it refuses.
    """

    announces_end = False

    def __init__(
        self,
        address: str,
        max_rate_hz: float = 500.0,
        stream: Literal["legacy", "cbor"] = "legacy",
        position_trigger: Literal["exte", "exts"] = "exte",
        version: str = "1.8.0",
    ) -> None:
        self._address, self._version, self._stream = address, version, stream
        self._max_rate_hz, self._position_trigger = max_rate_hz, position_trigger
        self._frame_s = 1.0 / max_rate_hz
        self._before = self._frames = 0  # frames of the series before this one, and announced ones of this one
        self._began: float | None = None  # when this series began; None: there is none
        self._error: str | None = None

    def geometry(self) -> Geometry:
        rows, columns = (self._config(f"{axis}_pixels_in_detector") for axis in "yx")
        return Geometry(int(rows), int(columns), float(self._config("x_pixel_size")), self._max_rate_hz)

    def claim(self, scan_id: str, patience_s: float, given_up: Callable[[], bool]) -> None:
        """Nothing: the detector knows no claims."""

    def give_back(self, scan_id: str) -> None:
        with suppress(LinkError, LinkTimeout):
            self.stop()

    def prepare(self, spec: ScanSpec, rate_hz: float) -> None:
        if self._state() in (UNKNOWN, ERROR):
            self._command("initialize", ARM_S)
        for name, value in (("mode", "enabled"), ("format", self._stream), ("header_detail", "all")):
            self._put(f"stream/api/{self._version}/config/{name}", value)
        self._frame_s = 1.0 / rate_hz
        self._configure(count_time=spec.exposure_s, frame_time=self._frame_s)
        self._before, self._frames, self._began, self._error = 0, 0, None, None

    def acquire(self, exposures: Exposures) -> None:
        at_positions = exposures.step_deg is not None
        mode = self._position_trigger if at_positions else "ints"
        each_pulse = mode == "exte"
        kind = {"kind": FrameKind(exposures.kind).name.lower()}
        self._put(f"stream/api/{self._version}/config/image_appendix", json.dumps(kind))
        self._configure(
            trigger_mode=mode,
            nimages=1 if each_pulse else exposures.frames,
            ntrigger=exposures.frames if each_pulse else 1,
            omega_start=exposures.start_deg,
            omega_increment=exposures.step_deg or 0.0,
        )
        self._command("arm", ARM_S)
        self._before += self._frames
        self._frames, self._began = exposures.frames, time.monotonic()
        if not at_positions:
            threading.Thread(target=self._trigger, args=(exposures.frames,), name="eiger-trigger", daemon=True).start()

    def _trigger(self, frames: int) -> None:
        """The detector answers this command when the images are taken."""
        try:
            self._command("trigger", ARM_S + 2 * frames * self._frame_s)
            if self._state() == READY:
                self._command("disarm")
        except (LinkError, LinkTimeout) as error:
            if self._began is not None:  # else it was stopped
                self._error = str(error)

    def activity(self) -> Activity:
        state, began = self._state(), self._began
        if state == ERROR:
            self._error = self._error or "the detector is in the state error"
        if began is not None and state == IDLE:
            self._began = began = None  # the series is over
        if began is None or self._error is not None:
            return Activity(False, self._before + self._frames, self._error)
        taken = int((time.monotonic() - began) / self._frame_s)
        return Activity(True, self._before + min(taken, self._frames - 1), None)

    def stop(self) -> None:
        began, self._began = self._began, None
        if began is None:
            return
        taken = int((time.monotonic() - began) / self._frame_s) + 1  # the running image is finished
        self._frames = min(self._frames, taken)
        self._command("cancel", CLEANUP_S)
        if self._state() == READY:
            self._command("disarm", CLEANUP_S)

    def finish(self, status: EndStatus) -> None:
        self.stop()
        self._put(f"stream/api/{self._version}/config/image_appendix", "", CLEANUP_S)

    def _state(self) -> str:
        return str(self._ask("GET", f"detector/api/{self._version}/status/state")["value"])

    def _config(self, name: str) -> Any:
        return self._ask("GET", f"detector/api/{self._version}/config/{name}")["value"]

    def _configure(self, **values: Any) -> None:
        for name, value in values.items():
            self._put(f"detector/api/{self._version}/config/{name}", value)

    def _command(self, name: str, timeout_s: float = ANSWER_S) -> None:
        self._ask("PUT", f"detector/api/{self._version}/command/{name}", timeout_s=timeout_s)

    def _put(self, path: str, value: Any, timeout_s: float = ANSWER_S) -> None:
        self._ask("PUT", path, json.dumps({"value": value}).encode(), timeout_s)

    def _ask(self, method: str, path: str, body: bytes | None = None, timeout_s: float = ANSWER_S) -> Mapping[str, Any]:
        """The answer to a request; empty when it is no map."""
        headers = {"Content-Type": "application/json"}
        request = HttpRequest(f"http://{self._address}/{path}", body, headers, method=method)
        try:
            with urlopen(request, timeout=timeout_s) as reply:
                answer = json.loads(reply.read() or b"null")
        except HTTPError as error:
            raise LinkError(f"EIGER {self._address}: {method} {path}: {error.code} {error.reason}") from error
        except (URLError, OSError) as error:
            raise LinkTimeout(f"EIGER {self._address} does not answer {method} {path}: {error}") from error
        except ValueError as error:
            raise LinkError(f"EIGER {self._address}: {method} {path}: the answer is not JSON") from error
        return answer if isinstance(answer, dict) else {}
