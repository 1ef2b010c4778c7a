"""A camera with the coroutines of Concert's (concert.devices.cameras.base.Camera), and a trigger by position for it.

It keeps Concert's rules: a parameter NAME has get_NAME and set_NAME, with quantities of pint; only a camera in standby
begins to record, only one that records grabs; grab and stop_recording wait for each other, and are tasks.
``benchmarks/detectors/kit_concert_scan.py`` does the same with Concert's own cameras.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import numpy as np
import pint
from numpy.typing import NDArray

Picture = Callable[[float | None], NDArray[Any]]
q = pint.UnitRegistry()


class TransitionNotAllowed(Exception):
    """Named as that of Concert."""


class CoroutineCamera:
    """``picture`` makes the image of a pulse at an angle in degrees, or (None) of an exposure at its own rate."""

    trigger_sources = SimpleNamespace(AUTO="AUTO", SOFTWARE="SOFTWARE", EXTERNAL="EXTERNAL")

    def __init__(self, rows: int, columns: int, picture: Picture) -> None:
        self.picture = picture
        self.values: dict[str, Any] = {
            "roi_height": q.Quantity(rows, "count"),
            "roi_width": q.Quantity(columns, "count"),
            "exposure_time": q.Quantity(1, "millisecond"),
            "frame_rate": q.Quantity(1000, "1/second"),
            "trigger_source": "AUTO",
            "rotate": 0,
        }
        self.state = "standby"
        self.recordings = 0
        self._grabbing = asyncio.Lock()
        self._pulses: asyncio.Queue[float] = asyncio.Queue()

    def __getattr__(self, name: str) -> Any:
        verb, _, parameter = name.partition("_")
        if verb not in ("get", "set") or parameter not in self.values:
            raise AttributeError(name)

        async def get() -> Any:
            return self.values[parameter]

        async def put(value: Any) -> None:
            if self.state != "standby":
                raise RuntimeError("Changing parameters is not allowed while recording")
            self.values[parameter] = value

        return get if verb == "get" else put

    async def get_state(self) -> str:
        return self.state

    def start_recording(self) -> asyncio.Task[None]:
        return _task(self._start())

    def stop_recording(self) -> asyncio.Task[None]:
        return _task(self._stop())

    def grab(self) -> asyncio.Task[NDArray[Any]]:
        return _task(self._grab())

    async def _start(self) -> None:
        self._check("standby")
        self._loop, self._pulses = asyncio.get_running_loop(), asyncio.Queue()
        self.state = "recording"
        self.recordings += 1

    async def _stop(self) -> None:
        async with self._grabbing:
            self._check("recording")
            self.state = "standby"

    async def _grab(self) -> NDArray[Any]:
        self._check("recording")
        async with self._grabbing:
            if self.values["trigger_source"] == "EXTERNAL":
                return self.picture(await self._pulses.get())
            await asyncio.sleep(1.0 / float(self.values["frame_rate"].to("1/second").magnitude))
            return self.picture(None)

    def _check(self, state: str) -> None:
        if self.state != state:
            raise TransitionNotAllowed(f"Current state `{self.state}' not in `['{state}']'")

    def pulse(self, angle_deg: float) -> None:
        """What the cable brings; from any thread. A camera that does not record sees nothing."""
        if self.state == "recording":
            self._loop.call_soon_threadsafe(self._pulses.put_nowait, angle_deg)


class Awaited(type):
    """As AsyncType of Concert: the class gives a coroutine, and its signature names ``self``."""

    def __init__(cls, *_: Any) -> None:
        cls.__signature__ = inspect.Signature.from_callable(cls.__init__)

    async def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return type.__call__(cls, *args, **kwargs)


class GreyCamera(CoroutineCamera, metaclass=Awaited):
    """Its images are all the same."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(rows, columns, lambda _: np.full((rows, columns), 7, "<u2"))


def _task(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.ensure_future(work)


class PassingTrigger:
    """Gives a camera its pulses when a rotation passes their angles, as a controller does beside the encoder."""

    def __init__(self, camera: CoroutineCamera, position: Callable[[], float]) -> None:
        self._camera, self._position = camera, position
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.left_out: set[int] = set()

    def arm(self, start_deg: float, step_deg: float, frames: int) -> None:
        self._ended.clear()
        angles = [start_deg + number * step_deg for number in range(frames)]
        self._thread = threading.Thread(target=self._watch, args=(angles, np.sign(step_deg)))
        self._thread.start()

    def disarm(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, angles: list[float], way: float) -> None:
        for number, angle in enumerate(angles):
            while (self._position() - angle) * way < 0:
                if self._ended.wait(0.002):
                    return
            if number not in self.left_out:
                self._camera.pulse(angle)
            time.sleep(0)
